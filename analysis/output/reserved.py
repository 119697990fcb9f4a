"""Where a command writes: reserved and proven writable before any work, filled whole, never over what is there unasked.

One rule for files and folders. What is there already is refused; with `--force` a file is replaced, and a folder that
holds nothing but what its `SHA256SUMS` lists, which is what hwsim wrote. Missing folders are made.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from analysis.output.places import BusyError, Content, ContinuedPlace, FilePlace, FolderPlace, Place, numbered


class Outputs:
    """The reserved places of a command, by option."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places

    def wanted(self, option: str) -> bool:
        """Whether the option was given."""
        return option in self._places

    def path(self, option: str) -> Path:
        """Where it will be."""
        return self._places[option].path

    def part(self, option: str) -> Path:
        """The hidden folder to fill piece by piece, before `write` puts it in place with what else is given."""
        return self._places[option].part

    def write(self, option: str, content: Content) -> Path:
        """Put a file, or a folder of files by name, in its place, and say where.

        That is beside it, by another name, if somebody else has put something there meanwhile.

        Raises
        ------
        ValueError
            If the file system does not let us; names option and path.
        """
        place = self._places[option]
        try:
            place.fill(content)
            return place.finish()
        except OSError as error:
            raise ValueError(f"{place} could not be written: {error.strerror or error}") from error


@contextmanager
def reserved(
    *,
    files: Mapping[str, Path | None] | None = None,
    folders: Mapping[str, Path | None] | None = None,
    fresh: Mapping[str, Path] | None = None,
    inputs: Iterable[tuple[str, Path]] = (),
    force: bool = False,
    kept: str = "",
) -> Iterator[Outputs]:
    """Reserve what a command will write, by the options' names; what is not written by the end is free again.

    Parameters
    ----------
    files, folders
        None where the option is not given.
    fresh
        Folders that nobody named: if one is there or taken, its name gets a number.
    inputs
        What is read, by the options that name it, and never replaced.
    force
        Replace what is there.
    kept
        A pattern of files that hwsim puts into such a folder later, and that go with it.

    Raises
    ------
    ValueError
        If something is there (and there is no `force`), is read, is written by another option or another process, or
        cannot be put there; names option and path.
    """
    places: dict[str, Place] = {}
    taken = [_Taken(Path(os.path.realpath(path)), name, reads=True) for name, path in inputs]
    with ExitStack() as held:
        for name, path in _given(fresh):
            places[name] = _first_free(name, path, taken, held)
        for name, path in _given(folders):
            places[name] = _hold(FolderPlace(name, path, force, kept), taken, held)
        for name, path in _given(files):
            places[name] = _hold(FilePlace(name, path, force), taken, held)
        yield Outputs(places)


@contextmanager
def continued(option: str, folder: Path) -> Iterator[None]:
    """Hold a folder whose files are written over and over, so that no other process does; if it stays empty it goes.

    Raises
    ------
    ValueError
        If it cannot be written, or another process holds it.
    """
    place = ContinuedPlace(option, folder)
    try:
        place.hold()
        yield
    finally:
        place.release()


def _given(paths: Mapping[str, Path | None] | None) -> list[tuple[str, Path]]:
    return [(name, path) for name, path in (paths or {}).items() if path is not None]


class _Taken(NamedTuple):
    """A path that an option already stands for."""

    path: Path
    option: str
    reads: bool


def _hold(place: Place, taken: list[_Taken], held: ExitStack) -> Place:
    for one in taken:
        below = one.path in place.final.parents and (not one.reads or place.final.exists())
        if place.holds(one.path) or below:
            how = "is" if place.final == one.path else "holds" if place.holds(one.path) else "is in"
            raise ValueError(f"{place} {how} what {one.option} {'reads' if one.reads else 'writes'}; name another")
    held.callback(place.release)
    place.hold()
    taken.append(_Taken(place.final, place.option, reads=False))
    return place


def _first_free(option: str, path: Path, taken: list[_Taken], held: ExitStack) -> Place:
    """A folder of that name, or of the first with a number that nobody has."""
    for candidate in numbered(path):
        if candidate.exists():
            continue
        place = FolderPlace(option, candidate, force=False)
        try:
            return _hold(place, taken, held)
        except BusyError:
            continue
    raise AssertionError("numbers do not end")
