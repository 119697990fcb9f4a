"""Kernels on realistic rows: products, LayerNorm, softmax, requantization."""

from typing import Any

import numpy as np
import pytest

from analysis.bench import gemm
from analysis.bench.gemm import Case
from hwsim import Counter, IntFormat, Scaling, kernels
from hwsim.operators.gemm.engines import ENGINE

ROWS, KEYS, WIDTH = 1024, 32, 256
INT8, UINT8, UINT16 = IntFormat(bits=8), IntFormat(bits=8, signed=False), IntFormat(bits=16, signed=False)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def counters() -> np.ndarray:
    return np.zeros(len(Counter), np.int64)


CASES = [
    Case(m=256, k=512, n=512),
    Case(m=256, k=512, n=512, signed=False),
    Case(m=1, k=512, n=512),
    Case(m=256, k=512, n=512, weight_bits=4),
    Case(batch=256, m=32, k=64, n=32),
    Case(batch=256, m=1, k=64, n=32),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.batch}x{case.m}x{case.k}x{case.n} {case.operands}")
def test_product(benchmark: Any, rng: np.random.Generator, case: Case) -> None:
    a, b = gemm.draw(case, rng)
    engine = gemm.engines(case, 1)[ENGINE]
    benchmark(engine(a, b))


def test_softmax(benchmark: Any, rng: np.random.Generator, counters: np.ndarray) -> None:
    q = rng.integers(-128, 128, (ROWS, KEYS)).astype(np.int32)
    table = np.rint(255 * np.exp(-0.05 * np.arange(256))).astype(np.int32)
    ratios = {"denominator_multiplier": 1, "denominator_shift": 0, "output_multiplier": 255, "output_shift": 0}
    formats = {"denominator": UINT16, "output": UINT8}
    benchmark(kernels.softmax, q, np.ones(q.shape, bool), table, **ratios, **formats, counters=counters)


def test_layernorm(benchmark: Any, rng: np.random.Generator, counters: np.ndarray) -> None:
    """With the constants of the shipped model's order of size."""
    x = rng.integers(-(1 << 12), 1 << 12, (ROWS, WIDTH)).astype(np.int32)
    gamma, beta = rng.integers(-128, 128, WIDTH).astype(np.int32), np.zeros(WIDTH, np.int64)
    constants = kernels.LayerNormConstants(
        *(1, 1, 8, IntFormat(bits=16)),
        *(1, 8, UINT16),
        *(1 << 12, 0, IntFormat(bits=16)),
        *(1, 14, 0, INT8),
    )
    benchmark(kernels.layernorm, x, gamma, beta, constants, counters)


@pytest.mark.parametrize("scaling", list(Scaling))
def test_requantize(benchmark: Any, rng: np.random.Generator, counters: np.ndarray, scaling: Scaling) -> None:
    acc = rng.integers(-(1 << 20), 1 << 20, (ROWS, WIDTH)).astype(np.int32)
    multiplier, shift = np.full(WIDTH, 23456, np.int64), np.full(WIDTH, 28, np.int64)
    benchmark(kernels.requantize, acc, multiplier, shift, 3, INT8, counters, scaling)
