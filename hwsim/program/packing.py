"""Codes packed at their width: element after element, lowest bit first, each row (last axis) padded to a whole byte.

And the file that they come in.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors import SafetensorError

from hwsim.formats import IntFormat


def row_bytes(length: int, bits: int) -> int:
    """Bytes of one packed row."""
    return (length * bits + 7) // 8


def packed_bytes(shape: Sequence[int], bits: int) -> int:
    """Bytes of a packed array."""
    return math.prod(shape[:-1]) * row_bytes(shape[-1], bits)


def pack(codes: NDArray[Any], fmt: IntFormat) -> NDArray[np.uint8]:
    """Pack integer codes (any shape, values within `fmt`) into (rows, row_bytes) bytes."""
    rows = codes.reshape(-1, codes.shape[-1]).astype(np.int64)
    bits = (rows[:, :, None] >> np.arange(fmt.bits)) & 1
    return np.packbits(bits.reshape(len(rows), -1).astype(np.uint8), axis=1, bitorder="little")


def unpack(packed: NDArray[np.uint8], shape: Sequence[int], fmt: IntFormat, name: str = "") -> NDArray[Any]:
    """Invert `pack`: int32 codes if the format fits in it, else int64.

    Raises
    ------
    ValueError
        If the byte count does not fit the shape, or padding bits are set.
    """
    expected = (math.prod(shape[:-1]), row_bytes(shape[-1], fmt.bits))
    if packed.shape != expected:
        raise ValueError(f"constant {name}: packed array of shape {packed.shape}, expected {expected}")
    bits = np.unpackbits(packed, axis=1, bitorder="little")
    used = shape[-1] * fmt.bits
    if bits[:, used:].any():
        raise ValueError(f"constant {name}: padding bits are not zero")
    weights = np.left_shift(np.int64(1), np.arange(fmt.bits, dtype=np.int64))
    if fmt.signed:
        weights[-1] = -weights[-1]
    codes = bits[:, :used].reshape(-1, fmt.bits).astype(np.int64) @ weights
    return codes.reshape(tuple(shape)).astype(np.int32 if fmt.bits - int(fmt.signed) <= 31 else np.int64)


class _Header(msgspec.Struct):
    """What the header of a safetensors file says beside the arrays."""

    metadata: dict[str, str] | None = msgspec.field(default=None, name="__metadata__")


def open_arrays(content: bytes) -> tuple[dict[str, NDArray[np.uint8]], dict[str, str]]:
    """The byte arrays of a safetensors file, and its metadata.

    Raises
    ------
    ValueError
        If it is no whole safetensors file, or holds an array of another type than uint8.
    """
    try:
        entries = dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]
        length = int.from_bytes(content[:8], "little")
        metadata = msgspec.json.decode(content[8 : 8 + length], type=_Header).metadata or {}
    except (SafetensorError, ValueError, msgspec.DecodeError) as error:
        raise ValueError(f"not a whole safetensors file ({error})") from error
    for name, entry in entries.items():
        if entry["dtype"] != "U8":
            raise ValueError(f"array {name} is of {entry['dtype']}; a program's arrays are packed bytes, U8")
    arrays = {name: np.frombuffer(entry["data"], np.uint8).reshape(entry["shape"]) for name, entry in entries.items()}
    return arrays, metadata
