"""The command line's errors: one line that names the culprit, exit code 2, and nothing written."""

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from analysis import cli
from analysis.commands.app import app
from analysis.commands.shared import choose_schemes, read_text
from reference.quantize.scheme import preset
from tests import ROOT
from tests.small.programs import tiny_program

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: exit code, and what went to standard error."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["hwsim", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return call


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("one sentence\nanother one\n")
    return path


def refused(result: tuple[int, str], *words: str) -> None:
    """Exit code 2 and, behind progress bars, one line with these words."""
    code, output = result
    message = output.splitlines()[-1]
    assert code == 2
    assert message.startswith("hwsim: error: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--bogus"], ["--bogus"]),
        (["run", "--sentences", "0"], ["sentences"]),
        (["run", "--sentences", "many"], ["--sentences"]),
        (["run", "--config", "int9"], ["int9", "int8", "w4a8"]),
        (["run", "--model", "nowhere"], ["nowhere", "model.safetensors"]),
        (["run", "--scheme", "nowhere.toml"], ["nowhere.toml"]),
        (["run", "--text", "only.en"], ["only.en"]),
        (["run", "--reference", "only.de"], ["--reference needs --text"]),
        (["nonsense"], ["nonsense"]),
        (["verify"], ["program"]),
        (["verify", "nowhere.hwsim"], ["nowhere.hwsim"]),
        (["show", "nowhere.hwsim"], ["nowhere.hwsim"]),
        (["estimate", "nowhere.hwsim"], ["nowhere.hwsim"]),
        (["vectors", "nowhere.hwsim", "--site", "*", "--out", "vectors"], ["nowhere.hwsim"]),
        (["sensitivity", "--by", "colour", "--out", "sensitivity"], ["colour", "group"]),
        (["train", "--out", "model", "--d-model", "7"], ["d_model", "7"]),
        (["train", "--out", "model", "--text", "only.en"], ["--validation"]),
        (["estimate", "p.hwsim", "--source-length", "5"], ["p.hwsim"]),
        (["run", "--target", "itta"], ["itta", "fullyqt", "onnxruntime"]),
        (["run", "--target", "ita", "--config", "int9"], ["int9", "native"]),
        (["quantize", "--target", "itta", "--out", "p.hwsim"], ["itta", "fullyqt"]),
        (["sensitivity", "--target", "itta", "--out", "s"], ["itta", "fullyqt"]),
        (["verify", "p.hwsim", "--target", "itta"], ["itta", "fullyqt"]),
        (["verify", "p.hwsim", "--accumulator", "16"], ["'16'", "BITS:RULE"]),
        (["verify", "p.hwsim", "--accumulator", "16:clip"], ["'clip'", "saturate, wrap"]),
        (["verify", "p.hwsim", "--accumulator", "4:wrap"], ["4 bits", "8 to 63"]),
        (["verify", "p.hwsim", "--accumulator", "16:wrap:tile=0"], ["tile of 0", "1 to"]),
        (["verify", "p.hwsim", "--reference", "only.de"], ["--text"]),
        (["verify", "--kernels", "--accumulator", "16:wrap"], ["--kernels", "--accumulator"]),
        (["verify", "--kernels", "p.hwsim"], ["--kernels", "PROGRAM"]),
        (["show", "p.hwsim", "--sentences", "3"], ["--accumulators"]),
        (["show", "p.hwsim", "--accumulators"], ["p.hwsim"]),
        (["targets", "itta"], ["itta", "fullyqt", "onnxruntime"]),
        (["targets", "ita", "--schemes"], ["--schemes", "ita"]),
    ],
)
def test_bad_arguments_are_one_line(
    run: Run, arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run(*arguments), *words)
    assert not any(tmp_path.iterdir())


def test_a_truncated_program_is_named(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "broken.hwsim"
    path.write_bytes(b"\x40\x00\x00\x00\x00\x00\x00\x00{}")
    for command in ("show", "estimate", "verify"):
        refused(run(command, path), "broken.hwsim", "safetensors")


@pytest.mark.parametrize("width", [1, 17, "eight"])
def test_a_width_outside_the_datapath_is_refused(run: Run, tmp_path: Path, width: object) -> None:
    scheme = tmp_path / "mine.toml"
    value = f'"{width}"' if isinstance(width, str) else width
    scheme.write_text(f'name = "mine"\nweight_bits = {value}\n')
    refused(run("run", "--scheme", scheme, "--out", tmp_path / "out"), "mine.toml", "weight_bits")


def test_text_must_be_aligned_utf8_and_present(run: Run, tmp_path: Path, text: Path) -> None:
    short, latin, empty = tmp_path / "short", tmp_path / "latin", tmp_path / "empty"
    short.write_text("ein Satz\n")
    latin.write_bytes(b"gut\n\xfcbel\n")
    empty.write_text("")
    out = tmp_path / "out"
    refused(run("run", "--text", text, "--reference", short, "--out", out), "short", "2", "1")
    refused(run("run", "--text", text, "--reference", latin, "--out", out), "latin", "line 2", "UTF-8")
    refused(run("run", "--text", text, "--reference", empty, "--out", out), "empty")
    assert not out.exists()


def test_a_sentence_beyond_the_positions_is_named(run: Run, tmp_path: Path) -> None:
    long = tmp_path / "long"
    long.write_text("short one\n" + "word " * 400 + "\n")
    refused(run("run", "--text", long, "--reference", long, "--config", "int8"), "line 2", "256")


def test_a_target_beside_a_scheme_of_another_is_refused(run: Run, tmp_path: Path) -> None:
    scheme, out = tmp_path / "mine.toml", tmp_path / "out"
    scheme.write_text('name = "mine"\ntarget = "ita"\n')
    for command in ("run", "quantize"):
        refused(run(command, "--scheme", scheme, "--target", "pulp", "--out", out), "pulp", "mine.toml", "target ita")
    scheme.write_text('name = "mine"\n')
    refused(run("run", "--scheme", scheme, "--target", "pulp", "--out", out), "target fullyqt")
    scheme.write_text('name = "mine"\ntarget = "itta"\n')
    refused(run("run", "--scheme", scheme, "--out", out), "itta", "fullyqt")
    assert not out.exists()


@pytest.mark.parametrize(
    ("configs", "targets", "names"),
    [
        (None, None, ["int8", "int6", "int4", "w4a8"]),
        (None, ["fullyqt"], ["int8", "int6", "int4", "w4a8"]),
        (None, ["ita"], ["ita-native"]),
        (["native"], None, ["fullyqt-native"]),
        (["native", "int4"], ["ita", "tflm", "ita"], ["ita-native", "ita-int4", "tflm-native", "tflm-int4"]),
        (["int8"], ["fullyqt", "pulp"], ["int8", "pulp-int8"]),
    ],
)
def test_targets_times_configurations(configs: list[str], targets: list[str], names: list[str], tmp_path: Path) -> None:
    assert [one.name for one in choose_schemes(configs, None, targets)] == names
    own = tmp_path / "own.toml"
    own.write_text(f'name = "own"\ntarget = "{(targets or ["fullyqt"])[-1]}"\n')
    with_own = [one.name for one in choose_schemes(configs, own, targets)]
    assert with_own == ([*names, "own"] if configs else ["own"])


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["targets"], ["targets", "ita"], ["show"]])
def test_help_targets_and_show_do_not_wait_for_torch(arguments: list[str], tmp_path: Path) -> None:
    if arguments == ["show"]:
        tiny_program(preset("int8", "tflm")).save(tmp_path / "p.hwsim")
        arguments = ["show", str(tmp_path / "p.hwsim"), "--accumulators"]
    script = f"""
import sys
sys.argv = ["hwsim", *{arguments!r}]
from analysis import cli
try:
    cli.main()
finally:
    assert not {{"torch", "matplotlib", "sacrebleu"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_an_unknown_site_pattern_is_refused(run: Run, tmp_path: Path) -> None:
    scheme = tmp_path / "mine.toml"
    scheme.write_text('name = "mine"\n[[rules]]\npattern = "encodr.*"\nbits = 4\n')
    refused(run("quantize", "--scheme", scheme, "--out", tmp_path / "p.hwsim"), "encodr.*")


def test_results_are_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("precious")
    refused(run("run", "--out", tmp_path), "not empty")
    assert (tmp_path / "kept").read_text() == "precious"


def raising(error: BaseException) -> Callable[..., None]:
    def function(*_: object) -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted; nothing was left half-written"),
        (MemoryError(), 2, "out of memory"),
        (MemoryError("Unable to allocate 3 GiB"), 2, "out of memory: Unable to allocate 3 GiB"),
        (RecursionError("maximum recursion depth exceeded"), 2, "the input is nested too deeply"),
        (OSError(28, "No space left on device", "p"), 2, "[Errno 28] No space left on device: 'p'"),
        (ValueError("one\ntwo"), 2, "one two"),
        (ModuleNotFoundError("No module named 'absent'", name="absent.part"), 2,
         "hwsim show needs absent, which is not installed: pip install 'absent'"),
        (ImportError("Numba needs NumPy 9 or less"), 2, "hwsim show: Numba needs NumPy 9 or less"),
        (ImportError("libabsent.so: cannot open", name="absent"), 2,
         "hwsim show needs absent, which is installed but cannot be imported: libabsent.so: cannot open"),
    ],
)  # fmt: skip
def test_whatever_ends_a_command_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    monkeypatch.setattr("hwsim.program.loading.load", raising(error))
    assert run("show", "any.hwsim") == (code, f"hwsim: error: {message}\n")


@pytest.mark.parametrize("error", [KeyError("x"), ImportError("cannot import name", name="analysis.run"), IndexError()])
def test_a_fault_of_ours_shows_where_and_is_no_difference(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("hwsim.program.loading.load", raising(error))
    code, said = run("show", "any.hwsim")
    assert code == 70
    first, *_, last = said.splitlines()
    assert first == "Traceback (most recent call last):"
    kind = type(error).__name__
    assert last == f"hwsim: error: a fault of hwsim itself ({kind}); please report it, with the lines above"


def test_a_full_disk_leaves_the_old_program(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwsim import files

    path = tmp_path / "old.hwsim"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_every_command_has_help_with_an_example(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (
        "run",
        "train",
        "centre",
        "quantize",
        "verify",
        "estimate",
        "sensitivity",
        "show",
        "vectors",
        "targets",
    ):
        monkeypatch.setattr("sys.argv", ["hwsim", command, "--help"])
        cli.main()
        assert f"hwsim {command}" in capsys.readouterr().out


def test_the_version_is_that_of_the_project(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    monkeypatch.setattr("sys.argv", ["hwsim", "--version"])
    cli.main()
    assert capsys.readouterr().out == f"hwsim {said}\n"


def test_help_says_the_exit_codes_and_the_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/__main__.py", "--help"])
    cli.main()
    words = capsys.readouterr().out.split()
    assert words[:2] == ["Usage:", "hwsim"] and "__main__.py" not in words
    assert {"0", "1", "2", "70", "130", "141", "143"} <= {word.strip(";:,.") for word in words}


def test_pairs_that_are_left_out_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_text("one\n\nthree\n")
    (tmp_path / "b").write_text("eins\nzwei\ndrei\n")
    assert len(read_text(tmp_path / "a", tmp_path / "b")) == 2
    assert "1 of 3 pairs are left out, since a side is empty" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("command", [one.callback.__name__ for one in app.registered_commands if one.callback])
def test_help_names_every_option_whole(
    command: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.argv", ["hwsim", command, "--help"])
    cli.main()
    shown = capsys.readouterr().out
    group: Any = typer.main.get_command(app)
    assert all(name in shown.split() for one in group.commands[command].params for name in one.opts if name[0] == "-")
