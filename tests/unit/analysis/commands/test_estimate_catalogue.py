"""`hwsim estimate --list` and `--print-toml`: what there is, and presets as files that price as their names do."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from analysis.commands.estimate import ACCELERATOR
from analysis.estimates.catalogue import catalogue
from hwsim.accelerator.energy_tables import TABLES, energy_table
from hwsim.accelerator.presets import PRESETS, hardware
from hwsim.accelerator.workloads import SCHEMES, WORKLOADS
from tests.unit.analysis.commands.estimate_runs import Run, record_of, refused

MINE = "mine.toml"
WORK = ("--workload", "bert-base", "--source-length", 4)


def listed(run: Run) -> dict[str, dict[str, str]]:
    """The rows under each heading."""
    code, shown, error = run("--list")
    assert (code, error) == (0, "")
    found: dict[str, dict[str, str]] = {}
    for block in shown.split("\n\n"):
        title, *rows = block.strip("\n").splitlines()
        assert all(row.startswith("  ") for row in rows)
        found[title.split(" (")[0]] = {row.split()[0]: row.split(maxsplit=1)[1] for row in rows}
    return found


def test_all_names_are_listed_a_line_each(run: Run) -> None:
    found = listed(run)
    assert {title: tuple(rows) for title, rows in found.items()} == {
        "Accelerators": PRESETS,
        "Workloads": tuple(WORKLOADS),
        "Energy tables": TABLES,
        "Configs": tuple(SCHEMES),
    }
    assert found["Accelerators"]["ita"] == "ITA: dot-product attention accelerator, 22 nm FD-SOI"
    assert found["Energy tables"]["horowitz-45"] == "Horowitz's table, 45 nm, 0.9 V"
    assert found["Workloads"]["gpt2-small"] == (
        "d_model 768, n_heads 12, d_ff 3072, activation table, layers 12, vocabulary 50257, positions 1024"
    )
    assert "inner (d_model 128, n_heads 4, d_ff 512, activation relu)" in found["Workloads"]["mobilebert"]
    assert found["Configs"]["w4a8"] == "weight 4, activation 8, residual 16, accumulator 32"


def test_what_is_listed_is_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwsim.accelerator.presets.PRESETS", ("ita",))
    monkeypatch.setattr("hwsim.accelerator.workloads.WORKLOADS", {})
    lines = catalogue()
    assert sum("ITA: dot-product" in line for line in lines) == 1
    assert not any("edge-256" in line for line in lines)


def test_the_help_names_every_accelerator() -> None:
    assert ACCELERATOR.split(", or")[0].replace(" (default)", "") == ", ".join(PRESETS)


def printed(run: Run, name: str, folder: Path) -> Path:
    code, shown, error = run("--print-toml", name)
    assert (code, error) == (0, "")
    (folder / MINE).write_text(shown)
    return folder / MINE


@pytest.mark.parametrize("name", PRESETS)
def test_an_accelerator_is_printed_as_it_is(run: Run, tmp_path: Path, name: str) -> None:
    mine = printed(run, name, tmp_path)
    assert hardware(mine) == hardware(name)
    by_name, by_file = (record_of(run, tmp_path, *WORK, "--accelerator", one) for one in (name, mine))
    assert by_name == by_file


@pytest.mark.parametrize("name", TABLES)
def test_an_energy_table_is_printed_as_it_is(run: Run, tmp_path: Path, name: str) -> None:
    mine = printed(run, name, tmp_path)
    assert energy_table(mine) == energy_table(name)
    machine = tmp_path / "machine.toml"
    _, text, _ = run("--print-toml", "edge-256")
    per_mac = "mac_pj = 0.5\n" if name == "eyeriss-65" else ""
    machine.write_text(per_mac + text)
    asked = (*WORK, "--accelerator", machine, "--energy-table")
    by_name, by_file = (record_of(run, tmp_path, *asked, one) for one in (name, mine))
    assert by_file.pop("hardware")["energy_table"] == str(mine)
    assert by_name.pop("hardware")["energy_table"] == name
    assert by_name == by_file


@pytest.mark.parametrize("name", [*PRESETS, *TABLES])
def test_what_is_printed_says_its_name(run: Run, name: str) -> None:
    assert tomllib.loads(run("--print-toml", name)[1])["name"] == name


def test_no_name_means_two_things() -> None:
    assert not set(PRESETS) & set(TABLES)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--list", "--batch", 1), ("--list", "--batch")),
        (("--list", "--sort", "energy"), ("--list", "--sort")),  # its default, but typed
        (("--list", "tiny.hwsim", "--force"), ("--list", "PROGRAM, --force")),
        (("--list", "--json", "out.json"), ("--list", "--json")),
        (("--print-toml", "ita", "--list"), ("--print-toml", "--list")),
        (("--print-toml", "ita", "--accelerator", "ita"), ("--print-toml", "--accelerator")),
        (("--print-toml", "ita", "--csv", "out.csv", "--all"), ("--print-toml", "--all, --csv")),
    ],
)
def test_nothing_is_ignored_beside(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Any, named: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run(*words), *named, "leave out")
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_is_refused(run: Run) -> None:
    refused(run("--print-toml", "gemini-16"), "--print-toml", "did you mean gemmini-16?")
    refused(run("--print-toml", "bert-base"), "--print-toml", "known: ", *PRESETS, *TABLES)
