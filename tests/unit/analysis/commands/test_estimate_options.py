"""Every option of `hwsim estimate` in every kind of input: it changes a figure (an echo is none), or is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import cli
from analysis.estimates.job import Output
from analysis.estimates.request import Request
from reference.quantize.scheme import preset
from tests.small.programs import tiny_program
from tests.unit.analysis.commands.estimate_runs import Run, refused

BASES = {
    "encoder-decoder": ("--workload", "tiny11", "--source-length", 9, "--target-length", 3, "--sram-kib", 4),
    "encoder": ("--workload", "bert-base", "--source-length", 32, "--sram-kib", 32),
    "decoder": ("--workload", "gpt2-small", "--source-length", 9, "--target-length", 3, "--sram-kib", 4),
    "program": ("tiny.hwsim", "--source-length", 9, "--target-length", 3, "--sram-kib", 1, "--array", "1x1"),
    "model": ("--model-file", "mine.toml", "--sram-kib", 4),
    "encoder file": ("--model-file", "bert.toml", "--sram-kib", 16, "--array", "4x4"),
    "layers": ("--model-file", "layers.toml", "--sram-kib", 32),
    "no weights": ("--model-file", "scores.toml", "--sram-kib", 32),
    "no products": ("--model-file", "rows.toml"),
    "gemm": ("--gemm", "layers.csv", "--sram-kib", 4),
    "array": ("--gemm", "layers.csv"),
    "named": ("--gemm", "layers.csv", "--accelerator", "edge-256", "--sram-kib", 4),
    "dot product": ("--workload", "tiny11", "--source-length", 9, "--target-length", 3, "--accelerator", "ita"),
    "os array": ("--gemm", "layers.csv", "--dataflow", "os"),
}


class No(str):
    """An option that is refused; the words of the reason."""


MACHINE = {
    "--accelerator": "gemmini-16",
    "--array": "8x32",
    "--dataflow": "os",
    "--fold": "serial",
    "--clock-mhz": 250,
    "--energy-table": "cacti-22",
    "--boundary": "core",
    "--sram-kib": 16,
    "--bandwidth": 0.5,
}
TILED = {"--objective": "latency", "--tiles": "divisors", "--psum-bits": 64}
WEIGHTS = {"--sparsity": "2:4"}
SIZES = {"--source-length": 12, "--target-length": 5, "--context": 40, "--beam": 2, "--batch": 2}
SHAPES = {"--config": "w4a8", "--attention": "fused", **MACHINE, **TILED, **WEIGHTS, **SIZES}
DECODES_NOTHING = dict.fromkeys(("--target-length", "--context", "--beam"), No("decodes nothing"))
OWN_FILE = dict.fromkeys(("--config", *SIZES), No("the file says it"))
LAYERS = MACHINE | TILED | WEIGHTS | OWN_FILE | {"--attention": No("part of an attention")}
GEMM = MACHINE | TILED | WEIGHTS | dict.fromkeys(SIZES, No("its products have their sizes")) | {"--config": "w4a8"}
GEMM["--attention"] = No("no attention")
NO_TILES = dict.fromkeys(("--bandwidth", "--tiles", "--objective"), No("needs a scratchpad"))
NO_PRODUCTS = ("--array", "--dataflow", "--fold", *TILED, *WEIGHTS)
COUNTED = No("zeros are counted in the codes of a PROGRAM")
OPTIONS: dict[str, dict[str, Any]] = {
    "encoder-decoder": SHAPES,
    "encoder": SHAPES | DECODES_NOTHING,
    "decoder": SHAPES,
    "program": {
        **MACHINE, **TILED, "--array": "2x2", "--attention": "fused", "--source-length": 12, "--target-length": 5,
        "--config": No("it has its widths"), "--sparsity": No("are not zero"),
        **dict.fromkeys(("--batch", "--context", "--beam"), No("one by one, greedily")),
    },
    "model": SHAPES | OWN_FILE,
    "encoder file": SHAPES | OWN_FILE | {"--sram-kib": 32},
    "layers": LAYERS,
    "no weights": LAYERS | {"--sparsity": No("none of its products has weights")},
    "no products": LAYERS | dict.fromkeys(NO_PRODUCTS, No("none of its layers is a product")),
    "gemm": GEMM | {"--accelerator": "edge-256"},
    "array": GEMM | NO_TILES | {"--sram-kib": 4, "--accelerator": "edge-256"},
    "named": GEMM,
    "dot product": SHAPES | {
        "--dataflow": "is", "--boundary": "chip", "--fold": No("an array of dot products has nothing to fill"),
    },
    "os array": GEMM | NO_TILES | {
        "--dataflow": "ws", "--sram-kib": 4, "--accelerator": "edge-256", "--psum-bits": No("stores no partial sums"),
    },
}  # fmt: skip
"""Every option of what is priced in every kind of input: a value that changes a figure, or why it is refused."""
CELLS = [
    (kind, option, value)
    for kind, options in OPTIONS.items()
    for option, value in (options | ({} if kind == "program" else {"--zero-gating": COUNTED})).items()
]
CASES = [case for case in CELLS if not isinstance(case[2], No)]
REFUSED = [case for case in CELLS if isinstance(case[2], No)]
INPUTS = ("program", "workload", "model_file", "gemm")
Figures = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("options")
    tiny_program(preset("int8")).save(path / "tiny.hwsim")
    (path / "layers.csv").write_text("Layer,M,N,K\nqkv,48,96,80\nffn,48,160,50\n")
    model = "layers = 2\nd_model = 64\nn_heads = 2\nd_ff = 128\n"
    sizes = "source_length = 6\ntarget_length = 2\n"
    (path / "mine.toml").write_text(f'name = "mine"\n{sizes}[gpt]\n{model}vocabulary = 90\npositions = 40\n')
    (path / "bert.toml").write_text(f'name = "bert"\nsource_length = 6\n[bert]\n{model}')
    mix = '[[layer]]\nname = "mix"\nkind = "gemm"\nm = 400\nk = 300\nn = 200\n'
    soft = '[[layer]]\nname = "soft"\nkind = "softmax"\nm = 20\nn = 30\n'
    (path / "layers.toml").write_text(f'name = "mine"\n{mix}{soft}')
    (path / "scores.toml").write_text(f'name = "mine"\n{mix}operand = "activation"\n{soft}')
    (path / "rows.toml").write_text(f'name = "mine"\n{soft}')
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


def test_every_option_has_a_cell_in_every_kind() -> None:
    typed = {f"--{name.replace('_', '-')}" for name in Request.__struct_fields__ if name not in INPUTS}
    for kind, options in OPTIONS.items():
        assert options.keys() == typed - {"--zero-gating"}, kind


@pytest.mark.parametrize(("kind", "option", "value"), CASES)
def test_an_option_changes_a_figure(record: Figures, kind: str, option: str, value: object) -> None:
    base = BASES[kind]
    assert figures(record(*base)) != figures(record(*replaced(base, option, value)))


VALUES = SHAPES | {"--zero-gating": "report.json"}


@pytest.mark.parametrize(("kind", "option", "why"), REFUSED)
def test_an_option_that_changes_nothing_is_refused(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, option: str, why: str
) -> None:
    monkeypatch.chdir(folder)
    names = (option,) if option != "--sparsity" or kind != "program" else ()  # its weights are named
    refused(run(*replaced(BASES[kind], option, VALUES[option])), *names, why)


COMPARED = {
    "encoder-decoder": ("edge-256", "gemmini-16"),
    "program": ("edge-256", "gemmini-16"),
    "model": ("edge-256", "gemmini-16"),
    "gemm": ("int8", "w4a8"),
    "named": ("int8", "w4a8"),
}
KIND = {kind: "--config" if kind in ("gemm", "named") else "--accelerator" for kind in COMPARED}
ALIKE = ("program", "--objective")
"""Tiles of the tiny program that gemmini-16 has room for are as fast for either objective."""
BOTH = [case for case in CASES if case[0] in COMPARED and case[1] != KIND[case[0]] and case[:2] != ALIKE]
NEITHER = [case for case in REFUSED if case[0] in COMPARED]


@pytest.mark.parametrize(("kind", "option", "value"), BOTH)
def test_an_option_changes_both_sides_of_a_comparison(record: Figures, kind: str, option: str, value: object) -> None:
    a, b = COMPARED[kind]
    base = (*BASES[kind], "--compare", a, b)
    before, after = record(*base), record(*replaced(base, option, value))
    for side in "ab":
        assert figures(before[side]) != figures(after[side])
    assert before["compare"]["phases"] != after["compare"]["phases"]


@pytest.mark.parametrize(("kind", "option", "why"), NEITHER)
def test_a_comparison_refuses_what_one_estimate_does(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, option: str, why: str
) -> None:
    monkeypatch.chdir(folder)
    refused(run(*replaced(BASES[kind], option, VALUES[option]), "--compare", *COMPARED[kind]), why)


def test_options_of_a_scratchpad_go_with_machines_that_are_compared(record: Figures) -> None:
    both = ("--gemm", "layers.csv", "--compare", "edge-256", "gemmini-16")
    before, after = record(*both), record(*both, "--bandwidth", 0.5)
    assert figures(before["a"]) != figures(after["a"])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--energy-table", "cacti-22", "--boundary", "system"), "no constant for what it adds"),
        (("--accelerator", "keller-5nm", "--boundary", "system"), "no constant for what it adds"),
        (("--compare", "edge-256", "keller-5nm", "--boundary", "system"), "on keller-5nm"),
        (("--compare", "edge-256", "ita", "--fold", "serial"), "an array of dot products"),
    ],
)
def test_an_option_must_say_something_on_the_machine(run: Run, words: tuple[str, ...], why: str) -> None:
    option = words[words.index("serial") - 1] if "serial" in words else "--boundary"
    refused(run("--workload", "tiny11", *words), f"{option} says nothing about tiny11", why)


def test_gating_saves_nothing_where_a_mac_has_no_energy(run: Run, folder: Path) -> None:
    from tests.unit.analysis.commands.test_estimate_programs import zero_report

    (folder / "zeros.json").write_text(json.dumps(zero_report(folder / "tiny.hwsim", "int8")))
    words = ("--source-length", 3, "--target-length", 3, "--zero-gating", folder / "zeros.json")
    refused(
        run(folder / "tiny.hwsim", *words, "--energy-table", "cacti-22"),
        "--zero-gating says nothing",
        "no constant for a MAC",
    )


def test_what_has_no_roofline_keeps_its_other_files(run: Run, folder: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("out.csv", "out.json", "plots")]
    words = [word for pair in zip(("--csv", "--json", "--plots"), files, strict=True) for word in pair]
    code, shown, error = run("--model-file", folder / "rows.toml", *words)
    assert code == 0, error
    assert "roofline.png is not drawn: no product has DRAM traffic" in " ".join(shown.split())
    assert "soft" in files[0].read_text() and "soft" in files[1].read_text()
    drawn = {"energy_by_component.png", "energy_by_layer.png", "dram_against_sram.png", "SHA256SUMS"}
    assert {path.name for path in files[2].iterdir()} == drawn


SHOWN = {"--sort": "cycles", "--all": None}
WRITTEN = {"--csv": "out.csv", "--json": "out.json", "--trace": "out.trace", "--plots": "out"}
NOT_WRITTEN = {"array": dict.fromkeys(("--trace", "--plots"), "needs a scratchpad")}
OF_ONE = dict.fromkeys(("--csv", "--trace", "--plots"), "is of one estimate, not of two")


def test_every_option_of_what_is_shown_has_a_cell() -> None:
    typed = {f"--{name.removesuffix('_rows')}" for name in Output.__struct_fields__ if name != "compare"}
    assert SHOWN.keys() | WRITTEN.keys() == typed


@pytest.mark.parametrize("option", WRITTEN)
@pytest.mark.parametrize("kind", ["program", "model", "layers", "no products", "gemm", "array", "comparison"])
def test_what_can_be_written_is_written_or_refused(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, option: str
) -> None:
    monkeypatch.chdir(folder)
    out = tmp_path / WRITTEN[option]
    compared = ("--compare", *COMPARED["model"]) if kind == "comparison" else ()
    outcome = run(*BASES["model" if compared else kind], *compared, option, out)
    why = (OF_ONE if compared else NOT_WRITTEN.get(kind, {})).get(option)
    if why is not None:
        refused(outcome, option, why)
    assert out.exists() == (why is None)


@pytest.mark.parametrize("option", SHOWN)
def test_what_is_shown_changes(run: Run, option: str) -> None:
    """More layers than are shown at once, in blocks that are put together."""
    base = ("--workload", "tiny11", "--source-length", 9, "--target-length", 3)
    words = (option,) if SHOWN[option] is None else (option, SHOWN[option])
    assert run(*base, *words)[1] != run(*base)[1]


@pytest.mark.parametrize("kind", COMPARED)
def test_each_side_is_what_it_would_be_alone(record: Figures, kind: str) -> None:
    both = record(*BASES[kind], "--compare", *COMPARED[kind])
    for side, name in zip("ab", COMPARED[kind], strict=True):
        alone = record(*replaced(BASES[kind], KIND[kind], name), "--boundary", both[side]["boundary"])
        assert alone["total"] == both[side]["total"]


def test_zero_gating_takes_energy_from_the_array(record: Figures, folder: Path) -> None:
    from tests.unit.analysis.commands.test_estimate_programs import zero_report

    report = zero_report(folder / "tiny.hwsim", "int8")
    (folder / "report.json").write_text(json.dumps(report))
    plain, gated = (record(*BASES["program"], *words) for words in ((), ("--zero-gating", "report.json")))
    assert gated["total"]["energy_pj"] < plain["total"]["energy_pj"]
    assert gated["total"]["cycles"] == plain["total"]["cycles"]
