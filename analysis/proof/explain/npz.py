"""Integer arrays of an npz file that somebody else wrote; nothing is allocated for what only a header claims."""

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from textwrap import shorten
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hwsim.reading import open_regular

Array = NDArray[Any]
SUFFIX = ".npy"
MOST_BYTES = 1 << 30
"""Of one array: a file of a thousandth of it can hold so many zeros."""
_LETTERS = 200
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}  # 3.0 is for names of fields


class Member(NamedTuple):
    """One array of an open npz file, of which only the header was read.

    Attributes
    ----------
    where
        File and array, for messages.
    """

    where: str
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    def read(self) -> Array:
        """The elements.

        Raises
        ------
        ValueError
            If they are damaged, or more or fewer than the header says.
        """
        size = prod(self.shape) * self.dtype.itemsize
        with refusing(self.where), self.archive.open(self.info) as file:
            _read_header(file)
            content = file.read(size + 1)  # beyond the end, where the checksum is compared
            if len(content) != size:
                raise ValueError(
                    f"shape {self.shape} needs {size} bytes; it has {'more' if content[size:] else 'less'}"
                )
            return np.ndarray(self.shape, self.dtype, content, order="F" if self.fortran else "C")


@contextmanager
def open_npz(path: Path) -> Iterator[dict[str, Member]]:
    """The arrays of an npz file by name, as long as it is open.

    Raises
    ------
    ValueError
        If it is no zip file, or a member is no array of integers that can be read; one line, names file and member.
    """
    with open_regular(path, "dump") as file:
        with refusing(f"{path} is no npz file of integer arrays"):
            archive = zipfile.ZipFile(file)
        members: dict[str, Member] = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(SUFFIX)
            if name in members:
                raise ValueError(f"{path}, array {name!r} is there twice")
            if not info.is_dir():
                members[name] = _open_member(path, archive, info, name)
        yield members


def _open_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Member:
    if name == info.filename:
        raise ValueError(f"{path}, member {name!r} is no {SUFFIX} file; an npz file holds nothing else")
    where = f"{path}, array {name!r}"
    with refusing(where), archive.open(info) as file:
        shape, fortran, dtype = _read_header(file)
        if dtype.kind not in "iub":
            raise ValueError(f"has dtype {dtype}; integers are needed")
        if any(size < 0 for size in shape) or prod(shape) * dtype.itemsize > MOST_BYTES:
            raise ValueError(f"has shape {shape} of {dtype}; at most {MOST_BYTES:,} bytes are read")
    return Member(where, archive, info, shape, fortran, dtype)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"npy version {version}; integer arrays are of (1, 0) or (2, 0)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers of Python 2
        shape, fortran, dtype = _HEADERS[version](file)
    return shape, fortran, dtype


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """Any error inside as one line that begins with `where`.

    zipfile and numpy raise a dozen types on damaged bytes, RuntimeError, zlib.error and TokenError among them.
    """
    try:
        yield
    except Exception as error:
        reason = shorten(str(error), _LETTERS, placeholder=" ...") or type(error).__name__
        raise ValueError(f"{where}: {reason}") from error
