"""Figures of a report: which there are, their files, captions, and what each is drawn from."""

from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.figure import Figure

from analysis import plots
from analysis.accuracy.sensitivity import Row
from analysis.report import figures
from analysis.report.figures import Picture, pictures, sensitivity_pictures

AJ = 10**6
"""Of a picojoule."""


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Calls of the functions that draw: their names and arguments."""
    calls: list[tuple[Any, ...]] = []
    for name in ("bleu_bars", "energy_bars", "sqnr_bars", "sensitivity_lines", "sensitivity_map"):

        def draw(*given: Any, _name: str = name) -> Figure:
            calls.append((_name, *given))
            return Figure()

        monkeypatch.setattr(plots, name, draw)
    monkeypatch.setattr(plots, "png", lambda figure: b"png")
    return calls


def phase(name: str, sentences: int, **energies_pj: int) -> Any:
    by_component = {component: energy * AJ for component, energy in energies_pj.items()}
    return SimpleNamespace(name=name, sentences=sentences, cost=SimpleNamespace(by_component=by_component))


def configuration(name: str, bleu: float, sqnr_db: float, sentences: int = 4) -> Any:
    plan = SimpleNamespace(sites=f"sites of {name}")
    return SimpleNamespace(
        configuration=SimpleNamespace(scheme=SimpleNamespace(name=name), plan=plan),
        scores=SimpleNamespace(integer=bleu),
        estimate=SimpleNamespace(
            phases=[phase("encode", sentences, mac_add=100, clamp=20), phase("decode", sentences, mac_add=40)]
        ),
        accuracy=SimpleNamespace(sites={"a": SimpleNamespace(sqnr_db=sqnr_db)}),
    )  # fmt: skip


def what(made: list[Picture]) -> list[tuple[str, str, str, str]]:
    return [(one.name, one.section, one.caption, one.configuration) for one in made]


def test_figures_of_a_run(drawn: list[tuple[Any, ...]]) -> None:
    run: Any = SimpleNamespace(
        configurations=[configuration("int8", 28.0, 30.0), configuration("onnxruntime-w4a8 $", 20.0, 9.0, 2)],
        bleu_float=29.0,
        references=("a reference",),
    )
    made = pictures(run, [])
    assert what(made) == [
        (
            "bleu",
            "configurations",
            "BLEU of the integer machine with 95% bootstrap intervals; line and band are the float model's.",
            "",
        ),
        (
            "energy",
            "cost",
            "Energy of an average sentence at batch 1. What the energy table has no constant for is left out.",
            "",
        ),
        (
            "sqnr_1_int8",
            "sites",
            "Signal-to-quantization-noise ratio of the sites of int8 that are furthest from float.",
            "int8",
        ),
        (
            "sqnr_2_onnxruntime_w4a8_",
            "sites",
            "Signal-to-quantization-noise ratio of the sites of onnxruntime-w4a8 $ that are furthest from float.",
            "onnxruntime-w4a8 $",
        ),
    ]
    assert drawn == [
        ("bleu_bars", {"int8": 28.0, "onnxruntime-\nw4a8 \\$": 20.0}, 29.0),
        (
            "energy_bars",
            {
                "int8": {"encode": {"mac_add": 25.0, "clamp": 5.0}, "decode": {"mac_add": 10.0}},  # of a sentence of 4
                "onnxruntime-w4a8 \\$": {"encode": {"mac_add": 50.0, "clamp": 10.0}, "decode": {"mac_add": 20.0}},
            },
        ),
        ("sqnr_bars", {"a": 30.0}, "sites of int8", "int8", 40),
        ("sqnr_bars", {"a": 9.0}, "sites of onnxruntime-w4a8 $", "onnxruntime-w4a8 \\$", 40),
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("tflm-native", "tflm-native"), ("pulp-native1", "pulp-native1"), ("pulp-native12", "pulp-\nnative12"),
     ("a-longer-name", "a-longer-\nname"), ("withoutanydash", "withoutanydash")],
)  # fmt: skip
def test_long_names_are_folded_behind_the_last_dash(name: str, shown: str) -> None:
    """Twelve letters fit."""
    assert figures._folded(name) == shown


def row(kind: Any, bits: int, target: str = "fullyqt") -> Row:
    return Row(kind=kind, name="x", bits=bits, loss_increase=0.1, sqnr_db=1.0, accelerator=target)


def test_figures_of_sensitivity(drawn: list[tuple[Any, ...]]) -> None:
    own = [row("group", 4), row("layer", 4), row("site", 8), row("site", 3), row("site", 6)]
    other = [row("layer", 6, "ita 2"), row("site", 4, "ita 2")]
    made = list(sensitivity_pictures([*own[:2], *other, *own[2:]]))
    assert what(made) == [
        ("sensitivity_group", "sensitivity",
         "What one group with fewer bits adds to the loss, while the rest stays at 8 bits. Target fullyqt.", ""),
        ("sensitivity_layer", "sensitivity",
         "What one layer with fewer bits adds to the loss, while the rest stays at 8 bits. Target fullyqt.", ""),
        ("sensitivity_sites_6_bits", "sensitivity",
         "What a single site at 6 bits adds to the loss, while the rest stays at 8 bits. Target fullyqt.", ""),
        ("sensitivity_sites_3_bits", "sensitivity",
         "What a single site at 3 bits adds to the loss, while the rest stays at 8 bits. Target fullyqt.", ""),
        ("sensitivity_layer_ita_2", "sensitivity",
         "What one layer with fewer bits adds to the loss, while the rest stays at 8 bits. Target ita 2.", ""),
        ("sensitivity_sites_4_bits_ita_2", "sensitivity",
         "What a single site at 4 bits adds to the loss, while the rest stays at 8 bits. Target ita 2.", ""),
    ]  # fmt: skip
    assert drawn == [
        ("sensitivity_lines", own, "group"),
        ("sensitivity_lines", own, "layer"),
        ("sensitivity_map", own, 6),
        ("sensitivity_map", own, 3),
        ("sensitivity_lines", other, "layer"),
        ("sensitivity_map", other, 4),
    ]


def test_there_is_no_figure_without_rows() -> None:
    assert list(sensitivity_pictures([])) == []
