"""Every reader of a file that somebody else made: what is no such file is refused in a line that names it, at once."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from analysis.estimates.zeros import read_zeros
from analysis.inspect.vectors import write_vectors
from analysis.proof.explain import read_dump
from hwsim.accelerator.energy_tables import energy_table
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.workloads.custom import read_workload
from hwsim.accelerator.workloads.gemm_csv import read_gemm_csv
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.loading import load
from reference.checkpoint import load_checkpoint
from reference.data import ParallelText, read_lines, read_parallel
from reference.quantize.kept import read_ranges
from reference.quantize.origin import checkpoint_hash
from reference.quantize.scheme import preset, read_scheme
from reference.tokenizer import Tokenizer
from reference.train import TrainingRecipe, prepare
from tests import ROOT
from tests.small.models import LEARNING, save_tiny_model
from tests.small.programs import tiny_program
from tests.small.sentences import sentences

SITE = "encoder.0.self_attention.query"
INPUTS = "0" * 64


class Around(NamedTuple):
    """What readers need besides the file, and the folder that it is put in."""

    folder: Path
    program: Program
    text: ParallelText


class Reader(NamedTuple):
    """How a file of that name, in the folder, is read."""

    file: str
    read: Callable[[Around, Path], object]
    limit: str = ""
    """The constant that says how large it may be."""
    allowed: str = ""
    """What it may also be: empty, bytes."""


def dump(around: Around, path: Path) -> object:
    return read_dump(path, around.program)


def dump_of_its_folder(around: Around, path: Path) -> object:
    return read_dump(path.parent, around.program)


def vectors(around: Around, path: Path) -> object:
    return read_dump(around.folder / "vectors", around.program)


def hex_text(around: Around, path: Path) -> object:
    return read_dump(path, around.program, site=SITE, shape=(1, 1, 8))


def ranges(around: Around, path: Path) -> object:
    return read_ranges(path.parent, INPUTS, load_checkpoint(around.folder / "model")[0])


def training(around: Around, path: Path) -> object:
    return prepare(path.parent, LEARNING, TrainingRecipe(epochs=1), around.text, around.text)


READERS = {
    "program": Reader("mine.hwsim", lambda _, path: load(path)),
    "scheme": Reader("mine.toml", lambda _, path: read_scheme(path), "hwsim.reading.MOST_TOML"),
    "hardware": Reader("mine.toml", lambda _, path: hardware(path), "hwsim.reading.MOST_TOML"),
    "energy table": Reader("mine.toml", lambda _, path: energy_table(path), "hwsim.reading.MOST_TOML"),
    "workload": Reader("mine.toml", lambda _, path: read_workload(path), "hwsim.reading.MOST_TOML"),
    "table of products": Reader(
        "mine.csv", lambda _, path: read_gemm_csv(path), "hwsim.accelerator.workloads.gemm_csv.MAX_BYTES"
    ),
    "text": Reader("mine.en", lambda _, path: read_lines(path)),
    "text, gzip": Reader("mine.gz", lambda _, path: read_lines(path)),
    "text, xz": Reader("mine.xz", lambda _, path: read_lines(path)),
    "parallel text": Reader("mine.de", lambda _, path: read_parallel(path, path)),
    "configuration": Reader(
        "model/config.json", lambda _, path: load_checkpoint(path.parent), "reference.checkpoint._MOST_CONFIGURATION"
    ),
    "weights": Reader("model/model.safetensors", lambda _, path: load_checkpoint(path.parent)),
    "hash of weights": Reader(
        "model/model.safetensors", lambda _, path: checkpoint_hash(path.parent), allowed="empty bytes"
    ),
    "vocabulary": Reader("model/vocabulary.model", lambda _, path: Tokenizer(path), "reference.tokenizer.MOST_BYTES"),
    "training state": Reader("run/state.pt", training),
    "kept ranges": Reader(f"ranges/{INPUTS[:16]}.json", ranges, "reference.quantize.kept.MOST_BYTES"),
    "report": Reader(
        "report.json", lambda around, path: read_zeros(path, around.program), "analysis.estimates.zeros.MAX_BYTES"
    ),
    "npz": Reader("mine.npz", dump),
    "npz in a folder": Reader("dumps/mine.npz", dump_of_its_folder),
    "hex text": Reader("mine.hex", hex_text, "analysis.proof.explain.dump.MOST_BYTES"),
    "manifest of vectors": Reader("vectors/manifest.json", vectors, "analysis.proof.explain.dump.MOST_BYTES"),
    "npz of vectors": Reader(f"vectors/{SITE}.accumulator/encode/arrays.npz", vectors),
    "hex text of vectors": Reader(f"vectors/{SITE}.accumulator/encode/encoder.embedding.hex", vectors),
}
MAY_BE_MISSING = ["training state", "kept ranges", "manifest of vectors", "npz of vectors", "hex text of vectors"]
LINKED = [name for name in READERS if not name.endswith(" of vectors") or name.startswith("manifest")]
"""Vectors are read inside their folder alone: a link out of it is refused as such."""


@pytest.fixture(scope="module")
def whole(vocabulary: Path, small_text: ParallelText, tmp_path_factory: pytest.TempPathFactory) -> Around:
    folder = tmp_path_factory.mktemp("whole")
    program = tiny_program(preset("int8"))
    save_tiny_model(folder / "model", vocabulary)
    write_vectors(Machine(program), sentences(1), f"{SITE}.accumulator", folder / "vectors", steps=1)
    return Around(folder, program, small_text)


@pytest.fixture
def around(whole: Around, tmp_path: Path) -> Around:
    """A copy to spoil."""
    shutil.copytree(whole.folder, tmp_path / "here")
    return whole._replace(folder=tmp_path / "here")


def placed(around: Around, reader: Reader) -> Path:
    """Where the file goes; none is there."""
    path = around.folder / reader.file
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    return path


def refused(around: Around, reader: Reader, path: Path, kind: str = "") -> str:
    """What is said of the file, in one line; "" if it may be of that kind."""
    try:
        reader.read(around, path)
    except ValueError as error:
        said = str(error)
        assert (
            str(path if kind != "missing" else path.parent) in said
            and len(said.splitlines()) == 1
            and said.isprintable()
        ), said
        return said
    assert kind in reader.allowed.split(), "it was read"
    return ""


@contextmanager
def answered(pipe: Path) -> Iterator[None]:
    """Within, a reader that waits for a pipe gets nothing after a while, whatever it holds meanwhile, and is seen."""
    code = f"import os, time; time.sleep(60); os.open({str(pipe)!r}, os.O_WRONLY | os.O_NONBLOCK)"
    with subprocess.Popen([sys.executable, "-S", "-c", code]) as writer:
        try:
            yield
        finally:
            writer.kill()


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_not_waited_for(around: Around, name: str) -> None:
    path = placed(around, READERS[name])
    os.mkfifo(path)
    with answered(path):
        assert refused(around, READERS[name], path).endswith("it is not a regular file")


@pytest.mark.parametrize("name", LINKED)
def test_devices_are_refused_through_links_too(around: Around, name: str) -> None:
    path = placed(around, READERS[name])
    path.symlink_to("/dev/zero")
    assert refused(around, READERS[name], path).endswith("it is not a regular file")


@pytest.mark.parametrize("name", [name for name in READERS if name not in ("npz", "hex text")])
def test_folders_are_refused(around: Around, name: str) -> None:
    path = placed(around, READERS[name])
    path.mkdir()
    assert refused(around, READERS[name], path).endswith("it is not a regular file")


@pytest.mark.parametrize("name", [name for name in READERS if name not in MAY_BE_MISSING])
def test_what_is_missing_is_named(around: Around, name: str) -> None:
    path = placed(around, READERS[name])
    said = refused(around, READERS[name], path, "missing")
    assert "No such file" in said or "does not exist" in said or "is empty" in said


@pytest.mark.parametrize("name", LINKED)
def test_what_fails_while_it_is_read_is_named(around: Around, name: str) -> None:
    """A file of the kernel's that is regular, and that nobody may read from its beginning."""
    path = placed(around, READERS[name])
    path.symlink_to("/proc/self/mem")
    assert "it is not a regular file" not in refused(around, READERS[name], path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00 = \x80\n"], ids=["empty", "bytes"])
@pytest.mark.parametrize("name", READERS)
def test_what_is_empty_or_no_text_is_refused(around: Around, name: str, content: bytes) -> None:
    path = placed(around, READERS[name])
    path.write_bytes(content)
    refused(around, READERS[name], path, "bytes" if content else "empty")


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.limit])
def test_what_is_larger_than_any_of_its_kind_is_refused(
    around: Around, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = placed(around, READERS[name])
    path.write_bytes(b"x" * 11)
    monkeypatch.setattr(READERS[name].limit, 11)
    assert "it is larger" not in refused(around, READERS[name], path)
    monkeypatch.setattr(READERS[name].limit, 10)
    assert refused(around, READERS[name], path).endswith("it is larger than 10 bytes")


# --- no reader is left out --------------------------------------------------------------------------------------------

READING = {"open", "read_bytes", "read_text", "ZipFile", "is_zipfile", "safe_open", "memmap", "fromfile", "loadtxt"}
NO_FILES_OF_USERS = {
    "analysis/bench/machine.py": "what the kernel says of the processor",
    "analysis/bench/memory.py": "what the kernel says of this process, and what its own child was given",
    "analysis/bench/model.py": "`open` of another library",
    "analysis/commands": "`shared.read_text`",
    "analysis/output/context.py": "what the kernel says of the processor",
    "analysis/output/outlet.py": "where what is printed goes",
    "analysis/output/places.py": "what is being written; `open` of places",
    "analysis/pages": "pages and records of this repository",
    "hwsim/accelerator/energy_tables": "tables of the package, as text",
    "hwsim/accelerator/presets.py": "records of the package, as text",
    "hwsim/files.py": "what is written",
    "reference/corpus.py": "pages that the shipped corpus is made of",
}
CHECKED = {
    "hwsim/reading.py": "the reader itself",
    "analysis/proof/explain/dump.py": "of a file that `open_regular` opened",
    "analysis/proof/explain/npz.py": "of a file that `open_regular` opened",
    "reference/checkpoint.py": "of a path that `open_regular` opened",
}


def readers(wing: str) -> Iterator[str]:
    """Files of a wing that open files."""
    for path in sorted((ROOT / wing).rglob("*.py")):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {getattr(call, "attr", getattr(call, "id", "")) for call in calls}
        if names & READING:
            yield str(path.relative_to(ROOT))


@pytest.mark.parametrize("wing", ["hwsim", "reference", "analysis"])
def test_users_files_are_opened_in_one_place(wing: str) -> None:
    known = (*NO_FILES_OF_USERS, *CHECKED)
    assert [file for file in readers(wing) if not file.startswith(known)] == []


def test_what_opens_files_is_found() -> None:
    """Each row of the tables is of something that the search finds: it is not blind, and none is left over."""
    found = [file for wing in ("hwsim", "reference", "analysis") for file in readers(wing)]
    assert all(any(file.startswith(name) for file in found) for name in (*NO_FILES_OF_USERS, *CHECKED))
