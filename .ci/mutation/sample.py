"""What can be changed in the source, and a fair draw from it."""

import ast
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from operators import KIND_OF

Position = tuple[int, int]
TYPING = {"assert_never", "cast", "NewType", "TypeVar"}
INERT_KEYWORDS = {"cache", "eq", "frozen", "kw_only", "maxsize", "slots"}  # of decorators and classes
INERT_DECORATORS = {"jit", "cache", "dataclass"}


@dataclass(frozen=True)
class Mutant:
    """A change of one line, as cosmic-ray names it: the `occurrence`th place of an operator in a file."""

    path: Path  # relative to the tree
    line: int
    operator: str
    occurrence: int
    before: str
    after: str  # the changed lines
    statement: range  # the lines of the statement around it
    in_function: bool  # and not at the level of the module or of a class
    jitted: bool  # the function is compiled by numba

    @property
    def area(self) -> str:
        return area(self.path)


def area(path: Path) -> str:
    """The first two folders of a file."""
    return "/".join(path.parent.parts[:2])


class Source:
    """A file, and the places in it where a change can mean something."""

    def __init__(self, tree: Path, path: Path) -> None:
        self.path = path
        self.code = (tree / path).read_text(encoding="utf-8")
        self.lines = self.code.split("\n")
        self.ast = ast.parse(self.code)

    @cached_property
    def places(self) -> dict[int, dict[str, list[tuple[str, int]]]]:
        """By line and kind: operators and occurrences."""
        found: dict[int, dict[str, list[tuple[str, int]]]] = defaultdict(lambda: defaultdict(list))
        nodes = list(ast_nodes(get_ast(self.code)))
        for name, kind in KIND_OF.items():
            operator = cosmic_ray.plugins.get_operator(name)()
            positions = (start for node in nodes for start, _ in operator.mutation_positions(node))
            for occurrence, start in enumerate(positions):
                if not self._inert(start, kind):
                    found[start[0]][kind].append((name, occurrence))
        return found

    def mutants(self, line: int, seed: int) -> Iterator[Mutant]:
        """The mutants of a line in a drawn order, kind by kind; those that Python reads as no change are left out."""
        rng = random.Random(f"{seed}:{self.path}:{line}")
        kinds = sorted(self.places[line])
        for kind in rng.sample(kinds, len(kinds)):
            places = self.places[line][kind]
            for name, occurrence in rng.sample(places, len(places)):
                changed = mutate_code(self.code, cosmic_ray.plugins.get_operator(name)(), occurrence)
                if changed is not None and self._differs(changed):
                    yield Mutant(self.path, line, name, occurrence, *self._difference(changed), *self._around(line))

    def _differs(self, changed: str) -> bool:
        try:
            return ast.dump(ast.parse(changed)) != ast.dump(self.ast)
        except SyntaxError:
            return False

    def _difference(self, changed: str) -> tuple[str, str]:
        """The lines of the source that change, and what they become."""
        new = changed.split("\n")
        ahead = next(i for i, (one, other) in enumerate(zip(self.lines, new, strict=False)) if one != other)
        pairs = zip(self.lines[:ahead:-1], new[:ahead:-1], strict=False)
        behind = next((i for i, (one, other) in enumerate(pairs) if one != other), len(self.lines))
        behind = min(behind, len(self.lines) - ahead - 1, len(new) - ahead - 1)
        return "\n".join(self.lines[ahead : len(self.lines) - behind]), "\n".join(new[ahead : len(new) - behind])

    def _around(self, line: int) -> tuple[range, bool, bool]:
        """The lines of the statement (or of its head), whether it is in a function, and whether numba compiles that."""
        statement, inside, jitted = range(line, line + 1), False, False
        for node in ast.walk(self.ast):
            if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
                body = getattr(node, "body", None)
                if body and body[0].lineno <= line:
                    is_function = isinstance(node, ast.FunctionDef)
                    inside |= is_function
                    jitted |= is_function and any("jit" in ast.unparse(one) for one in node.decorator_list)
                else:  # the walk goes outside in
                    end = body[0].lineno - 1 if body else node.end_lineno or 0
                    statement = range(node.lineno, max(end, line) + 1)
        return statement, inside, jitted

    def _inert(self, start: Position, kind: str) -> bool:
        """Whether a place cannot change behaviour: hints, docstrings, what only a type checker reads."""
        if within(start, self._never):
            return True
        return within(start, self._hints) and not (kind == "number" and within(start, self._limits))

    @cached_property
    def _never(self) -> list[tuple[Position, Position]]:
        return [self._span(node) for node in inert_nodes(self.ast)]

    @cached_property
    def _hints(self) -> list[tuple[Position, Position]]:
        return [self._span(node) for node in hints(self.ast)]

    @cached_property
    def _limits(self) -> list[tuple[Position, Position]]:
        """Calls in hints: `Meta(ge=1)` is a check, not a hint."""
        return [self._span(call) for hint in hints(self.ast) for call in ast.walk(hint) if isinstance(call, ast.Call)]

    def _span(self, node: ast.AST) -> tuple[Position, Position]:
        ends = ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))
        return tuple((line, len(self.lines[line - 1].encode()[:column].decode())) for line, column in ends)


def within(start: Position, spans: Iterable[tuple[Position, Position]]) -> bool:
    return any(first <= start < last for first, last in spans)


def hints(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        hint = None
        if isinstance(node, ast.arg | ast.AnnAssign):
            hint = node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            hint = node.returns
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value).split(".")[-1] == "Annotated":
            hint = node
        if hint is not None:
            yield hint


def inert_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from [node.test] if ast.unparse(node.test).startswith("not") else [node]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in TYPING:
            yield node
        if isinstance(node, ast.Assign) and "__all__" in map(ast.unparse, node.targets):
            yield node
        if isinstance(node, ast.ClassDef):
            yield from (keyword for keyword in node.keywords if keyword.arg in INERT_KEYWORDS)
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            named = [(one, one.func if isinstance(one, ast.Call) else one) for one in node.decorator_list]
            yield from (one for one, name in named if any(word in ast.unparse(name) for word in INERT_DECORATORS))


class Draw:
    """Mutants in an order drawn from a seed: `first` of them spread over the areas by their lines, more on demand."""

    def __init__(self, sources: Iterable[Source], seed: int) -> None:
        self.seed = seed
        rng = random.Random(seed)
        by_area: dict[str, list[tuple[Source, int]]] = defaultdict(list)
        for source in sorted(sources, key=lambda one: (area(one.path), one.path)):
            by_area[area(source.path)] += [(source, line) for line in sorted(source.places)]
        self.lines = {name: rng.sample(lines, len(lines)) for name, lines in by_area.items()}
        self.count = {name: len(lines) for name, lines in self.lines.items()}
        self.start = rng.random()

    def shares(self, number: int) -> dict[str, int]:
        """How many of `number` mutants fall to each area: every so many lines one, from a drawn start."""
        total, shares, before = sum(self.count.values()), {}, 0
        number = min(number, total)
        points = [(self.start + i) * total / number for i in range(number)] if number else []
        for name, count in self.count.items():
            shares[name] = sum(before <= point < before + count for point in points)
            before += count
        return shares

    def next(self, name: str) -> Mutant | None:
        """The next mutant of an area, of a line that was not drawn before."""
        while self.lines[name]:
            source, line = self.lines[name].pop()
            for mutant in source.mutants(line, self.seed):
                return mutant
        return None
