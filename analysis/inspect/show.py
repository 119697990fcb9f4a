"""What a program consists of: its header, sites, operations and constants, as tables and as plain data."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import msgspec
import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.inspect.provenance import Provenance, program_provenance
from analysis.output.fitting import Fitting, Row
from hwsim.program import ConstantInfo, Program, TensorInfo
from hwsim.program import operations as ops
from hwsim.program.catalogue import Requantization
from hwsim.program.operations import (
    Add,
    AnyProduct,
    Embed,
    GemmlowpSoftmax,
    IBertSoftmax,
    ItaMax,
    Operation,
    PulpLayerNorm,
    QLinearSoftmax,
    ShiftRight,
    written,
)
from hwsim.program.packing import packed_bytes
from hwsim.program.proofs import Interval
from hwsim.program.validate import validate

HASH_DIGITS = 12
Range = tuple[int, int]


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor; `scale` is for the reader."""

    name: str
    format: str
    zero_point: int
    scale: float | None
    dims: list[str | int]


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A rounding: least and greatest multiplier and shift; `name` only where an operation rounds more than once.

    `scheme` is of the requantization catalogue; empty where the operation is no requantization.
    """

    name: str
    scheme: str = ""
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
    granularity: str | None
    stages: list[Stage]


class Constant(msgspec.Struct, frozen=True, kw_only=True):
    """A constant array; bytes as it is packed in the file."""

    name: str
    role: str
    format: str
    shape: list[int]
    bytes: int


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """All that `show` prints; `msgspec.to_builtins` makes it plain data for JSON.

    `borrowed` is operator -> lender, `extended` the widths that the target's hardware lacks, None where not known.
    """

    name: str
    scheme: str
    target: str
    borrowed: dict[str, str]
    extended: list[str] | None
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
        **program_provenance(program)._asdict(),
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
    accumulator = operation.accumulator if isinstance(operation, AnyProduct) else None
    return Step(
        function=function,
        output=operation.output,
        type=str(type(operation).__struct_config__.tag),
        reach=None if reach is None else (reach.low, reach.high),
        bits_needed=None if reach is None else reach.bits,
        bits=None if reach is None else program.tensors[operation.output].format.bits,
        overflow=None if accumulator is None else accumulator.overflow.value,
        granularity=None if accumulator is None else accumulator.granularity.value,
        stages=RATIOS[type(operation)](operation, program),
    )


def _bounds(program: Program, *values: int | str) -> Range:
    """Least and greatest of numbers, and of constants that are named."""
    arrays = [program.constants[value] if isinstance(value, str) else np.array(value) for value in values]
    return min(int(array.min()) for array in arrays), max(int(array.max()) for array in arrays)


def _shift(op: ShiftRight | ItaMax | PulpLayerNorm, program: Program) -> list[Stage]:
    return [Stage(name="", multiplier=None, shift=(op.shift, op.shift))]


def _multiplier_and_shift(op: IBertSoftmax, program: Program) -> list[Stage]:
    return [Stage(name="", multiplier=(op.multiplier, op.multiplier), shift=(op.shift, op.shift))]


def _multiplier(op: QLinearSoftmax, program: Program) -> list[Stage]:
    return [Stage(name="over the sum", multiplier=(op.multiplier, op.multiplier), shift=(0, 0))]


def _left_shift(op: GemmlowpSoftmax, program: Program) -> list[Stage]:
    multiplier, shift = (op.multiplier, op.multiplier), (op.left_shift, op.left_shift)
    return [Stage(name="shift to the left", multiplier=multiplier, shift=shift)]


def _add(op: Add, program: Program) -> list[Stage]:
    return [Stage(name="", multiplier=_bounds(program, op.a_multiplier, op.b_multiplier), shift=(op.shift, op.shift))]


def _embed(op: Embed, program: Program) -> list[Stage]:
    multiplier = _bounds(program, op.multiplier, op.position_multiplier)
    return [Stage(name="", multiplier=multiplier, shift=(op.shift, op.shift))]


def _requantizations(op: Operation, program: Program) -> list[Stage]:
    """One stage a requantization."""
    return [
        Stage(
            name=field.removesuffix("requantization").removesuffix("_"),
            scheme=value.record().name,
            multiplier=_bounds(program, value.multiplier),
            shift=_bounds(program, value.shift),
        )
        for field, value in msgspec.structs.asdict(op).items()
        if isinstance(value, Requantization)
    ]


def _nothing(op: Operation, program: Program) -> list[Stage]:
    """Exact, only moved, or scaled by what is no multiplier."""
    return []


RATIOS: dict[type[Operation], Callable[[Any, Program], list[Stage]]] = {
    ops.Embed: _embed,
    ops.MatMul: _nothing,
    ops.ShiftRight: _shift,
    ops.Relu: _nothing,
    ops.Requantize: _requantizations,
    ops.SplitHeads: _nothing,
    ops.MergeHeads: _nothing,
    ops.ProjectHeads: _requantizations,
    ops.Append: _nothing,
    ops.Softmax: _requantizations,
    ops.GemmlowpSoftmax: _left_shift,
    ops.IBertSoftmax: _multiplier_and_shift,
    ops.ItaMax: _shift,
    ops.GemminiSoftmax: _nothing,
    ops.PulpSoftmax: _nothing,
    ops.Int16Softmax: _requantizations,
    ops.QLinearSoftmax: _multiplier,
    ops.LayerNorm: _requantizations,
    ops.IBertLayerNorm: _requantizations,
    ops.PulpLayerNorm: _shift,
    ops.TfliteLayerNorm: _requantizations,
    ops.GemminiLayerNorm: _requantizations,
    ops.Add: _add,
    ops.RescaledAdd: _requantizations,
}
"""Multipliers and shifts of each operation."""


# --- for a terminal ---------------------------------------------------------------------------------------------------


def render(description: Description) -> list[RenderableType]:
    """Tables as wide as the terminal allows; long cells are folded, never cut."""
    tables = [_sites(description.sites), _operations(description.operations), _constants(description.constants)]
    return [header(description), *(table for table in tables if table.rows)]


def header(description: Description) -> RenderableType:
    """What the program is, in a few lines."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    origin = Provenance(description.target, description.borrowed, description.extended)
    functions = ", ".join(f"{name} ({count} operations)" for name, count in description.functions.items())
    for name, value in (
        ("program", description.name),
        ("scheme", description.scheme),
        ("target", str(origin).removeprefix("target ")),
        ("file version", str(description.file_version)),
        ("arithmetic", description.arithmetic),
        ("functions", functions),
        ("weights", f"{description.weight_bytes:,} bytes"),
        ("dimensions", ", ".join(f"{name} <= {maximum}" for name, maximum in description.dimensions.items())),
        ("tokenizer", description.tokenizer_sha256[:HASH_DIGITS] or "none"),
    ):
        table.add_row(name, Text(value))
    return Group(table, "")


def _sites(sites: Sequence[Site]) -> Fitting:
    rows = []
    for site in sites:
        zero, scale = ("", "") if site.scale is None else (str(site.zero_point), f"{site.scale:.6g}")
        rows.append(Row(site.name, (site.format, zero, scale, _shape(site.dims))))
    return Fitting(f"Sites ({len(sites)})", ("site", "format"), ("zero", "scale", "shape"), rows)


def _operations(steps: Sequence[Step]) -> Fitting:
    rows, function = [], ""
    for step in steps:
        if step.function != function:
            function = step.function
            rows.append(Row(function))
        rows.append(Row(step.output, (_with_stages(step), *_accumulator(step), *_ratios(step))))
    right = ("reach", "bits", "multiplier", "shift")
    return Fitting(f"Operations ({len(steps)})", ("output", "operation"), right, rows)


def _with_stages(step: Step) -> str:
    return "\n".join([step.type, *(f"  {stage.name}" for stage in step.stages if stage.name)])


def _accumulator(step: Step) -> tuple[str, str]:
    """The interval, and the bits it needs of those there are."""
    if step.reach is None:
        return "", ""
    rule = "" if step.overflow in (None, "proven") else f" {step.overflow}"
    rule += "" if not rule or step.granularity == "mac" else f" {step.granularity}"
    return f"{step.reach[0]} .. {step.reach[1]}", f"{step.bits_needed}/{step.bits}{rule}"


def _ratios(step: Step) -> tuple[str, str]:
    """Multipliers and shifts, each beside the name of its stage, if that has one."""
    above = "".join("\n" for stage in step.stages[:1] if stage.name)
    multipliers = "\n".join("" if stage.multiplier is None else _range(stage.multiplier) for stage in step.stages)
    return above + multipliers, above + "\n".join(_range(stage.shift) for stage in step.stages)


def _constants(constants: Sequence[Constant]) -> Fitting:
    rows = [Row(c.name, (c.role, c.format, _shape(c.shape), f"{c.bytes:,}")) for c in constants]
    return Fitting(f"Constants ({len(rows)})", ("constant", "role", "format"), ("shape", "bytes"), rows)


def _shape(dims: Sequence[str | int]) -> str:
    return " x ".join(map(str, dims)) or "scalar"


def _range(bounds: Range) -> str:
    low, high = bounds
    return str(low) if low == high else f"{low} .. {high}"
