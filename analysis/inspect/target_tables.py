"""Targets and requantization schemes as tables."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.inspect.target_limits import activations, limits, records
from hwsim.formats import Overflow
from hwsim.program.catalogue import CATALOGUE, Limits, SchemeRecord
from hwsim.program.targets import TARGETS, Operator, Target, target

OPERATORS = ("requantization", "residual", "softmax", "layernorm", "mask", "activation", "embedding", "generator")
_HARDWARE = (
    *("target", "requantization", "multi-\nplier", "weights", "activa-\ntions", "residual\nsum"),
    *("weight\nscales", "zero\npoints", "accumu-\nlator"),
)


def overview() -> list[RenderableType]:
    """All targets: their operators, then their hardware."""
    return [_operators(), _hardware()]


def _operators() -> Table:
    table = _table("Operators: native, or whom they are borrowed from", ("target", *OPERATORS))
    for one in TARGETS.values():
        cells = [one.operators[name].borrowed_from for name in OPERATORS]
        table.add_row(one.name, *(Text(cell or "native", style="" if cell else "green") for cell in cells))
    return table


def _hardware() -> Table:
    table = _table("Hardware: native widths in bits, the native configuration's first", _HARDWARE)
    for name, record in (pair for one in TARGETS.values() for pair in records(one)):
        table.add_row(
            name,
            record.requantization,
            str(record.multiplier_bits),
            widths(record.weight_bits),
            widths(activations(record)),
            str(record.residual_bits),
            record.granularity.removeprefix("per_"),
            _zero_points(record),
            str(record.accumulator.bits),
        )
    return table


def widths(bits: Sequence[int]) -> str:
    """`8, 4`; of a whole range `8, 2 to 16`, the native one first."""
    low, high = min(bits), max(bits)
    is_range = len(bits) > 2 and sorted(bits) == list(range(low, high + 1))
    return f"{bits[0]}, {low} to {high}" if is_range else ", ".join(map(str, bits))


def _zero_points(one: Target) -> str:
    return f"to {one.zero_point_bits} bits" if one.zero_point_bits else "none"


def details(name: str) -> list[RenderableType]:
    """One target in full, with sources; one that computes wide activations in another way has two parts.

    Raises
    ------
    ValueError
        For an unknown target; lists the known ones.
    """
    return [part for title, record in records(target(name)) for part in _record(title, record)]


def _record(title: str, one: Target) -> list[RenderableType]:
    operators = _table("Operators", ("operator", "whose", "read in"))
    for operator in OPERATORS:
        record: Operator = one.operators[operator]
        whose = "native" if record.native else f"borrowed from {record.borrowed_from}"
        operators.add_row(operator, Text(whose, style="green" if record.native else ""), Text(record.source))
    bounds = _table("Limits: with a source the target's own, without one hwsim's", ("limit", "value", "read in"))
    for limit in limits(one):
        bounds.add_row(limit.name, limit.value, "; ".join(filter(None, (limit.where, limit.source))))
    return [Group(_facts(_target_facts(title, one)), ""), operators, bounds]


def _target_facts(title: str, one: Target) -> dict[str, str]:
    scale = CATALOGUE[one.requantization]
    by = f" by {one.residual_requantization}" if one.residual_requantization else ""
    wraps = ", codes beyond its format wrap" if one.layernorm_overflow is Overflow.WRAP else ""
    return {
        "target": title,
        "requantization": f"{scale.name}: {scale.formula}, zero point {scale.zero_point}",
        "multipliers": f"{one.multiplier_bits} bits",
        "softmax": one.softmax + (f", in groups of {one.itamax_group}" if one.itamax_group else ""),
        "layernorm": one.layernorm + wraps,
        "residual sum": f"{one.residual}{by}, {one.residual_bits} bits",
        "weights": f"{widths(one.weight_bits)} bits, scales {one.granularity}",
        "activations": f"{widths(activations(one))} bits, zero points {_zero_points(one)}",
        "extended": "what is not listed: other widths to 16 bits, and limits that a scheme names under `beyond`",
        "heads": one.heads,
        "sqrt(d_head)": one.sqrt_mode,
    }


def schemes() -> list[RenderableType]:
    """The requantization catalogue: x * m / 2^e to an integer."""
    return [
        Group(Text(record.name, style="bold"), _facts(_scheme_facts(record), 2), "") for record in CATALOGUE.values()
    ]


def _scheme_facts(record: SchemeRecord) -> dict[str, str]:
    limits = record.limits
    targets = [
        one.name
        for one in TARGETS.values()
        if record.name in (one.requantization, one.wide and one.wide.requantization, one.residual_requantization)
    ]
    return {
        "formula": record.formula,
        "rounding": f"{record.rounding}; zero point {record.zero_point}",
        "multiplier": f"{_multipliers(limits)}, shift {limits.least_shift} to {limits.greatest_shift}, "
        f"input to {limits.input_bits} bits",
        "used by": record.users,
        "targets": ", ".join(targets) or "none",
        "source": record.source,
    }


def _multipliers(limits: Limits) -> str:
    if limits.high == 1:
        return "none"
    return f"{limits.low:,} to {limits.high:,} ({limits.multiplier_bits} bits)"


def _facts(facts: dict[str, str], indent: int = 0) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="" if indent else "bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(" " * indent + name, Text(value))
    return table


def _table(title: str, headers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, header in enumerate(headers):
        table.add_column(header, no_wrap=not number, overflow="fold", vertical="top")
    return table
