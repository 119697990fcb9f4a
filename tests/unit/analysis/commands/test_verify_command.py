"""The commands that make, prove, show, price and export a program, on a tiny model."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from analysis import cli
from hwsim.program import Program
from hwsim.program.loading import load
from reference.data import ParallelText
from tests.small.models import save_tiny_model
from tests.small.programs import with_constant

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: exit code and output; errors behind it if it failed."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["hwsim", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stop:
            out, err = capsys.readouterr()
            return int(stop.code or 0), out + err
        return 0, capsys.readouterr().out

    return call


@pytest.fixture(scope="module")
def folder(vocabulary: Path, small_text: ParallelText, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, and its text in two files."""
    folder = tmp_path_factory.mktemp("verify")
    save_tiny_model(folder / "model", vocabulary)
    text = small_text.head(6)
    (folder / "text.en").write_text("\n".join(text.source) + "\n")
    (folder / "text.de").write_text("\n".join(text.target) + "\n")
    return folder


@pytest.fixture
def program(run: Run, folder: Path) -> Path:
    """Quantized once, by the command."""
    path = folder / "int8.hwsim"
    if not path.exists():
        text = ("--calibrate", folder / "text.en", "--calibrate-reference", folder / "text.de")
        code, output = run("quantize", "--config", "int8", "--out", path, "--model", folder / "model", *text)
        assert code == 0 and "scheme int8" in output and "accumulators proven" in output
    return path


@pytest.mark.parametrize("beam", [1, 2])
def test_verify_counts_what_it_compared(run: Run, folder: Path, program: Path, beam: int) -> None:
    text = ("--text", folder / "text.en", "--model", folder / "model")
    code, output = run("verify", program, *text, "--sentences", 4, "--beam", beam)
    assert code == 0
    found = re.search(r"4 sentences, ([\d,]+) codes compared, 0 different, 0 tokens different, 0 overflows", output)
    assert found is not None and int(found[1].replace(",", "")) > 5_000
    assert "first divergence" not in output


def test_verify_of_a_tampered_file_fails(run: Run, folder: Path, program: Path, tmp_path: Path) -> None:
    sound, name = load(program), "encoder.0.self_attention.softmax.table"
    table = sound.constants[name]
    path = tmp_path / "tampered.hwsim"
    with_constant(sound, name, {0: int(table[100]), 100: int(table[0])}).save(path)
    code, output = run("verify", path, "--text", folder / "text.en", "--model", folder / "model")
    assert code == 1
    assert re.search(r"6 sentences, [\d,]+ codes compared, [1-9]", output)
    divergence = " ".join(output[output.index("first divergence") :].split())
    assert re.match(r"first divergence: sentence [1-6], encode, site encoder\.0\.self_attention\.softmax\.", divergence)


@pytest.fixture
def ita(run: Run, folder: Path) -> Path:
    """The same model under another target's native configuration."""
    path = folder / "ita.hwsim"
    if not path.exists():
        code, output = run(
            "quantize", "--target", "ita", "--out", path, "--model", folder / "model", "--calibrate", folder / "text.en"
        )
        assert code == 0 and "scheme ita-native" in output, output
        assert "target ita: " in output and "layernorm borrowed from deeploy" in output
    return path


def test_every_command_says_the_target_of_a_program(run: Run, folder: Path, ita: Path, tmp_path: Path) -> None:
    text = ("--text", folder / "text.en", "--model", folder / "model")
    for arguments in (
        ("verify", ita, *text, "--target", "ita"),
        ("show", ita),
        ("estimate", ita, "--json", tmp_path / "cost.json"),
    ):
        code, output = run(*arguments)
        assert code == 0, output
        assert "ita: mask, embedding and generator borrowed from fullyqt" in " ".join(output.split())
    cost = json.loads((tmp_path / "cost.json").read_text())["program"]
    assert cost["target"] == "ita" and cost["borrowed"]["layernorm"] == "deeploy" and cost["extended"] == []
    run("vectors", ita, "--site", "encoder.0.*.scores", "--out", tmp_path / "v", *text, "--steps", 0)
    assert json.loads((tmp_path / "v" / "manifest.json").read_text())["target"] == "ita"


def test_verify_refuses_a_program_of_another_target(run: Run, folder: Path, ita: Path) -> None:
    code, output = run("verify", ita, "--model", folder / "model", "--target", "pulp")
    assert code == 2 and "ita.hwsim is a program of target ita, not pulp" in output


def test_a_program_whose_target_was_changed_is_refused(run: Run, folder: Path, ita: Path, tmp_path: Path) -> None:
    sound = load(ita)
    manifest = msgspec.structs.replace(sound.manifest, target="pulp")
    Program(manifest, sound.constants).save(tmp_path / "changed.hwsim")
    code, output = run("verify", tmp_path / "changed.hwsim", "--model", folder / "model", "--text", folder / "text.en")
    assert code == 2 and "target pulp" in output and "scheme of ita" in output


def test_verify_with_another_accumulator(run: Run, folder: Path, program: Path, tmp_path: Path) -> None:
    text = ("--text", folder / "text.en", "--reference", folder / "text.de", "--model", folder / "model")
    out = tmp_path / "out"
    code, output = run("verify", program, *text, "--sentences", 3, "--accumulator", "10:saturate:tile=4", "--out", out)
    assert code == 0, output
    found = re.search(r"3 sentences, [\d,]+ codes compared, 0 different, 0 tokens different, (\d+) overflows", output)
    assert found is not None and int(found[1]) > 0
    assert "accumulators of 10 bits, saturate after every 4 products" in output
    assert re.search(r"BLEU [\d.]+ \[.*; with its own accumulators [\d.]+, difference", output)
    assert "Overflow events by operation: the worst 5 of" in output
    assert re.search(r"sentence 1, (encode|decode step 0), (head \d, )?row \d+, column \d+, (k \d+|bias)", output)
    assert "Minimum safe accumulators, bits" in output
    record = json.loads((out / "verify.json").read_text())
    assert record["accumulator"] == {"bits": 10, "overflow": "saturate", "granularity": "tile", "tile": 4}
    assert record["scheme"]["accumulator"] == record["accumulator"] and record["target"] == "fullyqt"
    assert sum(one["events"] for one in record["overflowing"]) == record["overflows"] == int(found[1])
    assert record["overflowing"][0]["first"].keys() == {"sentence", "call", "batch", "row", "column", "k"}
    assert len(record["accumulators"]) == 23 and all(one["observed_bits"] for one in record["accumulators"])
    assert record["bleu"]["with_own_accumulators"] is not None and record["codes_different"] == 0


def test_an_accumulator_wide_enough_changes_nothing(run: Run, folder: Path, program: Path) -> None:
    text = ("--text", folder / "text.en", "--model", folder / "model", "--sentences", 2)
    _, plain = run("verify", program, *text)
    code, wide = run("verify", program, *text, "--accumulator", "40:wrap:end")
    assert code == 0 and wide.splitlines()[0] == plain.splitlines()[0]
    assert "BLEU" not in wide and "Overflow events" not in wide  # no references, no overflows


def test_verify_without_an_accumulator_writes_safe_widths(run: Run, folder: Path, ita: Path, tmp_path: Path) -> None:
    text = ("--text", folder / "text.en", "--model", folder / "model", "--sentences", 2)
    code, output = run("verify", ita, *text, "--out", tmp_path / "out")
    assert code == 0 and "Minimum safe" not in output
    record = json.loads((tmp_path / "out" / "verify.json").read_text())
    assert record["accumulator"] is None and record["overflowing"] == [] and record["bleu"] is None
    assert all(one["observed_bits"] <= one["proven_bits"] for one in record["accumulators"])
    code, output = run("verify", ita, *text, "--out", tmp_path / "out")
    assert code == 2 and "not empty" in output


def test_show_has_safe_widths(run: Run, folder: Path, program: Path, tmp_path: Path) -> None:
    code, output = run("show", program, "--accumulators")
    assert code == 0 and "observed: give --text or --sentences" in output and "Constants" not in output
    path, text = tmp_path / "show.json", ("--text", folder / "text.en", "--model", folder / "model")
    code, output = run("show", program, "--accumulators", *text, "--sentences", 2, "--json", path)
    assert code == 0 and "observed: enough for this text" in output, output
    record = json.loads(path.read_text())
    assert record["target"] == "fullyqt" and len(record["accumulators"]) == 23
    assert all(one["observed_bits"] for one in record["accumulators"])
    code, _ = run("show", program, "--site", "*.scores", "--json", path, "--force")
    assert code == 0 and "accumulators" not in json.loads(path.read_text())


def test_run_takes_targets(run: Run, folder: Path, tmp_path: Path) -> None:
    text = ("--text", folder / "text.en", "--reference", folder / "text.de", "--calibrate", folder / "text.en")
    out = tmp_path / "out"
    code, output = run("run", *text, "--model", folder / "model", "--target", "ita", "--target", "tflm", "--out", out)
    assert code == 0, output
    report = json.loads((out / "report.json").read_text())
    assert [(one["name"], one["target"]) for one in report["configurations"]] == [
        ("ita-native", "ita"),
        ("tflm-native", "tflm"),
    ]
    assert {row["target"] for row in report["sensitivity"]} == {"ita", "tflm"}
    assert (out / "sensitivity_group_ita.png").exists() and (out / "sensitivity_group_tflm.png").exists()
    assert all(one["codes_different"] == 0 < one["codes_compared"] for one in report["configurations"])


def test_sensitivity_takes_a_target(run: Run, folder: Path, tmp_path: Path) -> None:
    text = ("--text", folder / "text.en", "--reference", folder / "text.de", "--calibrate", folder / "text.en")
    out = tmp_path / "out"
    code, output = run(
        "sensitivity", *text, "--model", folder / "model", "--target", "pulp", "--by", "group", "--out", out
    )
    assert code == 0 and "target pulp" in output, output
    record = json.loads((out / "sensitivity.json").read_text())
    assert [one["target"] for one in record["targets"]] == ["pulp"]
    assert {row["target"] for row in record["sensitivity"]} == {"pulp"}
    assert (out / "sensitivity.csv").read_text().startswith("target,kind,name,bits,")


def test_vectors_are_written(run: Run, folder: Path, program: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors"
    text = ("--text", folder / "text.en", "--model", folder / "model")
    code, _ = run("vectors", program, "--site", "encoder.0.*.scores", "--out", out, *text, "--steps", 1)
    assert code == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["scheme"] == "int8" and len(manifest["operations"]) == 1
    assert list(out.rglob("*.hex")) and list(out.rglob("*.npz"))


def test_show_lists_sites(run: Run, program: Path) -> None:
    code, output = run("show", program, "--site", "encoder.0.*")
    assert code == 0 and "encoder.0.self_attention.scores" in output and "generator.logits" not in output


def test_estimate_prices_a_program(run: Run, program: Path, tmp_path: Path) -> None:
    table, summary = tmp_path / "cost.csv", tmp_path / "cost.json"
    lengths = ("--source-length", 5, "--target-length", 6)
    code, output = run("estimate", program, *lengths, "--csv", table, "--json", summary)
    assert code == 0 and "MAC" in output
    assert table.read_text().count("\n") > 20 and json.loads(summary.read_text())


def test_calibration_text_needs_no_translations(run: Run, folder: Path, tmp_path: Path) -> None:
    """Without them the decoder is calibrated on the float model's own."""
    path, model = tmp_path / "own.hwsim", ("--model", folder / "model")
    code, output = run("quantize", "--out", path, "--calibrate", folder / "text.en", *model)
    assert code == 0 and path.exists(), output
    code, output = run("quantize", "--out", tmp_path / "none.hwsim", *model)
    assert code == 2 and not (tmp_path / "none.hwsim").exists()


def test_run_takes_a_text_a_model_and_a_scheme_of_the_users(run: Run, folder: Path, tmp_path: Path) -> None:
    scheme = tmp_path / "mine.toml"
    scheme.write_text('name = "mine"\n[[rules]]\npattern = "*.feed_forward.*.weight"\nbits = 4\n')
    text = ("--text", folder / "text.en", "--reference", folder / "text.de", "--calibrate", folder / "text.en")
    out = tmp_path / "out"
    code, output = run("run", *text, "--model", folder / "model", "--scheme", scheme, "--config", "int8", "--out", out)
    assert code == 0, output
    report = json.loads((out / "report.json").read_text())
    assert [one["name"] for one in report["configurations"]] == ["int8", "mine"]
    assert report["configurations"][0]["weight_bytes"] > report["configurations"][1]["weight_bytes"]
    assert {row["group"] for row in report["sensitivity"]} >= {"attention", "softmax"}
    assert all(one["codes_different"] == 0 < one["codes_compared"] for one in report["configurations"])
