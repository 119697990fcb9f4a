"""Requantization in binary32 against the CPU libraries that do it so."""

import numpy as np
from numpy.typing import NDArray

from tests.conformance import ours
from tests.conformance.cases import CODES, Words, assert_reached, batches, generator, words
from tests.conformance.comparison import Results
from tests.conformance.oracles import onnx_reference, ort, qonnx_quantizer, torch_quantizers

MANTISSA = (1, (1 << 24) - 1)
SIZE = 1 << 17


def binary32_cases(name: str) -> tuple[Words, NDArray[np.float32]]:
    """32-bit accumulators with ratios that are binary32 numbers, and those numbers."""
    cases = words(generator(name), SIZE, multiplier=MANTISSA, shift=(0, 37), span=200)
    return cases, (cases.multiplier / np.exp2(cases.shift)).astype(np.float32)


def fraction(ratio: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """24-bit multipliers and shifts of binary32 numbers of at least 2^-38."""
    mantissa, exponent = np.frexp(ratio)
    return np.ldexp(mantissa, 24).astype(np.int64), 24 - exponent.astype(np.int64)


def test_onnxruntime_gemm(results: Results) -> None:
    """QGemm of zero matrices gives its bias, requantized with one ratio for each column."""
    comparison = results.start("requantize float32", "onnxruntime", "ONNX Runtime, FBGEMM")
    for batch in batches(CODES, SIZE):
        cases, ratio = binary32_cases(f"qgemm {batch}")
        zero = (batch * 37) % 256
        bias, a, b = cases.x.astype(np.int32), np.zeros((1, 1), np.uint8), np.zeros((1, SIZE), np.uint8)
        want = ort.qgemm(a, b, bias, scales=(1.0, ratio, 1.0), zero_points=(0, 0, zero))[0]
        got = ours.requantize("float32", *cases, zero_point=zero, bits=8, signed=False)
        comparison.add(got, want, case=f"batch {batch}")
        assert_reached(cases, got, 0, 255)
    comparison.finish(CODES)


def test_torch_fake_quantizer_per_channel(results: Results) -> None:
    """The quantizer multiplies by the binary32 inverse of its scale, one for each channel."""
    comparison = results.start("requantize float32", "torch", "torch.fake_quantize_per_channel_affine")
    for batch in batches(CODES, SIZE):
        cases, ratio = binary32_cases(f"torch {batch}")
        scale = np.float32(1) / ratio
        cases = Words(cases.x, *fraction(np.float32(1) / scale))
        zero = np.full(SIZE, batch % 9 - 4, np.int32)
        real = torch_quantizers.fake_quantize_per_channel(cases.x.astype(np.float32), scale, zero, 0, -128, 127)
        want = np.rint(real / scale) + zero
        got = ours.requantize("float32", *cases, zero_point=int(zero[0]), bits=8)
        comparison.add(got, want, case=f"batch {batch}")
        assert_reached(cases, got, -128, 127)
    comparison.finish(CODES)


def test_torch_fake_quantizer_per_tensor(results: Results) -> None:
    comparison = results.start("requantize float32", "torch", "torch.fake_quantize_per_tensor_affine")
    scales = [1.0, 2.0, 64.0, 0.75, 1 / 3, 0.1, 7.3, 1000.0]
    size = -(-CODES // len(scales))
    for i, scale in enumerate(np.float32(scales)):
        multiplier, shift = fraction(np.float32(1) / scale)
        x = generator(f"per tensor {i}").integers(-int(300 * scale) - 3, int(300 * scale) + 3, size)
        real = torch_quantizers.fake_quantize(x.astype(np.float32), float(scale), i - 4, -128, 127)
        got = ours.requantize("float32", x, multiplier, shift, zero_point=i - 4, bits=8)
        comparison.add(got, np.rint(real / scale) + i - 4, case=f"scale {scale}")
    comparison.finish(CODES)


def test_qonnx_quantizer(results: Results) -> None:
    """int_quant adds its zero point before it rounds; the binary32 product is NumPy's."""
    comparison = results.start("requantize float32_inside", "qonnx", "oneDNN, QONNX")
    for batch in batches(CODES, SIZE):
        cases, ratio = binary32_cases(f"qonnx {batch}")
        zero = batch % 9 - 4
        product = cases.x.astype(np.float32) * ratio
        real = qonnx_quantizer.quantize(
            product, scale=1.0, zero_point=zero, bits=8, signed=True, narrow=False, rounding="HALF_EVEN"
        )
        got = ours.requantize("float32_inside", *cases, zero_point=zero, bits=8)
        comparison.add(got, real + zero, case=f"batch {batch}")
        assert_reached(cases, got, -128, 127)
    comparison.finish(CODES)


def test_onnx_reference_evaluator(results: Results) -> None:
    """QLinearMatMul adds its zero point before it rounds, in binary64: a ratio that is a power of two loses nothing."""
    comparison = results.start("matmul, requantize float32_inside", "onnx", "ONNX ReferenceEvaluator")
    for batch in batches(CODES, 512 * 256):
        rng = generator(f"evaluator {batch}")
        a, b = rng.integers(0, 256, (512, 16)).astype(np.uint8), rng.integers(0, 256, (256, 16)).astype(np.uint8)
        shift, zero = 5 + batch % 3, 90 + batch % 9
        options = {"scales": (1.0, 2.0**-shift, 1.0), "zero_points": (128, 120, zero)}
        want = onnx_reference.qlinear_matmul(a, np.ascontiguousarray(b.T), **options)
        acc = ours.matmul(a, b, a_zero=128, b_zero=120)
        got = ours.requantize("float32_inside", acc, 1, shift, zero_point=zero, bits=8, signed=False)
        comparison.add(got, want, case=f"ratio 2^-{shift}, zero point {zero}")
        assert_reached(Words(acc.reshape(-1), np.int64(1), np.full(acc.size, shift)), got, 0, 255)
    comparison.finish(CODES)
