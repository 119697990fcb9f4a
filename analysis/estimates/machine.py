"""The machine and the mapping that the options of `hwsim estimate` ask for."""

import msgspec

from analysis.estimates.parsing import choice, pair, positive, size, sparsity
from analysis.estimates.request import Request
from hwsim.accelerator.hardware import Array, Boundary, Dataflow, Dram, FoldMode, Hardware, Sram
from hwsim.accelerator.options import Attention, Objective, Options, Tiles
from hwsim.accelerator.presets import PRESETS, hardware

COMMAND_LINE = "command line"
WORDS_AN_ELEMENT = 32
"""Ports for each element of the array where ports must not limit it: operands and partial sums, in and out."""


def machine(request: Request) -> Hardware:
    """The accelerator that is named, with what the options override.

    A GEMM table without a named accelerator runs on a machine made from the options. What they leave open is the
    default accelerator's, but words and bursts are a byte, transfers have no latency, and ports never limit the array:
    the published tables know none of these. Another energy table than its own takes the overhead away, which was
    fitted on that.

    Raises
    ------
    ValueError
        For unknown names, values out of range, and an array that does not have the dataflow.
    """
    base = hardware(PRESETS[0] if request.accelerator is None else request.accelerator)
    array = _array(base.array, request)
    found = msgspec.structs.replace(
        base,
        array=array,
        sram=_sram(base.sram, array, request),
        dram=_dram(base.dram, request),
        clock_hz=base.clock_hz if request.clock_mhz is None else _scaled("--clock-mhz", request.clock_mhz, 10**6),
        energy_table=base.energy_table if request.energy_table is None else request.energy_table,
        overhead=base.overhead if request.energy_table in (None, base.energy_table) else 1.0,
        boundary=choice("--boundary", request.boundary, Boundary) or base.boundary,
    )
    return _named(base, found, request)


def _array(array: Array, request: Request) -> Array:
    rows, cols = (array.rows, array.cols) if request.array is None else pair(request.array, "--array", "x", "32x32")
    return msgspec.structs.replace(
        array,
        rows=size("--array rows", rows),
        cols=size("--array columns", cols),
        dataflow=choice("--dataflow", request.dataflow, Dataflow) or array.dataflow,
        fold_mode=choice("--fold", request.fold, FoldMode) or array.fold_mode,
    )


def _sram(sram: Sram, array: Array, request: Request) -> Sram:
    if request.golden:
        ports = WORDS_AN_ELEMENT * array.rows * array.cols
        sram = msgspec.structs.replace(sram, word_bytes=1, ports=ports, resident_kib=0)
    if request.sram_kib is None:
        return sram
    return msgspec.structs.replace(sram, capacity_bytes=1024 * size("--sram-kib", request.sram_kib))


def _dram(dram: Dram, request: Request) -> Dram:
    if request.golden:
        dram = msgspec.structs.replace(dram, burst_bytes=1, latency_cycles=0)
    if request.bandwidth is None:
        return dram
    per_second = _scaled("--bandwidth", request.bandwidth, 10**9)
    return msgspec.structs.replace(dram, bandwidth_bytes_per_second=per_second)


def _scaled(name: str, value: float, unit: int) -> int:
    return round(unit * positive(name, value))


def _named(base: Hardware, found: Hardware, request: Request) -> Hardware:
    """Say in name and sources what is not the named accelerator's."""
    if found == base:
        return base
    before, after = (_leaves(msgspec.to_builtins(one)) for one in (base, found))
    changed = {key: COMMAND_LINE for key, value in after.items() if before.get(key) != value}
    sources = base.sources | changed
    if request.golden:
        described = f"made from the options; the rest is that of {base.name}"
        return msgspec.structs.replace(found, name=COMMAND_LINE, description=described, sources=sources)
    shown = ", ".join(f"{key} = {after[key]}" for key in changed)
    return msgspec.structs.replace(found, name=f"{base.name} with {shown}", sources=sources)


def _leaves(record: dict[str, object], at: str = "") -> dict[str, object]:
    """Values by path, without the sources."""
    leaves: dict[str, object] = {}
    for key, value in record.items():
        path = f"{at}.{key}" if at else str(key)
        if isinstance(value, dict):
            leaves |= {} if path == "sources" else _leaves(value, path)
        else:
            leaves[path] = value
    return leaves


def options(request: Request) -> Options:
    """The mapping that the options ask for.

    Raises
    ------
    ValueError
        For unknown names and values out of range.
    """
    if request.psum_bits is not None and not 8 <= request.psum_bits <= 64:
        raise ValueError(f"--psum-bits is {request.psum_bits}; allowed are 8 to 64")
    return Options(
        objective=choice("--objective", request.objective, Objective) or Objective.DRAM,
        tiles=choice("--tiles", request.tiles, Tiles) or Tiles.ARRAY,
        attention=choice("--attention", request.attention, Attention) or Attention.UNFUSED,
        psum_bits=request.psum_bits,
        zero_gating=request.zero_gating is not None,
        sparsity=sparsity(request.sparsity),
    )
