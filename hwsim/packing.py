"""Codes packed at their width: element after element, lowest bit first, each row (last axis) padded to a whole byte."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """Invert `pack`: int32 codes for formats up to 32 bits, else int64.

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
    return codes.reshape(tuple(shape)).astype(np.int32 if fmt.bits <= 32 else np.int64)
