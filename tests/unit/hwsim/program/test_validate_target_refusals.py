"""Validation of what targets add: every check refuses a program that breaks it, by name."""

from typing import Any

import numpy as np
import pytest

from hwsim.formats import IntFormat, Rounding
from hwsim.program.catalogue import (
    Dyadic,
    Float32,
    Float32Inside,
    NarrowAfter,
    NarrowBefore,
    Nvdla,
    Q31Double,
    Q31DoubleHalfUp,
    Q31Single,
    Shift,
)
from hwsim.program.targets import TARGETS
from hwsim.program.validate import validate
from tests.property.equality import TARGET_OPERATIONS
from tests.unit.hwsim.program.program_edits import (
    ACCUMULATOR,
    INT8,
    INT17,
    KEY,
    NORM,
    PAST,
    ROWS,
    SCORES,
    SOFTMAX,
    SQUARE,
    SUM,
    UINT8,
    UINT16,
    Edit,
    constant,
    edited,
    manifest,
    native,
    new_constant,
    operation,
    run,
    tensor,
)

PROBABILITIES, NORMAL = f"{SOFTMAX}.output", f"{NORM}.output"


def bits(name: str, count: int, **fields: Any) -> Edit:
    return tensor(name, format=IntFormat(bits=count, **fields))


REFUSED: dict[str, tuple[str, list[Edit], str]] = {
    # gemmlowp softmax
    "zero point of gemmlowp": (
        "tflm",
        [tensor(PROBABILITIES, zero_point=-127)],
        "zero point -127; the operator's is -128",
    ),
    "zero point of 7 bits": (
        "tflm",
        [bits(PROBABILITIES, 8), tensor(PROBABILITIES, zero_point=0)],
        "zero point 0; the",
    ),
    "gemmlowp unsigned": (
        "tosa",
        [tensor(PROBABILITIES, format=UINT8, zero_point=0)],
        f"{PROBABILITIES} must be signed",
    ),
    "gemmlowp narrow": (
        "tflm",
        [tensor(PROBABILITIES, format=IntFormat(bits=8, narrow=True), zero_point=-127)],
        "output format int8n; a probability has no narrow range",
    ),
    "gemmlowp to 17 bits": ("tflm", [tensor(PROBABILITIES, format=INT17)], f"{PROBABILITIES} has 17 bits"),
    "gemmlowp of 17 bits": ("tflm", [tensor(SCORES, format=INT17)], f"{SCORES}"),
    "gemmlowp's shape": ("tflm", [tensor(PROBABILITIES, dims=ROWS)], f"{PROBABILITIES} has dimensions"),
    "gemmlowp's mask": ("tflm", [tensor("source_mask", dims=["batch", "past"])], "mask source_mask has dimensions"),
    "a mask of three dimensions": ("ibert", [tensor("source_mask", dims=ROWS)], "mask source_mask has dimensions"),
    "a mask that is not made": ("gemmini", [operation(PROBABILITIES, mask="more")], "reads more, which is not made"),
    "a mask of the other function": (
        "ita",
        [operation(PROBABILITIES, mask="target_ids")],
        "reads target_ids, which is",
    ),
    "scores that are not made": ("pulp", [operation(PROBABILITIES, input=PAST)], f"reads {PAST}, which is not made"),
    "scores that are accumulators": (
        "pulp",
        [operation(PROBABILITIES, input=f"{SCORES}.accumulator")],
        f"{SCORES}.accumulator has 32 bits; codes have",
    ),
    # I-BERT softmax
    "b = ln2": ("ibert", [operation(PROBABILITIES, b=25)], "b must be above ln2 = 25"),
    "c of 2^32": ("ibert", [operation(PROBABILITIES, c=1 << 32)], "c below 2^32"),
    "c * m": ("ibert", [operation(PROBABILITIES, c=(1 << 32) - 1, multiplier=3)], "c * 2^30 * multiplier reaches"),
    "ln2 of 2^32": ("ibert", [operation(PROBABILITIES, ln2=1 << 32, b=(1 << 32) + 1)], "can reach 2^63"),
    "b of 2^61": ("ibert", [operation(PROBABILITIES, b=1 << 61)], "(r + b) * r + c can reach 2^63"),
    "I-BERT signed": ("ibert", [tensor(PROBABILITIES, format=INT8)], f"{PROBABILITIES} must be unsigned"),
    "I-BERT's zero point": ("ibert", [tensor(PROBABILITIES, zero_point=1)], f"{PROBABILITIES} has zero point 1"),
    "I-BERT to 17 bits": ("ibert", [bits(PROBABILITIES, 17, signed=False)], f"{PROBABILITIES} has 17 bits"),
    # ITAMax
    "ITAMax to 9 bits": ("ita", [bits(PROBABILITIES, 9, signed=False)], "output of 9 bits; allowed are 2 to 8"),
    "ITAMax to 16 bits": ("pulp", [tensor(PROBABILITIES, format=UINT16)], "output of 16 bits; allowed are 2 to 8"),
    "ITAMax signed": ("ita", [tensor(PROBABILITIES, format=INT8)], f"{PROBABILITIES} must be unsigned"),
    "ITAMax's zero point": ("pulp", [tensor(PROBABILITIES, zero_point=1)], f"{PROBABILITIES} has zero point 1"),
    # Gemmini softmax
    "Gemmini unsigned": ("gemmini", [tensor(PROBABILITIES, format=UINT8)], f"{PROBABILITIES} must be signed"),
    "Gemmini's zero point": ("gemmini", [tensor(PROBABILITIES, zero_point=1)], f"{PROBABILITIES} has zero point 1"),
    "Gemmini narrow": ("gemmini", [bits(PROBABILITIES, 8, narrow=True)], "a probability has no narrow range"),
    "Gemmini's c": ("gemmini", [operation(PROBABILITIES, c=1 << 61)], "sums over 12 keys reach beyond 62 bits"),
    "Gemmini's b": ("gemmini", [operation(PROBABILITIES, b=1 << 31)], "sums over 12 keys reach beyond 62 bits"),
    # ONNX Runtime's softmax
    "QLinearSoftmax to 9 bits": ("onnxruntime", [bits(PROBABILITIES, 9)], "output of 9 bits; allowed are 2 to 8"),
    "QLinearSoftmax's zero point": (
        "onnxruntime",
        [tensor(PROBABILITIES, zero_point=0)],
        "zero point 0; the operator's is -128",
    ),
    "QLinearSoftmax narrow": (
        "onnxruntime",
        [tensor(PROBABILITIES, format=IntFormat(bits=8, narrow=True), zero_point=-127)],
        "output format int8n; a probability has no narrow range",
    ),
    "QLinearSoftmax of 13 bits": ("onnxruntime", [bits(SCORES, 13)], "scores of 13 bits need a table of 2^13; allowed"),
    "QLinearSoftmax of 7 bits": ("onnxruntime", [bits(SCORES, 7)], "softmax.table has shape (256,), needed (128,)"),
    "a number below 0": (
        "onnxruntime",
        [constant(f"{SOFTMAX}.table", np.full(256, -1))],
        "softmax.table holds what is no binary32 from 0 on, or begins with 0",
    ),
    "infinity": (
        "onnxruntime",
        [constant(f"{SOFTMAX}.table", np.full(256, 0x7F800000))],
        "softmax.table holds what is no binary32 from 0 on, or begins with 0",
    ),
    "an exponential of 0 at the greatest score": (
        "onnxruntime",
        [constant(f"{SOFTMAX}.table", np.arange(256))],
        "softmax.table holds what is no binary32 from 0 on, or begins with 0",
    ),
    "QLinearSoftmax's mask": (
        "onnxruntime",
        [tensor("source_mask", dims=["batch", "past"])],
        "mask source_mask has dimensions",
    ),
    # I-BERT LayerNorm
    "gamma of 2": (
        "ibert",
        [constant(f"{NORM}.gamma", np.full(8, 2), format=IntFormat(bits=3))],
        f"gamma {NORM}.gamma holds 2; this operation takes signs",
    ),
    "gamma of -2": (
        "gemmini",
        [constant(f"{NORM}.gamma", np.array([1, 0, -2, 1, 1, 1, 1, 1]), format=INT8)],
        f"gamma {NORM}.gamma holds 2; this operation takes signs",
    ),
    "variance_shift": (
        "ibert",
        [operation(NORMAL, variance_shift=1)],
        "at or above 2^32; use a greater variance_shift",
    ),
    "a multiplier too few": (
        "ibert",
        [new_constant("m", [9] * 7), operation(NORMAL, requantization=Dyadic(multiplier="m", shift=40))],
        "constant m has shape (7,), needed (8,)",
    ),
    "I-BERT's last product": (
        "ibert",
        [operation(NORMAL, requantization=Dyadic(multiplier=(1 << 31) - 1, shift=62))],
        "|x| * multiplier + rounding reaches",
    ),
    "beta of I-BERT": (
        "ibert",
        [constant(f"{NORM}.beta", np.full(8, (1 << 62) - 1), format=IntFormat(bits=63))],
        "|x| * multiplier + rounding reaches",
    ),
    "I-BERT's shape": ("ibert", [tensor(NORMAL, dims=SQUARE)], f"{NORMAL} has dimensions"),
    "I-BERT to 17 bits norm": ("ibert", [tensor(NORMAL, format=INT17)], f"{NORMAL} has 17 bits"),
    "gamma too short": ("gemmini", [constant(f"{NORM}.gamma", np.ones(7, np.int64))], "shape (7,), needed (8,)"),
    "beta too long": ("pulp", [constant(f"{NORM}.beta", np.ones(9, np.int64))], "shape (9,), needed (8,)"),
    "gamma that is not there": ("ita", [operation(NORMAL, gamma="more")], "constant more is not declared"),
    "beta that is not there": ("tflm", [operation(NORMAL, beta="more")], "constant more is not declared"),
    # PULP LayerNorm
    "gamma of 17 bits": ("ita", [constant(f"{NORM}.gamma", format=INT17)], f"constant {NORM}.gamma has 17 bits"),
    "gamma unsigned": ("pulp", [constant(f"{NORM}.gamma", format=UINT16)], f"constant {NORM}.gamma must be signed"),
    "gamma's zero point": ("ita", [constant(f"{NORM}.gamma", zero_point=1)], f"constant {NORM}.gamma has zero point 1"),
    "PULP's beta": (
        "pulp",
        [constant(f"{NORM}.beta", np.full(8, (1 << 62) - 1), format=IntFormat(bits=63))],
        "y * gamma + beta reaches",
    ),
    # TFLite LayerNorm
    "TFLite's sum of squares": ("tflm", [tensor(SUM, format=UINT16)], "sum of squares * floor(2^20 / n) reaches"),
    "TFLite's zero point": ("tflm", [tensor(SUM, zero_point=1)], "sum of squares * floor(2^20 / n) reaches"),
    "TFLite's e below 31": (
        "cmsis-nn",
        [operation(NORMAL, requantization=Q31Double(multiplier=1 << 30, shift=12))],
        "x * 2^(31 - shift) reaches",
    ),
    "TFLite's beta": (
        "tflm",
        [constant(f"{NORM}.beta", np.full(8, 1 << 41), format=IntFormat(bits=48))],
        "q31_double takes |x| to 2^31; here it reaches",
    ),
    "TFLite's ratio a channel": (
        "tflm",
        [
            new_constant("m", [1 << 30] * 8, bits=31),
            operation(NORMAL, requantization=Q31Double(multiplier="m", shift=40)),
        ],
        "this rescaling has one multiplier and one shift, not one a channel",
    ),
    "TFLite's gamma unsigned": ("tflm", [constant(f"{NORM}.gamma", format=UINT16)], f"{NORM}.gamma must be signed"),
    # residual sums
    "two schemes": (
        "ita",
        [operation(SUM, b_requantization=Dyadic(multiplier=3, shift=2))],
        "operands and sum must be rescaled by one scheme",
    ),
    "two schemes of one rounding": (
        "ita",
        [operation(SUM, b_requantization=NarrowBefore(multiplier=3, shift=2))],
        "operands and sum must be rescaled by one scheme",
    ),
    "another scheme of the sum": (
        "tflm",
        [operation(SUM, output_requantization=Q31DoubleHalfUp(multiplier=1 << 30, shift=40))],
        "operands and sum must be rescaled by one scheme",
    ),
    "shifts of two roundings": (
        "ita",
        [operation(SUM, a_requantization=Shift(shift=1), b_requantization=Shift(shift=1, rounding=Rounding.FLOOR))],
        "operands and sum must be rescaled by one scheme",
    ),
    "zero point inside a sum": (
        "gemmini",
        [
            operation(
                SUM, **dict.fromkeys(("a_requantization", "b_requantization"), Float32Inside(multiplier=1, shift=0))
            )
        ],
        "with the zero point outside",
    ),
    "a ratio a channel of a": (
        "ita",
        [new_constant("m", [9] * 8), operation(SUM, a_requantization=NarrowAfter(multiplier="m", shift=2))],
        "constant m has shape (8,), needed (1,)",
    ),
    "a named ratio of b": (
        "ita",
        [new_constant("e", [9]), operation(SUM, b_requantization=NarrowAfter(multiplier=1, shift="e"))],
        "this rescaling has one multiplier and one shift",
    ),
    "an operand of 31 bits": (
        "tflm",
        [operation(SUM, left_shift=20), bits("encoder.embedding", 12)],
        "q31_double takes |x| to 2^31",
    ),
    "the sum's rescaling": (
        "tosa",
        [
            operation(SUM, output_requantization=Q31Single(multiplier=1 << 30, shift=1)),
            operation(SUM, left_shift=20, a_requantization=Q31Single(multiplier=(1 << 31) - 1, shift=1)),
        ],
        "q31_single takes |x| to 2^31; here it reaches",
    ),
    "a sum of another shape": ("ita", [operation(SUM, b=f"{KEY}.heads")], f"{SUM}: {KEY}.heads has dimensions"),
    "a sum of accumulators": ("pulp", [operation(SUM, b=ACCUMULATOR)], f"{ACCUMULATOR} has 32 bits; codes have"),
    "a sum to 17 bits": ("tflm", [tensor(SUM, format=INT17)], f"{SUM} has 17 bits"),
    # requantization
    "q31 below 2^30": (
        "tflm",
        [constant(f"{KEY}.multiplier", np.array([(1 << 30) - 1, *[1 << 30] * 7]))],
        f"{KEY}: constant {KEY}.multiplier leaves 1073741824..2147483647",
    ),
    "q31_single's shift of 0": (
        "tosa",
        [new_constant("e", [0, *[33] * 7]), operation(KEY, requantization=Q31Single(multiplier=1 << 30, shift="e"))],
        f"{KEY}: constant e leaves 1..62",
    ),
    "narrow multipliers of 9 bits": (
        "ita",
        [new_constant("m", [255] * 7 + [256]), operation(KEY, requantization=NarrowAfter(multiplier="m", shift=9))],
        f"{KEY}: constant m leaves 1..255",
    ),
    "nvdla multipliers of 16 bits": (
        "nvdla",
        [new_constant("m", [1 << 15] * 8), operation(KEY, requantization=Nvdla(multiplier="m", shift=9))],
        f"{KEY}: constant m leaves 1..32767",
    ),
    "float multipliers of 25 bits": (
        "gemmini",
        [new_constant("m", [1 << 24] * 8, bits=25), operation(KEY, requantization=Float32(multiplier="m", shift=30))],
        f"{KEY}: constant m leaves 1..16777215",
    ),
    "a multiplier of a shift": (
        "ita",
        [new_constant("m", [2] * 8), operation(KEY, requantization=Shift(multiplier="m", shift=9))],
        f"{KEY}: constant m leaves 1..1",
    ),
    "shifts of 63": (
        "pulp",
        [new_constant("e", [63] * 8), operation(KEY, requantization=NarrowBefore(multiplier=9, shift="e"))],
        f"{KEY}: constant e leaves 0..62",
    ),
    "a ratio for each of too many channels": (
        "nvdla",
        [new_constant("m", [9] * 9), operation(KEY, requantization=Nvdla(multiplier="m", shift=9))],
        f"{KEY}: constant m has shape (9,), needed (8,)",
    ),
    "ratios of keys": (
        "tflm",
        [
            new_constant("m", [1 << 30] * 12, bits=31),
            operation(SCORES, requantization=Q31Double(multiplier="m", shift=40)),
        ],
        f"{SCORES}: dimension 'source' varies",
    ),
    "multipliers that are not there": (
        "cmsis-nn",
        [operation(KEY, requantization=Q31Double(multiplier="more", shift=40))],
        f"{KEY}: constant more is not declared",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_program_of_a_target_is_refused_by_name(case: str) -> None:
    target, edits, message = REFUSED[case]
    with pytest.raises(ValueError, match=r"^function \w+, \S+: .") as error:
        validate(edited(native(target), *edits))
    assert message in str(error.value)


@pytest.mark.parametrize("target", TARGETS)
def test_the_whole_program_of_a_target_passes_and_runs(target: str) -> None:
    run(native(target))


def test_a_program_of_an_unknown_target_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown target 'tpu'; known: fullyqt"):
        validate(edited(native("ita"), manifest(target="tpu")))


def test_the_cases_above_edit_every_operation_that_only_targets_have() -> None:
    kinds = {type(op).__name__ for target in TARGETS for _, op in native(target).operations()}
    assert kinds >= TARGET_OPERATIONS
    assert {target for target, _, _ in REFUSED.values()} >= {"tflm", "ibert", "ita", "gemmini", "pulp", "nvdla", "tosa"}
