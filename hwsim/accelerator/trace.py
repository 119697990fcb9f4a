"""An estimate as a timeline in the Trace Event Format, which Perfetto and chrome://tracing show.

One process, four tracks: the array, the vector unit, transfers from DRAM and to DRAM; and a counter of the scratchpad's
occupancy. Layers run one after the other, phases too. A time unit is a **cycle**, which viewers show as a microsecond:
so every figure is an integer, and sums are exact.

Of a product layer the first product is drawn step by step (docs/accelerator.md, section 5): on the array's track what
it does, then what it waits for; on the tracks of the DMA each transfer, hidden or not, stores before loads. What is
left of the layer, other products of its `count` and other runs, is drawn as one span for each cause, and so is a layer
whose blocks are not tiles of one product: rows, fused attention. There the DMA shows what is exposed.

Every cycle has one span of its cause on the tracks of the array and the vector unit, in `args.cause`: their durations
sum to the table's cycles by cause. Vector work hidden behind the array, and transfers, have no cause.

Source: Trace Event Format, Google (2016); the JSON object format, events `X` (complete), `C` (counter), `M` (metadata).
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from hwsim.accelerator.cost.estimate import Estimate, LayerCost
from hwsim.accelerator.cost.products import resident
from hwsim.accelerator.cost.vectors import vector_cycles
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.layers import Layer
from hwsim.accelerator.options import Options
from hwsim.accelerator.tiling import Step, steps

MAX_EVENTS = 500_000
ARRAY, VECTOR, DMA_IN, DMA_OUT = 1, 2, 3, 4
TRACKS = {ARRAY: "array", VECTOR: "vector", DMA_IN: "DMA in", DMA_OUT: "DMA out"}
COUNTER = "SRAM occupancy"
_PID = 1
_WAITS = ("dma_out", "dma_in")
"""Causes that are waits, in the order in which transfers run: stores before loads."""

Value = str | int


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """Name or order of a track."""

    name: Literal["process_name", "thread_name", "thread_sort_index"]
    ph: Literal["M"] = "M"
    pid: int = _PID
    tid: int = 0
    args: dict[str, Value]


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Something on a track from cycle `ts` for `dur` cycles; `args.cause` is there if it accounts for these cycles."""

    name: str
    cat: str
    ph: Literal["X"] = "X"
    pid: int = _PID
    tid: int
    ts: int
    dur: int
    args: dict[str, Value] = {}


class Occupancy(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of tiles in the scratchpad from cycle `ts` on; between product layers 0."""

    name: str = COUNTER
    cat: str = "sram"
    ph: Literal["C"] = "C"
    pid: int = _PID
    ts: int
    args: dict[str, Value]


TraceEvent = Metadata | Span | Occupancy


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the JSON object format; names as the format has them."""

    traceEvents: tuple[TraceEvent, ...]
    displayTimeUnit: Literal["ms", "ns"] = "ns"
    otherData: dict[str, Value]

    def encode(self) -> bytes:
        """As JSON, the same bytes for the same estimate."""
        return msgspec.json.encode(self) + b"\n"


def trace(result: Estimate) -> Trace:
    """The timeline of an estimate.

    Raises
    ------
    ValueError
        If it would have more than `MAX_EVENTS` events.
    """
    events: list[TraceEvent] = list(_tracks(result.workload.name, result.hardware.name))
    for event in _timeline(result):
        events.append(event)
        if len(events) > MAX_EVENTS:
            raise ValueError(
                f"the trace of {result.workload.name} has more than {MAX_EVENTS:,} events; fewer or shorter sentences "
                "(--source-length, --target-length) or larger tiles (--sram-kib) make it smaller"
            )
    return Trace(
        traceEvents=tuple(events),
        otherData={
            "workload": result.workload.name,
            "scheme": result.workload.scheme,
            "hardware": result.hardware.name,
            "clock_hz": result.hardware.clock_hz,
            "time_unit": "cycle, shown as 1 us",
            "cycles": result.total.cycles.total,
        },
    )


def _tracks(workload: str, hardware: str) -> Iterator[TraceEvent]:
    yield Metadata(name="process_name", args={"name": f"{workload} on {hardware}"})
    for tid, name in TRACKS.items():
        yield Metadata(name="thread_name", tid=tid, args={"name": name})
        yield Metadata(name="thread_sort_index", tid=tid, args={"sort_index": tid})


def _timeline(result: Estimate) -> Iterator[TraceEvent]:
    work = _vector_work(result)
    start = 0
    for phase in result.phases:
        for layer in phase.layers:
            yield from _layer(layer, start, work[phase.name, layer.name, layer.operation], result)
            start += layer.cycles.total


def _vector_work(result: Estimate) -> dict[tuple[str, str, str], int]:
    """Cycles of the vector unit of every layer, hidden or not."""
    work: dict[tuple[str, str, str], int] = {}
    for phase in result.workload.phases:
        for layer in phase.layers:
            key = phase.name, layer.name, layer.operation
            work[key] = work.get(key, 0) + layer.repeat * _one_run(layer, result.hardware)
    return work


def _one_run(layer: Layer, hardware: Hardware) -> int:
    """Cycles of the vector unit: of rows, or of the epilogues of all products."""
    if layer.product is None:
        return vector_cycles(layer.vectors, hardware.vector)
    one = msgspec.structs.replace(layer.vectors, elements=layer.product.m * layer.product.n)
    return layer.product.count * vector_cycles(one, hardware.vector)


def _layer(layer: LayerCost, start: int, vector_work: int, result: Estimate) -> Iterator[TraceEvent]:
    detailed = _steps(layer, result.hardware, result.options)
    done = Cycles()
    for step in detailed:
        yield from _step(layer, step, start)
        done = done.added(step.cycles)
    rest = Cycles(*(whole - part for whole, part in zip(layer.cycles, done, strict=True)))
    yield from _summed(layer, rest, start + done.total)
    if layer.product is not None:
        busy = layer.cycles.compute + layer.cycles.fill_drain + layer.cycles.sram
        hidden = min(vector_work - layer.cycles.vector, busy)
        if hidden > 0:
            yield Span(name=f"{layer.name} epilogue, hidden", cat="hidden", tid=VECTOR, ts=start, dur=hidden)
    if detailed:
        yield Occupancy(ts=start + layer.cycles.total, args={"bytes": 0})


def _steps(layer: LayerCost, hardware: Hardware, options: Options) -> list[Step]:
    """Steps of the first product; none if the plan is of a block of it, as in fused attention."""
    if layer.product is None or layer.plan is None:
        return []
    if layer.plan.trips[0] * layer.plan.trips[1] * layer.plan.trips[2] > MAX_EVENTS:
        raise ValueError(
            f"layer {layer.name} has more than {MAX_EVENTS:,} tiles, too many for a trace; "
            "larger tiles (--sram-kib) make it smaller"
        )
    product = msgspec.structs.replace(resident(layer.product, hardware), count=1)
    found = list(steps(product, hardware, options, layer.plan.tiling))
    cycles = Cycles()
    for step in found:
        cycles = cycles.added(step.cycles)
    return found if cycles == layer.plan.cycles._replace(vector=0) else []


def _step(layer: LayerCost, step: Step, start: int) -> Iterator[TraceEvent]:
    at = start + step.start
    tile = "" if step.tile is None else f" [{step.tile[0]}, {step.tile[1]}, {step.tile[2]}]"
    yield Occupancy(ts=at, args={"bytes": step.room_bytes})
    yield from _causes(f"{layer.name}{tile}", step.cycles, ARRAY, at)
    for tid, transfers in ((DMA_OUT, step.stores), (DMA_IN, step.loads)):
        for transfer in transfers:
            if transfer.cycles:
                args: dict[str, Value] = {"bytes": transfer.bytes}
                name = f"{layer.name} {transfer.stream}"
                yield Span(name=name, cat="transfer", tid=tid, ts=at, dur=transfer.cycles, args=args)
            at += transfer.cycles


def _summed(layer: LayerCost, cycles: Cycles, start: int) -> Iterator[TraceEvent]:
    """What is not drawn in steps: one span a cause, and the exposed transfers on the tracks of the DMA."""
    unit = ARRAY if layer.product is not None else VECTOR
    at = start
    for span in _causes(layer.name, cycles, unit, start):
        yield span
        at += span.dur
        if span.cat == "wait":
            tid = DMA_IN if span.args["cause"] == "dma_in" else DMA_OUT
            yield Span(name=f"{layer.name} exposed", cat="transfer", tid=tid, ts=span.ts, dur=span.dur)
    if cycles.vector:
        yield Span(name=layer.name, cat="work", tid=VECTOR, ts=at, dur=cycles.vector, args={"cause": "vector"})


def _causes(name: str, cycles: Cycles, tid: int, start: int) -> Iterator[Span]:
    """Cycles of a unit, what it does before what it waits for; those of the vector unit are left to the caller."""
    for cause in ("compute", "fill_drain", "sram", *_WAITS):
        duration = getattr(cycles, cause)
        if duration:
            cat, shown = ("wait", f"{name} waits for {cause}") if cause in _WAITS else ("work", f"{name} {cause}")
            yield Span(name=shown, cat=cat, tid=tid, ts=start, dur=duration, args={"cause": cause})
            start += duration
