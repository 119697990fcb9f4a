"""Reads a program file: decoded by type, unpacked, and validated before anyone sees it."""

from pathlib import Path

import msgspec

from hwsim.program.packing import open_arrays, unpack
from hwsim.program.program import ANEW, FILE_VERSION, Manifest, Program
from hwsim.program.validate import validate


def load(path: Path | str) -> Program:
    """Read and fully check a program file.

    Raises
    ------
    ValueError
        If the file is missing, truncated, of another version, inconsistent, or not proven safe; names the culprit.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # a device or a pipe might never end
        raise ValueError(f"cannot read program {path}: it is not a regular file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read program {path}: {error.strerror}") from error
    try:
        program = _decode(content)
        validate(program)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a valid program: {' '.join(str(error).splitlines())}") from error
    return program


class _Head(msgspec.Struct):
    """The field of a manifest that decides how to read the others."""

    version: object = None


def _decode(content: bytes) -> Program:
    arrays, metadata = open_arrays(content)
    if "hwsim" not in metadata:
        raise ValueError("its metadata has no field 'hwsim'; it is some other safetensors file")
    try:
        version = msgspec.json.decode(metadata["hwsim"], type=_Head).version
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"its manifest is not a JSON object ({error})") from error
    if version != FILE_VERSION:
        raise ValueError(f"file version {version!r}; this hwsim reads version {FILE_VERSION}; {ANEW}")
    manifest = msgspec.json.decode(metadata["hwsim"], type=Manifest)
    constants = {}
    for info in manifest.constants:
        packed = arrays.get(info.name)
        if packed is None:
            raise ValueError(f"constant {info.name} has no packed array")
        constants[info.name] = unpack(packed, info.shape, info.format, info.name)
    for name in arrays:
        if name not in constants:
            raise ValueError(f"array {name} is not declared as a constant")
    return Program(manifest, constants)
