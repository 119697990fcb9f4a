"""What a program consists of: its header, sites, operations and constants, as tables and as plain data."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec
import numpy as np
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hwsim.packing import packed_bytes
from hwsim.program import (
    Add,
    ConstantInfo,
    Dyadic,
    Embed,
    MatMul,
    Operation,
    Program,
    ShiftRight,
    TensorInfo,
    written,
)
from hwsim.proofs import Interval
from hwsim.validate import validate

HASH_DIGITS = 12
NARROW = 72
"""Columns of a terminal below which even names fold."""
Range = tuple[int, int]


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor; `scale` is for the reader."""

    name: str
    format: str
    zero_point: int
    scale: float | None
    dims: list[str | int]


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A rounding: least and greatest multiplier and shift; `name` only where an operation rounds more than once."""

    name: str
    multiplier: Range | None
    shift: Range


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """An operation; of an accumulator the proven interval, the bits that it needs, its width and overflow rule."""

    function: str
    output: str
    type: str
    reach: Range | None
    bits_needed: int | None
    bits: int | None
    overflow: str | None
    stages: list[Stage]


class Constant(msgspec.Struct, frozen=True, kw_only=True):
    """A constant array; bytes as it is packed in the file."""

    name: str
    role: str
    format: str
    shape: list[int]
    bytes: int


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """All that `show` prints; `msgspec.to_builtins` makes it plain data for JSON."""

    name: str
    scheme: str
    file_version: int
    arithmetic: str
    functions: dict[str, int]
    weight_bytes: int
    tokenizer_sha256: str
    max_positions: int
    dimensions: dict[str, int]
    sites: list[Site]
    operations: list[Step]
    constants: list[Constant]


def show(program: Program, pattern: str = "*") -> list[RenderableType]:
    """Tables for a terminal: all of a program, or what belongs to the sites that match a pattern."""
    return render(describe(program, pattern))


def describe(program: Program, pattern: str = "*") -> Description:
    """A program as data.

    Parameters
    ----------
    program
        Validated here, which proves its accumulators.
    pattern
        Shell style: sites and constants with such a name, and operations that make such a site.

    Raises
    ------
    ValueError
        If nothing matches; names similar sites.
    """
    reach, manifest = validate(program), program.manifest

    def matches(names: Iterable[str]) -> bool:
        return any(fnmatchcase(name, pattern) for name in names)

    sites = [info for info in manifest.tensors if matches([info.name])]
    constants = [info for info in manifest.constants if matches([info.name])]
    if not sites and not constants:
        names = [*program.tensors, *program.constants]
        similar = get_close_matches(pattern.replace("*", ""), names, n=4, cutoff=0.3) or names[:4]
        raise ValueError(f"pattern {pattern!r} matches no site; similar: {', '.join(similar)}")
    return Description(
        name=manifest.name,
        scheme=manifest.scheme,
        file_version=manifest.version,
        arithmetic=manifest.arithmetic,
        functions={function.name: len(function.operations) for function in manifest.functions},
        weight_bytes=program.weight_bytes,
        tokenizer_sha256=manifest.tokenizer_sha256,
        max_positions=manifest.max_positions,
        dimensions={dimension.name: dimension.maximum for dimension in manifest.dimensions},
        sites=[_site(info) for info in sites],
        operations=[
            _step(program, function, operation, reach.get(operation.output))
            for function, operation in program.operations()
            if matches(written(operation))
        ],
        constants=[_constant(info) for info in constants],
    )


def _site(info: TensorInfo) -> Site:
    return Site(
        name=info.name,
        format=str(info.format),
        zero_point=info.zero_point,
        scale=info.scale,
        dims=list(info.dims),
    )


def _constant(info: ConstantInfo) -> Constant:
    return Constant(
        name=info.name,
        role=info.role,
        format=str(info.format),
        shape=list(info.shape),
        bytes=packed_bytes(info.shape, info.format.bits),
    )


def _step(program: Program, function: str, operation: Operation, reach: Interval | None) -> Step:
    accumulator = operation.accumulator if isinstance(operation, MatMul) else None
    return Step(
        function=function,
        output=operation.output,
        type=str(type(operation).__struct_config__.tag),
        reach=None if reach is None else (reach.low, reach.high),
        bits_needed=None if reach is None else reach.bits,
        bits=None if reach is None else program.tensors[operation.output].format.bits,
        overflow=None if accumulator is None else accumulator.overflow.value,
        stages=_stages(program, operation),
    )


def _stages(program: Program, operation: Operation) -> list[Stage]:
    def bounds(*values: int | str) -> Range:
        arrays = [program.constants[value] if isinstance(value, str) else np.array(value) for value in values]
        return min(int(array.min()) for array in arrays), max(int(array.max()) for array in arrays)

    match operation:
        case ShiftRight(shift=shift):
            return [Stage(name="", multiplier=None, shift=(shift, shift))]
        case Add(a_multiplier=a, b_multiplier=b, shift=shift):
            return [Stage(name="", multiplier=bounds(a, b), shift=(shift, shift))]
        case Embed(multiplier=m, position_multiplier=p, shift=shift):
            return [Stage(name="", multiplier=bounds(m, p), shift=(shift, shift))]
    fields = msgspec.structs.asdict(operation)
    return [
        Stage(
            name=field.removesuffix("requantization").removesuffix("_"),
            multiplier=bounds(value.multiplier),
            shift=bounds(value.shift),
        )
        for field, value in fields.items()
        if isinstance(value, Dyadic)
    ]


# --- for a terminal ---------------------------------------------------------------------------------------------------


class _Row(NamedTuple):
    """A line of a table; without cells, the heading of those that follow."""

    name: str
    cells: tuple[str, ...] = ()


class _Fitting:
    """A table with full names where they fit the terminal, else with the names' beginnings as headings."""

    def __init__(self, title: str, left: Sequence[str], right: Sequence[str], rows: Sequence[_Row]) -> None:
        self.title, self.left, self.right, self.rows = title, left, right, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table(grouped=False, whole_names=True)
        unlimited = options.update(max_width=10_000)
        if Measurement.get(console, unlimited, table).maximum > options.max_width:
            table = self._table(grouped=True, whole_names=options.max_width >= NARROW)
        yield table

    def _table(self, *, grouped: bool, whole_names: bool) -> Table:
        """`whole_names` lets the other columns fold first."""
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for name in self.left:
            table.add_column(name, overflow="fold", no_wrap=whole_names)
        for name in self.right:
            table.add_column(name, justify="right", overflow="fold")
        group = ""
        for name, cells in self.rows:
            head, tail = _split(name) if grouped and cells else ("", name)
            if head and head != group:
                table.add_row(Text(head))
            group = head
            table.add_row(Text(f"  {tail}" if head else tail, style="" if cells else "bold"), *cells)
        return table


def _split(name: str) -> tuple[str, str]:
    """`encoder.0.self_attention` and `scores.shifted`; shorter names stay whole."""
    parts = name.split(".", 3)
    return (".".join(parts[:3]), parts[3]) if len(parts) > 3 else ("", name)


def render(description: Description) -> list[RenderableType]:
    """Tables as wide as the terminal allows; long cells are folded, never cut."""
    tables = [_sites(description.sites), _operations(description.operations), _constants(description.constants)]
    return [_header(description), *(table for table in tables if table.rows)]


def _header(description: Description) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    functions = ", ".join(f"{name} ({count} operations)" for name, count in description.functions.items())
    for name, value in (
        ("program", description.name),
        ("scheme", description.scheme),
        ("file version", str(description.file_version)),
        ("arithmetic", description.arithmetic),
        ("functions", functions),
        ("weights", f"{description.weight_bytes:,} bytes"),
        ("dimensions", ", ".join(f"{name} <= {maximum}" for name, maximum in description.dimensions.items())),
        ("tokenizer", description.tokenizer_sha256[:HASH_DIGITS] or "none"),
    ):
        table.add_row(name, Text(value))
    return Group(table, "")


def _sites(sites: Sequence[Site]) -> _Fitting:
    rows = []
    for site in sites:
        zero, scale = ("", "") if site.scale is None else (str(site.zero_point), f"{site.scale:.6g}")
        rows.append(_Row(site.name, (site.format, zero, scale, _shape(site.dims))))
    return _Fitting(f"Sites ({len(sites)})", ("site", "format"), ("zero", "scale", "shape"), rows)


def _operations(steps: Sequence[Step]) -> _Fitting:
    rows, function = [], ""
    for step in steps:
        if step.function != function:
            function = step.function
            rows.append(_Row(function))
        rows.append(_Row(step.output, (_with_stages(step), *_accumulator(step), *_ratios(step))))
    right = ("reach", "bits", "multiplier", "shift")
    return _Fitting(f"Operations ({len(steps)})", ("output", "operation"), right, rows)


def _with_stages(step: Step) -> str:
    return "\n".join([step.type, *(f"  {stage.name}" for stage in step.stages if stage.name)])


def _accumulator(step: Step) -> tuple[str, str]:
    """The interval, and the bits it needs of those there are."""
    if step.reach is None:
        return "", ""
    rule = "" if step.overflow in (None, "proven") else f" {step.overflow}"
    return f"{step.reach[0]} .. {step.reach[1]}", f"{step.bits_needed}/{step.bits}{rule}"


def _ratios(step: Step) -> tuple[str, str]:
    """Multipliers and shifts, each beside the name of its stage, if that has one."""
    above = "".join("\n" for stage in step.stages[:1] if stage.name)
    multipliers = "\n".join("" if stage.multiplier is None else _range(stage.multiplier) for stage in step.stages)
    return above + multipliers, above + "\n".join(_range(stage.shift) for stage in step.stages)


def _constants(constants: Sequence[Constant]) -> _Fitting:
    rows = [_Row(c.name, (c.role, c.format, _shape(c.shape), f"{c.bytes:,}")) for c in constants]
    return _Fitting(f"Constants ({len(rows)})", ("constant", "role", "format"), ("shape", "bytes"), rows)


def _shape(dims: Sequence[str | int]) -> str:
    return " x ".join(map(str, dims)) or "scalar"


def _range(bounds: Range) -> str:
    low, high = bounds
    return str(low) if low == high else f"{low} .. {high}"
