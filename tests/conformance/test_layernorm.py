"""I-BERT's layer normalisation."""

from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conformance import ours
from tests.conformance.cases import CODES, generator
from tests.conformance.comparison import Results
from tests.conformance.oracles import ibert

SCALE = 2.0**-4
RATIOS = {8: ((1, 24), (3, 26), (1, 18)), 16: ((1, 24), (3, 18), (1, 13))}
"""Multipliers and shifts to 8 and 16 bits; the last saturate."""


def varied_rows(rng: np.random.Generator, count: int, length: int, dtype: type) -> NDArray[np.int64]:
    """Rows of every spread; the first hold both ends, one end but for one element, one deviation of 1."""
    info = np.iinfo(dtype)
    spread, centre = np.exp2(rng.uniform(0, info.bits, (count, 1))), rng.uniform(info.min, info.max, (count, 1)) / 2
    result = np.clip(np.rint(centre + spread * rng.normal(size=(count, length))), info.min, info.max).astype(np.int64)
    result[0], result[1], result[2] = info.min, info.max, 5
    result[0, ::2], result[1, 0], result[2, -1] = info.max, info.min, 6
    constant = (result == result[:, :1]).all(axis=1)
    result[constant, 0] -= np.where(result[constant, 0] > 0, 1, -1)
    return result


def shifted(x: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """The least shift for which the sum of squares of every row stays below 2^32, and the rows that it leaves any."""
    deviation = x - np.rint(x.mean(axis=1, keepdims=True)).astype(np.int64)
    shift = next(t for t in range(32) if ((deviation >> t) ** 2).sum(axis=1).max() < 1 << 32)
    return x[(deviation >> shift != 0).any(axis=1)], shift


def tied_biases(rng: np.random.Generator, length: int, bits: int) -> NDArray[np.int64]:
    """Biases that are ties of one of the ratios, met wherever a code equals its row's mean."""
    shift = rng.choice([shift for _, shift in RATIOS[bits]], length)
    return (2 * rng.integers(-60, 60, length) + 1) << (shift - 1)


@pytest.mark.parametrize("length", [2, 3, 48, 64, 384])
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_ibert_layernorm(results: Results, length: int, dtype: type) -> None:
    """IntLayerNorm, and FixedPointMul from its integers to codes."""
    bits = np.iinfo(dtype).bits
    comparison = results.start("ibert_layernorm", "transformers", "I-BERT", case=f"int{bits}, rows of {length}")
    rng = generator(f"layernorm {length} {bits}")
    x, shift = shifted(varied_rows(rng, 16 + CODES // (2 * length), length, dtype))
    sign, bias, step = rng.choice([-1.0, 1.0], length), tied_biases(rng, length, bits), sqrt(length) / 2**30
    real, out_scale = ibert.layernorm(x, sign, (bias * sign + 0.5) * step * sign, scale=SCALE, shift=shift)
    assert np.allclose(out_scale, sign * step)
    wide = (real * sign).astype(np.int64)
    for m, e in RATIOS[bits]:
        want = ibert.requantize(wide, np.full(length, m / 2.0**e), bits)
        got = ours.ibert_layernorm(x, sign, bias, (m, e), variance_shift=shift, bits=bits)
        comparison.add(got, want, case=f"ratio {m}/2^{e}")
        tie = (wide * m) & ((1 << e) - 1) == 1 << (e - 1)
        assert length < 48 or ((tie & (wide > 0)).any() and (tie & (wide < 0)).any())
    assert {got.min(), got.max()} == {np.iinfo(dtype).min, np.iinfo(dtype).max}
    comparison.finish(CODES)


def test_ibert_divides_by_the_zero_variance_of_constant_rows(results: Results) -> None:
    deviation = "0 * floor(2^31 / 0) is not a number; hwsim raises the deviation to 1 and leaves the bias"
    comparison = results.start("ibert_layernorm", "transformers", "I-BERT", deviation, case="constant rows")
    x = np.arange(-128, 128).repeat(64).reshape(256, 64)
    want, _ = ibert.layernorm(x, np.ones(64), np.zeros(64), scale=SCALE, shift=0)
    got = ours.ibert_layernorm(x, np.ones(64), np.zeros(64), (1, 0), variance_shift=0, bits=8)
    comparison.add(got, want, explained=np.isnan(want) & (got == 0))
    comparison.finish(x.size)
