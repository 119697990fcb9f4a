"""Embedding with positions (8)."""

from fractions import Fraction

from .formats import clamp
from .requantize import of_channel
from .rounding import half_even


def embed(
    ids: list[int],
    first_position: int,
    table: list[list[int]],
    multipliers: list[int],
    positions: list[list[int]],
    position_multiplier: int,
    shift: int,
    zero_point: int,
    lo: int,
    hi: int,
) -> list[list[int]]:
    """q = clamp(HALF_EVEN((E[id]*m[id] + P[position]*m_p) / 2^e) + z) (8), row i at first_position + i."""
    rows: list[list[int]] = []
    for i, token in enumerate(ids):
        pairs = zip(table[token], positions[first_position + i], strict=True)
        totals = [code * of_channel(multipliers, token) + place * position_multiplier for code, place in pairs]
        rows.append([clamp(half_even(Fraction(total, 2**shift)) + zero_point, lo, hi) for total in totals])
    return rows
