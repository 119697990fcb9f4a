"""Reads a program file: decoded by type, unpacked, and validated before anyone sees it."""

from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from hwsim.program.packing import open_arrays, unpack
from hwsim.program.program import ANEW, EARLIER, FILE_VERSION, Manifest, Program
from hwsim.program.validate import validate
from hwsim.reading import read_whole


def load(path: Path | str) -> Program:
    """Read and fully check a program file.

    Raises
    ------
    ValueError
        If the file is missing, truncated, of another version, inconsistent, or not proven safe; names the culprit.
    """
    path = Path(path)
    content = read_whole(path, "program")
    try:
        arrays, metadata = open_arrays(content)
        del content  # the arrays are copies
        return _decode(arrays, metadata)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a valid program: {' '.join(str(error).splitlines())}") from error


class _Head(msgspec.Struct):
    """The fields of a manifest that decide how to read the others, or how to refuse them."""

    version: object = None
    arithmetic: object = None


def _decode(arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> Program:
    if "hwsim" not in metadata:
        raise ValueError("its metadata has no field 'hwsim'; it is some other safetensors file")
    try:
        head = msgspec.json.decode(metadata["hwsim"], type=_Head)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"its manifest is not a JSON object ({error})") from error
    if head.version != FILE_VERSION:
        raise ValueError(f"file version {head.version!r}; this hwsim reads version {FILE_VERSION}; {ANEW}")
    try:
        program = _unpacked(metadata["hwsim"], arrays)
        validate(program)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        if head.arithmetic not in list(EARLIER) or ANEW in str(error):
            raise
        raise ValueError(f"{error}; its arithmetic is {head.arithmetic!r}; {ANEW}") from error
    return program


def _unpacked(text: str, arrays: dict[str, NDArray[Any]]) -> Program:
    manifest = msgspec.json.decode(text, type=Manifest)
    constants = {}
    for info in manifest.constants:
        packed = arrays.pop(info.name, None)  # unpacked, it goes
        if packed is None:
            missing = "is declared twice" if info.name in constants else "has no packed array"
            raise ValueError(f"constant {info.name} {missing}")
        constants[info.name] = unpack(packed, info.shape, info.format, info.name)
    for name in arrays:
        raise ValueError(f"array {name} is not declared as a constant")
    return Program(manifest, constants)
