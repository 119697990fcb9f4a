"""Validation of what targets add: every check refuses a program that breaks it, by name."""

from typing import Any

import numpy as np
import pytest

from hwsim.formats import IntFormat
from hwsim.program.catalogue import (
    Dyadic,
    Q31Double,
)
from hwsim.program.targets import TARGETS
from hwsim.program.validate import validate
from tests.property.equality import TARGET_OPERATIONS
from tests.unit.hwsim.program.program_edits import (
    INT8,
    INT17,
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
    "ITAMax to 16 bits": ("deeploy", [tensor(PROBABILITIES, format=UINT16)], "output of 16 bits; allowed are 2 to 8"),
    "ITAMax signed": ("ita", [tensor(PROBABILITIES, format=INT8)], f"{PROBABILITIES} must be unsigned"),
    "ITAMax's zero point": ("deeploy", [tensor(PROBABILITIES, zero_point=1)], f"{PROBABILITIES} has zero point 1"),
    # Gemmini softmax
    "Gemmini unsigned": ("gemmini", [tensor(PROBABILITIES, format=UINT8)], f"{PROBABILITIES} must be signed"),
    "Gemmini's zero point": ("gemmini", [tensor(PROBABILITIES, zero_point=1)], f"{PROBABILITIES} has zero point 1"),
    "Gemmini narrow": ("gemmini", [bits(PROBABILITIES, 8, narrow=True)], "a probability has no narrow range"),
    "Gemmini's c": ("gemmini", [operation(PROBABILITIES, c=1 << 31)], "c 2147483648: (r + b)^2 + c reaches 2^31"),
    "Gemmini's b": ("gemmini", [operation(PROBABILITIES, b=46341)], "b 46341, c 1150: (r + b)^2 + c reaches 2^31"),
    "Gemmini's sum": ("gemmini", [operation(PROBABILITIES, c=1 << 28)], "exponentials of 12 keys sum to"),
    # PULP's softmax
    "iSoftmax to 9 bits": ("pulp", [bits(PROBABILITIES, 9, signed=False)], "output of 9 bits; allowed are 2 to 8"),
    "iSoftmax signed": ("pulp", [tensor(PROBABILITIES, format=INT8)], f"{PROBABILITIES} must be unsigned"),
    "iSoftmax's zero point": ("pulp", [tensor(PROBABILITIES, zero_point=1)], f"{PROBABILITIES} has zero point 1"),
    "iSoftmax's c": ("pulp", [operation(PROBABILITIES, c=1 << 31)], "c 2147483648: (r + b)^2 + c reaches 2^31"),
    "iSoftmax's quotient": ("pulp", [operation(PROBABILITIES, c=16840894)], "255 times an exponential reaches 2^32"),
    # softmax of int16 tables
    "int16 softmax to 15 bits": (
        "tflm-int16",
        [bits(PROBABILITIES, 15)],
        "output int15; the operator has signed scores",
    ),
    "int16 softmax of unsigned scores": ("tflm-int16", [tensor(SCORES, format=UINT16)], "scores uint16, output int16"),
    "int16 softmax's zero point": ("tflm-int16", [tensor(PROBABILITIES, zero_point=1)], f"{PROBABILITIES} has zero"),
    "a table of 512": (
        "tflm-int16",
        [constant("exp_table", np.full(512, 1 << 14))],
        "exp_table has shape (512,), needed (513,)",
    ),
    "an exponential below 0": (
        "tflm-int16",
        [constant("exp_table", np.array([-1] + [1 << 14] * 512))],
        "exp_table leaves 0..32767",
    ),
    "a greatest score of less than a half": (
        "tflm-int16",
        [constant("exp_table", np.full(513, (1 << 14) - 1))],
        "exp_table: the greatest score has 16383, and 12 keys reach 2^31; needed: at least 2^14",
    ),
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
        "ibert",
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
    "gamma of 33 bits": (
        "ita",
        [constant(f"{NORM}.gamma", format=IntFormat(bits=33))],
        f"constant {NORM}.gamma has more than 32 bits",
    ),
    "gamma unsigned": (
        "pulp",
        [constant(f"{NORM}.gamma", np.full(8, 9), format=UINT16)],
        f"constant {NORM}.gamma must be signed",
    ),
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
    kinds = {type(op).__name__ for target in (*TARGETS, "tflm-int16") for _, op in native(target).operations()}
    assert kinds >= TARGET_OPERATIONS
    assert {target for target, _, _ in REFUSED.values()} >= {
        *("tflm", "ibert", "ita", "gemmini", "pulp", "deeploy", "tosa", "onnxruntime")
    }
