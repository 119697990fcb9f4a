"""The timeline: valid by the published format, nothing twice on a track, and every cycle under its cause."""

from collections import defaultdict
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from hwsim.accelerator import trace as tracing
from hwsim.accelerator.cost.estimate import Estimate, estimate
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.layers import Phase, Product, Workload
from hwsim.accelerator.lowered import program_workload
from hwsim.accelerator.options import Attention, Options
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.trace import Trace, trace
from hwsim.accelerator.workloads import workload
from hwsim.accelerator.workloads.blocks import product_layer
from reference.quantize.scheme import preset
from tests.small.programs import tiny_program

# --- the Trace Event Format, JSON object format, as its description has it --------------------------------------------

Time = Annotated[int, Meta(ge=0)]


class Complete(msgspec.Struct, tag="X", tag_field="ph", forbid_unknown_fields=True):
    name: str
    cat: str
    pid: int
    tid: int
    ts: Time
    dur: Time
    args: dict[str, str | int]


class Counter(msgspec.Struct, tag="C", tag_field="ph", forbid_unknown_fields=True):
    """A counter's series are the keys of `args`, numbers all."""

    name: str
    cat: str
    pid: int
    ts: Time
    args: dict[str, int]


class Metadata(msgspec.Struct, tag="M", tag_field="ph", forbid_unknown_fields=True):
    name: Literal["process_name", "thread_name", "thread_sort_index"]
    pid: int
    tid: int
    args: dict[str, str | int]


class File(msgspec.Struct, forbid_unknown_fields=True):
    traceEvents: list[Complete | Counter | Metadata]
    displayTimeUnit: Literal["ms", "ns"]
    otherData: dict[str, str | int]


def decoded(found: Trace) -> File:
    return msgspec.json.decode(found.encode(), type=File)


def spans(found: Trace) -> list[Complete]:
    return [event for event in decoded(found).traceEvents if isinstance(event, Complete)]


def by_cause(events: list[Complete]) -> Cycles:
    sums: dict[str, int] = defaultdict(int)
    for event in events:
        if "cause" in event.args:
            sums[str(event.args["cause"])] += event.dur
    return Cycles(**sums)


def check(result: Estimate, found: Trace) -> None:
    """What holds of every timeline."""
    events = spans(found)
    assert by_cause(events) == result.total.cycles
    ends: dict[int, int] = {}
    for event in sorted(events, key=lambda event: (event.tid, event.ts)):
        assert event.ts >= ends.get(event.tid, 0), f"{event} overlaps on its track"
        assert event.dur > 0
        ends[event.tid] = event.ts + event.dur
    assert max(ends.values()) == result.total.cycles.total
    causes = sorted((event.ts, event.dur) for event in events if "cause" in event.args)
    end = 0
    for ts, dur in causes:  # one cause at a time, without gaps, over both tracks
        assert ts == end
        end = ts + dur


def test_tracks_are_named_and_times_are_cycles() -> None:
    result = estimate(workload("tiny11", source_length=3, target_length=2), hardware("edge-256"))
    file = decoded(trace(result))
    names = {e.tid: e.args["name"] for e in file.traceEvents if isinstance(e, Metadata) and e.name == "thread_name"}
    assert list(names.values()) == ["array", "vector", "DMA in", "DMA out"]
    assert {event.tid for event in file.traceEvents if isinstance(event, Complete)} <= set(names)
    assert file.otherData["time_unit"] == "cycle, shown as 1 us"
    assert file.otherData["cycles"] == result.total.cycles.total


@pytest.mark.parametrize("name", ["tiny11", "gpt2-small", "mobilebert"])
@pytest.mark.parametrize("machine", ["edge-256", "ita", "ethos-u55-256"])
def test_durations_sum_to_the_table(name: str, machine: str) -> None:
    lengths = {"source_length": 9} if name == "mobilebert" else {"source_length": 5, "target_length": 2}
    result = estimate(workload(name, **lengths), hardware(machine))
    check(result, trace(result))


@pytest.mark.parametrize("attention", [Attention.FUSED, Attention.RECOMPUTE])
def test_fused_attention_is_summed_not_lost(attention: Attention) -> None:
    result = estimate(workload("bert-base", source_length=40), hardware("edge-256"), Options(attention=attention))
    check(result, trace(result))


def test_repeated_layers_of_a_program_are_summed() -> None:
    program = tiny_program(preset("int8"))
    result = estimate(program_workload(program, [(3, 4), (5, 2), (5, 6)]), hardware("edge-256"))
    assert any(layer.runs > 1 for layer in result.total.layers)
    check(result, trace(result))


def one_product(passes: int = 0, **sizes: int) -> Estimate:
    """With an epilogue of so many passes."""
    product = Product(**sizes, a_bits=8, b_bits=8, output_bits=8, column_bytes=7)
    phase = Phase(name="forward", tokens=1, layers=(product_layer("mix", product, passes=passes),))
    machine = hardware("edge-256")
    small = msgspec.structs.replace(machine.sram, capacity_bytes=16 * 1024)
    return estimate(Workload(name="one", scheme="int8", phases=(phase,)), msgspec.structs.replace(machine, sram=small))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 90), st.integers(1, 300), st.integers(1, 300), st.integers(1, 3))
def test_any_product(m: int, k: int, n: int, count: int) -> None:
    result = one_product(m=m, k=k, n=n, count=count)
    found = trace(result)
    check(result, found)
    (layer,) = result.total.layers
    assert layer.plan is not None
    moved = sum(e.args["bytes"] for e in spans(found) if e.cat == "transfer" and "bytes" in e.args)
    assert moved == layer.plan.dram_bytes
    room = [e.args["bytes"] for e in decoded(found).traceEvents if isinstance(e, Counter)]
    assert max(room) <= layer.plan.room_bytes
    assert room[-1] == 0


def test_transfers_are_drawn_where_the_array_hides_them() -> None:
    events = spans(trace(one_product(m=256, k=256, n=256)))
    array = [(e.ts, e.ts + e.dur) for e in events if e.tid == tracing.ARRAY and e.cat == "work"]
    loads = [(e.ts, e.ts + e.dur) for e in events if e.tid == tracing.DMA_IN]
    assert any(start < end_a and begin_a < end for start, end in loads for begin_a, end_a in array)


def test_steps_are_drawn_where_an_epilogue_is_exposed() -> None:
    """Behind them comes what is exposed, of all 2 products; the timeline is exact either way."""
    result = one_product(passes=9, m=64, k=16, n=256, count=2)
    found = trace(result)
    check(result, found)
    (layer,) = result.total.layers
    assert layer.plan is not None and layer.plan.cycles.vector > 0
    events = spans(found)
    assert sum(e.args["bytes"] for e in events if e.cat == "transfer" and "bytes" in e.args) == layer.plan.dram_bytes
    (last,) = [e for e in events if e.args.get("cause") == "vector"]
    assert (last.tid, last.dur) == (tracing.VECTOR, 2 * layer.plan.cycles.vector)
    assert last.ts + last.dur == layer.cycles.total


def test_like_estimates_have_the_same_bytes() -> None:
    assert trace(one_product(m=30, k=70, n=50)).encode() == trace(one_product(m=30, k=70, n=50)).encode()


def test_too_many_events_are_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    result = one_product(m=90, k=300, n=300)
    plan = result.total.layers[0].plan
    assert plan is not None
    tiles = plan.trips[0] * plan.trips[1] * plan.trips[2]
    monkeypatch.setattr(tracing, "MAX_EVENTS", tiles + 1)
    with pytest.raises(ValueError, match=f"more than {tiles + 1} events.*--source-length.*--sram-kib"):
        trace(result)
    monkeypatch.setattr(tracing, "MAX_EVENTS", tiles - 1)
    with pytest.raises(ValueError, match=f"layer mix has more than {tiles - 1} tiles.*--sram-kib"):
        trace(result)


def test_the_checks_can_fail() -> None:
    result = one_product(m=30, k=70, n=50)
    found = trace(result)
    *others, last = found.traceEvents
    first = next(event for event in others if isinstance(event, tracing.Span))
    for wrong in ((*others, last, first), tuple(event for event in others if event is not first)):
        with pytest.raises(AssertionError):
            check(result, msgspec.structs.replace(found, traceEvents=wrong))
