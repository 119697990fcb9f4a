"""TensorFlow Lite's integer layer normalisation, and the inverse square root in it."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim.arithmetic import gemmlowp
from hwsim.formats import Counter
from tests.conformance import ours
from tests.conformance.cases import CODES, generator, quantize_multiplier
from tests.conformance.comparison import Results
from tests.conformance.oracles import lstm, tflm
from tests.conformance.test_layernorm import varied_rows

STEEP = 3000
"""Of the normalised gates up to this, at a scale of 2^-12, most have a cell of their own."""
OWN = 0.85
"""So many of them at least; the others share a cell with one other."""


@pytest.fixture(scope="module")
def cells() -> NDArray[np.int16]:
    """The cell for each normalised gate of -2^15 .. 2^15 - 1."""
    found = lstm.cells_of_gates()
    _, which, sharing = np.unique(found, return_inverse=True, return_counts=True)
    sharers = sharing[which][(1 << 15) - STEEP : (1 << 15) + STEEP]
    assert sharers.max() == 2 and (sharers == 1).mean() > OWN
    return found


def gate_cases(name: str, length: int, gamma_scale: float) -> tuple[NDArray[Any], ...]:
    """Codes, diagonal weights, gamma and bias; rows that are constant, or as long as their variance is 0, included."""
    rng = generator(name)
    q = varied_rows(rng, 16 + CODES // length, length, np.int8)
    q[3], q[4] = 7, 0
    weight = rng.choice([2, 2, 2, -127, -1, 1, 3, 127], length)
    gamma = rng.integers(-6000, 6000, length) / (gamma_scale * 4096)
    return q, weight, gamma.clip(-32768, 32767).astype(np.int64), rng.integers(-(1 << 20), 1 << 20, length)


@pytest.mark.parametrize("gamma_scale", [2.0**-12, 2.0**-14, 2.2e-4])
@pytest.mark.parametrize("length", [2, 16, 48, 64])
def test_litert_lstm(results: Results, cells: NDArray[np.int16], length: int, gamma_scale: float) -> None:
    """LiteRT's cell, and the kernel's normalised gate put through LiteRT's own map from gates to cells."""
    case = f"rows of {length}, gamma scale {gamma_scale:.6g}"
    comparison = results.start("tflite_layernorm", "ai-edge-litert", "LiteRT integer LSTM", case=case)
    real = 0.5 if length % 3 else 2.0
    q, weight, gamma, bias = gate_cases(case, length, gamma_scale)
    want = lstm.cell_gate(q, weight, gamma, bias, ratio=real, gamma_scale=gamma_scale)
    x = ours.requantize("q31_double", q * weight, *quantize_multiplier(real), bits=16)
    multiplier, shift = quantize_multiplier(float(np.float32(gamma_scale)))
    limit = max(1, int(10_000 * gamma_scale))
    got, events = ours.tflite_layernorm(x, gamma, bias, (multiplier, shift - 12), variance_limit=limit)
    comparison.add(cells[got + (1 << 15)], want)
    assert (np.abs(got) < STEEP).mean() > 0.25
    assert events[Counter.DENOMINATOR_CLAMP] > 0
    comparison.finish(CODES)


def test_tflm_inverse_square_root(results: Results) -> None:
    """L2_NORMALIZATION scales each row by its inverse square root, 7 fractional bits kept."""
    comparison = results.start("gemmlowp.inverse_sqrt", "tflite_micro", "TFLM L2_NORMALIZATION")
    for length in (1, 2, 5, 64, 700):
        rng = generator(f"L2 {length}")
        x = varied_rows(rng, max(8, -(-CODES // (5 * length))), max(length, 2), np.int8)[:, :length]
        x = x[(x != 0).any(axis=1)]
        want = tflm.l2_normalize(x.astype(np.int8))
        squares = (x * x).sum(axis=1)
        found = {int(v): gemmlowp.inverse_sqrt(int(v)) for v in np.unique(squares)}
        m, k = (np.array([found[int(v)][i] for v in squares], np.int64).repeat(length) for i in range(2))
        got = ours.requantize("q31_double", x.reshape(1, -1), m, k + 24, bits=8).reshape(x.shape)
        comparison.add(got, want, case=f"rows of {length}")
    comparison.finish(CODES // 2)
