"""Words of the figures of an estimate: titles, machine, axes with units, legends, notes; its figures are by hand."""

import math
from typing import Any

import msgspec
import pytest

from analysis.estimates import figures
from analysis.estimates.request import Priced, Request
from hwsim.accelerator.cost.estimate import Estimate, PhaseCost
from hwsim.accelerator.hardware import Boundary
from hwsim.accelerator.options import Objective, Options
from tests.unit.analysis.estimates.estimates_by_hand import (
    DECODE,
    FIRST,
    LAST,
    PREFILL,
    SECOND,
    SOFTMAX,
    TOTAL,
    estimated,
)
from tests.unit.analysis.plots.figure_words import words

ON = "mine, w4a8, on edge-256"


def with_parts(phase: PhaseCost, parts: dict[str, int], **others: Any) -> PhaseCost:
    """A phase of these components, in picojoules."""
    by = {name: energy * 10**6 for name, energy in parts.items()}
    cost = msgspec.structs.replace(phase.cost, energy_aj=sum(by.values()), by_component=by, **others)
    return msgspec.structs.replace(phase, cost=cost)


def by_component(scale: int = 1, **changes: Any) -> Estimate:
    """Prefill 700 and 50, decode 1000 and 200 and 300, times the scale."""
    prefill = with_parts(PREFILL, {"mac_multiply": 700 * scale, "sram_leakage": 50 * scale})
    decode = with_parts(
        DECODE, {"mac_multiply": 1000 * scale, "dram_transfer": 200 * scale, "sram_leakage": 300 * scale}
    )
    both = {"mac_multiply": 1700 * scale, "dram_transfer": 200 * scale, "sram_leakage": 350 * scale}
    return estimated(prefill, decode, total=with_parts(TOTAL, both), **changes)


# --- roofline ---------------------------------------------------------------------------------------------------------


def test_roofline() -> None:
    """512 and 256 MACs a cycle at 500 MHz, two operations each; 4 GB/s."""
    drawn = figures.roofline(estimated())
    found = words(drawn)
    assert found.above == f"Roofline\n{ON}"
    assert found.x == "operations per byte of DRAM traffic (op/B; a MAC is two)"
    assert found.y == "throughput (Gop/s)"
    assert found.legend == ["8 x 4 bits: 2 layers, peak 512 Gop/s", "8 x 8 bits: 1 layers, peak 256 Gop/s"]
    assert found.title == ""
    (axes,) = drawn.axes
    narrow, wide = (dots.get_offsets().tolist() for dots in axes.collections)
    # operations / bytes; operations / (cycles / 500 MHz)
    assert narrow == [
        pytest.approx([102_400 / 900, 102_400 / 400]),
        pytest.approx([163_840 / 1100, 163_840 / 1200]),
    ]
    assert wide == [pytest.approx([320 / 3_200_000, 320 / 10_000_000])]
    assert [
        line.get_ydata().max() if hasattr(line.get_ydata(), "max") else max(line.get_ydata()) for line in axes.lines
    ] == [512, 256]
    corners = [line.get_xdata()[1] for line in axes.lines]
    assert corners == [512 / 4, 256 / 4]
    assert [line.get_ydata()[0] for line in axes.lines] == pytest.approx([4 * axes.get_xlim()[0]] * 2)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"name": "own"}, "mine, w4a8, on own"),
        ({"name": "x" * 100}, "mine, w4a8, on " + "x" * 57 + "..."),  # 75 letters of 7.5 inches
        ({"name": "a$b"}, "mine, w4a8, on a\\$b"),
    ],
)
def test_the_machine_is_named_as_far_as_there_is_room(changes: dict[str, Any], line: str) -> None:
    assert words(figures.roofline(estimated(**changes))).above == f"Roofline\n{line}"


# --- energy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "unit", "sums"),
    [
        (1, "nJ", ["0.75", "1.5"]),
        (10**3, "uJ", ["0.75", "1.5"]),
        (10**6, "mJ", ["0.75", "1.5"]),
        (10**8, "mJ", ["75", "150"]),
    ],
)
def test_energy_by_component(scale: int, unit: str, sums: list[str]) -> None:
    found = words(figures.energy_by_component(by_component(scale)))
    assert found.above == f"Energy by component\n{ON}"
    assert (found.x, found.y) == ("", f"energy ({unit}, boundary system)")
    assert found.x_ticks == ["prefill", "decode"]
    assert found.notes == sums
    assert found.legend == ["DRAM transfer", "SRAM leakage", "MAC multiply"]  # dearest at the bottom


def test_energy_of_less_than_a_nanojoule_is_in_picojoules() -> None:
    alone = with_parts(PREFILL, {"mac_multiply": 700, "clamp": 30})
    found = words(figures.energy_by_component(estimated(alone, total=alone, boundary=Boundary.CORE)))
    assert (found.y, found.notes, found.x_ticks) == ("energy (pJ, boundary core)", ["730"], ["prefill"])


@pytest.mark.parametrize(("count", "shown"), [(7, 7), (8, 7)])
def test_the_dearest_components_have_a_colour(count: int, shown: int) -> None:
    """Seven at most: six and the others, if there are eight."""
    parts = {f"part_{i}": 100 - i for i in range(count)}
    phase = with_parts(PREFILL, parts)
    drawn = figures.energy_by_component(estimated(phase, total=phase))
    found = words(drawn)
    names = [f"part {i}" for i in range(7)] if count == 7 else [*(f"part {i}" for i in range(6)), "other"]
    assert found.legend == names[::-1]
    heights = [bar.get_height() for stack in drawn.axes[0].containers for bar in stack]
    assert heights == pytest.approx([100, 99, 98, 97, 96, 95, 94] if count == 7 else [100, 99, 98, 97, 96, 95, 94 + 93])


def layers_by_component() -> Estimate:
    """Every layer's energy is one component, so that bars are as long as it."""
    layers = []
    for layer in (FIRST, SECOND, SOFTMAX, LAST):
        by = {"mac_multiply": layer.cost.energy_aj}
        layers.append(msgspec.structs.replace(layer, cost=msgspec.structs.replace(layer.cost, by_component=by)))
    total = with_parts(TOTAL, {"mac_multiply": 7_500_002_040})
    return estimated(total=msgspec.structs.replace(total, layers=tuple(layers)))


@pytest.mark.parametrize(
    ("most", "names", "lengths"),
    [
        (3, ["decode: generator@0", "prefill: decoder.*.self_attention.query",
             "prefill: decoder.0.self_attention.softmax"], [7.5, 2e-6, 4e-8]),
        (1, ["decode: generator@0", "all other layers (2 rows)"], [7.5, 2.04e-6]),
    ],
)  # fmt: skip
def test_energy_by_layer(most: int, names: list[str], lengths: list[float]) -> None:
    drawn = figures.energy_by_layer(layers_by_component(), most)
    found = words(drawn)
    assert found.above == f"Energy by layer\n{ON}"
    assert (found.x, found.y) == ("energy (mJ, boundary system)", "")
    assert found.y_ticks == names
    assert found.legend == ["MAC multiply"]
    assert [bar.get_width() for stack in drawn.axes[0].containers for bar in stack] == pytest.approx(lengths)


def test_layers_of_one_phase_are_named_without_it() -> None:
    made = layers_by_component()
    alone = msgspec.structs.replace(made, phases=(PREFILL,))
    assert words(figures.energy_by_layer(alone)).y_ticks == [
        "generator@0", "decoder.*.self_attention.query", "decoder.0.self_attention.softmax"
    ]  # fmt: skip


# --- along an axis ----------------------------------------------------------------------------------------------------


def moving(parts: dict[str, int], **changes: Any) -> Estimate:
    cost = msgspec.structs.replace(TOTAL.cost, dram_bytes=sum(parts.values()), dram_bytes_by_operand=parts)
    return estimated(total=msgspec.structs.replace(TOTAL, cost=cost), **changes)


@pytest.mark.parametrize(
    ("scale", "unit", "notes"),
    [
        (1, "B", ["660", "440"]),
        (10, "kB", ["6.6", "4.4"]),
        (10**4, "MB", ["6.6", "4.4"]),
        (10**7, "GB", ["6.6", "4.4"]),
    ],
)
def test_traffic_against_scratchpads(scale: int, unit: str, notes: list[str]) -> None:
    """The machine is not named: its scratchpad is what varies."""
    all_kinds = {"kv_cache": 300, "weight": 200, "accumulator": 60, "activation": 100}
    sizes = {
        8: moving({name: count * scale for name, count in all_kinds.items()}),
        1024: moving({"weight": 340 * scale, "activation": 100 * scale}),
    }
    found = words(figures.dram_against_sram(estimated(), sizes))
    assert found.above == "DRAM traffic against scratchpad\nmine, w4a8"
    assert found.x == "scratchpad, tiles for least DRAM traffic"
    assert found.y == f"DRAM traffic ({unit})"
    assert found.x_ticks == ["8 KiB", "1 MiB"]
    assert found.notes == notes
    assert found.legend == ["accumulator", "KV cache", "activation", "weight"]


@pytest.mark.parametrize(("objective", "what"), [(Objective.LATENCY, "latency"), (Objective.ENERGY, "energy")])
def test_scratchpads_say_what_tiles_are_for(objective: Objective, what: str) -> None:
    one = {512: moving({"weight": 5})}
    found = words(figures.dram_against_sram(estimated(options=Options(objective=objective)), one))
    assert (found.x, found.x_ticks, found.legend) == (f"scratchpad, tiles for least {what}", ["512 KiB"], ["weight"])


def levels(**energies_pj: int) -> Estimate:
    by = {name: energy * 10**6 for name, energy in energies_pj.items()}
    cost = msgspec.structs.replace(TOTAL.cost, energy_aj=sum(by.values()), by_level=by)
    return estimated(total=msgspec.structs.replace(TOTAL, cost=cost))


def test_energy_against_context() -> None:
    """Three tokens: a third of each sum."""
    steps = {4: levels(datapath=600, register=300, sram=150, dram=1950), 8: levels(datapath=900, dram=3000)}
    drawn = figures.energy_against_context(estimated(boundary=Boundary.CHIP), steps)
    found = words(drawn)
    assert found.above == f"Energy per token against context\n{ON}"
    assert found.x == "context length (keys, the token's own included)"
    assert found.y == "energy (nJ per token, boundary chip)"
    assert found.x_ticks == ["4", "8"]
    assert found.notes == ["1", "1.3"]
    assert found.legend == ["DRAM", "SRAM", "register", "datapath"]
    heights = [[bar.get_height() for bar in stack] for stack in drawn.axes[0].containers]
    assert heights == [pytest.approx(one) for one in ([0.2, 0.3], [0.1, 0.0], [0.05, 0.0], [0.65, 1.0])]


def test_levels_without_energy_are_not_in_the_legend() -> None:
    found = words(figures.energy_against_context(estimated(), {16: levels(datapath=6)}))
    assert (found.legend, found.y, found.notes) == (["datapath"], "energy (pJ per token, boundary system)", ["2"])


# --- which ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [{}, {8: moving({"weight": 5})}])
@pytest.mark.parametrize("steps", [{}, {4: levels(datapath=6)}])
def test_what_is_drawn_and_what_is_not(monkeypatch: pytest.MonkeyPatch, sizes: Any, steps: Any) -> None:
    asked = {}
    monkeypatch.setattr(figures, "against_sram", lambda *given: asked.setdefault("sram", given) and sizes)
    monkeypatch.setattr(figures, "against_context", lambda *given: asked.setdefault("context", given) and steps)
    result, request = layers_by_component(), Request(workload="mine", objective="energy")
    phases = (with_parts(PREFILL, {"mac_multiply": 5}), with_parts(DECODE, {"mac_multiply": 5}))
    found = Priced(result.workload)
    files, notes = figures.pictures(request, found, msgspec.structs.replace(result, phases=phases))
    drawn = ["energy_by_component.png", "energy_by_layer.png", "roofline.png"]
    drawn += ["dram_against_sram.png"] if sizes else []
    drawn += ["energy_against_context.png"] if steps else []
    assert sorted(files) == sorted(drawn)
    want = [] if sizes else [
        "dram_against_sram.png is not drawn: no scratchpad of 8 KiB to 1 MiB holds the workload"
    ]  # fmt: skip
    want += [] if steps else ["energy_against_context.png is not drawn: mine has no decode step of its own"]
    assert notes == want
    mapping = Options(objective=Objective.ENERGY)
    assert asked["sram"] == (result.workload, result.hardware, mapping)
    assert asked["context"] == (request, found, result.hardware, mapping)


def test_axes_have_whole_decades() -> None:
    assert figures._decades(5, 50) == (1.0, 100.0)
    assert figures._decades(1.2, 9) == (0.1, 100.0)  # 1.2 / 1.3 is below 1; 9 * 1.3 above 10
    assert figures._decades(3, 3) == (1.0, 10.0)
    assert math.log10(figures._decades(0.002, 0.002)[0]) == -3
