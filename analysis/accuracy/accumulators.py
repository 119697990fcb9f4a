"""Accumulators: which width is safe for every matrix product, and where one that is too narrow overflows first.

A width is safe by proof (equation (10a) or (10b) of docs/numerics.md), by A2Q's bound from weights alone ((A4) of
docs/operators/accumulator.md), or for the text that was run: what its running sums really reached.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec
import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from analysis.accuracy.padding import Padding
from analysis.output.fitting import Fitting, Row
from hwsim.formats import Accumulator, Counter, Granularity, Overflow
from hwsim.machine import Machine, Observer
from hwsim.machine.steps import products
from hwsim.machine.steps.workspace import Array
from hwsim.operators import gemm
from hwsim.program import Program
from hwsim.program.operations import AnyProduct, MatMul
from hwsim.program.proofs import Interval, constant_factors, first_factor, product_reach, product_terms

SPEC = "BITS:RULE[:WHEN[=TILE]]"
EXAMPLE = "16:saturate:tile=16"
RULES = tuple(rule.value for rule in Overflow if rule is not Overflow.PROVEN)
WHEN = tuple(when.value for when in Granularity)
WORST = 5
"""So many operations are named with where they overflow first."""
_WHEN_IN_WORDS = {Granularity.MAC: "after every product", Granularity.END: "after the last product"}


def parse_accumulator(spec: str) -> Accumulator:
    """`16:saturate`, `20:wrap:end` or `16:saturate:tile=32` as an accumulator.

    Raises
    ------
    ValueError
        If a part is missing, unknown or out of range; names it and what is allowed.
    """
    where = f"accumulator {spec!r}: "
    bits, *rest = spec.split(":")
    if len(rest) not in (1, 2):
        raise ValueError(f"{where}needed is {SPEC}, for example {EXAMPLE}")
    when, has_tile, tile = rest[1].partition("=") if len(rest) == 2 else (Granularity.MAC.value, "", "")
    _one_of(where, "overflow rule", rest[0], RULES)
    _one_of(where, "granularity", when, WHEN)
    if has_tile and when != Granularity.TILE.value:
        raise ValueError(f"{where}only tile takes a number of products, not {when}")
    fields = {"bits": _number(where, "bits", bits)} | ({"tile": _number(where, "products", tile)} if has_tile else {})
    try:
        return Accumulator(overflow=Overflow(rest[0]), granularity=Granularity(when), **fields)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error


def _one_of(where: str, what: str, given: str, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise ValueError(f"{where}{given!r} is no {what}; allowed are {', '.join(allowed)}")


def _number(where: str, what: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise ValueError(f"{where}{text!r} is no number of {what}; needed is {SPEC}, for example {EXAMPLE}")
    return int(text)


def in_words(accumulator: Accumulator) -> str:
    """`16 bits, saturate after every 16 products`; `32 bits, proven`."""
    if accumulator.overflow is Overflow.PROVEN:
        return f"{accumulator.bits} bits, proven"
    when = _WHEN_IN_WORDS.get(accumulator.granularity, f"after every {accumulator.tile} products")
    return f"{accumulator.bits} bits, {accumulator.overflow.value} {when}"


# --- safe widths ------------------------------------------------------------------------------------------------------


class Width(msgspec.Struct, frozen=True, kw_only=True):
    """Least safe widths of one matrix product, in bits.

    Attributes
    ----------
    terms
        Products of a sum, at most.
    proven, proven_bits
        The interval of every partial sum, bias included, and the width that holds it.
    a2q_bits, a2q_unknown
        The width by (A4), which leaves out the bias; or why that says nothing.
    observed, observed_bits
        Least and greatest running sum on the text, looked at after every product; None without a text.
    """

    function: str
    operation: str
    terms: int
    proven: tuple[int, int]
    proven_bits: int
    a2q_bits: int | None
    a2q_unknown: str | None
    observed: tuple[int, int] | None = None
    observed_bits: int | None = None


def safe_widths(
    program: Program, observed: Mapping[str, tuple[int, int]] | None = None, pattern: str = "*"
) -> list[Width]:
    """Safe widths of every matrix product that matches a pattern, in order of execution.

    Parameters
    ----------
    program
        Validated.
    observed
        Output -> least and greatest running sum, see `Watch`.
    pattern
        Shell style, with or without `.accumulator` at the end.

    Raises
    ------
    ValueError
        If no matrix product matches.
    """
    found = [
        _width(program, function, operation, (observed or {}).get(operation.output))
        for function, operation in program.operations()
        if isinstance(operation, AnyProduct)
        and any(fnmatchcase(name, pattern) for name in (operation.output, _product(operation.output)))
    ]
    if not found:
        raise ValueError(
            f"pattern {pattern!r} matches no matrix product; they are called like encoder.0.feed_forward.output"
        )
    return found


def _product(output: str) -> str:
    """A product's name for people."""
    return output.removesuffix(".accumulator")


def _width(program: Program, function: str, operation: AnyProduct, observed: tuple[int, int] | None) -> Width:
    proven, a2q = product_reach(program, operation), _a2q(program, operation)
    return Width(
        function=function,
        operation=operation.output,
        terms=product_terms(program, operation),
        proven=(proven.low, proven.high),
        proven_bits=proven.bits,
        a2q_bits=a2q if isinstance(a2q, int) else None,
        a2q_unknown=a2q if isinstance(a2q, str) else None,
        observed=observed,
        observed_bits=None if observed is None else Interval(*observed).bits,
    )


def _a2q(program: Program, operation: AnyProduct) -> int | str:
    """(A4), the worst row; or why it does not apply."""
    a = program.tensors[first_factor(operation)]
    if isinstance(operation, MatMul) and operation.b not in program.constants:
        return "both factors are activations"
    if a.zero_point:
        return f"the input has a zero point ({a.zero_point})"
    weights, zero = constant_factors(program, operation)
    norm = max(int(np.abs(weight.astype(np.int64) - zero).sum(-1).max()) for weight in weights)
    return (norm << (a.format.bits - a.format.signed)).bit_length() + 1


# --- what a run really does -------------------------------------------------------------------------------------------


class FirstOverflow(msgspec.Struct, frozen=True, kw_only=True):
    """Where an operation overflows first: sentence from 1, call, element of the result, and product.

    `batch` counts heads for products of two activations, and of projected heads; `k` is the last product of the tile
    after which the sum was out of range, -1 for the bias.
    """

    sentence: int
    call: str
    batch: list[int]
    row: int
    column: int
    k: int

    def __str__(self) -> str:
        head = f"head {self.batch[-1]}, " if len(self.batch) > 1 else ""
        where = "bias" if self.k < 0 else f"k {self.k}"
        return f"sentence {self.sentence}, {self.call}, {head}row {self.row}, column {self.column}, {where}"


class Overflowing(msgspec.Struct, frozen=True, kw_only=True):
    """Overflow events of one operation on the whole text, and the first."""

    operation: str
    function: str
    events: int
    first: FirstOverflow | None


class Watch(Machine):
    """A machine that looks at the running sums of every matrix product while it runs.

    Attributes
    ----------
    observed
        Output -> least and greatest exact running sum after any product, from the codes that this machine fed to it.
        What is padding does not count: sentences of a batch give what they give alone.
    """

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.observed: dict[str, tuple[int, int]] = {}
        self._first: dict[str, FirstOverflow] = {}
        self._sentence = self._step = 0
        self._alone = True
        self._padding = Padding(program)

    def run(self, function: str, inputs: Mapping[str, Array], observe: Observer | None = None) -> dict[str, Array]:
        """As the machine's; a call of `encode` begins the next sentence, or the next batch of them."""
        values = {name: np.asarray(array, np.int32, order="C") for name, array in inputs.items()}

        def keep(name: str, array: Array) -> None:
            values[name] = array
            if observe is not None:
                observe(name, array)

        outputs = super().run(function, inputs, keep)
        encodes = function == "encode"
        self._sentence, self._step = (self._sentence + 1, -1) if encodes else (self._sentence, self._step + 1)
        if encodes:  # rows of a step may be hypotheses of one sentence
            self._alone &= all(len(array) == 1 for array in values.values() if array.ndim)
        self._look(function, values, function if encodes else f"decode step {self._step}")
        return outputs

    def _look(self, function: str, values: dict[str, Array], call: str) -> None:
        real, counters = self._padding.real(values), self.counters
        for operation in self.program.functions[function].operations:
            if isinstance(operation, AnyProduct):
                overflowed = _overflows(counters, operation.output) > 0
                for head, operands in self._operands(operation, values):
                    self._widen(operation.output, self._padding.without(operation, operands, real))
                    if overflowed and self._alone and operation.output not in self._first:
                        self._find(operation, operands, call, head)

    def _operands(self, operation: AnyProduct, values: dict[str, Array]) -> list[tuple[list[int], products.Operands]]:
        """Those of every product of an operation, by head where each head has one."""
        if isinstance(operation, MatMul):
            return [([], products.operands(self.workspace, operation, values))]
        return [([h], one) for h, one in enumerate(products.head_operands(self.workspace, operation, values))]

    def _widen(self, name: str, operands: products.Operands) -> None:
        a, b, bias, a_zero, b_zero = operands
        low, high = gemm.partial_extremes(a, b, bias, a_zero=a_zero, b_zero=b_zero)
        least, greatest = self.observed.get(name, (low, high))
        self.observed[name] = min(low, least), max(high, greatest)

    def _find(self, operation: AnyProduct, operands: products.Operands, call: str, head: list[int]) -> None:
        a, b, bias, a_zero, b_zero = operands
        found = gemm.first_overflow(a, b, bias, a_zero=a_zero, b_zero=b_zero, accumulator=operation.accumulator)
        if found is not None:
            *batch, row, column, k = found
            self._first[operation.output] = FirstOverflow(
                sentence=self._sentence, call=call, batch=batch + head, row=row, column=column, k=k
            )

    def overflowing(self) -> list[Overflowing]:
        """Every operation that has overflowed, most events first.

        Raises
        ------
        ValueError
            If sentences ran in batches: their padding may have overflowed too.
        """
        if not self._alone:
            raise ValueError("overflows are those of sentences that ran one at a time; these ran in batches")
        counters = self.counters
        found = [
            Overflowing(operation=name, function=function, events=events, first=self._first.get(name))
            for function, operation in self.program.operations()
            if (events := _overflows(counters, name := operation.output))
        ]
        return sorted(found, key=lambda one: -one.events)


def _overflows(counters: Mapping[str, Array], output: str) -> int:
    return int(counters[output][Counter.OVERFLOW]) if output in counters else 0


# --- for a terminal ---------------------------------------------------------------------------------------------------


def width_table(widths: Sequence[Width]) -> RenderableType:
    """One row a matrix product; below it what the columns mean."""
    rows, function = [], ""
    for one in widths:
        if one.function != function:
            function = one.function
            rows.append(Row(function))
        cells = (str(one.terms), str(one.proven_bits), str(one.a2q_bits or "-"), str(one.observed_bits or "-"))
        span = "" if one.observed is None else f"{one.observed[0]} .. {one.observed[1]}"
        rows.append(Row(_product(one.operation), (*cells, span)))
    right = ("terms", "proof", "A2Q", "observed", "running sums")
    notes = ["proof: every input, bias included; A2Q: every input, by the L1 norm of the weights, without bias."]
    reasons = sorted({one.a2q_unknown.partition(" (")[0] for one in widths if one.a2q_unknown})
    if reasons:
        notes.append(f"A2Q says nothing (-) where {' or '.join(reasons)}.")
    observed = any(one.observed for one in widths)
    notes.append("observed: enough for this text." if observed else "observed: give --text or --sentences.")
    table = Fitting(f"Minimum safe accumulators, bits ({len(widths)})", ("product",), right, rows)
    return Group(table, Text("\n".join(notes)))


def overflow_table(found: Sequence[Overflowing]) -> RenderableType:
    """The operations with most events, and where each began."""
    rows = [Row(_product(one.operation), (str(one.first or ""), f"{one.events:,}")) for one in found]
    title = f"Overflow events by operation: the worst {min(WORST, len(rows))} of {len(rows)}"
    return Fitting(title, ("product", "first event"), ("events",), rows[:WORST])
