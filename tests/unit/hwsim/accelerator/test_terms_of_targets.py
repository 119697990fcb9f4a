"""Datapath terms of what targets add: counted by hand from docs/operators."""

from collections import Counter as Multiset

import numpy as np
import pytest

from hwsim.accelerator.events import Component
from hwsim.formats import IntFormat
from hwsim.program import Program
from hwsim.program.catalogue import Float32, Q31Double
from hwsim.program.operations import (
    AnyLayerNorm,
    AnySoftmax,
    GemminiLayerNorm,
    GemminiSoftmax,
    GemmlowpSoftmax,
    IBertSoftmax,
    Int16Softmax,
    ItaMax,
    PulpSoftmax,
    QLinearSoftmax,
)
from tests.property.equality import TARGET_OPERATIONS
from tests.unit.hwsim.accelerator.target_terms import KEYS, ROWS, TFLITE_SUM, TOGETHER, C, add, terms
from tests.unit.hwsim.program.one_operation import IBERT, PULP, TFLITE, alone, norm
from tests.unit.hwsim.program.program_edits import INT8, INT16, UINT8, replace


def counted(program: Program, rows: int = ROWS, keys: int = KEYS) -> Multiset[Component]:
    """Operations of the datapath, by component."""
    sizes = {"batch": rows, "keys": keys} if "keys" in program.tensors["x"].dims else {"batch": rows}
    made = Multiset[Component]()
    for _, term in terms(program, "forward", sizes):
        assert term.count >= 0
        made[term.component] += term.count
    return +made


def softmax(op: AnySoftmax, y: IntFormat, zero: int = 0) -> Program:
    return alone(op, INT8, y, ["batch", "keys"], zeros=(0, zero), maximum=64)


def layernorm(op: AnyLayerNorm) -> Program:
    return norm(op, KEYS, INT16)


GEMMLOWP = softmax(GemmlowpSoftmax(output="y", input="x", multiplier=1 << 30, left_shift=20), INT8, -128)
IBERT_SOFTMAX = softmax(IBertSoftmax(output="y", input="x", ln2=25, b=93, c=3348, multiplier=40087, shift=42), UINT8)
ITAMAX = softmax(ItaMax(output="y", input="x", shift=5, group=16), UINT8)
GEMMINI = softmax(GemminiSoftmax(output="y", input="x", ln2=24, b=46, c=1150), INT8)
PULP_SOFTMAX = softmax(PulpSoftmax(output="y", input="x", ln2=24, b=46, c=1150), UINT8)
FLAT = (INT16, np.full(513, 1 << 14))
INT16_SOFTMAX = alone(
    Int16Softmax(
        output="y",
        input="x",
        exp_table="e",
        reciprocal_table="r",
        requantization=Q31Double(multiplier=1 << 30, shift=31),
    ),
    *(INT8, INT16, ["batch", "keys"]),
    maximum=64,
    e=FLAT,
    r=FLAT,
)
GEMMINI_NORM = GemminiLayerNorm(
    output="y", input="x", gamma="gamma", beta="beta", requantization=Float32(multiplier=1 << 23, shift=23)
)
EXPONENTIALS = (IntFormat(bits=32), np.full(256, 0x3F800000, np.int32))
QLINEAR = alone(
    QLinearSoftmax(output="y", input="x", table="t", multiplier=256),
    *(INT8, INT8, ["batch", "keys"]),
    zeros=(0, -128),
    maximum=64,
    t=EXPONENTIALS,
)

HAND: dict[str, tuple[Program, dict[Component, int], dict[Component, int]]] = {
    "gemmlowp_softmax": (
        GEMMLOWP,
        {
            C.COMPARE: 1,
            # d; x + 2^28, R(x4) + x3, + x2, x + y, exp(-1/8) +; the sum
            C.VECTOR_ADD: 1 + 5 + 1,
            # by Q; x2, x3, x4, 1/3, exp(-1/8); seven bits of the remainder; by the reciprocal
            C.VECTOR_MULTIPLY: 1 + 5 + 7 + 1,
            C.REQUANTIZE_SHIFT: 1,
            C.REQUANTIZE_ADD: 2,  # of the rounding, and lo
            C.CLAMP: 1,
        },
        # -32/17 H, then H X and X (2^29 - HX) three times; H, 48/17 +, then 2^29 - and X + three times
        {C.VECTOR_MULTIPLY: 1 + 3 * 2, C.VECTOR_ADD: 2 + 3 * 2},
    ),
    "ibert_softmax": (
        IBERT_SOFTMAX,
        {
            C.COMPARE: 1,
            C.VECTOR_ADD: 1 + 3 + 1,  # d; y + ln2 z, r + b, + c; the sum
            C.VECTOR_MULTIPLY: 2 + 1,  # ln2 z, (r + b) r; E16 F
            C.DIVIDE: 1,  # z
            C.REQUANTIZE_MULTIPLY: 1,  # (S12)
            C.REQUANTIZE_SHIFT: 3,  # 2^(30-z), 2^e, 2^(32-B)
            C.REQUANTIZE_ADD: 1,
            C.CLAMP: 1,
        },
        {C.DIVIDE: 1},  # F
    ),
    "itamax": (
        ITAMAX,
        {C.COMPARE: 1, C.VECTOR_ADD: 3, C.REQUANTIZE_SHIFT: 2, C.CLAMP: 1},  # M - x, sum, M - x; 256 >>, inv >>
        {C.DIVIDE: 1},  # inv
    ),
    "gemmini_softmax": (
        GEMMINI,
        {
            C.COMPARE: 1,
            C.VECTOR_ADD: 1 + 3 + 1,  # d; z ln2 - d, + b, + c; the sum
            C.VECTOR_MULTIPLY: 3,  # d floor(65536/ln2), z ln2, the square
            C.REQUANTIZE_MULTIPLY: 1,  # by F
            C.REQUANTIZE_SHIFT: 1 + 1,  # >> z; of the product
            C.REQUANTIZE_ADD: 1,
            C.CLAMP: 1,
        },
        {C.DIVIDE: 1},  # F
    ),
    "pulp_softmax": (
        PULP_SOFTMAX,
        {
            C.COMPARE: 1,
            C.VECTOR_ADD: 1 + 3 + 1,  # d; z ln2 - d, + b, + c; the sum
            C.VECTOR_MULTIPLY: 2 + 1,  # z ln2, the square; by 2^b - 1
            C.REQUANTIZE_SHIFT: 1,
            C.DIVIDE: 1 + 1,  # z; by the sum
        },
        {},
    ),
    "int16_softmax": (
        INT16_SOFTMAX,
        {
            C.COMPARE: 1,
            C.VECTOR_ADD: 1 + 2 + 1,  # d; difference and sum of a look-up; the sum
            C.REQUANTIZE_MULTIPLY: 1,  # t
            C.VECTOR_MULTIPLY: 1 + 1,  # of the look-up; E rho
            C.TABLE_READ: 2,
            C.REQUANTIZE_SHIFT: 3,  # t, the look-up, (S9)
            C.REQUANTIZE_ADD: 3 + 1,  # and 32767
            C.CLAMP: 2,  # t, the code
        },
        # v; 98304; the look-up
        {C.REQUANTIZE_SHIFT: 2, C.REQUANTIZE_ADD: 2, C.VECTOR_ADD: 1 + 2, C.VECTOR_MULTIPLY: 1, C.TABLE_READ: 2},
    ),
    "qlinear_softmax": (
        QLINEAR,
        {
            C.COMPARE: 1,
            C.VECTOR_ADD: 1 + 1,  # d; the sum
            C.TABLE_READ: 1,
            C.VECTOR_MULTIPLY: 1,  # by Y
            C.DIVIDE: 1,
            C.REQUANTIZE_ADD: 1,  # lo
            C.CLAMP: 1,
        },
        {},
    ),
    "ibert_layernorm": (
        layernorm(replace(IBERT, variance_shift=5)),
        {
            C.VECTOR_ADD: 3,  # sum, y, V
            C.VECTOR_MULTIPLY: 2,  # y^2, y F
            C.BIAS_ADD: 1,
            C.REQUANTIZE_MULTIPLY: 1,
            C.REQUANTIZE_SHIFT: 1,
            C.REQUANTIZE_ADD: 1,
            C.CLAMP: 1,
        },
        {C.DIVIDE: 2, C.SQUARE_ROOT: 1},  # mu, F
    ),
    "gemmini_layernorm": (
        layernorm(GEMMINI_NORM),
        {
            C.VECTOR_ADD: 3,  # sum, y, squares
            C.VECTOR_MULTIPLY: 2,  # y^2, u w
            C.DIVIDE: 1,  # by sigma
            C.BIAS_ADD: 1,
            C.REQUANTIZE_MULTIPLY: 1,  # (L17)
            C.REQUANTIZE_SHIFT: 1,
            C.REQUANTIZE_ADD: 1,
            C.CLAMP: 2,  # u, the code
        },
        {C.DIVIDE: 2, C.SQUARE_ROOT: 1},  # mu, V
    ),
    "pulp_layernorm": (
        layernorm(PULP),
        {
            C.VECTOR_ADD: 3,
            C.VECTOR_MULTIPLY: 2,  # y^2, y w
            C.DIVIDE: 1,  # by sigma
            C.BIAS_ADD: 1,
            C.REQUANTIZE_SHIFT: 1,
            C.CLAMP: 1,
        },
        {C.DIVIDE: 2, C.VECTOR_ADD: 1, C.SQUARE_ROOT: 1},  # mu, variance; + 1
    ),
    "tflite_layernorm": (
        layernorm(TFLITE),
        {
            C.VECTOR_ADD: 3,
            C.VECTOR_MULTIPLY: 3,  # x'^2, by I, by w
            C.BIAS_ADD: 1,
            C.REQUANTIZE_MULTIPLY: 1,  # (L14)
            C.REQUANTIZE_SHIFT: 3,  # (L12), (L13), (L14)
            C.REQUANTIZE_ADD: 3,
            C.CLAMP: 1,
        },
        # mean; by floor(2^20/n), mean^2, four of each of five steps, sqrt(1/2); the difference, one of each step
        {C.DIVIDE: 1, C.VECTOR_MULTIPLY: 2 + 4 * 5 + 1, C.VECTOR_ADD: 1 + 5},
    ),
    "rescaled_add, each": (
        add(TOGETHER),
        {C.REQUANTIZE_MULTIPLY: 2, C.REQUANTIZE_SHIFT: 2, C.REQUANTIZE_ADD: 2, C.VECTOR_ADD: 1, C.CLAMP: 1},
        {},
    ),
    "rescaled_add, operands that saturate": (
        add(replace(TOGETHER, operand=INT8)),
        {C.REQUANTIZE_MULTIPLY: 2, C.REQUANTIZE_SHIFT: 2, C.REQUANTIZE_ADD: 2, C.VECTOR_ADD: 1, C.CLAMP: 2 + 1},
        {},
    ),
    "rescaled_add, and the sum": (
        add(TFLITE_SUM, zeros=(3, -4)),
        {
            C.ZERO_POINT_ADD: 2,
            C.REQUANTIZE_MULTIPLY: 3,
            C.REQUANTIZE_SHIFT: 3,
            C.REQUANTIZE_ADD: 3 + 1,  # of the roundings, and the result's zero point
            C.VECTOR_ADD: 1,
            C.CLAMP: 1,
        },
        {},
    ),
}


@pytest.mark.parametrize("case", HAND)
def test_counts_are_those_of_the_equations(case: str) -> None:
    program, of_each_column, of_each_row = HAND[case]
    expected = Multiset[Component]()
    for component, count in of_each_column.items():
        expected[component] += count * ROWS * KEYS
    for component, count in of_each_row.items():
        expected[component] += count * ROWS
    assert counted(program) == expected


def test_every_operation_that_only_targets_have_was_counted() -> None:
    kinds = {type(op).__name__ for program, _, _ in HAND.values() for _, op in program.operations()}
    assert kinds == TARGET_OPERATIONS - {"ProjectHeads"}  # test_projected_heads


@pytest.mark.parametrize("case", HAND)
def test_counts_are_linear_in_the_rows(case: str) -> None:
    program = HAND[case][0]
    one, five = counted(program, 1), counted(program, 5)
    assert five == Multiset({component: 5 * count for component, count in one.items()})


@pytest.mark.parametrize("case", [case for case in HAND if "softmax" in case or case == "itamax"])
def test_counts_are_affine_in_the_keys(case: str) -> None:
    one, two, ten = (counted(HAND[case][0], 1, keys) for keys in (1, 2, 10))
    for component in ten:
        assert ten[component] - one[component] == 9 * (two[component] - one[component])
