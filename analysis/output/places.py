"""A place for a result: what may stand there before, the hidden part that is filled, and how that gets there."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import chain, count
from pathlib import Path

from analysis.output.exchange import exchange
from analysis.output.outlet import tell
from hwsim.files import file_mode, hold_file, hold_folder, hold_whole, part_of, release, remove, sweep, write_out
from hwsim.reading import read_whole

SUMS = "SHA256SUMS"
"""A list of a folder's files, as `sha256sum --check` reads it."""

Content = bytes | str | Mapping[str, bytes]


def numbered(path: Path) -> Iterable[Path]:
    """A path, and then with the numbers from 2 behind its name."""
    return chain([path], (path.with_name(f"{path.name}-{number}") for number in count(2)))


class BusyError(ValueError):
    """Another process writes it."""


class Place:
    """A path to be, and the hidden part beside it that becomes it."""

    def __init__(self, option: str, path: Path, force: bool, kept: str = "") -> None:
        self.option, self.path, self.force, self.kept = option, path, force, kept
        self.final = Path(os.path.realpath(path))
        self.part = part_of(self.final)
        self._made: list[Path] = []
        self._handle: int | None = None

    def __str__(self) -> str:
        return f"{self.option} {self.path}"

    def holds(self, other: Path) -> bool:
        """Whether it is, or has in it, another path."""
        return self.final == other

    def check(self) -> None:
        raise NotImplementedError

    def open(self) -> int:
        raise NotImplementedError

    def fill(self, content: Content) -> None:
        raise NotImplementedError

    def put(self) -> None:
        """In place of what is there, if `force`; else an error if something is there."""
        raise NotImplementedError

    def hold(self) -> None:
        """Check what is there, make and lock the part, which proves that something can be put there.

        Raises
        ------
        ValueError
            Names option, path and reason.
        """
        try:
            self.check()
            for parent in reversed([parent for parent in self.final.parents if not parent.exists()]):
                parent.mkdir(exist_ok=True)
                self._made.append(parent)
            sweep(self.final.parent)
            self._handle = self.open()
        except BlockingIOError:
            raise BusyError(f"{self} is being written by another process") from None
        except OSError as error:
            raise ValueError(f"{self} cannot be written: {error.strerror} ({self.final.parent})") from None

    def finish(self) -> Path:
        """In place, at last; the work is done, so what came in between has its place, and this another one."""
        try:
            self.put()
        except (FileExistsError, ValueError):
            self.final = next(path for path in numbered(self.final) if not path.exists())
            tell(f"{self} was made or changed meanwhile by somebody else; ours is {self.final}")
            self.put()
            self.path = self.final
        self._made = []
        self._let_go()
        return self.path

    def release(self) -> None:
        """Nothing of a place that was not written stays."""
        self._let_go()
        self._remove_made()

    def _let_go(self) -> None:
        if self._handle is not None:
            release(self._handle, self.part)
            self._handle = None

    def _remove_made(self) -> None:
        """Folders that were made for nothing; those with something in them stay."""
        for folder in reversed(self._made):
            with suppress(OSError):
                folder.rmdir()


class FilePlace(Place):
    def check(self) -> None:
        try:
            there = file_mode(self.path) is not None
        except ValueError as error:
            what = f"{self.path} is a folder; name a file" if self.final.is_dir() else error
            raise ValueError(f"{self.option} {what}") from None
        if there and not self.force:
            raise ValueError(f"{self} is there already; name another, or replace it with --force")

    def open(self) -> int:
        return hold_file(self.part)

    def fill(self, content: Content) -> None:
        assert self._handle is not None
        assert not isinstance(content, Mapping)
        write_out(self._handle, content.encode() if isinstance(content, str) else content)

    def put(self) -> None:
        assert self._handle is not None
        mode = file_mode(self.final) if self.force else None
        if mode is None:
            _link(self.part, self.final)
        else:
            os.fchmod(self._handle, mode)
            os.replace(self.part, self.final)


class FolderPlace(Place):
    def holds(self, other: Path) -> bool:
        return self.final == other or self.final in other.parents

    def check(self) -> None:
        if self.final.is_symlink():
            raise ValueError(f"{self} cannot be made: its links go round in a circle")
        if not self.final.is_dir():
            if self.final.exists():
                raise ValueError(f"{self} is a file; name a folder")
            return
        if self.final == Path.cwd() or self.final in Path.cwd().parents or self.final.is_mount():
            raise ValueError(f"{self} is, or holds, the working folder, or is a mount point; name a folder inside it")
        if any(self.final.iterdir()):
            if not self.force:
                raise ValueError(f"{self} exists and is not empty; name another, or replace it with --force")
            self._check_ours()

    def _check_ours(self) -> None:
        """A folder is replaced only if hwsim wrote all that is in it."""
        try:
            lines = read_whole(self.final / SUMS, SUMS).decode().splitlines()
        except ValueError:
            raise ValueError(
                f"{self} has no {SUMS}, so hwsim did not write it, and --force does not replace it; remove it yourself"
            ) from None
        ours = {self.final / line[66:] for line in lines} | {self.final / SUMS}
        for path in self.final.rglob("*"):
            inner = path.relative_to(self.final)
            if path in ours or (path.is_dir() and not path.is_symlink()) or (self.kept and inner.match(self.kept)):
                continue
            raise ValueError(f"{self} holds {inner}, which hwsim did not write; move it, or name another")

    def open(self) -> int:
        return hold_folder(self.part)

    def fill(self, content: Content) -> None:
        assert isinstance(content, Mapping)
        for name, one in content.items():
            _write(self.part / name, one)
        lines = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(self.part).as_posix()}\n"
            for path in sorted(self.part.rglob("*"))
            if path.is_file()
        ]
        _write(self.part / SUMS, "".join(lines).encode())

    def put(self) -> None:
        if self.force and self.final.is_dir() and any(self.final.iterdir()):
            self._check_ours()
            self._exchange()
        else:
            try:
                self.part.rename(self.final)
            except OSError:
                if self.final.exists():
                    raise FileExistsError(f"{self.final} is there") from None
                raise

    def _exchange(self) -> None:
        """The old folder becomes the part; it is held all the while, so that nobody else takes it for theirs."""
        old = hold_whole(self.final)
        try:
            exchange(self.part, self.final)
        finally:
            release(old, self.part)


class ContinuedPlace(FolderPlace):
    """A folder that is its own part: what is in it stays."""

    def __init__(self, option: str, path: Path) -> None:
        super().__init__(option, path, force=True)
        self.part = self.final

    def check(self) -> None:
        if self.final.exists() and not self.final.is_dir():
            raise ValueError(f"{self} is a file; name a folder")

    def open(self) -> int:
        if not self.final.exists():
            self.final.mkdir()
            self._made.append(self.final)
        handle = hold_whole(self.final)
        sweep(self.final)
        probe = part_of(self.final / self.final.name)
        os.close(hold_file(probe))
        remove(probe)
        return handle

    def _let_go(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _link(part: Path, final: Path) -> None:
    """A second name, which fails if something has it; where the file system knows no such names, a rename."""
    try:
        os.link(part, final)
    except FileExistsError:
        raise
    except OSError:
        if final.exists():
            raise FileExistsError(f"{final} is there") from None
        os.replace(part, final)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        write_out(stream.fileno(), content)
