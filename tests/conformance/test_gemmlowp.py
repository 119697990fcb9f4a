"""The fixed-point primitives of gemmlowp against Vela's port of them."""

import numpy as np
from numpy.typing import NDArray

from hwsim import gemmlowp
from tests.conformance.cases import CODES, generator
from tests.conformance.comparison import Results
from tests.conformance.oracles import vela

ENDS = [-(1 << 31), 1 - (1 << 31), -(1 << 30) - 1, -(1 << 30), 1 - (1 << 30), -3, -2, -1, 0, 1, 2, 3, 1 << 30, (1 << 31) - 1]


def numbers(name: str) -> NDArray[np.int64]:
    """32-bit numbers of every magnitude, and every eleventh from the ends of the range."""
    rng = generator(name)
    magnitude = np.exp2(rng.uniform(0, 31, CODES)).astype(np.int64)
    result = np.clip(rng.choice([-1, 1], CODES) * magnitude, -(1 << 31), (1 << 31) - 1)
    result[::11] = rng.choice(ENDS, result[::11].size)
    return result


def each(function: object, *columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The scalar function of every row of the columns."""
    return np.array([function(*row) for row in zip(*(column.tolist() for column in columns), strict=True)], np.int64)


def test_doubling_high_multiply(results: Results) -> None:
    comparison = results.start("gemmlowp doubling high multiply", "ethos-u-vela", "Ethos-U")
    a, b = numbers("S a"), numbers("S b")
    a[::3] = 1 << 30
    b[:100] = a[:100] = -(1 << 31)
    want = vela.high_multiply(a, b)
    comparison.add(each(gemmlowp.doubling_high_multiply, a, b), want)
    ties = (a * b) & ((1 << 31) - 1) == 1 << 30
    assert (ties & (want > 0)).sum() > 1000 and (ties & (want < 0)).sum() > 1000
    comparison.finish(CODES)


def test_rounding_divide(results: Results) -> None:
    comparison = results.start("gemmlowp rounding divide by a power of two", "ethos-u-vela", "Ethos-U")
    a, shift = numbers("R"), generator("R shift").integers(0, 31, CODES, endpoint=True)
    near = np.arange(CODES) % 3 == 0
    a[near] = (a[near] >> shift[near] << shift[near]) + ((np.int64(1) << shift[near]) >> 1)
    a = a.clip(-(1 << 31), (1 << 31) - 1)
    comparison.add(each(gemmlowp.rounding_divide, a, shift), vela.divide_by_power_of_two(a, shift))
    comparison.finish(CODES)


def test_saturating_shift_left(results: Results) -> None:
    comparison = results.start("gemmlowp saturating shift left", "ethos-u-vela", "Ethos-U")
    a, shift = numbers("satshl"), generator("satshl shift").integers(0, 31, CODES, endpoint=True)
    want = vela.saturating_shift_left(a, shift)
    comparison.add(each(gemmlowp.saturating_shift_left, a, shift), want)
    assert (want == -(1 << 31)).any() and (want == (1 << 31) - 1).any()
    comparison.finish(CODES)


def test_exponential(results: Results) -> None:
    comparison = results.start("gemmlowp exp on negative values", "ethos-u-vela", "Ethos-U")
    a = -np.abs(numbers("exp"))
    a[: 1 << 12] = -(np.arange(1 << 12) << 19)
    comparison.add(each(gemmlowp.exp_on_negative, a), vela.exp_on_negative_values(a))
    comparison.finish(CODES)
