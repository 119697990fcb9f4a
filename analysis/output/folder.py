"""Folders appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hwsim.files import write_whole


def check_target(folder: Path) -> None:
    """Refuse a folder that a result cannot be written to; to be called before the work begins.

    Raises
    ------
    ValueError
        If something other than an empty folder is there, or the folder could not be put there.
    """
    target = folder.resolve()
    if target.is_dir():
        if any(target.iterdir()):
            raise ValueError(f"{folder} exists and is not empty; name a new or an empty folder")
        if target == Path.cwd() or target.is_mount():
            raise ValueError(f"{folder} is the working folder or a mount point; name a folder inside it")
    elif target.exists():
        raise ValueError(f"{folder} is a file; name a new or an empty folder")
    parent = next(parent for parent in target.parents if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{folder} cannot be made: {parent} is not a folder that may be written to")


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder of files; an interruption or a full disk leaves no part of it.

    Raises
    ------
    ValueError
        As `check_target`.
    OSError
        As the file system gives it; the half-written temporary folder is removed.
    """
    check_target(folder)
    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        for name, content in files.items():
            write_whole(temporary / name, content)
        temporary.chmod(0o755)
        temporary.replace(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
