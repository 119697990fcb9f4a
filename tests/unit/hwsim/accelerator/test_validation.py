"""The cost model against published figures: each gate, what was fitted, and the page and records that say so."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from analysis.pages.operators.pages import replaced
from analysis.pages.validation import Fit, Point, Role, fits, silicon, speed, validation, vela
from analysis.pages.validation.page import PAGE, RECORD, conditions, figure, page, records
from analysis.pages.validation.points import Band, array_pj_per_mac, pj_per_mac, within
from hwsim.accelerator.cost import products
from hwsim.accelerator.cost.estimate import estimate
from hwsim.accelerator.events import Component
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.tiling import Plan
from tests import ROOT

DOCS = ROOT / "docs"
POINTS = validation()
FITS = fits()
GATES = [point for point in POINTS if point.band is not None]


def named(name: str) -> Point:
    """The one point of this name."""
    (found,) = (point for point in POINTS if point.name == name)
    return found


@pytest.mark.parametrize("point", GATES, ids=lambda point: point.name)
def test_every_gate_holds(point: Point) -> None:
    assert point.inside, f"{point.computed} {point.unit}, published {point.published}: ratio {point.ratio}"


def test_what_is_gated_and_how_widely() -> None:
    bands = {point.name: (point.role, point.band) for point in GATES}
    assert bands == {
        "ITA, a MAC": (Role.FITTED, within(0.005)),
        "Keller INT8, a MAC": (Role.FITTED, within(0.005)),
        "Keller INT4 / INT8": (Role.HELD_OUT, within(0.2)),
        "Keller INT4, BERT-Base, an inference": (Role.HELD_OUT, within(0.5)),
        **{
            f"Ethos-U55-256 {shape}, {what}": (Role.HELD_OUT, within(share))
            for shape in ("(64, 512, 512)", "(64, 512, 2048)", "(64, 2048, 512)")
            for what, share in (("unit", 0.1), ("all", 0.15))
        },
    }


def test_published_figures() -> None:
    """Against the papers' own numbers, by hand."""
    published = {point.name: point.published for point in POINTS}
    assert published["ITA, a MAC"] == pytest.approx(0.118, abs=5e-4)
    assert published["Keller INT4 / INT8"] == pytest.approx(0.429, abs=5e-4)
    assert published["Keller INT4, BERT-Base, an inference"] == pytest.approx(0.577, abs=5e-4)
    assert published["BERT-Base, operations"] == pytest.approx(22.3, abs=0.05)
    assert published["ITA in a cluster, MobileBERT, an inference"] == pytest.approx(1.60)
    assert published["MobileBERT, operations"] == pytest.approx(4.74, abs=0.005)
    assert [published[point.name] for point in POINTS if point.unit == "cycles"] == [
        *(69376, 267312, 265984, 1069200, 272128, 1053840, 12656)
    ]


@pytest.mark.parametrize(("ratio", "inside"), [(0.89, False), (0.91, True), (1.09, True), (1.11, False)])
def test_a_gate_can_fail(ratio: float, inside: bool) -> None:
    point = named("Ethos-U55-256 (64, 512, 512), unit")
    assert replace(point, computed=ratio * point.published).inside is inside


def test_a_gate_has_a_band_and_nothing_else_has() -> None:
    with pytest.raises(ValueError, match=r"^ITA, a MAC: role informational, band .*; a gate has one"):
        replace(named("ITA, a MAC"), role=Role.INFORMATIONAL)
    with pytest.raises(ValueError, match=r"band None"):
        replace(named("ITA, a MAC"), band=None)


# Fits


@pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit.preset)
def test_a_preset_has_the_fitted_factor_of_three_digits(fit: Fit) -> None:
    assert fit.preset_factor == round(fit.factor, 2) == hardware(fit.preset).overhead
    assert fit.mac_share < silicon.MAC_SHARE_LIMIT
    assert hardware(fit.preset).sources["overhead"].startswith("fitted: ")


def test_no_other_preset_is_fitted() -> None:
    assert {fit.preset for fit in FITS} == {"ita", "keller-5nm"}
    assert len({fit.node_nm for fit in FITS}) == len(FITS)
    assert all(hardware(name).overhead == 1 for name in ("edge-256", "ethos-u55-256", "gemmini-16"))


def test_the_mac_share_of_ita_by_hand() -> None:
    """Horowitz's multiplication and a 26-bit addition, by (13), at 22 nm."""
    by_hand = 0.0588 + 0.00882 * (26 / 8) ** 0.87
    assert FITS[0].mac_pj == pytest.approx(by_hand, abs=1e-6)
    assert FITS[0].mac_share == pytest.approx(by_hand / (2 / 16.9), abs=1e-4)


@pytest.mark.parametrize(("preset", "bits"), [("ita", 8), ("keller-5nm", 8), ("keller-5nm", 4)])
def test_the_dense_product_fills_the_array(preset: str, bits: int) -> None:
    result = silicon.dense(hardware(preset), bits)
    (layer,) = result.total.layers
    counts = {event.component: event.count for event in layer.events}
    assert counts[Component.MAC_MULTIPLY] == result.total.cost.macs == 128 * 768 * 768
    assert Component.MAC_PADDED not in counts
    assert layer.cycles.compute * layer.peak_macs_per_cycle == result.total.cost.macs


def test_the_factor_is_not_in_the_ratio_and_the_voltage_neither() -> None:
    """What is held out at 5 nm does not follow from the fit."""

    def ratio(record: Hardware) -> float:
        return pj_per_mac(silicon.dense(record, 4)) / pj_per_mac(silicon.dense(record, 8))

    record = hardware("keller-5nm")
    found = named("Keller INT4 / INT8").computed
    assert ratio(record) == found
    assert ratio(replace(record, overhead=3.0)) == pytest.approx(found, rel=1e-3)
    assert ratio(replace(record, voltage=0.75)) == pytest.approx(found, rel=1e-3)
    assert array_pj_per_mac(silicon.dense(record, 8)) == pj_per_mac(silicon.dense(record, 8))


# Vela


def test_no_factor_is_fitted_for_a_shape() -> None:
    """Cycles of the unit are folds times streamed rows; bytes are weights and column constants, each once."""
    for one in vela.MEASURED:
        result = vela.linear(one.m, one.k, one.n)
        assert result.hardware == hardware("ethos-u55-256")
        assert result.total.cycles.compute == one.m * -(-one.k // 8) * -(-one.n // 32)
        assert result.total.cost.dram_bytes == one.k * one.n + vela.COLUMN_BYTES * one.n
        assert set(result.total.cost.dram_bytes_by_operand) == {"weight"}


def test_column_constants_are_in_velas_totals() -> None:
    """Flash gives a byte a cycle: what is beyond the weights are the constants and some headers."""
    for one in vela.MEASURED:
        if one.total is not None:
            assert 0 <= one.total - one.k * one.n - vela.COLUMN_BYTES * one.n <= 256


# Page and records


def test_the_page_has_what_the_code_generates() -> None:
    text = (DOCS / PAGE).read_text()
    assert page(text, POINTS, FITS) == text, "run python -m analysis.pages.validation"


def test_the_record_is_what_the_code_computes() -> None:
    recorded: dict[str, Any] = json.loads((DOCS / RECORD).read_text())
    assert recorded.pop("context")["command"] == "python -m analysis.pages.validation"
    assert recorded == json.loads(json.dumps(records(POINTS, FITS))), "run python -m analysis.pages.validation"


def test_every_point_has_its_conditions_once() -> None:
    numbers = [number for shared in conditions(POINTS) for number in shared.numbers]
    assert sorted(numbers) == list(range(1, len(POINTS) + 1))
    assert all(point.precision and point.boundary and point.workload and point.source for point in POINTS)


def test_figures() -> None:
    assert [figure(x) for x in (69376.0, 0.0511, 22.3183, 1.6)] == ["69,376", "0.05110", "22.32", "1.600"]
    assert within(0.25) == Band(0.75, 1.25)


# Speed: recorded, not measured here


def test_tilings_searched_do_not_grow_with_like_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def searches(layers: int) -> int:
        count = 0

        def counted(*arguments: Any) -> Plan:
            nonlocal count
            count += 1
            return search(*arguments)

        monkeypatch.setattr(products, "search", counted)
        result = estimate(speed.encoder(layers), hardware("edge-256"))
        assert len(result.total.layers) == 2 + 11 * layers
        return count

    search = products.search
    assert searches(1) == searches(3) == searches(12) > 0


def test_a_layer_more_costs_the_same_layer_more() -> None:
    one, two, five = (estimate(speed.encoder(layers), hardware("edge-256")).total for layers in (1, 2, 5))
    assert five.cycles.total - two.cycles.total == 3 * (two.cycles.total - one.cycles.total)
    assert five.cost.energy_aj - two.cost.energy_aj == 3 * (two.cost.energy_aj - one.cost.energy_aj)


def test_the_record_of_speed() -> None:
    recorded: dict[str, Any] = json.loads((DOCS / speed.RECORD).read_text())
    assert [one["workload"] for one in recorded["reports"]] == list(speed.REPORTS)
    assert [one["encoder_layers"] for one in recorded["cost"]] == list(speed.LAYERS)
    assert all(len(seconds) == recorded["repetitions"] for seconds in recorded["seconds"].values())
    assert recorded == {"context": recorded["context"], **speed.record(recorded["seconds"])}


def test_ratios_of_a_made_up_record() -> None:
    """20 ms and 1 ms a layer: what a layer adds is constant, what it takes on average falls."""
    costs = {f"cost {layers}": [0.02 + 0.001 * layers] * 3 for layers in speed.LAYERS}
    found: dict[str, Any] = speed.record(costs | {f"report {name}": [0.5, 0.1, 0.2] for name in speed.REPORTS})
    assert found["added_layer_ms"] == pytest.approx(dict.fromkeys(("6 to 12", "12 to 24", "24 to 48"), 1.0))
    assert found["added_layer_ratio"] == pytest.approx(dict.fromkeys(("6 to 12", "12 to 24", "24 to 48"), 1.0))
    assert [one["per_layer_ms"] for one in found["cost"]] == pytest.approx([4.3333, 2.6667, 1.8333, 1.4167])
    assert [one["median_seconds"] for one in found["reports"]] == [0.2, 0.2]


def test_the_page_says_what_was_measured() -> None:
    """Every figure of section 13 is the record's; nothing is timed here."""
    measured = json.loads((DOCS / speed.RECORD).read_text())
    text = (DOCS / speed.PAGE).read_text()
    assert replaced(text, speed.BLOCK, speed.paragraph(measured)) == text
    assert measured["reports"][0]["median_seconds"] < 1 and measured["reports"][1]["median_seconds"] < 3
    ratios = measured["added_layer_ratio"].values()
    assert max(ratios) < 1.25 * min(ratios)
