"""One rule for what is written: reserved before the work, whole or not at all, never over what is there unasked."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from analysis.output.reserved import Outputs, continued, reserved
from hwsim.files import hold_file, hold_folder
from tests import ROOT

FILES = {"a": b"1", "deep/b": b"2"}
HOLDER = "import sys; from hwsim.files import part_of, {0}; {0}(part_of(__import__('pathlib').Path(sys.argv[1])))"


def file(path: Path, *, force: bool = False, content: bytes = b"new") -> Path:
    with reserved(files={"--json": path}, force=force) as outputs:
        return outputs.write("--json", content)


def folder(path: Path, *, force: bool = False, content: dict[str, bytes] = FILES) -> Path:
    with reserved(folders={"--out": path}, force=force) as outputs:
        return outputs.write("--out", content)


def tree(path: Path) -> dict[str, bytes]:
    return {str(one.relative_to(path)): one.read_bytes() for one in path.rglob("*") if one.is_file()}


@contextmanager
def another_process(hold: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """One that holds a place until it is killed."""
    code = HOLDER.format(hold) + "; print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        try:
            yield child
        finally:
            child.kill()


# --- whole, with what it takes to know that it is -------------------------------------------------------------------


def test_a_file_and_a_folder_are_written_and_missing_folders_made(tmp_path: Path) -> None:
    assert file(tmp_path / "new" / "x.json").read_bytes() == b"new"
    made = folder(tmp_path / "other" / "report")
    sums = tree(made).pop("SHA256SUMS").decode()
    assert {name: content for name, content in tree(made).items() if name != "SHA256SUMS"} == FILES
    assert [line[64:] for line in sums.splitlines()] == ["  a", "  deep/b"]
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made, check=True, capture_output=True)
    assert sorted(os.listdir(tmp_path)) == ["new", "other"]


def test_nothing_stays_of_what_was_not_written(tmp_path: Path) -> None:
    with reserved(files={"--json": tmp_path / "a" / "b" / "c"}) as outputs:
        assert not (tmp_path / "a" / "b" / "c").exists()
        assert outputs.wanted("--json") and not outputs.wanted("--csv")
    with reserved(folders={"--out": tmp_path / "d" / "e"}) as outputs:
        (outputs.part("--out") / "half").write_bytes(b"written")
    assert os.listdir(tmp_path) == []


def test_a_folder_can_be_filled_piece_by_piece(tmp_path: Path) -> None:
    with reserved(folders={"--out": tmp_path / "out"}) as outputs:
        (outputs.part("--out") / "first").write_bytes(b"1")
        assert outputs.write("--out", {"second": b"2"}) == tmp_path / "out"
    assert tree(tmp_path / "out").keys() == {"first", "second", "SHA256SUMS"}


def test_modes_follow_the_umask_and_an_old_files_own(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        assert file(tmp_path / "x").stat().st_mode & 0o777 == 0o640
        assert folder(tmp_path / "y").stat().st_mode & 0o777 == 0o750
        (tmp_path / "x").chmod(0o604)
        assert file(tmp_path / "x", force=True).stat().st_mode & 0o777 == 0o604
    finally:
        os.umask(before)


def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "file").symlink_to("target")
    folder(tmp_path / "link")
    file(tmp_path / "file")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "empty" / "a").exists()
    assert (tmp_path / "file").is_symlink() and (tmp_path / "target").read_bytes() == b"new"


# --- never over what is there ---------------------------------------------------------------------------------------


def test_a_file_is_replaced_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=r"--json .*/x is there already; name another, or replace it with --force"):
        file(path)
    assert path.read_bytes() == b"old"
    file(path, force=True)
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["x"]


def test_a_folder_is_replaced_only_with_force_and_whole(tmp_path: Path) -> None:
    path = folder(tmp_path / "x")
    with pytest.raises(ValueError, match=r"--out .*/x exists and is not empty; name another, or .* --force"):
        folder(path)
    folder(path, force=True, content={"c": b"3"})
    assert tree(path).keys() == {"c", "SHA256SUMS"} and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("mine", ["notes.txt", "deep/notes.txt", ".hidden"])
def test_a_folder_with_something_else_in_it_is_never_replaced(tmp_path: Path, mine: str) -> None:
    path = folder(tmp_path / "x")
    (path / mine).write_text("mine")
    with pytest.raises(ValueError, match=rf"holds {mine}, which hwsim did not write"):
        folder(path, force=True)
    assert (path / mine).read_text() == "mine" and (path / "a").read_bytes() == b"1"


def test_a_folder_that_hwsim_did_not_write_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="has no SHA256SUMS, so hwsim did not write it"):
        folder(tmp_path / "x", force=True)
    assert tree(tmp_path / "x") == {"notes.txt": b"mine"}


def test_what_appears_meanwhile_is_kept_and_ours_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The work was done: it must not be lost, nor anyone else's."""
    with reserved(files={"--json": tmp_path / "x"}, folders={"--out": tmp_path / "y"}) as outputs:
        (tmp_path / "x").write_bytes(b"theirs")
        (tmp_path / "y").mkdir()
        (tmp_path / "y" / "theirs").write_bytes(b"theirs")
        assert outputs.write("--json", b"ours") == tmp_path / "x-2"
        assert outputs.write("--out", FILES) == tmp_path / "y-2"
    assert (tmp_path / "x").read_bytes() == b"theirs" and (tmp_path / "x-2").read_bytes() == b"ours"
    assert tree(tmp_path / "y") == {"theirs": b"theirs"} and (tmp_path / "y-2" / "a").read_bytes() == b"1"
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all("was made or changed meanwhile by somebody else; ours is" in line for line in said)


FULL = """
import resource, signal, sys
from pathlib import Path
from analysis.output.reserved import reserved
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
path = Path(sys.argv[1])
try:
    with reserved(**{sys.argv[2]: {"--out": path}}, force=True) as outputs:
        outputs.write("--out", b"n" * 2000 if sys.argv[2] == "files" else {"a": b"1", "b": b"n" * 2000})
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["files", "folders"])
def test_a_disk_that_is_full_leaves_what_was_there(tmp_path: Path, kind: str) -> None:
    path = file(tmp_path / "x", content=b"old") if kind == "files" else folder(tmp_path / "x")
    command = [sys.executable, "-c", FULL, path, kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"--out {path} could not be written: File too large\n"
    assert path.read_bytes() == b"old" if kind == "files" else tree(path).keys() == {*FILES, "SHA256SUMS"}
    assert os.listdir(tmp_path) == ["x"]


def test_a_file_system_without_links_is_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    assert file(tmp_path / "x").read_bytes() == b"new"
    with reserved(files={"--json": tmp_path / "y"}) as outputs:
        (tmp_path / "y").write_bytes(b"theirs")
        assert outputs.write("--json", b"ours") == tmp_path / "y-2"
    assert (tmp_path / "y").read_bytes() == b"theirs"


def test_what_changes_meanwhile_is_kept_and_ours_too(tmp_path: Path) -> None:
    path = folder(tmp_path / "x")
    with reserved(folders={"--out": path}, files={"--json": tmp_path / "y"}, force=True) as outputs:
        (path / "notes").write_text("mine")
        (tmp_path / "y").mkdir()
        assert outputs.write("--out", {"c": b"3"}) == tmp_path / "x-2"
        assert outputs.write("--json", b"ours") == tmp_path / "y-2"
    assert (path / "notes").read_text() == "mine" and (path / "a").exists()
    assert sorted(os.listdir(tmp_path)) == ["x", "x-2", "y", "y-2"]


@pytest.mark.parametrize("write", [file, folder])
def test_a_place_is_free_once_it_is_written(tmp_path: Path, write: Callable[..., Path]) -> None:
    """The next one may hold it while the first command still prints, and keeps it when that ends."""
    content: Any = b"new" if write is file else FILES
    place: dict[str, Any] = {"files" if write is file else "folders": {"--out": tmp_path / "x"}, "force": True}
    write(tmp_path / "x")
    with ExitStack() as second:
        with reserved(**place) as first:
            first.write("--out", content)
            later = second.enter_context(reserved(**place))
        assert later.write("--out", content) == tmp_path / "x"
    assert os.listdir(tmp_path) == ["x"]


def test_files_that_hwsim_puts_into_a_folder_later_go_with_it(tmp_path: Path) -> None:
    path = folder(tmp_path / "x")
    (path / "ranges").mkdir()
    (path / "ranges" / "0.json").write_bytes(b"kept")
    with reserved(folders={"--out": path}, force=True, kept="ranges/*.json") as outputs:
        outputs.write("--out", {"c": b"3"})
    assert tree(path).keys() == {"c", "SHA256SUMS"}


def test_folders_change_places_where_that_takes_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    path = folder(tmp_path / "x")
    (tmp_path / "x.old-1").mkdir()
    folder(path, force=True, content={"c": b"3"})
    assert tree(path).keys() == {"c", "SHA256SUMS"} and sorted(os.listdir(tmp_path)) == ["x", "x.old-1"]


# --- refused before any work ----------------------------------------------------------------------------------------


def refusal(**given: object) -> str:
    with pytest.raises(ValueError) as caught, reserved(**given):  # type: ignore[arg-type]
        raise AssertionError("the work began")
    return str(caught.value)


def test_what_is_of_another_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    assert "is a file; name a folder" in refusal(folders={"--out": tmp_path / "file"}, force=True)
    assert "is a folder; name a file" in refusal(files={"--json": tmp_path / "folder"}, force=True)
    assert "is not a regular file" in refusal(files={"--json": Path("/dev/null")}, force=True)
    assert "links go round" in refusal(folders={"--out": tmp_path / "loop"})
    assert "--json" in refusal(files={"--json": tmp_path / "loop"})
    monkeypatch.chdir(tmp_path / "folder")
    assert "the working folder" in refusal(folders={"--out": Path(".")})
    assert "the working folder" in refusal(folders={"--out": tmp_path}, force=True)


def test_a_place_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    long = tmp_path / ("n" * 300)
    for name, path in (("--json", tmp_path / "file" / "x"), ("--json", long), ("--out", Path("/proc/hwsim/x"))):
        line = refusal(files={name: path}) if name == "--json" else refusal(folders={name: path})
        assert line.startswith(f"{name} {path} cannot be written: ") and ".part" not in line
    assert os.listdir(tmp_path) == ["file"]


def test_what_is_read_or_written_by_another_option_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "in" / "text"
    text.parent.mkdir()
    text.write_text("mine")
    inputs = [("--text", text)]
    assert "is what --text reads" in refusal(files={"--json": text}, inputs=inputs, force=True)
    assert "holds what --text reads" in refusal(folders={"--out": text.parent}, inputs=inputs, force=True)
    assert "is what --csv writes" in refusal(files={"--csv": tmp_path / "x", "--json": tmp_path / "." / "x"})
    assert "is in what --out writes" in refusal(folders={"--out": tmp_path / "y"}, files={"--json": tmp_path / "y/x"})
    file(tmp_path / "in" / "beside.json")
    inputs = [("--model", text.parent)]
    assert "is in what --model reads" in refusal(files={"--json": text}, inputs=inputs, force=True)
    assert sorted(os.listdir(tmp_path)) == ["in"] and text.read_text() == "mine"


# --- other processes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", ["hold_file", "hold_folder"])
def test_one_place_is_filled_by_one_process(tmp_path: Path, hold: str) -> None:
    path = tmp_path / "x"
    with another_process(hold, path) as child:
        assert f"--json {path} is being written by another process" in refusal(files={"--json": path}, force=True)
        assert f"--out {path} is being written by another process" in refusal(folders={"--out": path})
        with reserved(fresh={"--out": path}) as outputs:  # nobody named it: another name will do
            assert outputs.path("--out") == tmp_path / "x-2"
        file(tmp_path / "y")  # beside it nothing is swept that is held
        assert len(list(tmp_path.glob(".hwsim-*.part"))) == 1
        child.kill()
        child.wait()
    file(path)
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]


def test_fresh_folders_get_numbers(tmp_path: Path) -> None:
    def write(outputs: Outputs) -> str:
        return outputs.write("--out", {"a": b""}).name

    with reserved(fresh={"--out": tmp_path / "now"}) as one, reserved(fresh={"--out": tmp_path / "now"}) as other:
        assert [write(other), write(one)] == ["now-2", "now"]
    with reserved(fresh={"--out": tmp_path / "now"}) as third:
        assert write(third) == "now-3"


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    with another_process("hold_folder", tmp_path / "x") as child:
        (part,) = tmp_path.iterdir()
        (part / "half").write_bytes(b"written")
        child.kill()
        child.wait()
    (tmp_path / ".hwsim-0123.part").write_bytes(b"a file")
    os.mkfifo(tmp_path / ".hwsim-0456.part")
    (tmp_path / ".hidden").write_bytes(b"not ours")
    file(tmp_path / "y")
    assert sorted(os.listdir(tmp_path)) == [".hidden", ".hwsim-0456.part", "y"]


def test_a_continued_folder_is_held_and_what_is_in_it_stays(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), continued("--out", tmp_path / "deep" / "run"):
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    with continued("--out", tmp_path / "run"):
        (tmp_path / "run" / "state").write_bytes(b"1")
        with pytest.raises(ValueError, match="is being written by another"), continued("--out", tmp_path / "run"):
            raise AssertionError("the work began")
    (tmp_path / "run" / ".hwsim-77.part").write_bytes(b"half")
    with continued("--out", tmp_path / "run"):
        assert os.listdir(tmp_path / "run") == ["state"]
    with pytest.raises(ValueError, match="is a file"), continued("--out", tmp_path / "run" / "state"):
        raise AssertionError("the work began")


def test_a_part_is_empty_when_it_is_held(tmp_path: Path) -> None:
    """Where a file system has no locks nothing is swept."""
    for left in (hold_folder(tmp_path / ".hwsim-1.part"), hold_file(tmp_path / ".hwsim-2.part")):
        os.close(left)
    (tmp_path / ".hwsim-1.part" / "deep").mkdir()
    (tmp_path / ".hwsim-1.part" / "deep" / "half").write_bytes(b"written")
    (tmp_path / ".hwsim-2.part").write_bytes(b"half")
    for again in (hold_folder(tmp_path / ".hwsim-1.part"), hold_file(tmp_path / ".hwsim-2.part")):
        os.close(again)
    assert tree(tmp_path) == {".hwsim-2.part": b""}
