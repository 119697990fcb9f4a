"""The residual sum that rescales each operand first."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conformance import ours
from tests.conformance.cases import CODES, batches, generator, multipliers, quantize_multiplier
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


def tflite_ratios(scales: tuple[float, float, float], left_shift: int) -> list[tuple[str, int, int]]:
    """The three requantizations that TensorFlow Lite makes of the scales of an ADD."""
    a, b, out = (float(np.float32(scale)) for scale in scales)
    twice = 2 * max(a, b)
    return [("q31_double", *quantize_multiplier(r)) for r in (a / twice, b / twice, twice / ((1 << left_shift) * out))]


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
    comparison = results.start(f"add, each operand q31_double, int{bits}", oracle, target)
    for batch in batches(CODES, SIZE):
        rng = generator(f"ADD {bits} {batch}")
        a, b = pairs(rng, dtype)
        scales = SCALES[batch] if batch < len(SCALES) else tuple(rng.uniform(0.01, 1.0, 3).tolist())
        zeros = tuple(rng.integers(-9, 9, 3).tolist()) if bits == 8 else (0, 0, 0)
        want = add(a, b, scales=scales, zero_points=zeros)
        *operands, output = tflite_ratios(scales, left_shift)
        got = ours.residual(
            a, b, zeros=zeros[:2], operands=operands, output=output, left_shift=left_shift, zero_point=zeros[2], bits=bits
        )
        comparison.add(got, want, case=f"scales {scales}, zero points {zeros}")
    comparison.finish(CODES)


def test_ibert_addition(results: Results) -> None:
    """FixedPointMul with an identity branch: two dyadic roundings, then the sum."""
    comparison = results.start("add, each operand dyadic", "transformers", "I-BERT")
    for batch in batches(CODES, SIZE):
        rng = generator(f"identity {batch}")
        a, b = pairs(rng, np.int8 if batch % 2 else np.int16)
        m, e = multipliers(rng, 2, 1, (1 << 16) - 1), rng.integers(8, 20, 2)
        if batch < 4:
            m, e = np.array([(1, 3), (3, 1), (5, 3), (1, 1)][batch]), np.array([3, 3])
        ratios = m / np.exp2(e)
        want = ibert.requantize(a, np.full(SIZE, ratios[0]), 8, b, np.full(SIZE, ratios[1]))
        operands = [("dyadic", int(m[i]), int(e[i])) for i in range(2)]
        got = ours.residual(a, b, zeros=(0, 0), operands=operands, output=None, left_shift=0, zero_point=0, bits=8)
        comparison.add(got, want, case=f"multipliers {m}, shifts {e}")
    comparison.finish(CODES)
