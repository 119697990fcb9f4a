"""Codes and ratios to compare on: seeded, with ties of both signs, saturations and the ends of every range."""

import os
from math import floor, frexp
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

CODES = int(os.environ.get("HWSIM_CONFORMANCE_CODES", "1000000"))
"""Codes compared for each operator and oracle, at least."""

Integers = NDArray[np.int64]


class Words(NamedTuple):
    """Accumulators and their ratios multiplier / 2^shift, all int64 of one length."""

    x: Integers
    multiplier: Integers
    shift: Integers


def generator(name: str) -> np.random.Generator:
    """A generator seeded by a name, the same on every run."""
    return np.random.default_rng(crc32(name.encode()))


def few_bits(rng: np.random.Generator, count: int, low: int, high: int) -> Integers:
    """Multipliers in [low, high] with at most two significant bits: with others ties hardly ever occur."""
    tops = [1 << i for i in range(high.bit_length())]
    pairs = {top + other for top in tops for other in (0, *tops) if other < top}
    return rng.choice(np.array([m for m in sorted(pairs) if low <= m <= high], np.int64), count)


def multipliers(rng: np.random.Generator, count: int, low: int, high: int) -> Integers:
    """Multipliers in [low, high], every third with at most two significant bits."""
    result = rng.integers(low, high, count, endpoint=True)
    result[::3] = few_bits(rng, result[::3].size, low, high)
    return result


def words(
    rng: np.random.Generator,
    count: int,
    *,
    multiplier: tuple[int, int],
    shift: tuple[int, int],
    span: int,
    bits: int = 32,
    headroom: int = 63,
) -> Words:
    """Accumulators whose scaled value mostly lies within +-span, a tenth anywhere, a third of them at or beside a tie.

    Parameters
    ----------
    multiplier, shift : (least, greatest)
    span : int
        About one and a half times the greatest output.
    bits : int
        Signed bits of an accumulator.
    headroom : int
        An accumulator is a number of shift + headroom - 30 signed bits: what a left shift, or TOSA, has room for.
    """
    m = multipliers(rng, count, *multiplier)
    e = rng.integers(shift[0], shift[1], count, endpoint=True)
    limit = np.minimum(2.0 ** (bits - 1), np.exp2(np.minimum(e - 31.0 + headroom, 62.0)))
    value = rng.uniform(-span, span, count)
    value[3::10] *= np.exp2(rng.uniform(0, 40, value[3::10].size))
    x = np.clip(np.rint(value * np.exp2(e) / m), -limit, limit - 1).astype(np.int64)
    x = _towards_ties(rng, x, m, e, limit)
    ends = np.stack([0 * limit, 1 + 0 * limit, -1 + 0 * limit, limit - 1, -limit, 1 - limit]).astype(np.int64)
    places = np.arange(7, count, 97)
    x[places] = ends[np.arange(places.size) % len(ends), places]
    return Words(x, m, e)


def _towards_ties(rng: np.random.Generator, x: Integers, m: Integers, e: Integers, limit: Any) -> Integers:
    """Every third accumulator moved to the nearest odd multiple of half a result, or beside it, if that is in range."""
    fraction = np.clip(e - _trailing_zeros(m), 1, 62)
    half = np.int64(1) << (fraction - 1)
    tie = ((x >> fraction) << fraction) + half + rng.choice([-1, 0, 0, 0, 1], x.size)
    moved = (np.arange(x.size) % 3 == 0) & (np.abs(tie) < limit) & (half < limit)
    return np.where(moved, tie, x)


def _trailing_zeros(m: Integers) -> Integers:
    return np.asarray(np.log2((m & -m).astype(np.float64)).astype(np.int64))


def count_ties(cases: Words) -> tuple[int, int]:
    """How many x * multiplier / 2^shift lie halfway between two integers, above and below zero."""
    fraction = np.clip(cases.shift - _trailing_zeros(cases.multiplier), 0, 62)
    half = (np.int64(1) << fraction) >> 1
    tie = (fraction > 0) & ((cases.x & ((np.int64(1) << fraction) - 1)) == half)
    return int((tie & (cases.x > 0)).sum()), int((tie & (cases.x < 0)).sum())


def assert_reached(cases: Words, q: NDArray[Any], lo: int, hi: int) -> None:
    """Assert that ties of both signs and both ends of the output occur."""
    assert min(count_ties(cases)) > 100, count_ties(cases)
    assert (q == lo).sum() > 100 and (q == hi).sum() > 100, (lo, hi)


def quantize_multiplier(ratio: float) -> tuple[int, int]:
    """Multiplier of 31 bits and shift, multiplier / 2^shift nearly the ratio: what TensorFlow Lite makes of it."""
    fraction, exponent = frexp(ratio)
    multiplier = floor(fraction * 2**31 + 0.5)
    if multiplier == 1 << 31:
        multiplier, exponent = 1 << 30, exponent + 1
    return multiplier, 31 - exponent


def batches(total: int, size: int) -> range:
    """Numbers of the batches of `size` that make up at least `total`."""
    return range(-(-total // size))
