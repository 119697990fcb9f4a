"""What instructions say of their operands, and how kernels find them."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, flat, numbers_at
from hwsim.machine.record import Words


class Matrix(NamedTuple):
    """A tensor as rows: its first byte, and where `sizes` says how many rows and how long they are."""

    start: int
    rows: int
    width: int


class Vector(NamedTuple):
    """Constants: the first byte and how many."""

    start: int
    length: int


class Scale(NamedTuple):
    """Multipliers and shifts of a requantization, int64."""

    multiplier: Vector
    shift: Vector


class Slots(NamedTuple):
    """A resident cache: its first byte, bytes of a slot, the shape of a slot, and where the slot of each row stands."""

    start: int
    slot_bytes: int
    heads: int
    panels: int
    groups: int
    numbers: int


class Packing(NamedTuple):
    """How the second operand of a product is packed: the type of its numbers, and how many a group has."""

    dtype: NumberType
    size: int


QUADS, PAIRS = Packing(np.int8, 4), Packing(np.int16, 2)


@njit(cache=True, nogil=True)
def slot(state: Bytes, slots: Slots, number: int, head: int, size: int, dtype: Any) -> Any:
    """One head of one slot, a packed operand."""
    start = slots.start + number * slots.slot_bytes + head * (slots.slot_bytes // slots.heads)
    return numbers_at(state, start, (slots.panels, slots.groups, 16, size), dtype)


@njit(cache=True, nogil=True)
def vector_at(constants: Bytes, vector: Vector) -> Words:
    """A vector of int64."""
    return flat(constants, vector.start, vector.length, np.int64)
