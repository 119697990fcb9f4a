"""`hwsim estimate` on damaged or hostile files and on clumsy options: one line, exit code 2, nothing left behind."""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from analysis import cli
from analysis.estimates.figures import energy_by_component, energy_by_layer
from hwsim.accelerator.cost.estimate import estimate
from hwsim.accelerator.options import Options
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.workloads import read_gemm_csv, workload
from hwsim.reading import MOST_TOML
from tests import ROOT

PRESETS = ROOT / "hwsim" / "accelerator" / "preset_files"
RECORD = (PRESETS / "edge-256.toml").read_text().partition("[sources]")[0]
TABLE = (PRESETS.parent / "energy_tables" / "cacti-22.toml").read_text()
LAYER = '[[layer]]\nname = "mix"\nkind = "gemm"\nm = 4\nk = 4\nn = 4\n'
SHAPES = ("--workload", "tiny11", "--target-length", 1)
Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run `hwsim estimate`, which must fail with one short line; the line."""

    def call(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["hwsim", "estimate", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        output, error = capsys.readouterr()
        assert (stop.value.code, output) == (2, "")
        (line,) = error.splitlines()
        assert line.startswith("hwsim: error: ")
        assert line.isprintable()
        assert len(line) < 600
        return line

    return call


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def record(key: str, value: str) -> str:
    """The default accelerator with one value replaced."""
    return re.sub(rf"(?m)^{key} = .*", lambda _: f"{key} = {value}", RECORD, count=1)


# --- TOML -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name." + ".".join(["a"] * 100_000) + " = 1", "a key has more than 32 parts"),
        ("[" + '"b" . ' * 40 + "b]", "a key has more than 32 parts"),
        (record("clock_hz", "9" * 4000), "clock_hz has 13288 bits"),
        (record("clock_hz", "9" * 6000), "4300 digits"),
        (record("clock_hz", "0x" + "f" * 5000), "clock_hz has 20000 bits"),
        (record("ports", str(1 << 64)), "sram.ports has 65 bits"),
        (record("voltage", "1e308"), "voltage is 1e+308; allowed are magnitudes of 1e-12 to 1e+12"),
        (record("voltage", "5e-324"), "voltage is 5e-324"),
        (record("overhead", "1e308"), "overhead is 1e+308"),
        (record("8", "9223372036854775807"), "macs_per_cycle of 8 bits"),
        (record("cols", "1048577"), "array.cols is 1048577; expected int <= 1048576"),
        (record("name", r'"\u001b[2J"'), r"name is '\x1b[2J'; it must be printable"),
        (record("name", r'"a\nb"'), r"name is 'a\nb'"),
        (record("type", '"' + "n" * 10_000 + '"'), "expected str of length <= 200"),
        ("k" * 5000 + " = 1\n" + RECORD, "unknown key kkk"),
    ],
)
def test_a_hardware_record_is_refused_by_its_key(refused: Refused, tmp_path: Path, content: str, words: str) -> None:
    path = written(tmp_path / "own.toml", content)
    line = refused(*SHAPES, "--accelerator", path)
    assert f"hardware {path}: " in line
    assert words in line


def test_dotted_keys_cost_no_time(refused: Refused, tmp_path: Path) -> None:
    path = written(tmp_path / "own.toml", ".".join(["a"] * (MOST_TOML // 2 - 4)) + " = 1")
    began = time.process_time()
    refused(*SHAPES, "--accelerator", path)
    assert time.process_time() - began < 2


def test_a_text_with_dots_is_no_key(tmp_path: Path) -> None:
    path = written(tmp_path / "own.toml", record("description", '"' + "See p. 3. " * 50 + '"'))
    assert hardware(path).array == hardware("edge-256").array


@pytest.mark.parametrize("points", ["[[1, 64, inf, 1]]", "[[1, 64, 1e308, 1]]", "[[1, 64, 1, 5e-324]]"])
def test_numbers_of_a_memory_are_checked_too(refused: Refused, tmp_path: Path, points: str) -> None:
    content = re.sub(r"points = \[.*?\n\]", f"points = {points}", TABLE, flags=re.DOTALL)
    path = written(tmp_path / "own.toml", content)
    assert "sram.points[0]" in refused(*SHAPES, "--energy-table", path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (LAYER + 'operand = "weigth"', "layer[0].operand is 'weigth'; allowed are weight, activation and kv_cache"),
        (LAYER.replace("mix", "l" * 10_000), "layer lll"),
        (LAYER.replace("mix", r"x\u0007" * 5000), "layer[0].name is 'x\\x07"),
        (LAYER + "bits = [8, " + "9" * 4000 + "]", "layer[0].bits[1] has 13288 bits"),
        ('scheme = "' + "x" * 5000 + '"\n' + LAYER, "unknown scheme 'xxx"),
        ("source_length = 1048576\nbatch = 65536\n[gpt]\nd_model = 1\nn_heads = 1\nd_ff = 1\nlayers = 1\n", "16777216"),
        ("[gpt]\nd_model = 8\nn_heads = 1048576\nd_head = 1048576\nd_ff = 1\nlayers = 1\n", "16777216"),
    ],
)
def test_a_workload_file_is_refused_by_its_key(refused: Refused, tmp_path: Path, content: str, words: str) -> None:
    content = content.replace("layers = 1\n", "layers = 1\nvocabulary = 8\n")
    path = written(tmp_path / "own.toml", 'name = "own"\n' + content)
    line = refused("--model-file", path)
    assert f"workload {path}: " in line
    assert words in line


def test_sizes_that_multiply_are_bounded(refused: Refused) -> None:
    line = refused("--workload", "tiny11", "--batch", 65536, "--beam", 1024)
    assert "layer decoder.0.self_attention.key is a product of (67108864, " in line


# --- GEMM tables ------------------------------------------------------------------------------------------------------


def test_equal_names_are_numbered_in_linear_time(tmp_path: Path) -> None:
    taken = "".join(f"a_{number},1,2,3\n" for number in range(2, 20_000))
    path = written(tmp_path / "own.csv", f"Layer,M,N,K\n{taken}" + "a,1,2,3\n" * 20_000)
    began = time.process_time()
    names = [layer.name for layer in read_gemm_csv(path).phases[0].layers]
    assert time.process_time() - began < 5
    assert len(set(names)) == len(names)
    assert names[19_998:20_001] == ["a", "a_20000", "a_20001"]


def test_a_table_without_commas_is_told_so(refused: Refused, tmp_path: Path) -> None:
    path = written(tmp_path / "own.csv", "Layer\tM\tN\tK\na\t1\t2\t3\n")
    assert "with commas" in refused("--gemm", path)


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--config", "--accelerator", "--energy-table"])
def test_an_empty_name_is_not_the_default(refused: Refused, option: str) -> None:
    assert "''" in refused(*SHAPES, option, "")


@pytest.mark.parametrize("option", ["--config", "--array", "--objective", "--sort"])
def test_a_long_value_is_shortened(refused: Refused, option: str) -> None:
    assert option in refused(*SHAPES, option, "n" * 10_000)


# --- outputs ----------------------------------------------------------------------------------------------------------


def test_nothing_is_written_if_one_file_cannot_be(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused(*SHAPES, "--json", tmp_path / "a.json", "--trace", tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]


def test_files_that_replace_each_other_are_refused(refused: Refused, tmp_path: Path) -> None:
    same = tmp_path / ".." / tmp_path.name / "same"
    line = refused(*SHAPES, "--csv", tmp_path / "same", "--json", same)
    assert f"--json {same} is what --csv writes" in line
    figures = tmp_path / "figures"
    assert "--plots" in refused(*SHAPES, "--plots", figures, "--json", figures / "a.json")
    assert not os.listdir(tmp_path)


def test_what_is_read_is_not_replaced(refused: Refused, tmp_path: Path) -> None:
    content = "Layer,M,N,K\na,1,2,3\n"
    path, own = written(tmp_path / "own.csv", content), written(tmp_path / "own.toml", RECORD)
    (tmp_path / "link").symlink_to(path)
    for name in (path, tmp_path / "link"):
        assert "--gemm reads" in refused("--gemm", path, "--json", name)
    assert "--accelerator reads" in refused(*SHAPES, "--accelerator", own, "--csv", own)
    assert "--compare reads" in refused(*SHAPES, "--compare", own, "ita", "--json", own)
    assert (path.read_text(), own.read_text()) == (content, RECORD)


def test_a_link_to_itself_is_no_folder(refused: Refused, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert f"--plots {loop} cannot be made" in refused(*SHAPES, "--plots", loop)


# --- programs and reports ---------------------------------------------------------------------------------------------


def test_pipes_and_devices_are_not_read(refused: Refused, tmp_path: Path, program: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero"):
        assert "not a regular file" in refused(path)
        assert "not a regular file" in refused(program, "--zero-gating", path)


@pytest.mark.parametrize(
    ("name", "site", "words"),
    [
        ("ita-int8", {"macs": 1, "macs_zero": 5}, "has 5 zero MACs of 1"),
        ("ita-int8", {"macs": -1, "macs_zero": -1}, "has -1 zero MACs of -1"),
        ("\a" + "x" * 9999, {}, "those of \\x07xxx"),
    ],
)
def test_zero_counts_are_checked(
    refused: Refused, tmp_path: Path, program: Path, name: str, site: dict[str, Any], words: str
) -> None:
    report = {"configurations": [{"name": name, "zeros": {"sites": {"encoder": site}}}]}
    path = written(tmp_path / "report.json", json.dumps(report))
    line = refused(program, "--source-length", 3, "--target-length", 3, "--zero-gating", path)
    assert f"--zero-gating {path}: " in line
    assert words in line


# --- figures ----------------------------------------------------------------------------------------------------------


def test_energies_beyond_64_bits_are_drawn() -> None:
    dear = msgspec.structs.replace(hardware("edge-256"), overhead=1e12)
    result = estimate(workload("tiny11", source_length=4, target_length=1), dear, Options())
    assert result.total.cost.energy_aj > 1 << 64
    for figure in (energy_by_component(result), energy_by_layer(result)):
        assert figure.axes
