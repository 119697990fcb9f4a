"""Softmax of integer scores, row by row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conformance import ours, tables
from tests.conformance.cases import CODES, generator, quantize_multiplier
from tests.conformance.comparison import Comparison, Results
from tests.conformance.oracles import ibert, litert, ort, tflm
from tests.oracle.constants import ibert_constants
from tests.oracle.exp_table import qlinear_table
from tests.oracle.interpolation import softmax_tables

Rows = NDArray[Any]
Softmax = Callable[[Rows, float], Rows]
"""A function of rows of scores and their scale."""

LENGTHS = [1, 2, 3, 17, 64, 127, 511]
INT8_SCALES = [0.0039, 0.03, 0.0625, 0.1, 0.25, 0.7, 1.0, 3.9, 31.0]
INT16_SCALES = [10 / 65535, 1e-4, 3.1e-4, 2.0**-10, 0.004, 0.02, 0.1]
STEP = float(np.float32(10 / 65535))
"""A step of the table of exp."""


def score_rows(rng: np.random.Generator, count: int, length: int, dtype: type) -> Rows:
    """Rows of every spread; the first are constant, all least, all greatest, one greatest among least."""
    info = np.iinfo(dtype)
    spread, centre = np.exp2(rng.uniform(0, info.bits, (count, 1))), rng.uniform(info.min, info.max, (count, 1))
    scores = np.clip(np.rint(centre + spread * rng.normal(size=(count, length))), info.min, info.max)
    scores[:4] = np.array([[0], [info.min], [info.max], [info.min]])
    scores[3, length // 2] = info.max
    return scores.astype(dtype)


def compare_rows(comparison: Comparison, kernel: Softmax, oracle: Softmax, dtype: type, scales: list[float]) -> None:
    """Kernel against oracle over every length and scale."""
    each = -(-CODES // (len(LENGTHS) * len(scales)))
    for length in LENGTHS:
        for scale in scales:
            rng = generator(f"{comparison.operator} {comparison.case} {comparison.oracle} {length} {scale}")
            scores = score_rows(rng, max(8, -(-each // length)), length, dtype)
            comparison.add(kernel(scores, scale), oracle(scores, scale), case=f"rows of {length}, scale {scale}")
    comparison.finish(CODES)


def gemmlowp_kernel(bits: int) -> Softmax:
    """The kernel with the constants that TensorFlow Lite makes of a scale."""

    def run(scores: Rows, scale: float) -> Rows:
        multiplier, shift = quantize_multiplier(min(float(np.float32(scale)) * 2**26, 2**31 - 1.0))
        return ours.gemmlowp_softmax(scores, multiplier=multiplier, left_shift=31 - shift, bits=bits)

    return run


def exact_tables() -> tuple[Any, Any]:
    """exp and 1/(1+x), each entry rounded from real numbers."""
    exp, reciprocal = softmax_tables()
    return np.array(exp), np.array(reciprocal)


def int16_kernel(both: tuple[Any, Any]) -> Softmax:
    """The kernel with tables of exp and 1/(1+x)."""
    return lambda scores, scale: ours.softmax_int16(scores, both, *quantize_multiplier(float(np.float32(scale)) / STEP))


def tflm_softmax(output: type) -> Softmax:
    return lambda scores, scale: tflm.softmax(scores, scale=scale, beta=1.0, output=output)


def litert_softmax(scores: Rows, scale: float) -> Rows:
    return litert.softmax(scores, scale=scale, beta=1.0)


def test_tflm_int8_to_int8(results: Results) -> None:
    comparison = results.start("gemmlowp_softmax", "tflite_micro", "TFLM, CMSIS-NN", case="int8 to int8")
    compare_rows(comparison, gemmlowp_kernel(8), tflm_softmax(np.int8), np.int8, INT8_SCALES)


def test_tflm_int8_to_int16(results: Results) -> None:
    comparison = results.start("gemmlowp_softmax", "tflite_micro", "TFLM, CMSIS-NN", case="int8 to int16")
    compare_rows(comparison, gemmlowp_kernel(16), tflm_softmax(np.int16), np.int8, INT8_SCALES)


def test_litert_int8(results: Results) -> None:
    comparison = results.start("gemmlowp_softmax", "ai-edge-litert", "LiteRT reference kernels")
    compare_rows(comparison, gemmlowp_kernel(8), litert_softmax, np.int8, INT8_SCALES)


def test_tflm_int16(results: Results) -> None:
    """With tables made in binary32, as these kernels make them."""
    comparison = results.start("softmax_int16", "tflite_micro", "TFLM, CMSIS-NN", case="tables in binary32")
    compare_rows(comparison, int16_kernel(tables.softmax_tables()), tflm_softmax(np.int16), np.int16, INT16_SCALES)


def test_litert_int16(results: Results) -> None:
    """With tables rounded from the real functions: LiteRT makes its own in binary64, which comes to the same."""
    comparison = results.start("softmax_int16", "ai-edge-litert", "LiteRT", case="exact tables")
    compare_rows(comparison, int16_kernel(exact_tables()), litert_softmax, np.int16, INT16_SCALES)


def test_int16_with_tables_that_are_rounded_exactly(results: Results) -> None:
    """Two entries of the table of 1/(1+x) are one off in binary32: only rows that read them can differ."""
    binary32, exact = tables.softmax_tables(), exact_tables()
    assert (binary32[0] == exact[0]).all()
    assert np.flatnonzero(binary32[1] != exact[1]).tolist() == [160, 294]
    assert np.abs(binary32[1] - exact[1]).max() == 1
    deviation = "entries 160 and 294 of its reciprocal table are one off the rounded real numbers"
    comparison = results.start("softmax_int16", "tflite_micro", "TFLM, CMSIS-NN", deviation, case="exact tables")
    for scale in INT16_SCALES[:5]:
        scores = score_rows(generator(f"exact tables {scale}"), 1 + CODES // 320, 64, np.int16)
        got, theirs = (int16_kernel(both)(scores, scale) for both in (exact, binary32))
        want = tflm_softmax(np.int16)(scores, scale)
        comparison.add(got, want, explained=(got != theirs) & (np.abs(got - want) <= 1), case=f"scale {scale}")
    comparison.finish(CODES)


QLINEAR_SCALES = [0.0039, 0.02, 0.0625, 0.1, 0.3, 0.7, 1.3]
"""At the last two, exponentials of the furthest keys are subnormal or 0."""


def qlinear_kernel(multiplier: int, signed: bool) -> Softmax:
    """The kernel with the table of a row's length."""

    def run(scores: Rows, scale: float) -> Rows:
        table = qlinear_table(float(np.float32(scale)), 8, scores.shape[1])
        return ours.qlinear_softmax(scores, table, multiplier=multiplier, signed=signed)

    return run


@pytest.mark.parametrize(
    ("dtype", "step", "multiplier"),
    [(np.int8, 1 / 256, 256), (np.uint8, 1 / 256, 256), (np.uint8, 1 / 10.9, 10), (np.int8, 1 / 255, 254)],
)
def test_onnxruntime_qlinear_softmax(results: Results, dtype: type, step: float, multiplier: int) -> None:
    """The zero point is the lowest code; the inverse of a scale is rounded down, 1 / 255 in binary32 too."""
    case = f"{np.dtype(dtype).name}, scale 1/{round(1 / step, 1):g}"
    comparison = results.start("qlinear_softmax", "onnxruntime", "ONNX Runtime", case=case)
    low = int(np.iinfo(dtype).min)

    def theirs(scores: Rows, scale: float) -> Rows:
        return ort.qlinear_softmax(scores, scales=(scale, step), zero_points=(3, low))

    compare_rows(comparison, qlinear_kernel(multiplier, low < 0), theirs, dtype, QLINEAR_SCALES)


def equal_keys(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Some greatest keys of one score, the others at one score below: quotients that are ties, or nearly."""
    scores = np.full((count, length), 127 - rng.integers(1, 256, (count, 1)))
    scores[:, 0] = 127
    scores[rng.random((count, length)) < rng.random((count, 1))] = 127
    return scores.astype(np.int8)


def test_onnxruntime_qlinear_softmax_at_ties(results: Results) -> None:
    """Multipliers of few and of many halves: the sum is rounded key by key in binary32, the quotient is exact."""
    comparison = results.start("qlinear_softmax", "onnxruntime", "ONNX Runtime", case="equal keys")
    multipliers = [3, 5, 7, 9, 15, 21, 35, 63, 105, 147, 255]
    each = -(-CODES // (len(multipliers) * len(QLINEAR_SCALES) * 4))
    for multiplier in multipliers:
        for scale in QLINEAR_SCALES:
            for length in (6, 24, 130, 402):
                rng = generator(f"equal keys {multiplier} {scale} {length}")
                scores = equal_keys(rng, max(8, -(-each // length)), length)
                want = ort.qlinear_softmax(scores, scales=(scale, 1 / (multiplier + 0.5)), zero_points=(3, -128))
                comparison.add(qlinear_kernel(multiplier, True)(scores, scale), want, case=f"{multiplier}, {scale}")
    comparison.finish(CODES)


def test_onnxruntime_qlinear_softmax_sums_in_order(results: Results) -> None:
    """400 far keys, 2^-25 of a near one or so, before, among and behind two near ones: 3/2 or below it."""
    comparison = results.start("qlinear_softmax", "onnxruntime", "ONNX Runtime", case="order of the keys")
    far, found = np.full(400, -128), set()
    for top in range(40, 64):
        near = np.full(2, top)
        rows = [np.insert(far, place, near) for place in (0, 100, 200, 399, 400)]
        scores = np.array([*rows, np.r_[near[:1], far, near[:1]]]).astype(np.int8)
        want = ort.qlinear_softmax(scores, scales=(0.1, 1 / 3.5), zero_points=(3, -128))
        comparison.add(qlinear_kernel(3, True)(scores, 0.1), want, case=f"greatest {top}")
        found |= set(want.max(axis=1).tolist())
    assert found == {-127, -126}
    comparison.finish(24 * 6 * 402)


def test_onnxruntime_qlinear_softmax_of_shorter_rows(results: Results) -> None:
    """A program has the table of its longest row, here 256 keys: the same numbers but for a factor, rounded anew."""
    deviation = "a table for each length of a row; at most 1 code"
    comparison = results.start("qlinear_softmax", "onnxruntime", "ONNX Runtime", deviation, case="table of 256 keys")
    second, third = (127 - x.reshape(-1) for x in np.meshgrid(np.arange(256), np.arange(256)))
    scores = np.stack([np.full(second.shape, 127), second, third], axis=1).astype(np.int8)
    for scale in QLINEAR_SCALES:
        table = qlinear_table(float(np.float32(scale)), 8, 256)
        got = ours.qlinear_softmax(scores, table, multiplier=256, signed=True)
        want = ort.qlinear_softmax(scores, scales=(scale, 1 / 256), zero_points=(3, -128))
        comparison.add(got, want, explained=np.abs(got - want) == 1, case=f"scale {scale}")
    assert comparison.different < 50
    comparison.finish(len(QLINEAR_SCALES) * scores.size)


def test_ibert_exponential_and_quotient(results: Results) -> None:
    """IntSoftmax as a whole; its 16-bit activation divides by a power of two."""
    comparison = results.start("ibert_softmax", "transformers", "I-BERT")
    for scale in (2.0**-4, 2.0**-5, 2.0**-7):
        ln2, b, c = ibert_constants(scale)
        shift = (c << 30).bit_length() - 15
        for bits, length in ((8, 1), (8, 7), (8, 64), (16, 33), (16, 128)):
            rng = generator(f"I-BERT {scale} {bits} {length}")
            scores = score_rows(rng, max(8, -(-CODES // (15 * length))), length, np.int16) >> 3
            want = ibert.softmax(scores, scale, exponent=shift, output_bits=bits)
            constants = {"ln2": ln2, "b": b, "c": c, "multiplier": 1, "shift": shift}
            got = ours.ibert_softmax(scores, **constants, bits=bits)
            comparison.add(got, want.clip(0, (1 << bits) - 1), case=f"scale {scale}, rows of {length}")
    comparison.finish(CODES)
