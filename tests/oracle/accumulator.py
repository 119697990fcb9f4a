"""Accumulators of any width that are brought into range at every product, tile or sum (operators/accumulator.md)."""

from itertools import accumulate as running
from typing import NamedTuple

from .formats import clamp, limits, wrap


class Accumulation(NamedTuple):
    """What became of one acc[i,j]."""

    value: int
    events: int
    first: int | None
    """Which step first left the range: 0 for the bias, then 1 for each product, tile or sum; None if none did."""
    least: int
    greatest: int
    """The extremes of what was to fit: the exact bias, and each running sum, of an accumulator that is wide enough."""


def terms(products: list[int], granularity: str, tile: int) -> list[int]:
    """What is added at one go: a product (A1), the exact sum of a tile (A2), the exact sum of all (A3)."""
    size = {"mac": 1, "tile": tile, "end": max(len(products), 1)}[granularity]
    return [sum(products[start : start + size]) for start in range(0, len(products), size)]


def fit(t: int, bits: int, overflow: str) -> tuple[int, int]:
    """fit(t) and its overflow event."""
    lo, hi = limits(bits, signed=True, narrow=False)
    if lo <= t <= hi:
        return t, 0
    return clamp(t, lo, hi) if overflow == "saturate" else wrap(t, lo, bits), 1


def accumulate(
    bias: int, products: list[int], bits: int, overflow: str, granularity: str = "mac", tile: int = 1
) -> Accumulation:
    """One acc[i,j] of (A1), (A2) or (A3)."""
    acc, seen = 0, []
    steps = [bias, *terms(products, granularity, tile)]
    for term in steps:
        acc, event = fit(acc + term, bits, overflow)
        seen.append(event)
    exact = list(running(steps))
    return Accumulation(acc, sum(seen), seen.index(1) if 1 in seen else None, min(exact), max(exact))


def matmul_by(
    a: list[list[int]], b: list[list[int]], bias: list[int] | None, zeros: tuple[int, int], bits: int, overflow: str,
    granularity: str, tile: int = 1,
) -> list[list[Accumulation]]:  # fmt: skip
    """Every acc[i,j] of a matrix product under a granularity."""
    a_zero, b_zero = zeros
    return [
        [
            accumulate(
                0 if bias is None else bias[j],
                [(x - a_zero) * (y - b_zero) for x, y in zip(row, column, strict=True)],
                *(bits, overflow, granularity, tile),
            )
            for j, column in enumerate(b)
        ]
        for row in a
    ]


def a2q_bits(weights: list[int], input_bits: int, signed: bool) -> int:
    """The least P with |w|_1 * 2^(N - signed) <= 2^(P-1) - 1 (A4)."""
    largest: int = sum(abs(weight) for weight in weights) * 2 ** (input_bits - signed)
    return largest.bit_length() + 1


def least_bits(least: int, greatest: int) -> int:
    """The width of two's complement that holds both."""
    return (
        max((~least if least < 0 else least).bit_length(), (~greatest if greatest < 0 else greatest).bit_length()) + 1
    )
