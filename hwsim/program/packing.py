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

BITS_AT_ONCE = 1 << 17


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
        return rows.astype(whole, copy=False).view(np.uint8)
    packed = np.empty((len(rows), row_bytes(rows.shape[1], fmt.bits)), np.uint8)
    own = _stored(fmt)
    for some, columns, place in _parts(rows.shape, fmt.bits):
        codes = rows[some, columns].astype(own)
        bits = np.unpackbits(codes.reshape(-1).view(np.uint8), bitorder="little").reshape(*codes.shape, -1)
        packed[some, place] = np.packbits(bits[..., : fmt.bits].reshape(len(bits), -1), axis=1, bitorder="little")
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
        return packed.view(whole).astype(carrier(fmt), copy=False).reshape(tuple(shape))
    if (used := shape[-1] * fmt.bits % 8) and (packed[:, -1] >> used).any():
        raise ValueError(f"constant {name}: padding bits are not zero")
    codes, own = np.empty((expected[0], shape[-1]), carrier(fmt)), _stored(fmt)
    for some, columns, place in _parts(codes.shape, fmt.bits):
        part = codes[some, columns]
        bits = np.unpackbits(packed[some, place], axis=1, count=part.shape[1] * fmt.bits, bitorder="little")
        whole_bits = np.empty((*part.shape, 8 * own.itemsize), np.uint8)
        whole_bits[..., : fmt.bits] = bits.reshape(*part.shape, fmt.bits)
        whole_bits[..., fmt.bits :] = whole_bits[..., fmt.bits - 1 : fmt.bits] if fmt.signed else 0
        part[:] = np.packbits(whole_bits.reshape(-1), bitorder="little").view(own).reshape(part.shape)
    return codes.reshape(tuple(shape))


def _stored(fmt: IntFormat) -> np.dtype[Any]:
    """The type of codes, its bytes in the order of the file."""
    return np.dtype(carrier(fmt)).newbyteorder("<")


def _whole(fmt: IntFormat) -> np.dtype[Any] | None:
    """The type of codes that fill all bits of their type, as they lie in the file."""
    dtype = _stored(fmt)
    return dtype if fmt.bits == 8 * dtype.itemsize else None


def _parts(shape: tuple[int, ...], bits: int) -> Iterator[tuple[slice, slice, slice]]:
    """Rows and columns by so many that their bits, a byte each, stay few; and the bytes of those columns in a row."""
    columns = min(shape[1], BITS_AT_ONCE // bits // 8 * 8)  # of long rows whole bytes
    rows = max(1, BITS_AT_ONCE // (columns * bits))
    for first in range(0, shape[0], rows):
        for column in range(0, shape[1], columns):
            place = slice(column * bits // 8, row_bytes(min(column + columns, shape[1]), bits))
            yield slice(first, first + rows), slice(column, column + columns), place


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
