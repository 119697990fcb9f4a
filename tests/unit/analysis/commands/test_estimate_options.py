"""Every option of `hwsim estimate` changes a figure in every mode that accepts it: an echo alone is no effect."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import cli
from reference.quantize.scheme import preset
from tests.small.programs import tiny_program

MODES = {
    "shapes": ("--workload", "tiny11", "--source-length", 9, "--target-length", 3, "--sram-kib", 4),
    "model": ("--model-file", "mine.toml", "--sram-kib", 4),
    "program": ("tiny.hwsim", "--source-length", 9, "--target-length", 3, "--sram-kib", 1, "--array", "1x1"),
    "gemm": ("--gemm", "layers.csv", "--sram-kib", 4),
    "array": ("--gemm", "layers.csv"),
    "named": ("--gemm", "layers.csv", "--accelerator", "edge-256", "--sram-kib", 4),
}
MACHINE = {
    "--array": "8x32",
    "--dataflow": "os",
    "--fold": "serial",
    "--clock-mhz": 250,
    "--energy-table": "cacti-22",
    "--boundary": "core",
}
TILED = {"--sram-kib": 32, "--bandwidth": 0.5, "--objective": "latency", "--tiles": "divisors", "--psum-bits": 64}
LENGTHS = {"--source-length": 12, "--target-length": 5}
SHAPES = {"--config": "w4a8", "--batch": 2, "--context": 40, "--beam": 2, "--attention": "fused", **LENGTHS}
OPTIONS = {
    "shapes": MACHINE | TILED | SHAPES | {"--accelerator": "gemmini-16", "--sparsity": "2:4"},
    "model": MACHINE | TILED | {"--attention": "fused", "--accelerator": "gemmini-16", "--sparsity": "2:4"},
    "program": MACHINE | TILED | {"--array": "2x2", "--attention": "fused", "--accelerator": "gemmini-16"},
    "gemm": MACHINE | TILED | {"--config": "w4a8", "--accelerator": "edge-256", "--sparsity": "2:4"},
    "array": MACHINE | {"--config": "w4a8", "--psum-bits": 64, "--sram-kib": 4, "--accelerator": "edge-256"},
    "named": MACHINE | TILED | {"--config": "w4a8", "--accelerator": "gemmini-16", "--sparsity": "2:4"},
}
CASES = [(mode, *pair) for mode, options in OPTIONS.items() for pair in options.items()]
Figures = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("options")
    tiny_program(preset("int8")).save(path / "tiny.hwsim")
    (path / "layers.csv").write_text("Layer,M,N,K\nqkv,48,96,80\nffn,48,160,50\n")
    model = "layers = 2\nd_model = 64\nn_heads = 2\nd_ff = 128\nvocabulary = 90\npositions = 40\n"
    (path / "mine.toml").write_text(f'name = "mine"\nsource_length = 6\ntarget_length = 2\n[gpt]\n{model}')
    return path


@pytest.fixture
def record(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Figures:
    def call(*words: object) -> Any:
        out = tmp_path / "out.json"
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", ["hwsim", "estimate", *map(str, words), "--json", str(out), "--force"])
        cli.main()
        return json.loads(out.read_text())

    return call


def replaced(words: tuple[object, ...], option: str, value: object) -> list[object]:
    """The words with the option's value in the place of its own, or at the end."""
    if option not in words:
        return [*words, option, value]
    at = words.index(option)
    return [*words[: at + 1], value, *words[at + 2 :]]


def figures(of: Any) -> Any:
    """Layers and totals: nothing that only says what was asked."""
    return of["layers"], of["total"]


@pytest.mark.parametrize(("mode", "option", "value"), CASES)
def test_an_option_changes_a_figure(record: Figures, mode: str, option: str, value: object) -> None:
    base = MODES[mode]
    assert figures(record(*base)) != figures(record(*replaced(base, option, value)))


COMPARED = {
    "shapes": ("edge-256", "gemmini-16"),
    "program": ("edge-256", "gemmini-16"),
    "model": ("edge-256", "gemmini-16"),
    "gemm": ("int8", "w4a8"),
    "named": ("int8", "w4a8"),
}
KIND = {mode: "--config" if mode in ("gemm", "named") else "--accelerator" for mode in COMPARED}
ALIKE = ("program", "--objective")
"""Tiles of the tiny program that gemmini-16 has room for are as fast for either objective."""
BOTH = [case for case in CASES if case[0] in COMPARED and case[1] != KIND[case[0]] and case[:2] != ALIKE]


@pytest.mark.parametrize(("mode", "option", "value"), BOTH)
def test_an_option_changes_both_sides_of_a_comparison(record: Figures, mode: str, option: str, value: object) -> None:
    a, b = COMPARED[mode]
    base = (*MODES[mode], "--compare", a, b)
    before, after = record(*base), record(*replaced(base, option, value))
    for side in "ab":
        assert figures(before[side]) != figures(after[side])
    assert before["compare"]["phases"] != after["compare"]["phases"]


@pytest.mark.parametrize("mode", COMPARED)
def test_each_side_is_what_it_would_be_alone(record: Figures, mode: str) -> None:
    both = record(*MODES[mode], "--compare", *COMPARED[mode])
    for side, name in zip("ab", COMPARED[mode], strict=True):
        alone = record(*replaced(MODES[mode], KIND[mode], name), "--boundary", both[side]["boundary"])
        assert alone["total"] == both[side]["total"]


def test_zero_gating_takes_energy_from_the_array(record: Figures, folder: Path) -> None:
    from tests.unit.analysis.commands.test_estimate_programs import zero_report

    report = zero_report(folder / "tiny.hwsim", "int8")
    (folder / "report.json").write_text(json.dumps(report))
    plain, gated = (record(*MODES["program"], *words) for words in ((), ("--zero-gating", "report.json")))
    assert gated["total"]["energy_pj"] < plain["total"]["energy_pj"]
    assert gated["total"]["cycles"] == plain["total"]["cycles"]
