"""Matrix products in accumulators of limited width, and products with the requantization behind them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conformance import ours
from tests.conformance.cases import CODES, batches, generator, quantize_multiplier
from tests.conformance.comparison import Results
from tests.conformance.oracles import apy, ort, tflm, torch_quantizers

ROWS, COLUMNS = 512, 512
DEPTH = 24
RATIOS = [2.0**-9, 0.75 * 2.0**-8, 0.0123 / 3.7, 0.6 / 97.0]


def codes(rng: np.random.Generator, shape: tuple[int, int], dtype: type) -> NDArray[np.integer]:
    """Uniform codes; a few rows hold the least code alone, the greatest alone, or zeros."""
    info = np.iinfo(dtype)
    result = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    result[:3] = np.array([[info.min], [info.max], [0]], dtype)[: len(result)]
    return result


@pytest.mark.parametrize("depth", [1, 2, 7, 64, 333])
def test_torch_int_mm(results: Results, depth: int) -> None:
    """The second operand has 7 bits: on a CPU without VNNI, sums of two full products saturate to 16 bits."""
    comparison = results.start("matmul", "torch", "int32 accumulators", case=f"depth {depth}")
    for batch in batches(CODES, ROWS * COLUMNS):
        rng = generator(f"int_mm {depth} {batch}")
        a, b = codes(rng, (ROWS, depth), np.int8), codes(rng, (COLUMNS, depth), np.int8) >> 1
        want = torch_quantizers.int_mm(a, np.ascontiguousarray(b.T))
        comparison.add(ours.matmul(a, b, overflow="proven"), want, case=f"batch {batch}")
    comparison.finish(CODES)


@pytest.mark.parametrize("depth", [1, 64, 333])
def test_onnxruntime_matmul_integer(results: Results, depth: int) -> None:
    comparison = results.start("matmul", "onnxruntime", "int32 accumulators", case=f"depth {depth}")
    for batch in batches(CODES, ROWS * COLUMNS):
        rng = generator(f"MatMulInteger {depth} {batch}")
        a, b = codes(rng, (ROWS, depth), np.uint8), codes(rng, (COLUMNS, depth), np.uint8)
        zeros = (0, 255) if batch == 0 else tuple(rng.integers(0, 255, 2, endpoint=True).tolist())
        want = ort.matmul_integer(a, np.ascontiguousarray(b.T), *zeros)
        got = ours.matmul(a, b, a_zero=zeros[0], b_zero=zeros[1], overflow="proven")
        comparison.add(got, want, case=f"batch {batch}, zero points {zeros}")
    comparison.finish(CODES)


@pytest.mark.parametrize("granularity", ["mac", "tile", "end"])
def test_onnxruntime_wraps(results: Results, granularity: str) -> None:
    """70,000 products of 255 and +-255 pass both ends of 32 bits twice."""
    comparison = results.start("matmul wrap", "onnxruntime", "int32 accumulators", case=f"by {granularity}")
    depth = 70_000
    rng = generator("wraps")
    a, b = (255 - rng.integers(0, 3, (24, depth))).astype(np.uint8), rng.integers(0, 255, (24, depth)).astype(np.uint8)
    a[0], b[:2] = 255, np.array([[0], [255]])
    for b_zero in (0, 255, 3, 252):
        want = ort.matmul_integer(a, np.ascontiguousarray(b.T), 0, b_zero)
        got = ours.matmul(a, b, b_zero=b_zero, bits=32, overflow="wrap", granularity=granularity)
        comparison.add(got, want, case=f"zero point {b_zero}")
        exact = a.astype(np.int64) @ (b.astype(np.int64) - b_zero).T
        assert (exact != want).any()
    comparison.finish(4 * 24 * 24)


@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
@pytest.mark.parametrize(("bits", "tile"), [(12, 1), (16, 1), (20, 1), (16, 5), (16, DEPTH)])
def test_apytypes_accumulators(results: Results, overflow: str, bits: int, tile: int) -> None:
    """A sum is cast after each product, each tile of products, or the last one."""
    case = f"{bits} bits, every {tile} of {DEPTH}"
    comparison = results.start(f"matmul {overflow}", "apytypes", "accumulators of any width", case=case)
    granularity = {1: "mac", DEPTH: "end"}.get(tile, "tile")
    for batch in batches(CODES, 128 * 128):
        rng = generator(f"accumulator {overflow} {case} {batch}")
        a, b = (codes(rng, (128, DEPTH), np.int8).astype(np.int64) for _ in range(2))
        a, b = (np.where(rng.random(x.shape) < 0.3, np.sign(x) * 127, x) for x in (a, b))
        want = apy.matmul(a, b.T, overflow=overflow, bits=bits, tile=tile)
        got = ours.matmul(a, b, bits=bits, overflow=overflow, granularity=granularity, tile=tile)
        comparison.add(got, want, case=f"batch {batch}")
        assert bits == 20 or (want != a @ b.T).any()
    comparison.finish(CODES)


def test_onnxruntime_qlinear_matmul(results: Results) -> None:
    comparison = results.start("matmul, requantize float32", "onnxruntime", "ONNX Runtime, FBGEMM")
    for batch in batches(CODES, ROWS * COLUMNS):
        rng = generator(f"QLinearMatMul {batch}")
        a, b = codes(rng, (ROWS, 48), np.uint8), codes(rng, (COLUMNS, 48), np.uint8)
        ratio = np.float32(RATIOS[batch % 4])
        mantissa, exponent = np.frexp(ratio)
        want = ort.qlinear_matmul(a, np.ascontiguousarray(b.T), scales=(1.0, ratio, 1.0), zero_points=(120, 131, 99))
        acc = ours.matmul(a, b, a_zero=120, b_zero=131, overflow="proven")
        multiplier, shift = np.int64(np.ldexp(mantissa, 24)), 24 - np.int64(exponent)
        got = ours.requantize("float32", acc, multiplier, shift, zero_point=99, bits=8, signed=False)
        comparison.add(got, want, case=f"ratio {ratio}")
        assert (want == 0).any() and (want == 255).any()
    comparison.finish(CODES)


def test_tflm_batch_matmul(results: Results) -> None:
    comparison = results.start("matmul, requantize q31_double", "tflite_micro", "TFLM, CMSIS-NN")
    for batch in batches(CODES, ROWS * COLUMNS):
        rng = generator(f"BATCH_MATMUL {batch}")
        a, b = codes(rng, (ROWS, 48), np.int8), codes(rng, (COLUMNS, 48), np.int8)
        scales = (1.0, float(np.float32(RATIOS[batch % 4] * 3)), 3.0)
        want = tflm.batch_matmul(a, np.ascontiguousarray(b.T), scales=scales, zero_points=(3, -7, 11))
        acc = ours.matmul(a, b, a_zero=3, b_zero=-7, overflow="proven")
        ratio = quantize_multiplier(scales[1] / scales[2])
        comparison.add(ours.requantize("q31_double", acc, *ratio, zero_point=11, bits=8), want, case=f"scales {scales}")
        assert (want == -128).any() and (want == 127).any()
    comparison.finish(CODES)


def test_tflm_multiplication(results: Results) -> None:
    """MUL: every pair of codes, for ratios above and below 1."""
    comparison = results.start("product, requantize q31_double", "tflite_micro", "TFLM, CMSIS-NN")
    a, b = (x.reshape(-1).astype(np.int8) for x in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    for i in range(-(-CODES // a.size)):
        scale = [1.0, 1.5, 2.0**-6, 0.75 * 2.0**-7, 0.1, 0.01, 0.6][i % 7] * (1 + i // 7)
        zeros = (i % 5 - 2, i % 3 - 1, i % 11 - 5)
        want = tflm.multiply(a, b, scales=(1.0, scale, 1.0), zero_points=zeros)
        product = (a.astype(np.int64) - zeros[0]) * (b.astype(np.int64) - zeros[1])
        ratio = quantize_multiplier(float(np.float32(scale)))
        got = ours.requantize("q31_double", product, *ratio, zero_point=zeros[2], bits=8)
        comparison.add(got, want, case=f"scale {scale}, zero points {zeros}")
    comparison.finish(CODES)
