"""Which faults are planted: cosmic-ray's operators by kind, and a few more in cosmic-ray's form."""

import re
from collections.abc import Iterator

import cosmic_ray.plugins
from cosmic_ray.operators.operator import Operator
from parso.python.tree import Name
from parso.python.tree import Operator as Token
from parso.tree import NodeOrLeaf

Place = tuple[tuple[int, int], tuple[int, int]]
OTHER_NAME = {
    "min": "max",
    "max": "min",
    "minimum": "maximum",
    "maximum": "minimum",
    "any": "all",
    "all": "any",
    "floor": "ceil",
    "ceil": "floor",
    "startswith": "endswith",
    "endswith": "startswith",
}

COMMUTATIVE = {"gcd", "lcm", "max", "maximum", "min", "minimum"}


class Change(Operator):
    """An operator that can change a node in at most one way."""

    def changes(self, node: NodeOrLeaf) -> bool:
        raise NotImplementedError

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[Place]:
        if self.changes(node):
            yield node.start_pos, node.end_pos

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class Text(Change):
    """`"cycles"` becomes `"cyclesXX"`, and so does the text of an f-string; `:.1f` becomes `:.2f`."""

    def changes(self, node: NodeOrLeaf) -> bool:
        return node.type == "string" or (node.type == "fstring_string" and bool(self._changed(node)))

    def _changed(self, node: NodeOrLeaf) -> str:
        if node.parent.type == "fstring_format_spec":
            return re.sub(r"\.(\d)", lambda found: f".{(int(found[1]) + 1) % 10}", node.value)
        return f"{node.value}XX" if node.value.strip() else ""

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        if node.type == "fstring_string":
            node.value = self._changed(node)
        else:
            quote = re.search(r"(\"\"\"|'''|\"|')$", node.value)[1]
            node.value = f"{node.value.removesuffix(quote)}XX{quote}"
        return node


class RemoveStatement(Change):
    """A call as a statement, `x += y`, `x[i] = y`, `raise` or `del` becomes `pass`."""

    def changes(self, node: NodeOrLeaf) -> bool:
        if node.type in ("raise_stmt", "del_stmt"):
            return True
        if node.parent is None or node.parent.type != "simple_stmt":
            return False
        if node.type == "expr_stmt":
            sign = node.children[1]
            stores = node.children[0].type in ("power", "atom_expr")
            return getattr(sign, "type", "") == "operator" and (sign.value != "=" or stores)
        return node.type in ("power", "atom_expr") and node.children[-1].type == "trailer"

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        return Name("pass", node.start_pos, prefix=node.get_first_leaf().prefix)


class DropKeyword(Operator):
    """`f(x, key=y)` becomes `f(x)`."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[Place]:
        return iter([(node.children[i].start_pos, node.children[i].end_pos) for i in self._keywords(node)])

    @staticmethod
    def _keywords(node: NodeOrLeaf) -> list[int]:
        if node.type != "arglist" or node.parent.type != "trailer":
            return []
        arguments = enumerate(node.children)
        return [i for i, one in arguments if one.type == "argument" and getattr(one.children[1], "value", "") == "="]

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        place = self._keywords(node)[index]
        del node.children[max(place - 1, 0) : max(place - 1, 0) + 2]  # with the comma before it, or after the first
        return node

    examples = Change.examples


class SwapArguments(Operator):
    """`f(x, y)` becomes `f(y, x)`."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[Place]:
        return iter([(node.children[i].start_pos, node.children[i + 2].end_pos) for i in self._pairs(node)])

    @staticmethod
    def _pairs(node: NodeOrLeaf) -> list[int]:
        if node.type != "arglist" or node.parent.type != "trailer" or node.parent.children[0].value != "(":
            return []
        if node.parent.get_previous_leaf().value in COMMUTATIVE:
            return []
        plain = [one.type != "argument" for one in node.children]
        return [place for place in range(0, len(plain) - 2, 2) if plain[place] and plain[place + 2]]

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        place = self._pairs(node)[index]
        one, other = node.children[place], node.children[place + 2]
        ahead, behind = one.get_first_leaf(), other.get_first_leaf()
        ahead.prefix, behind.prefix = behind.prefix, ahead.prefix
        node.children[place], node.children[place + 2] = other, one
        return node

    examples = Change.examples


class OtherFunction(Change):
    """`min` becomes `max`, `any` becomes `all`, and the like."""

    def changes(self, node: NodeOrLeaf) -> bool:
        if node.type != "name" or node.value not in OTHER_NAME:
            return False
        after = node.get_next_leaf()
        return after is not None and after.value == "(" and node.parent.type not in ("funcdef", "import_from")

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        node.value = OTHER_NAME[node.value]
        return node


class NegateFilter(Change):
    """`[x for x in y if z]` becomes `[x for x in y if not (z)]`."""

    def changes(self, node: NodeOrLeaf) -> bool:
        return node.type == "comp_if"

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        first, last = node.children[1].get_first_leaf(), node.children[1].get_last_leaf()
        first.prefix += "not ("
        last.value += ")"
        return node


class OtherMembership(Change):
    """`in` becomes `not in`, and the other way round."""

    def changes(self, node: NodeOrLeaf) -> bool:
        return node.type == "comparison" and node.children[1].get_code().split() in (["in"], ["not", "in"])

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        other = " in" if node.children[1].get_code().split() == ["not", "in"] else " not in"
        node.children[1] = Token(other, node.children[1].start_pos)
        return node


OURS = (Text, RemoveStatement, DropKeyword, SwapArguments, OtherFunction, NegateFilter, OtherMembership)


class Ours(dict[str, type[Operator]]):
    """The provider of the operators above, as cosmic-ray asks for one."""


cosmic_ray.plugins.OPERATOR_PROVIDERS["hwsim"] = Ours({one.__name__: one for one in OURS})

REPLACED = {
    "arithmetic": """Binary_Add_Sub Binary_Sub_Add Binary_Mul_Add Binary_Mul_FloorDiv Binary_Div_Mul
        Binary_FloorDiv_Mul Binary_FloorDiv_Div Binary_Mod_FloorDiv Binary_Pow_Mul Binary_LShift_RShift
        Binary_RShift_LShift Binary_BitAnd_BitOr Binary_BitOr_BitAnd Binary_BitXor_BitOr
        Unary_Delete_USub Unary_Delete_Invert""",
    "comparison": """Comparison_Eq_NotEq Comparison_NotEq_Eq Comparison_Lt_LtE Comparison_Lt_GtE Comparison_LtE_Lt
        Comparison_LtE_Gt Comparison_Gt_GtE Comparison_Gt_LtE Comparison_GtE_Gt Comparison_GtE_Lt
        Comparison_Is_IsNot Comparison_IsNot_Is""",
    "logic": "Unary_Delete_Not",
}
OTHERS = {
    "comparison": "hwsim/OtherMembership",
    "logic": """core/AddNot core/ReplaceAndWithOr core/ReplaceOrWithAnd core/ReplaceTrueWithFalse
        core/ReplaceFalseWithTrue hwsim/NegateFilter""",
    "number": "core/NumberReplacer",
    "flow": """core/ZeroIterationForLoop core/ReplaceBreakWithContinue core/ReplaceContinueWithBreak
        core/ExceptionReplacer hwsim/RemoveStatement""",
    "call": "hwsim/DropKeyword hwsim/SwapArguments hwsim/OtherFunction",
    "text": "hwsim/Text",
}
KIND_OF = {name: kind for kind, names in OTHERS.items() for name in names.split()}
for _kind, _names in REPLACED.items():
    for _family, _, _change in (name.partition("_") for name in _names.split()):
        KIND_OF[f"core/Replace{_family}Operator_{_change}"] = _kind
