"""Targets and requantization schemes as tables."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hwsim.program.catalogue import CATALOGUE, Limits, SchemeRecord
from hwsim.program.targets import TARGETS, Operator, Target, target

OPERATORS = ("requantization", "residual", "softmax", "layernorm", "activation", "embedding", "generator")
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
    for one in TARGETS.values():
        table.add_row(
            one.name,
            one.requantization,
            str(one.multiplier_bits),
            _widths(one.weight_bits),
            _widths(one.activation_bits),
            str(one.residual_bits),
            one.granularity.removeprefix("per_"),
            _zero_points(one),
            str(one.accumulator.bits),
        )
    return table


def _widths(bits: Sequence[int]) -> str:
    """`8, 4`; of a whole range `8, 2 to 16`, the native one first."""
    low, high = min(bits), max(bits)
    is_range = len(bits) > 2 and sorted(bits) == list(range(low, high + 1))
    return f"{bits[0]}, {low} to {high}" if is_range else ", ".join(map(str, bits))


def _zero_points(one: Target) -> str:
    return f"to {one.zero_point_bits} bits" if one.zero_point_bits else "none"


def details(name: str) -> list[RenderableType]:
    """One target in full, with sources.

    Raises
    ------
    ValueError
        For an unknown target; lists the known ones.
    """
    one = target(name)
    scale, accumulator = CATALOGUE[one.requantization], one.accumulator
    facts = {
        "target": one.name,
        "requantization": f"{scale.name}: {scale.formula}, zero point {scale.zero_point}",
        "multipliers": f"{one.multiplier_bits} bits",
        "softmax": one.softmax + (f", in groups of {one.itamax_group}" if one.itamax_group else ""),
        "layernorm": one.layernorm,
        "residual sum": f"{one.residual}, {one.residual_bits} bits",
        "weights": f"{_widths(one.weight_bits)} bits, scales {one.granularity}",
        "activations": f"{_widths(one.activation_bits)} bits, zero points {_zero_points(one)}",
        "heads": one.heads,
        "sqrt(d_head)": one.sqrt_mode,
        "accumulator": f"{accumulator.bits} bits, {accumulator.overflow.value}",
    }
    table = _table("Operators", ("operator", "whose", "read in"))
    for operator in OPERATORS:
        record: Operator = one.operators[operator]
        whose = "native" if record.native else f"borrowed from {record.borrowed_from}"
        table.add_row(operator, Text(whose, style="green" if record.native else ""), Text(record.source))
    return [Group(_facts(facts), ""), table]


def schemes() -> list[RenderableType]:
    """The requantization catalogue: x * m / 2^e to an integer."""
    return [
        Group(Text(record.name, style="bold"), _facts(_scheme_facts(record), 2), "") for record in CATALOGUE.values()
    ]


def _scheme_facts(record: SchemeRecord) -> dict[str, str]:
    limits = record.limits
    targets = [one.name for one in TARGETS.values() if one.requantization == record.name]
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
