"""Where an estimate may be written: checked before the work, so that a faulty request leaves nothing behind."""

import os
from collections.abc import Mapping
from pathlib import Path


def check_files(inputs: Mapping[str, Path], files: Mapping[str, Path]) -> None:
    """Refuse files that cannot be put there, that replace each other, or what is read; by the options' names.

    Raises
    ------
    ValueError
        Names options and path.
    """
    taken = {os.path.realpath(path): (name, "reads") for name, path in inputs.items()}
    for name, path in files.items():
        _check_file(name, path)
        real = os.path.realpath(path)
        if real in taken:
            other, does = taken[real]
            raise ValueError(f"{name} {path} is the file that {other} {does}; name another")
        taken[real] = (name, "writes")


def check_folder(name: str, folder: Path, files: Mapping[str, Path]) -> None:
    """Refuse a folder of figures that is not free, or that one of the files is in.

    Raises
    ------
    ValueError
        Names options and path.
    """
    from analysis.output.folder import check_target

    try:
        check_target(folder)
    except RuntimeError as error:  # links that go round in a circle
        raise ValueError(f"{name} {folder} cannot be made: {error}") from None
    for other, path in files.items():
        real = Path(os.path.realpath(path))
        if real.is_relative_to(os.path.realpath(folder)):
            raise ValueError(f"{other} {path} is in the folder that {name} makes; name another")


def _check_file(name: str, path: Path) -> None:
    if path.exists() and not path.is_file():
        raise ValueError(f"{name} {path} is not a regular file; only one of those can be replaced")
    parent = next(parent for parent in Path(os.path.realpath(path)).parents if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{name} {path} cannot be written: {parent} is not a folder that may be written to")
