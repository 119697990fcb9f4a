"""The residual sum that rescales each operand first."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conformance import ours
from tests.conformance.cases import CODES, Words, batches, count_ties, generator, multipliers, quantize_multiplier
from tests.conformance.comparison import Results
from tests.conformance.oracles import ibert, litert, tflm

Add = Callable[..., NDArray[Any]]
SIZE = 1 << 16
SCALES = [
    (1.0, 1.0, 2.0),
    (1.0, 0.5, 1.0),
    (0.25, 0.5, 0.75),
    (0.3, 0.2, 0.1),
    (1.0, 0.0123, 3.7),
    (0.011, 0.017, 0.0193),
    (0.5, 2.0**-9, 0.25),
    (1.0, 3.0, 4.0),
]


def tflite_ratios(scales: tuple[float, float, float], left_shift: int) -> list[tuple[int, int]]:
    """The three requantizations that TensorFlow Lite makes of the scales of an ADD."""
    a, b, out = (float(np.float32(scale)) for scale in scales)
    twice = 2 * max(a, b)
    return [quantize_multiplier(ratio) for ratio in (a / twice, b / twice, twice / ((1 << left_shift) * out))]


def pairs(rng: np.random.Generator, dtype: type) -> tuple[NDArray[Any], NDArray[Any]]:
    """All pairs of 8-bit codes; random 16-bit ones with the ends among them."""
    if dtype is np.int8:
        a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
        return a.reshape(-1).astype(dtype), b.reshape(-1).astype(dtype)
    codes = rng.integers(-32768, 32768, (2, SIZE)).astype(dtype)
    codes[:, :1024] = rng.choice(np.array([-32768, -32767, -1, 0, 1, 32767], dtype), (2, 1024))
    return codes[0], codes[1]


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize(
    ("oracle", "target", "add"),
    [("tflite_micro", "TFLM, CMSIS-NN", tflm.add), ("ai-edge-litert", "LiteRT reference kernels", litert.add)],
)
def test_tflite_addition(results: Results, oracle: str, target: str, add: Add, dtype: type) -> None:
    bits, left_shift = (8, 20) if dtype is np.int8 else (16, 15)
    comparison = results.start("rescaled_add q31_double", oracle, target, case=f"int{bits}")
    for batch in batches(CODES, SIZE):
        rng = generator(f"ADD {bits} {batch}")
        a, b = pairs(rng, dtype)
        scales = SCALES[batch] if batch < len(SCALES) else tuple(rng.uniform(0.01, 1.0, 3).tolist())
        zeros = tuple(rng.integers(-9, 9, 3).tolist()) if bits == 8 else (0, 0, 0)
        want = add(a, b, scales=scales, zero_points=zeros)
        options = {"ratios": tflite_ratios(scales, left_shift), "left_shift": left_shift, "bits": bits}
        got = ours.rescaled_add(a, b, scheme="q31_double", zeros=zeros, **options)
        comparison.add(got, want, case=f"scales {scales}, zero points {zeros}")
    comparison.finish(CODES)


def test_ibert_addition(results: Results) -> None:
    """FixedPointMul with an identity branch: two dyadic roundings, then the sum."""
    comparison = results.start("rescaled_add dyadic", "transformers", "I-BERT")
    for batch in batches(CODES, SIZE):
        rng = generator(f"identity {batch}")
        a, b = pairs(rng, np.int8 if batch % 2 else np.int16)
        m, e = multipliers(rng, 2, 1, (1 << 16) - 1), rng.integers(8, 20, 2)
        if batch < 4:
            m, e = np.array([(1, 3), (3, 1), (5, 3), (1, 1)][batch]), np.array([3, 3])
        real = m / np.exp2(e)
        want = ibert.requantize(a, np.full(SIZE, real[0]), 8, b, np.full(SIZE, real[1]))
        ratios_of = list(zip(m.tolist(), e.tolist(), strict=True))
        got = ours.rescaled_add(a, b, scheme="dyadic", zeros=(0, 0, 0), ratios=ratios_of, left_shift=0, bits=8)
        comparison.add(got, want, case=f"multipliers {m}, shifts {e}")
        if batch < 4:
            assert min(count_ties(Words(a.astype(np.int64), m[0], e[0]))) > 1000
            assert a.dtype == np.int8 or ((want == -128).any() and (want == 127).any())
    comparison.finish(CODES)
