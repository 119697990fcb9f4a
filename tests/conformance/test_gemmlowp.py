"""The fixed-point primitives of gemmlowp against Vela's port of them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hwsim.arithmetic import gemmlowp
from tests.conformance.cases import CODES, batches, generator
from tests.conformance.comparison import Results
from tests.conformance.oracles import vela

SIZE = 1 << 17
LEAST, GREATEST = -(1 << 31), (1 << 31) - 1
ENDS = np.array([LEAST, LEAST + 1, *(end + step for end in (-(1 << 30), 0, 1 << 30) for step in (-1, 0, 1)), GREATEST])
Integers = NDArray[np.int64]


def numbers(rng: np.random.Generator) -> Integers:
    """32-bit numbers of every magnitude, and every eleventh from the ends of the range."""
    magnitude = np.exp2(rng.uniform(0, 31, SIZE)).astype(np.int64)
    result = np.clip(rng.choice([-1, 1], SIZE) * magnitude, LEAST, GREATEST)
    result[::11] = rng.choice(ENDS, result[::11].size)
    return result


def each(function: Callable[..., int], *columns: Integers) -> Integers:
    """The scalar function of every row of the columns."""
    return np.array([function(*row) for row in zip(*(column.tolist() for column in columns), strict=True)], np.int64)


def test_doubling_high_multiply(results: Results) -> None:
    comparison = results.start("gemmlowp.doubling_high_multiply", "ethos-u-vela", "Ethos-U")
    for batch in batches(CODES, SIZE):
        rng = generator(f"S {batch}")
        a, b = numbers(rng), numbers(rng)
        a[::3] = 1 << 30
        b[:100] = a[:100] = LEAST
        want = vela.high_multiply(a, b)
        comparison.add(each(gemmlowp.doubling_high_multiply, a, b), want)
        ties = (a * b) & GREATEST == 1 << 30
        assert (ties & (want > 0)).sum() > 1000 and (ties & (want < 0)).sum() > 1000
    comparison.finish(CODES)


def test_rounding_divide(results: Results) -> None:
    comparison = results.start("gemmlowp.rounding_divide", "ethos-u-vela", "Ethos-U")
    for batch in batches(CODES, SIZE):
        rng = generator(f"R {batch}")
        a, shift = numbers(rng), rng.integers(0, 31, SIZE, endpoint=True)
        half = (np.int64(1) << shift) >> 1
        a = np.where(np.arange(SIZE) % 3 == 0, (a >> shift << shift) + half, a).clip(LEAST, GREATEST)
        comparison.add(each(gemmlowp.rounding_divide, a, shift), vela.divide_by_power_of_two(a, shift))
        ties = (half > 0) & (a & ((np.int64(1) << shift) - 1) == half)
        assert (ties & (a > 0)).sum() > 1000 and (ties & (a < 0)).sum() > 1000
    comparison.finish(CODES)


def test_saturating_shift_left(results: Results) -> None:
    comparison = results.start("gemmlowp.saturating_shift_left", "ethos-u-vela", "Ethos-U")
    for batch in batches(CODES, SIZE):
        rng = generator(f"satshl {batch}")
        a, shift = numbers(rng), rng.integers(0, 31, SIZE, endpoint=True)
        want = vela.saturating_shift_left(a, shift)
        comparison.add(each(gemmlowp.saturating_shift_left, a, shift), want)
        assert (want == LEAST).any() and (want == GREATEST).any()
    comparison.finish(CODES)


def test_exponential(results: Results) -> None:
    comparison = results.start("gemmlowp.exp_on_negative", "ethos-u-vela", "Ethos-U")
    for batch in batches(CODES, SIZE):
        a = -np.abs(numbers(generator(f"exp {batch}")))
        a[: 1 << 12] = -(np.arange(1 << 12) << 19)
        comparison.add(each(gemmlowp.exp_on_negative, a), vela.exp_on_negative_values(a))
    comparison.finish(CODES)
