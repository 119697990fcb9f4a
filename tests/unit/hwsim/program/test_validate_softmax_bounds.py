"""The softmaxes of targets at their bounds: the greatest number of keys and constants runs, one more is refused."""

import functools
from math import isqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim.formats import IntFormat
from hwsim.program import operations as ops
from tests.unit.hwsim.program.one_operation import alone, passes, stopped
from tests.unit.hwsim.program.program_edits import INT8, INT16, UINT8, UINT16, dimension, edited, instead, replace


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


def exponentials(first: int, *rest: int) -> tuple[IntFormat, NDArray[Any]]:
    """A table of 256 numbers by their 32 bits, those that are not said 0."""
    table = np.zeros(256, np.int32)
    table[: 1 + len(rest)] = first, *rest
    return IntFormat(bits=32), table


def test_qlinear_softmax_holds_its_sum() -> None:
    """2^121 has room for 63 keys; 2^122 less a step, wherever it stands, for 32."""
    op = ops.QLinearSoftmax(output="y", input="x", table="t", multiplier=256)
    made = functools.partial(alone, op, INT8, INT8, ["batch", "keys"], zeros=(0, -128))
    for table, most in ((exponentials(0x7C000000), 63), (exponentials(1, 0x7C7FFFFF), 32)):
        passes(made(maximum=most, t=table), x=worst_scores(most, INT8))
        said = f"rows of up to {most + 1} keys; sums of table t stay below 2^127 for {most}"
        stopped(made(maximum=most + 1, t=table), said)
    passes(made(maximum=500, t=exponentials(0x7FFFFF)), x=worst_scores(500, INT8))


@pytest.mark.parametrize("form", [INT8, UINT8, IntFormat(bits=2)], ids=str)
def test_qlinear_softmax_takes_either_sign(form: IntFormat) -> None:
    op = ops.QLinearSoftmax(output="y", input="x", table="t", multiplier=256)
    program = alone(op, INT8, form, ["batch", "keys"], zeros=(0, form.min), maximum=9, t=exponentials(0x3F800000))
    passes(program, x=worst_scores(9, INT8))


@pytest.mark.parametrize("shift", [0, 8])
@pytest.mark.parametrize("group", [0, 1, 7, 1 << 16])
def test_itamax_takes_any_scores(shift: int, group: int) -> None:
    op = ops.ItaMax(output="y", input="x", shift=shift, group=group)
    for y in (UINT8, IntFormat(bits=2, signed=False)):
        passes(alone(op, INT16, y, ["batch", "keys"], maximum=3000), x=worst_scores(3000, INT16))
