"""Integer requantization schemes against the libraries that use them, accumulator by accumulator."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conformance import ours
from tests.conformance.cases import CODES, Words, assert_reached, batches, generator, quantize_multiplier, words
from tests.conformance.comparison import Results
from tests.conformance.oracles import apy, ibert, iree_tosa, litert, tflm, tosa, vela

Q31, Q15 = (1 << 30, (1 << 31) - 1), (1 << 14, (1 << 15) - 1)
SIZE = 1 << 17
Layer = Callable[..., NDArray[Any]]


def real_ratios(cases: Words, out_scale: float) -> tuple[NDArray[np.float32], Words]:
    """Weight scales whose ratio to `out_scale` is nearly that of each case, and the cases with the ratio they make."""
    weight_scale = (cases.multiplier / np.exp2(cases.shift) * np.float32(out_scale)).astype(np.float32)
    pairs = [quantize_multiplier(float(scale) / float(np.float32(out_scale))) for scale in weight_scale]
    multiplier, shift = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    return weight_scale, Words(cases.x, multiplier, shift)


def out_scale_of(batch: int) -> float:
    """1, and in every other batch a scale that fills all 31 bits of the multipliers."""
    return 1.0 if batch % 2 == 0 else float(np.float32(0.5 + 0.37 / batch))


@pytest.mark.parametrize(
    ("scheme", "oracle", "target", "layer"),
    [
        ("q31_double", "tflite_micro", "TFLM, CMSIS-NN", tflm.fully_connected),
        ("q31_double_half_up", "ai-edge-litert", "LiteRT built-in kernels, Arm NEON", litert.fully_connected),
    ],
)
def test_dense_layer_of_8_bits(results: Results, scheme: str, oracle: str, target: str, layer: Layer) -> None:
    """FULLY_CONNECTED of zero weights gives its bias, requantized with one real ratio for each output."""
    comparison = results.start(f"requantize {scheme}", oracle, target)
    for batch in batches(CODES, SIZE):
        cases = words(generator(f"{scheme} {batch}"), SIZE, multiplier=Q31, shift=(26, 50), span=200, headroom=31)
        weight_scale, cases = real_ratios(cases, out_scale_of(batch))
        scales, zeros = (1.0, weight_scale, out_scale_of(batch)), (0, batch % 5 - 2)
        x, weight = np.zeros((1, 1), np.int8), np.zeros((SIZE, 1), np.int8)
        acc = cases.x.astype(np.int32)
        want = layer(x, weight, acc, scales=scales, zero_points=zeros)[0]
        got = ours.requantize(scheme, acc, cases.multiplier, cases.shift, zero_point=zeros[1], bits=8)
        comparison.add(got, want, case=f"batch {batch}")
        if batch % 2 == 0:
            assert_reached(cases, got, -128, 127)
    comparison.finish(CODES)


def test_dense_layer_of_16_bits(results: Results) -> None:
    """FULLY_CONNECTED with int16 activations: 16 bits of the multiplier, accumulators of 48 bits."""
    comparison = results.start("requantize q15", "tflite_micro", "TFLM, CMSIS-NN with int16 activations")
    for batch in batches(CODES, SIZE):
        cases = words(generator(f"q15 {batch}"), SIZE, multiplier=Q15, shift=(3, 45), span=50_000, bits=48, headroom=46)
        weight_scale, wide = real_ratios(cases, out_scale_of(batch))
        cases = Words(cases.x, *narrowed(wide.multiplier, wide.shift))
        scales, x = (1.0, weight_scale, out_scale_of(batch)), np.zeros((1, 1), np.int16)
        want = tflm.fully_connected(x, np.zeros((SIZE, 1), np.int8), cases.x, scales=scales)[0]
        got = ours.requantize("q15", *cases, bits=16)
        comparison.add(got, want, case=f"batch {batch}")
        if batch % 2 == 0:
            assert_reached(cases, got, -32768, 32767)
    comparison.finish(CODES)


def narrowed(multiplier: NDArray[np.int64], shift: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The 16-bit multiplier and its shift that TensorFlow Lite makes of one of 32 bits."""
    return np.where(multiplier < 0x7FFF0000, (multiplier + (1 << 15)) >> 16, 0x7FFF), shift - 16


@pytest.mark.parametrize("output", [np.int8, np.int16])
@pytest.mark.parametrize(("scheme", "mode"), [("q31_single", tosa.SINGLE_ROUND), ("q31_double", tosa.DOUBLE_ROUND)])
def test_tosa_rescale(results: Results, scheme: str, mode: Any, output: type) -> None:
    bits = np.iinfo(output).bits
    comparison = results.start(f"requantize {scheme}", "tosa-tools", f"TOSA {mode.name}", case=f"int{bits}")
    for batch in batches(CODES, SIZE):
        rng = generator(f"{scheme} {bits} {batch}")
        cases = words(rng, SIZE, multiplier=Q31, shift=(2, 62), span=3 << (bits - 2), headroom=30)
        zero = batch % 7 - 3 if bits == 8 else 0
        acc, m, e = cases.x.astype(np.int32)[None], cases.multiplier.astype(np.int32), cases.shift.astype(np.int8)
        want = tosa.rescale(acc, m, e, rounding=mode, output=output, zero_point=zero)[0]
        got = ours.requantize(scheme, *cases, zero_point=zero, bits=bits)
        comparison.add(got, want, case=f"batch {batch}")
        assert_reached(cases, got, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    comparison.finish(CODES)


@pytest.mark.parametrize(
    ("scheme", "mode"), [("q31_single", iree_tosa.SINGLE_ROUND), ("q31_double", iree_tosa.DOUBLE_ROUND)]
)
def test_iree_apply_scale(results: Results, scheme: str, mode: str) -> None:
    """What RESCALE is made of, from another compiler: 32-bit results, before zero point and clamp."""
    comparison = results.start(f"requantize {scheme}", "iree-base-compiler", f"IREE, TOSA {mode}", case="int32")
    for batch in batches(CODES, SIZE):
        bits, span = (8, 200) if batch % 2 else (16, 50_000)
        cases = words(generator(f"iree {scheme} {batch}"), SIZE, multiplier=Q31, shift=(2, 62), span=span, headroom=30)
        x, m, e = cases.x.astype(np.int32), cases.multiplier.astype(np.int32), cases.shift.astype(np.int8)
        want = iree_tosa.apply_scale(x, m, e, rounding=mode)
        comparison.add(ours.requantize(scheme, *cases, bits=32), want, case=f"batch {batch}")
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        assert_reached(cases, want.clip(low, high), low, high)
    comparison.finish(CODES)


def test_vela(results: Results) -> None:
    """The compiler's port of the primitives: 32-bit results, before any clamp."""
    comparison = results.start("requantize q31_double", "ethos-u-vela", "Ethos-U", case="int32")
    for batch in batches(CODES, SIZE):
        cases = words(generator(f"vela {batch}"), SIZE, multiplier=Q31, shift=(20, 62), span=40_000, headroom=31)
        want = vela.multiply_by_quantized_multiplier(*cases)
        comparison.add(ours.requantize("q31_double", *cases, bits=32), want, case=f"batch {batch}")
        assert_reached(cases, want.clip(-32768, 32767), -32768, 32767)
    comparison.finish(CODES)


SCHEMES = [
    ("q31_single", "half_up", Q31),
    ("q15", "half_up", Q15),
    ("dyadic", "half_even", (1, (1 << 31) - 1)),
    ("narrow_after", "half_up", (1, (1 << 8) - 1)),
    ("narrow_before", "half_up", (1, (1 << 16) - 1)),
    ("nvdla", "half_away", (1, (1 << 15) - 1)),
    *(("shift", rounding, (1, 1)) for rounding in apy.ROUNDINGS),
]
TARGETS = {
    "q31_single": "TOSA SINGLE_ROUND, CMSIS-NN flag",
    "q15": "TFLM, CMSIS-NN with int16 activations",
    "dyadic": "I-BERT, HAWQ, hwsim",
    "narrow_after": "ITA",
    "narrow_before": "PULP, Deeploy",
    "nvdla": "NVDLA",
    "shift": "power-of-two scales, sqrt(d_head)",
}


@pytest.mark.parametrize(("scheme", "rounding", "multiplier"), SCHEMES, ids=lambda value: str(value))
def test_exact_product_and_one_rounding(
    results: Results, scheme: str, rounding: str, multiplier: tuple[int, int]
) -> None:
    comparison = results.start(f"requantize {scheme}", "apytypes", TARGETS[scheme], case=rounding)
    shifts = range(1, 63)
    size = -(-CODES // len(shifts))
    for shift in shifts:
        rng = generator(f"{scheme} {rounding} {shift}")
        bits, span = (8, 200) if shift % 2 else (16, 50_000)
        cases = words(rng, size, multiplier=multiplier, shift=(shift, shift), span=span, headroom=62)
        want = apy.scale(cases.x, cases.multiplier, shift, rounding=rounding, bits=bits)
        got = ours.requantize(scheme, *cases, bits=bits, rounding=rounding)
        comparison.add(got, want, case=f"shift {shift}")
        if scheme == "shift" and 2 <= shift <= 12:
            assert_reached(cases, got, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    comparison.finish(CODES)


def test_ibert_fixed_point_multiplication(results: Results) -> None:
    """FixedPointMul carries the product in float64: 16-bit multipliers keep it exact."""
    comparison = results.start("requantize dyadic", "transformers", "I-BERT")
    for batch in batches(CODES, SIZE):
        bits, span = (8, 200) if batch % 2 else (16, 50_000)
        cases = words(generator(f"ibert {batch}"), SIZE, multiplier=(1, (1 << 16) - 1), shift=(0, 45), span=span)
        want = ibert.requantize(cases.x, cases.multiplier / np.exp2(cases.shift), bits)
        got = ours.requantize("dyadic", *cases, bits=bits)
        comparison.add(got, want, case=f"batch {batch}")
        assert_reached(cases, got, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    comparison.finish(CODES)
