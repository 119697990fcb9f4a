"""Requantize (1), the shift for sqrt(d_head) (3), ReLU (6) and the generator (9)."""

from fractions import Fraction

from .formats import clamp, limits, saturate_row
from .rounding import ROUNDINGS, half_even

INTEGERS = list[int]
MATRIX = list[list[int]]


def of_channel(values: INTEGERS, channel: int) -> int:
    """The value of one channel: a list of length 1 serves every channel."""
    return values[0] if len(values) == 1 else values[channel]


def rounded(acc: MATRIX, multiplier: INTEGERS, shift: INTEGERS) -> MATRIX:
    """HALF_EVEN(acc * m / 2^e), the rounding of (1), channels along the last axis."""
    return [
        [
            half_even(Fraction(value * of_channel(multiplier, channel), 2 ** of_channel(shift, channel)))
            for channel, value in enumerate(row)
        ]
        for row in acc
    ]


def requantize(acc: MATRIX, multiplier: INTEGERS, shift: INTEGERS, zero_point: int, lo: int, hi: int) -> MATRIX:
    """q = clamp(HALF_EVEN(acc * m / 2^e) + z) (1)."""
    return [[clamp(value + zero_point, lo, hi) for value in row] for row in rounded(acc, multiplier, shift)]


def shift_right(acc: MATRIX, k: int, rounding: str = "half_even") -> MATRIX:
    """shifted = HALF_EVEN(acc / 2^k) (3), or by another of the five roundings."""
    rounds = ROUNDINGS[rounding]
    return [[rounds(Fraction(value, 2**k)) for value in row] for row in acc]


def shift_of_head(d_head: int) -> int:
    """k = floor(log2(sqrt(d_head))) (3): the largest k with 4^k <= d_head."""
    return max(k for k in range(d_head.bit_length()) if 4**k <= d_head)


def shift_of_head_dropped(d_head: int) -> int:
    """k = HALF_EVEN(log2(sqrt(d_head))) (3), mode `dropped`."""
    k = shift_of_head(d_head)
    tie = 2 * 4**k  # log2(sqrt(d_head)) = k + 1/2
    if d_head == tie:
        return half_even(Fraction(2 * k + 1, 2))
    return k if d_head < tie else k + 1


def relu(acc: MATRIX) -> MATRIX:
    """relu(acc) = max(acc, 0) (6)."""
    return [[max(value, 0) for value in row] for row in acc]


def generator(acc: MATRIX, multiplier: INTEGERS, shift: INTEGERS) -> tuple[MATRIX, int]:
    """logits[v] = sat32(HALF_EVEN(acc[v] * m[v] / 2^e)) (9), and the saturation events."""
    lo, hi = limits(32, signed=True, narrow=False)
    rows = [saturate_row(row, lo, hi) for row in rounded(acc, multiplier, shift)]
    return [row for row, _ in rows], sum(events for _, events in rows)
