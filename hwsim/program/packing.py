"""Codes packed at their width: element after element, lowest bit first, each row (last axis) padded to a whole byte.

And the file that they come in.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors import SafetensorError

from hwsim.formats import IntFormat
from hwsim.program.constants import carrier

BITS_AT_ONCE = 1 << 20


def row_bytes(length: int, bits: int) -> int:
    """Bytes of one packed row."""
    return (length * bits + 7) // 8


def packed_bytes(shape: Sequence[int], bits: int) -> int:
    """Bytes of a packed array."""
    return math.prod(shape[:-1]) * row_bytes(shape[-1], bits)


def pack(codes: NDArray[Any], fmt: IntFormat) -> NDArray[np.uint8]:
    """Pack integer codes (any shape, values within `fmt`) into (rows, row_bytes) bytes."""
    rows = codes.reshape(-1, codes.shape[-1])
    if whole := _whole(fmt):
        return rows.astype(whole).view(np.uint8)
    packed = np.empty((len(rows), row_bytes(rows.shape[1], fmt.bits)), np.uint8)
    for some in _parts(rows.shape, fmt.bits):
        bits = (rows[some, :, None].astype(np.int64) >> np.arange(fmt.bits)) & 1
        packed[some] = np.packbits(bits.reshape(len(bits), -1).astype(np.uint8), axis=1, bitorder="little")
    return packed


def unpack(packed: NDArray[np.uint8], shape: Sequence[int], fmt: IntFormat, name: str = "") -> NDArray[Any]:
    """Invert `pack`: codes in the narrowest type that holds the format.

    Raises
    ------
    ValueError
        If the byte count does not fit the shape, or padding bits are set.
    """
    expected = (math.prod(shape[:-1]), row_bytes(shape[-1], fmt.bits))
    if packed.shape != expected:
        raise ValueError(f"constant {name}: packed array of shape {packed.shape}, expected {expected}")
    if whole := _whole(fmt):
        return packed.view(whole).astype(carrier(fmt)).reshape(tuple(shape))
    used = shape[-1] * fmt.bits
    weights = np.left_shift(np.int64(1), np.arange(fmt.bits, dtype=np.int64))
    if fmt.signed:
        weights[-1] = -weights[-1]
    codes = np.empty((expected[0], shape[-1]), carrier(fmt))
    for some in _parts(codes.shape, fmt.bits):
        bits = np.unpackbits(packed[some], axis=1, bitorder="little")
        if bits[:, used:].any():
            raise ValueError(f"constant {name}: padding bits are not zero")
        codes[some] = bits[:, :used].reshape(len(bits), shape[-1], fmt.bits).astype(np.int64) @ weights
    return codes.reshape(tuple(shape))


def _whole(fmt: IntFormat) -> np.dtype[Any] | None:
    """The type of codes that fill all bits of their type, as they lie in the file."""
    dtype = np.dtype(carrier(fmt))
    return dtype.newbyteorder("<") if fmt.bits == 8 * dtype.itemsize else None


def _parts(shape: tuple[int, ...], bits: int) -> Iterator[slice]:
    """Rows by so many that their bits, an int64 each, stay few."""
    rows = max(1, BITS_AT_ONCE // max(1, shape[1] * bits))
    return (slice(first, first + rows) for first in range(0, shape[0], rows))


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
