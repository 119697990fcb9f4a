"""How codes lie in memories: packed rows and partial sums (docs/accelerator.md, sections 3 and 9), and rounding up."""

from collections.abc import Iterator
from typing import Any, TypeAlias

from hwsim.accelerator.hardware import Packing

Ints: TypeAlias = Any
"""A Python int or an array of integers: formulas of this type hold for both, element for element."""

PADDED_BITS = (2, 4, 8, 16, 32, 64)


def ceil_div(dividend: Ints, divisor: Ints) -> Ints:
    """Smallest integer that is at least dividend / divisor, for a divisor above 0."""
    return -(-dividend // divisor)


def round_up(value: Ints, step: Ints) -> Ints:
    """Smallest multiple of `step` that is at least `value`."""
    return step * ceil_div(value, step)


def shares(total: int) -> Iterator[int]:
    """Sizes of the largest of 1, 2, 3, ... blocks that are as equal as can be: ceil(total / blocks), each once."""
    size, blocks = total + 1, 0
    while size > 1:
        blocks += 1
        if ceil_div(total, blocks) < size:
            size = ceil_div(total, blocks)
            yield size


def positive(value: Ints) -> Ints:
    """max(0, value)."""
    return value * (value > 0)


def greater(first: Ints, second: Ints) -> Ints:
    """max(first, second)."""
    return first + positive(second - first)


def stored_bits(bits: int, packing: Packing) -> int:
    """Bits that a code of `bits` bits takes.

    Raises
    ------
    ValueError
        If padded codes are wider than 64 bits.
    """
    if packing is Packing.DENSE:
        return bits
    if bits > PADDED_BITS[-1]:
        raise ValueError(f"codes of {bits} bits; padded ones have up to {PADDED_BITS[-1]}")
    return min(width for width in PADDED_BITS if width >= bits)


def row_bytes(codes: Ints, bits: int, packing: Packing = Packing.DENSE) -> Ints:
    """Bytes of a row of codes; rows begin at a byte."""
    return ceil_div(codes * stored_bits(bits, packing), 8)


def transfer_cycles(size: Ints, latency: int, burst: int, clock: int, bandwidth: int) -> Ints:
    """Equation (9): `clock` cycles and `bandwidth` bytes are those of the same time."""
    return (size > 0) * (latency + ceil_div(round_up(size, burst) * clock, bandwidth))


def psum_bytes(accumulator_bits: int, psum_bits: int | None = None) -> int:
    """Bytes of a stored partial sum: `psum_bits` if it is given, else the accumulator's, in whole bytes."""
    return int(ceil_div(psum_bits or accumulator_bits, 8))
