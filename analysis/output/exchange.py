"""Two folders change places at once, so that a process killed at any moment leaves the old one or the new one."""

import ctypes
import os
from itertools import count
from pathlib import Path

_HERE = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE: linux/fs.h


def exchange(new: Path, old: Path) -> None:
    """Put `new` in the place of `old`, and `old` in that of `new`.

    Where the file system cannot do both at once there is a moment without either; `old` has a visible name of its own
    in it, which stays if the process is killed then.

    Raises
    ------
    OSError
        As the file system gives it; both are where they were.
    """
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is not None and rename(_HERE, os.fsencode(new), _HERE, os.fsencode(old), _EXCHANGE) == 0:
        return
    aside = next(path for number in count(1) if not (path := old.with_name(f"{old.name}.old-{number}")).exists())
    old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise
    aside.rename(new)
