"""What the oracles do differently: each deviation is there, and is exactly the one that explains the difference."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conformance import ours
from tests.conformance.cases import CODES, Words, generator, words
from tests.conformance.comparison import Results
from tests.conformance.oracles import litert, onnx_reference, qonnx_quantizer, tflm

COUNT = min(CODES, 1_000_000)
DYADIC = ((1, 3), (8, 18))
Array = NDArray[Any]


def dense_layer(cases: Words, kernels: Any) -> Array:
    """LiteRT's FULLY_CONNECTED of zero weights and one bias, with one real ratio, for each output."""
    x, weight = np.zeros((1, 1), np.int8), np.zeros((cases.x.size, 1), np.int8)
    ratio = (cases.multiplier / np.exp2(cases.shift)).astype(np.float32)
    return litert.fully_connected(x, weight, cases.x.astype(np.int32), scales=(1.0, ratio, 1.0), kernels=kernels)[0]


def q31(cases: Words) -> Words:
    """The same ratios with multipliers of 31 bits."""
    missing = 31 - np.array([int(m).bit_length() for m in cases.multiplier])
    return Words(cases.x, cases.multiplier << missing, cases.shift + missing)


def by_float32(cases: Words) -> Array:
    return ours.requantize("float32", *cases, bits=8)


def by_half_away(cases: Words) -> Array:
    return ours.requantize("nvdla", *cases, bits=8)


@pytest.mark.parametrize(
    ("kernels", "target", "deviation", "explanation"),
    [
        (litert.DEFAULT, "LiteRT default (XNNPACK)", "one binary32 product, HALF_EVEN", by_float32),
        (litert.REFERENCE, "LiteRT reference kernels", "one binary64 product, HALF_AWAY", by_half_away),
    ],
)
def test_litert_dense_layers_round_once(
    results: Results, kernels: Any, target: str, deviation: str, explanation: Callable[[Words], Array]
) -> None:
    comparison = results.start("requantize q31_double", "ai-edge-litert", target, deviation)
    cases = words(generator(target), COUNT, multiplier=DYADIC[0], shift=DYADIC[1], span=200, bits=24)
    want, got = dense_layer(cases, kernels), ours.requantize("q31_double", *q31(cases), bits=8)
    comparison.add(got, want, explained=explanation(cases) == want)
    comparison.finish(COUNT)


def test_litert_default_addition_rounds_half_up(results: Results) -> None:
    """XNNPACK's ADD is equation (7) with the other tie rule: it differs at ties alone, and there by one."""
    deviation = "HALF_UP in place of HALF_EVEN"
    comparison = results.start("add", "ai-edge-litert", "LiteRT default (XNNPACK)", deviation)
    a, b = (x.reshape(-1) for x in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    for multipliers, shift in (((1, 1), 1), ((2, 1), 2), ((1, 3), 2), ((1, 1), 3), ((3, 3), 3), ((1, 16), 5)):
        scales = (multipliers[0] / (1 << shift), multipliers[1] / (1 << shift), 1.0)
        codes = a.astype(np.int8), b.astype(np.int8)
        want = litert.add(*codes, scales=scales, zero_points=(3, -7, 11), kernels=litert.DEFAULT)
        got = ours.add(a, b, zeros=(3, -7, 11), multipliers=multipliers, shift=shift)
        total = multipliers[0] * (a - 3) + multipliers[1] * (b + 7)
        tie = total & ((1 << shift) - 1) == 1 << (shift - 1)
        comparison.add(got, want, explained=tie & (want - got == 1), case=f"{multipliers} / 2^{shift}")
    comparison.finish(6 * a.size)


@pytest.mark.parametrize("kernels", [litert.DEFAULT, litert.BUILT_IN], ids=lambda kernels: kernels.name)
def test_litert_softmax_by_table(results: Results, kernels: Any) -> None:
    """The kernels that run by default look exponentials up in binary32: one code off, rarely."""
    deviation = "exponentials from a table of binary32; at most 1 code"
    comparison = results.start("gemmlowp_softmax", "ai-edge-litert", f"LiteRT {kernels.name}", deviation)
    for scale, multiplier in ((0.0625, 1 << 30), (0.25, 1 << 30), (0.375, 3 << 29)):
        q = generator(f"table {scale}").integers(-128, 128, (COUNT // 48 + 1, 16))
        left_shift = int(np.log2(scale * 2.0**26 / multiplier)) + 31
        got = ours.gemmlowp_softmax(q, multiplier=multiplier, left_shift=left_shift, bits=8)
        want = litert.softmax(q.astype(np.int8), scale=scale, beta=1.0, kernels=kernels)
        comparison.add(got, want, explained=np.abs(got - want) == 1, case=f"scale {scale}")
    assert comparison.different < COUNT // 1000
    comparison.finish(COUNT)


def test_litert_softmax_of_long_rows(results: Results) -> None:
    """From a sum of 512 on, gemmlowp's last shift exceeds 31 bits: TFLM and LiteRT's reference kernels abort.

    The built-in kernels, which do not check, give the code of 0 as hwsim does.
    """
    comparison = results.start("gemmlowp_softmax", "ai-edge-litert", "LiteRT built-in", case="sums of 512 to 4095")
    for length in (513, 600, 1023, 1024, 2000, 4095):
        q = np.full((2, length), 5, np.int8)
        got = ours.gemmlowp_softmax(q, multiplier=1 << 30, left_shift=23, bits=8)
        comparison.add(got, litert.softmax(q, scale=0.0625, beta=1.0, kernels=litert.BUILT_IN), case=f"{length} keys")
    comparison.finish(2 * 9000)


def test_tflm_wraps_16_bit_results_before_the_clamp(results: Results) -> None:
    deviation = "the scaled value is cast to int32 before the clamp"
    comparison = results.start("requantize q15", "tflite_micro", "TFLM with int16 activations", deviation)
    cases = words(
        generator("int48"), 1 << 16, multiplier=(1 << 14, (1 << 15) - 1), shift=(15, 30), span=1 << 40, bits=48
    )
    scales = (1.0, (cases.multiplier / np.exp2(cases.shift)).astype(np.float32), 1.0)
    x, weight = np.zeros((1, 1), np.int16), np.zeros((1 << 16, 1), np.int8)
    want = tflm.fully_connected(x, weight, cases.x, scales=scales)[0]
    wide = (cases.x * cases.multiplier + ((np.int64(1) << cases.shift) >> 1)) >> cases.shift
    wrapped = wide.astype(np.int32).clip(-32768, 32767)
    comparison.add(ours.requantize("q15", *cases, bits=16), want, explained=wrapped == want)
    comparison.finish(1 << 16)


def test_tflm_wraps_a_left_shift_that_the_kernel_refuses() -> None:
    """The shift of ratios above 1 is a product of int32: out of range it wraps, and hwsim takes no such accumulator."""
    x, weight = np.zeros((1, 1), np.int8), np.zeros((3, 1), np.int8)
    acc = np.array([5 << 28, -(5 << 28), (1 << 31) - 1], np.int32)
    want = tflm.fully_connected(x, weight, acc, scales=(1.0, 1.0, 1.0))[0]
    assert want.tolist() == [-128, 127, -1]
    for value in acc:
        with pytest.raises(ValueError, match="allowed"):
            ours.requantize("q31_double", np.array([value]), 1 << 30, 30, bits=8)


def test_qonnx_adds_the_zero_point_before_the_rounding(results: Results) -> None:
    """With an odd zero point the neighbours of a tie change places: HALF_EVEN goes the other way."""
    deviation = "zero point inside: ties go the other way if it is odd"
    comparison = results.start("requantize float32", "qonnx", "QONNX", deviation)
    cases = words(generator("inside"), COUNT, multiplier=DYADIC[0], shift=(1, 6), span=200, bits=20)
    product = cases.x * cases.multiplier / np.exp2(cases.shift)
    options = {"scale": 1.0, "zero_point": 3, "bits": 8, "signed": True, "narrow": False}
    want = qonnx_quantizer.quantize(product, **options, rounding="HALF_EVEN") + 3
    got = ours.requantize("float32", *cases, zero_point=3, bits=8)
    comparison.add(got, want, explained=(product % 1 == 0.5) & (np.abs(got - want) == 1))
    comparison.finish(COUNT)


def test_qonnx_calls_half_away_half_up(results: Results) -> None:
    deviation = "its HALF_UP rounds halves away from zero"
    comparison = results.start("requantize shift", "qonnx", "QONNX", deviation, case="half_up")
    x = generator("half up").integers(-900, 900, COUNT)
    options = {"scale": 1.0, "zero_point": 0, "bits": 8, "signed": True, "narrow": False}
    want = qonnx_quantizer.quantize(x / 8, **options, rounding="HALF_UP")
    got, away = (ours.requantize("shift", x, 1, 3, bits=8, rounding=rule) for rule in ("half_up", "half_away"))
    comparison.add(got, want, explained=(away == want) & (x % 8 == 4) & (x < 0))
    comparison.finish(COUNT)


def test_onnx_reference_evaluator_adds_the_zero_point_before_the_rounding(results: Results) -> None:
    """Up to onnx 1.21 its QLinearMatMul also wrapped modulo 256; from 1.22 on it clamps."""
    deviation = "zero point inside: ties go the other way if it is odd"
    comparison = results.start("matmul, requantize float32", "onnx", "ONNX ReferenceEvaluator", deviation)
    rng = generator("evaluator")
    a, b = (rng.integers(0, 256, (256, 16)).astype(np.uint8) for _ in range(2))
    options = {"scales": (1.0, 2.0**-8, 1.0), "zero_points": (128, 120, 99)}
    want = onnx_reference.qlinear_matmul(a, np.ascontiguousarray(b.T), **options)
    acc = ours.matmul(a, b, a_zero=128, b_zero=120)
    got = ours.requantize("float32", acc, 1, 8, zero_point=99, bits=8, signed=False)
    tie = acc % 256 == 128
    comparison.add(got, want, explained=tie & (np.abs(got - want) == 1))
    assert (want == 0).any() and (want == 255).any()
    comparison.finish(want.size)
