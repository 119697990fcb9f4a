"""Validation of what targets add: every hostile edit is refused by name, at its exact boundary; what passes, runs."""

import copy
import functools
import random
import re
from collections import Counter as Multiset
from math import isqrt
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim import program as ir
from hwsim.formats import Accumulator, IntFormat, Rounding
from hwsim.machine.machine import Machine
from hwsim.program import Manifest, Program
from hwsim.program import operations as ops
from hwsim.program.catalogue import (
    Q15,
    AnyRequantization,
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
from reference.quantize.scheme import preset
from tests.property.equality import TARGET_OPERATIONS
from tests.tiny_program import tiny_program
from tests.unit.hwsim.program.test_validate_refusals import (
    INT8,
    INT17,
    KEY,
    NORM,
    NUMBERS,
    PAST,
    ROWS,
    SCORES,
    SOFTMAX,
    SQUARE,
    SUM,
    UINT8,
    Edit,
    at,
    constant,
    dimension,
    edited,
    instead,
    leaves,
    manifest,
    new_constant,
    operation,
    replace,
    run,
    tensor,
)

PROBABILITIES, NORMAL = f"{SOFTMAX}.output", f"{NORM}.output"
ACCUMULATOR = f"{KEY}.accumulator"
UINT16 = IntFormat(bits=16, signed=False)


@functools.cache
def native(target: str) -> Program:
    return tiny_program(preset("native", target))


def bits(name: str, count: int, **fields: Any) -> Edit:
    return tensor(name, format=IntFormat(bits=count, **fields))


# --- one mutation for every check: target, edits, message ------------------------------------------------------------

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


# --- boundaries, of one operation alone -------------------------------------------------------------------------------

INT16 = IntFormat(bits=16)
Q31 = Q31Double(multiplier=1 << 30, shift=40)


def alone(
    op: ops.Operation,
    x: IntFormat,
    y: IntFormat,
    dims: list[str | int],
    *,
    zeros: tuple[int, int] = (0, 0),
    maximum: int = 3,
    **constants: tuple[IntFormat, NDArray[Any]],
) -> Program:
    """A program of one operation from x (and z, of the same codes) to y."""
    names = ["x", "z"] if isinstance(op, ops.RescaledAdd) else ["x"]
    tensors = [ir.TensorInfo(name=name, format=x, dims=dims, zero_point=zeros[0]) for name in names]
    tensors.append(ir.TensorInfo(name="y", format=y, dims=dims, zero_point=zeros[1]))
    infos = [
        ir.ConstantInfo(name=name, format=fmt, shape=list(array.shape), role="weight")
        for name, (fmt, array) in constants.items()
    ]
    about = Manifest(
        name="alone",
        scheme="none",
        tokenizer_sha256="",
        pad_id=0,
        bos_id=1,
        eos_id=2,
        max_positions=1,
        logit_scale=1.0,
        dimensions=[ir.Dimension(name="batch", maximum=1 << 12), ir.Dimension(name="keys", maximum=maximum)],
        tensors=tensors,
        constants=infos,
        functions=[ir.Function(name="forward", inputs=names, outputs=["y"], operations=[op])],
        states=[],
    )
    return Program(about, {name: array for name, (_, array) in constants.items()})


def passes(program: Program, **inputs: Any) -> NDArray[Any]:
    """What a valid program makes of given codes."""
    return Machine(program).run("forward", {name: np.array(codes) for name, codes in inputs.items()})["y"]


def stopped(program: Program, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^function forward, y: .*{re.escape(message)}"):
        validate(program)


def worst_scores(keys: int, fmt: IntFormat) -> NDArray[Any]:
    """All equal, one above all, and the two ends in turn."""
    rows = np.full((3, keys), fmt.max)
    rows[1, 1:] = fmt.min
    rows[2, ::2] = fmt.min
    return rows


def test_gemmlowp_sums_4095_keys() -> None:
    op = ops.GemmlowpSoftmax(output="y", input="x", multiplier=(1 << 31) - 1, left_shift=31)
    made = functools.partial(alone, op, INT16, INT16, ["batch", "keys"], zeros=(0, -(1 << 15)))
    for left_shift in (0, 31):
        program = made(maximum=4095)
        made_op = replace(op, left_shift=left_shift)
        program = edited(program, instead("y", made_op))
        passes(program, x=worst_scores(4095, INT16))
    stopped(made(maximum=4096), "rows of up to 4096 keys; the 32-bit sum holds 4095")


def test_ibert_softmax_holds_its_exponential() -> None:
    op = ops.IBertSoftmax(output="y", input="x", ln2=1, b=2, c=(1 << 32) - 1, multiplier=1, shift=0)
    made = functools.partial(alone, x=INT16, y=UINT16, dims=["batch", "keys"], maximum=500)
    passes(made(op), x=worst_scores(500, INT16))
    stopped(made(replace(op, c=1 << 32)), "c below 2^32")
    passes(made(replace(op, multiplier=2, shift=31)), x=worst_scores(500, INT16))
    stopped(made(replace(op, multiplier=2, shift=32)), "c * 2^30 * multiplier reaches")
    root = isqrt((1 << 62) - 1)  # of ln2, with b one above it and c 1: (2 ln2 + 1) ln2 + 1
    wide = replace(op, c=1, ln2=root, b=root + 1)
    passes(made(wide), x=worst_scores(500, INT16))
    stopped(made(replace(wide, ln2=root + 2, b=root + 3)), "(r + b) * r + c can reach 2^63")


def test_gemmini_softmax_holds_its_sum() -> None:
    op = ops.GemminiSoftmax(output="y", input="x", ln2=1, b=1, c=1)
    made = functools.partial(alone, x=INT8, y=INT8, dims=["batch", "keys"], maximum=16)
    reach = (255 + 2 + 1) ** 2
    greatest = (1 << 62 - 8 - 4) - 1 - reach
    passes(made(replace(op, c=greatest)), x=worst_scores(16, INT8))
    stopped(made(replace(op, c=greatest + 1)), "sums over 16 keys reach beyond 62 bits")
    stopped(edited(made(replace(op, c=greatest)), dimension("keys", maximum=17)), "sums over 17 keys reach beyond")


@pytest.mark.parametrize("shift", [0, 8])
@pytest.mark.parametrize("group", [0, 1, 7, 1 << 16])
def test_itamax_takes_any_scores(shift: int, group: int) -> None:
    op = ops.ItaMax(output="y", input="x", shift=shift, group=group)
    for y in (UINT8, IntFormat(bits=2, signed=False)):
        passes(alone(op, INT16, y, ["batch", "keys"], maximum=3000), x=worst_scores(3000, INT16))


def norm(
    op: ops.AnyLayerNorm, n: int, x: IntFormat, gamma: int = 1, beta: int = 0, zeros: tuple[int, int] = (0, 0)
) -> Program:
    """Gamma and beta of one number."""
    wide = IntFormat(bits=63)
    constants = {"gamma": (INT16, np.full(n, gamma)), "beta": (wide, np.full(n, beta))}
    return alone(op, x, INT8, ["batch", n], zeros=zeros, **constants)


def worst_rows(n: int, fmt: IntFormat) -> NDArray[Any]:
    """Constant rows, one element apart from all others, halves apart."""
    rows = np.full((4, n), fmt.min)
    rows[0] = fmt.max - 1
    rows[1, 0] = fmt.max
    rows[2, : n // 2] = fmt.max
    rows[3] = fmt.max - np.arange(n) % 2
    return rows


IBERT = ops.IBertLayerNorm(
    output="y", input="x", gamma="gamma", beta="beta", variance_shift=0, requantization=Dyadic(multiplier=1, shift=0)
)
PULP = ops.PulpLayerNorm(output="y", input="x", gamma="gamma", beta="beta", shift=0)
TFLITE = ops.TfliteLayerNorm(output="y", input="x", gamma="gamma", beta="beta", variance_limit=1, requantization=Q31)


@pytest.mark.parametrize(
    ("n", "fmt", "least"), [(8, INT16, 2), (1 << 10, INT16, 5), (66051, INT8, 0), (66052, INT8, 1)]
)
def test_least_variance_shift(n: int, fmt: IntFormat, least: int) -> None:
    passes(norm(replace(IBERT, variance_shift=least), n, fmt), x=worst_rows(n, fmt))
    if least:
        stopped(norm(replace(IBERT, variance_shift=least - 1), n, fmt), "use a greater variance_shift")


def test_ibert_layernorm_holds_its_last_product() -> None:
    def program(multiplier: int, beta: int, shift: int = 0) -> Program:
        op = replace(IBERT, variance_shift=2, requantization=Dyadic(multiplier=multiplier, shift=shift))
        return norm(op, 8, INT16, beta=beta)

    passes(program(1, -(1 << 62)), x=worst_rows(8, INT16))
    greatest = ((1 << 63) - 1) // 3 - (1 << 32)
    passes(program(3, greatest), x=worst_rows(8, INT16))
    stopped(program(3, greatest + 1), "|x| * multiplier + rounding reaches")
    passes(program((1 << 31) - 1, 0), x=worst_rows(8, INT16))
    stopped(program((1 << 31) - 1, 0, shift=62), "|x| * multiplier + rounding reaches")


def test_pulp_layernorm_holds_its_squares_and_its_sum() -> None:
    passes(norm(PULP, 8, INT16, gamma=-(1 << 15), beta=(1 << 62) - 1 - (65535 << 15)), x=worst_rows(8, INT16))
    stopped(norm(PULP, 8, INT16, gamma=-(1 << 15), beta=(1 << 62) - (65535 << 15)), "y * gamma + beta reaches")
    n = ((1 << 52) - 1) // 65535**2
    passes(norm(PULP, n, INT16), x=worst_rows(n, INT16)[1:3])
    stopped(norm(PULP, n + 1, INT16), "sums of squares reach")


def test_tflite_layernorm_holds_its_squares() -> None:
    narrow = IntFormat(bits=16, narrow=True)
    for n in (1, 2, 8, 24, 100, 512):
        passes(norm(TFLITE, n, narrow, gamma=-(1 << 15)), x=worst_rows(n, narrow))
        validate(norm(TFLITE, n, INT16))
        if n & (n - 1) == 0:
            stopped(norm(TFLITE, n, INT16, zeros=(1, 0)), "sum of squares * floor(2^20 / n) reaches")
    stopped(norm(TFLITE, (1 << 20) + 1, INT8), "rows of 1048577; allowed are at most 2^20")


def test_tflite_layernorm_takes_a_row_of_the_least_code() -> None:
    """Validation takes int16 rows of a power of two, or no int16 residual stream could be; this one sums to 2^50."""
    passes(norm(TFLITE, 8, INT16), x=np.full((1, 8), INT16.min))


@pytest.mark.parametrize("zero", [0, -128, 127])
@pytest.mark.parametrize("n", [2, 8, 24, 97, 1000, 1023, 40000])
def test_tflite_layernorm_normalises_no_further_than_its_bound(n: int, zero: int) -> None:
    """Far from zero, floor(2^20 / n) takes more from the variance than a row has, and deviations grow without it."""
    op = replace(TFLITE, requantization=Q31Double(multiplier=1 << 30, shift=31))
    for fmt in (INT8, IntFormat(bits=16, narrow=True))[: 1 if zero else 2]:
        rows = [row for offset in (0, 1, 40, 250, 3000) for row in outliers(n, fmt, offset)]
        passes(norm(op, n, fmt, gamma=1 << 14, zeros=(zero, 0)), x=rows)


def outliers(n: int, fmt: IntFormat, offset: int) -> NDArray[Any]:
    """Constant rows at either end, but for one element."""
    rows = np.full((2, n), fmt.min)
    rows[1] = fmt.max
    rows[0, 0] = min(fmt.max, fmt.min + offset)
    rows[1, -1] = max(fmt.min, fmt.max - offset)
    return rows


def test_tflite_layernorm_bound_at_its_boundary() -> None:
    """By 2^(31-e) at the greatest that is taken: no row is refused when it runs."""
    narrow = IntFormat(bits=16, narrow=True)
    for n in (24, 1000, 512):
        shift = least_shift(n, narrow)
        assert 12 < shift < 31
        op = replace(TFLITE, requantization=Q31Double(multiplier=1 << 30, shift=shift))
        rows = [row for offset in range(0, 65000, 500) for row in outliers(n, narrow, offset)]
        passes(norm(op, n, narrow, gamma=1 << 14), x=rows)


def least_shift(n: int, fmt: IntFormat) -> int:
    for shift in range(31):
        op = replace(TFLITE, requantization=Q31Double(multiplier=1 << 30, shift=shift))
        try:
            validate(norm(op, n, fmt, gamma=1 << 14))
        except ValueError:
            continue
        return shift
    return 31


# --- residual sums and requantizations --------------------------------------------------------------------------------


def total(
    scheme: AnyRequantization, output: AnyRequantization | None, left_shift: int, x: IntFormat = INT16
) -> Program:
    op = ops.RescaledAdd(
        output="y",
        a="x",
        b="z",
        left_shift=left_shift,
        a_requantization=scheme,
        b_requantization=scheme,
        output_requantization=output,
    )
    return alone(op, x, INT8, ["batch", 4])


def ends(fmt: IntFormat) -> dict[str, Any]:
    rows = [[fmt.min, fmt.max, fmt.min, fmt.max]]
    return {"x": rows, "z": [[fmt.min, fmt.max, fmt.max, fmt.min]]}


SUMS: dict[str, tuple[AnyRequantization, AnyRequantization | None, int, str]] = {
    "dyadic to 2^63": (Dyadic(multiplier=(1 << 27) - 1, shift=0), None, 20, ""),
    "dyadic beyond 2^63": (Dyadic(multiplier=1 << 27, shift=0), None, 20, "the sum of the rescaled operands reaches"),
    "dyadic operand": (Dyadic(multiplier=1 << 28, shift=0), None, 20, "|x| * multiplier + rounding reaches"),
    "dyadic sum": (Dyadic(multiplier=1 << 20, shift=0), Dyadic(multiplier=1 << 6, shift=3), 20, ""),
    "dyadic sum's product": (
        Dyadic(multiplier=1 << 20, shift=0),
        Dyadic(multiplier=1 << 7, shift=3),
        20,
        "|x| * multiplier + rounding reaches",
    ),
    "float": (Float32(multiplier=(1 << 24) - 1, shift=0), None, 16, ""),
    "float operand": (Float32(multiplier=1, shift=0), None, 17, "float32 takes |x| to 2^31"),
    "float sum": (Float32(multiplier=1, shift=2), Float32(multiplier=1, shift=0), 16, ""),
    "float sum of 2^31": (Float32(multiplier=1, shift=1), Float32(multiplier=1, shift=0), 16, "takes |x| to 2^31"),
    "q31": (Q31Double(multiplier=1 << 30, shift=33), Q31Double(multiplier=1 << 30, shift=31), 15, ""),
    "q31 sum": (Q31, Q31Double(multiplier=1 << 30, shift=1), 15, "x * 2^(31 - shift) reaches"),
    "q31 operand": (Q31, None, 17, "q31_double takes |x| to 2^31"),
    "q31 operand of 2^31": (Q31, None, 16, "x * 2^(31 - shift) reaches"),
    "q31, shift of 30": (Q31Double(multiplier=1 << 30, shift=30), None, 15, "x * 2^(31 - shift) reaches"),
    "q31, shift of 30, one bit less": (Q31Double(multiplier=1 << 30, shift=30), None, 14, ""),
    "q15": (Q15(multiplier=1 << 14, shift=0), None, 20, ""),
    "shifts": (Shift(shift=3, rounding=Rounding.TOWARD_ZERO), Shift(shift=1, rounding=Rounding.TOWARD_ZERO), 20, ""),
}


@pytest.mark.parametrize("case", SUMS)
def test_boundaries_of_a_rescaled_sum(case: str) -> None:
    scheme, output, left_shift, message = SUMS[case]
    program = total(scheme, output, left_shift)
    if message:
        stopped(program, message)
    else:
        passes(program, **ends(INT16))


def product(scheme: AnyRequantization, greatest: int, accumulator: int = 40) -> Program:
    """Requantize a product that reaches exactly `greatest`, of either sign: one input of 2 bits (narrow) by a bias."""
    fmt = IntFormat(bits=accumulator)
    base = alone(
        ops.MatMul(output="acc", a="x", b="w", bias="bias", accumulator=Accumulator(bits=accumulator)),
        IntFormat(bits=2, narrow=True),
        INT8,
        ["batch", 1],
        w=(INT8, np.array([[1]])),
        bias=(IntFormat(bits=63), np.array([greatest - 1 if greatest > 0 else greatest + 1])),
    )
    acc = ir.TensorInfo(name="acc", format=fmt, dims=["batch", 1])
    function = base.manifest.functions[0]
    last = ops.Requantize(output="y", input="acc", requantization=scheme)
    functions = [replace(function, operations=[*function.operations, last])]
    return Program(replace(base.manifest, tensors=[*base.manifest.tensors, acc], functions=functions), base.constants)


LIMITS: list[tuple[AnyRequantization, int, int]] = [
    (Q31, -(1 << 31), (1 << 31) - 1),
    (Q31Double(multiplier=(1 << 31) - 1, shift=31), -(1 << 31), (1 << 31) - 1),
    (Q31Double(multiplier=(1 << 31) - 1, shift=21), -(1 << 21), (1 << 21) - 1),
    (Q31DoubleHalfUp(multiplier=(1 << 31) - 1, shift=2), -4, 3),
]
"""An accumulator times 2^l is an int32."""
LIMITS += [
    (scheme, -greatest, greatest)
    for scheme, greatest in (
        (Q31Single(multiplier=(1 << 31) - 1, shift=62), 1 << 31),
        (Float32(multiplier=(1 << 24) - 1, shift=62), 1 << 31),
        (Float32Inside(multiplier=(1 << 24) - 1, shift=0), 1 << 31),
        (Q15(multiplier=(1 << 15) - 1, shift=10), 1 << 47),
        (NarrowAfter(multiplier=255, shift=62), ((1 << 63) - 1 - (1 << 61)) // 255),
        (NarrowBefore(multiplier=65535, shift=0), ((1 << 63) - 1) // 65535),
        (Nvdla(multiplier=32767, shift=1), ((1 << 63) - 2) // 32767),
        (Dyadic(multiplier=(1 << 31) - 1, shift=62), ((1 << 63) - 1 - (1 << 61)) // ((1 << 31) - 1)),
    )
]


@pytest.mark.parametrize(("scheme", "least", "greatest"), LIMITS, ids=lambda value: str(value)[:24])
def test_boundaries_of_a_requantization(scheme: AnyRequantization, least: int, greatest: int) -> None:
    """The page's bounds of x themselves run, one beyond is refused."""
    for end in (least, greatest):
        program = product(scheme, end, 62)
        assert end in validate(program)["acc"]
        passes(program, x=[[-1], [0], [1]])
    for beyond in (least - 1, greatest + 1):
        stopped(product(scheme, beyond, 62), "")


def test_ratios_for_each_channel_are_checked_each() -> None:
    """One shift among others that leaves too little room is enough."""
    tflm = native("tflm")
    low, high = validate(tflm)[ACCUMULATOR]
    least = max(high, -low - 1).bit_length()

    def program(shift: int) -> Program:
        scheme = Q31Double(multiplier=f"{KEY}.multiplier", shift="e")
        return edited(tflm, new_constant("e", [40] * 7 + [shift]), operation(KEY, requantization=scheme))

    run(program(least))
    with pytest.raises(ValueError, match=rf"^function encode, {KEY}: x \* 2\^\(31 - shift\) reaches"):
        validate(program(least - 1))


# --- what passes, runs ------------------------------------------------------------------------------------------------

MUTATIONS = 100
MUTATED = ["tflm", "ita", "pulp", "gemmini", "ibert", "nvdla"]
EXTREMES = [*NUMBERS, 255, 256, 1 << 14, (1 << 15) - 1, 1 << 30, (1 << 31) - 1, (1 << 32) - 1, 1 << 61, (1 << 62) - 1]


def mutant(tree: Any, paths: list[tuple[str | int, ...]], rng: random.Random) -> Any:
    """One or two fields replaced: by what another such field holds, by what any holds, or by a number."""
    changed = copy.deepcopy(tree)
    for _ in range(rng.choice([1, 1, 2])):
        path = rng.choice(paths)
        kind = [part for part in path if isinstance(part, str)][-1]
        others = [other for other in paths if [part for part in other if isinstance(part, str)][-1] == kind]
        value = at(tree, rng.choice(others if rng.random() < 0.6 else paths))
        if rng.random() < 0.4:
            value = rng.choice(EXTREMES)
        at(changed, path[:-1])[path[-1]] = copy.deepcopy(value)
    return changed


def interesting(tree: Any) -> list[tuple[str | int, ...]]:
    """Fields of operations twice, so that half of the mutations are of what a target adds."""
    paths = [path for path in leaves(tree) if path[-1] != "scale" and len(path) > 1]
    return paths + 2 * [path for path in paths if path[0] == "functions"]


@pytest.mark.parametrize("target", MUTATED)
def test_a_program_of_a_target_with_other_fields_is_refused_or_runs(target: str) -> None:
    """A ValueError of the reader or of validation, or a program that runs; nothing else, and nothing while it runs."""
    program, rng, seen = native(target), random.Random(11), Multiset[str]()
    tree = msgspec.to_builtins(program.manifest)
    for field in ("name", "scheme", "origin", "tokenizer_sha256", "logit_scale"):
        tree[field] = type(tree[field])()
    paths = interesting(tree)
    for _ in range(MUTATIONS):
        try:
            changed = Program(msgspec.convert(mutant(tree, paths, rng), Manifest), program.constants)
            validate(changed)
        except ValueError:
            seen["refused"] += 1
            continue
        seen["accepted"] += 1
        run(changed)
    assert seen["accepted"] > MUTATIONS // 20
    assert seen["refused"] > MUTATIONS // 3


VALUES = [0, 1, -1, 2, 127, -128, 32767, -32768, 65535, 1 << 30, -(1 << 31), (1 << 31) - 1, 1 << 41, (1 << 62) - 1]


@pytest.mark.parametrize("target", MUTATED)
def test_a_program_of_a_target_with_other_constants_is_refused_or_runs(target: str) -> None:
    """Elements of every constant, in formats just wide enough or wider."""
    program, rng, seen = native(target), random.Random(13), Multiset[str]()
    infos = [info for info in program.manifest.constants if info.name.startswith("encoder.0")]
    for info in infos * 3:
        array = program.constants[info.name].astype(np.int64)
        array.flat[rng.randrange(array.size)] = value = rng.choice(VALUES)
        signed = rng.random() < 0.8 or value < 0
        width = max(info.format.bits, abs(value).bit_length() + signed)
        fmt = IntFormat(bits=width, signed=signed or bool((array < 0).any()))
        try:
            changed = edited(program, constant(info.name, array, format=fmt))
            validate(changed)
        except ValueError:
            seen["refused"] += 1
            continue
        seen["accepted"] += 1
        run(changed)
    assert min(seen["accepted"], seen["refused"]) > 5
