"""The softmaxes of targets at their bounds: the greatest number of keys and constants runs, one more is refused."""

import functools
from math import isqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim.formats import IntFormat
from hwsim.program import Program
from hwsim.program import operations as ops
from hwsim.program.catalogue import Q31Double
from hwsim.program.validate import validate
from tests.unit.hwsim.program.one_operation import alone, passes, stopped
from tests.unit.hwsim.program.program_edits import INT8, INT16, UINT8, UINT16, edited, instead, replace


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


def test_gemmini_softmax_holds_its_exponential_and_its_sum() -> None:
    """An exponential below 2^31, (46340)^2 + 88047; 16 of 2^27 less one are an int32, 17 are not."""
    op = ops.GemminiSoftmax(output="y", input="x", ln2=100, b=46340, c=(1 << 31) - 1 - 46340**2)
    made = functools.partial(alone, x=INT8, y=INT8, dims=["batch", "keys"])
    assert op.c == 88047
    passes(made(op, maximum=1), x=worst_scores(1, INT8))
    stopped(made(replace(op, c=op.c + 1), maximum=1), "(r + b)^2 + c reaches 2^31")
    small = replace(op, b=1000, c=(1 << 27) - 1 - 1000**2)
    passes(made(small, maximum=16), x=worst_scores(16, INT8))
    stopped(made(small, maximum=17), f"exponentials of 17 keys sum to {17 * ((1 << 27) - 1)}, at or above {1 << 31}")
    stopped(made(replace(small, c=small.c + 1), maximum=16), f"exponentials of 16 keys sum to {1 << 31}, at or")


def test_gemmini_softmax_halves_31_times_at_most() -> None:
    """floor(65536 / 8) * 255 >> 16 is 31, floor(65536 / 7) * 255 >> 16 is 36."""
    op = ops.GemminiSoftmax(output="y", input="x", ln2=8, b=16, c=100)
    made = functools.partial(alone, x=INT8, y=INT8, dims=["batch", "keys"], maximum=16)
    passes(made(op), x=worst_scores(16, INT8))
    stopped(made(replace(op, ln2=7)), "ln2 7: a distance of 255 takes 36 halvings; at most 31")


def test_pulp_softmax_holds_its_exponential_its_quotient_and_its_sum() -> None:
    """255 * 16843009 is 2^32 - 1; 255 keys of it are a uint32, 256 are not. Two bits of output have 3 for 255."""
    op = ops.PulpSoftmax(output="y", input="x", ln2=100, b=1000, c=16843009 - 1000**2)
    made = functools.partial(alone, x=INT8, y=UINT8, dims=["batch", "keys"])
    passes(made(op, maximum=255), x=worst_scores(255, INT8))
    stopped(made(op, maximum=256), f"exponentials of 256 keys sum to {256 * 16843009}, at or above {1 << 32}")
    stopped(made(replace(op, c=op.c + 1), maximum=1), "255 times an exponential reaches 2^32")
    two = functools.partial(alone, x=INT8, y=IntFormat(bits=2, signed=False), dims=["batch", "keys"], maximum=1)
    most = replace(op, b=30000, c=((1 << 32) - 1) // 3 - 30000**2)
    passes(two(most), x=worst_scores(1, INT8))
    stopped(two(replace(most, c=most.c + 1)), "3 times an exponential reaches 2^32")


def test_pulp_softmax_stops_at_31_halvings() -> None:
    """Of scores 65535 apart with an ln2 of 1, p falls to 31 - 65535: with b its square must stay in an int32."""
    op = ops.PulpSoftmax(output="y", input="x", ln2=1, b=19163, c=88047)
    made = functools.partial(alone, x=INT16, y=IntFormat(bits=2, signed=False), dims=["batch", "keys"], maximum=1)
    assert 65535 - 31 - 19164 == 46340
    passes(made(replace(op, b=19164)), x=worst_scores(1, INT16))
    stopped(made(op), "(r + b)^2 + c reaches 2^31")


def test_int16_softmax_holds_its_sum() -> None:
    """65538 keys of 32767 are 2^31 less 2; 65539 are beyond. The nearest is interpolated: 16384 is the least."""
    scheme = Q31Double(multiplier=1 << 30, shift=31)
    op = ops.Int16Softmax(output="y", input="x", exp_table="e", reciprocal_table="r", requantization=scheme)
    flat = (INT16, np.full(513, 1 << 14))

    def made(maximum: int, first: int = 32767, last: int = 32767) -> Program:
        table = np.full(513, first)
        table[-1] = last
        return alone(op, INT16, INT16, ["batch", "keys"], maximum=maximum, e=(INT16, table), r=flat)

    validate(made(65538))
    stopped(made(65539), "table e: the greatest score has 32767, and 65539 keys reach 2^31")
    passes(made(3, 1 << 14, 1 << 14), x=worst_scores(3, INT16))
    stopped(made(3, 1 << 14, (1 << 14) - 1), "table e: the greatest score has 16383, and 3 keys reach 2^31")


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
