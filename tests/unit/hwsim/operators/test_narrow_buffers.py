"""The inner loops on the arrays of an execution plan: narrow codes in and out, masks that rows share, a ReLU ahead."""

from typing import Any

import numpy as np
import pytest

from hwsim.formats import Counter, IntFormat, Scaling
from hwsim.operators.layernorm import fullyqt
from hwsim.operators.quotients import Stage
from hwsim.operators.rescale import LOOPS
from hwsim.operators.residual import Sum, add_flat
from hwsim.operators.softmax import ibert, table
from hwsim.operators.softmax.rows import Masks, room_for
from tests import oracle
from tests.oracle.layernorm import parts as parts_of
from tests.unit.hwsim.operators.kernel_checks import (
    assert_same,
    half_full,
    int32,
    int64,
    layernorm_events,
    matrix,
    no_events,
    oracle_layernorm,
)
from tests.unit.hwsim.operators.test_kernels_properties import CONSTANTS, TABLE

INT8, UINT8 = IntFormat(bits=8), IntFormat(bits=8, signed=False)


def bytes_of(rows: int, n: int, dtype: Any = np.int8) -> Any:
    return np.random.default_rng(rows * n).integers(-128, 128, (rows, n)).astype(dtype)


@pytest.mark.parametrize(("dtype", "form"), [(np.int8, INT8), (np.uint8, UINT8), (np.int16, IntFormat(bits=16))])
@pytest.mark.parametrize("channels", [1, 37])
def test_requantize_behind_a_relu(dtype: type, form: IntFormat, channels: int) -> None:
    """An accumulator below 0 counts as 0, in codes and in events."""
    acc = np.random.default_rng(5).integers(-3000, 3000, (9, 37)).astype(np.int32)
    m, e = int64([3] * channels), int64([3] * channels)
    codes: Any = np.empty(acc.shape, dtype)
    counters = half_full()
    LOOPS[Scaling.HALF_EVEN](acc, m, e, -5, form.min, form.max, 0, codes, counters)
    raised = acc.clip(min=0).tolist()
    assert_same("codes", codes, oracle.requantize(raised, m.tolist(), e.tolist(), -5, form.min, form.max))
    unlimited = int64(oracle.requantize(raised, m.tolist(), e.tolist(), -5, -(2**40), 2**40))
    ties = np.count_nonzero((acc > 0) & (3 * acc % 8 == 4))
    saturated = np.count_nonzero((unlimited < form.min) | (unlimited > form.max))
    assert (counters - half_full()).tolist() == [0, saturated, ties, 0, 0]
    assert ties > 0


@pytest.mark.parametrize(("centred", "zero"), [(True, 0), (False, 3)])
def test_layernorm_of_bytes(centred: bool, zero: int) -> None:
    x, counters, seen = bytes_of(7, 40), half_full(), no_events()
    gamma, beta = np.arange(-20, 20, dtype=np.int32), np.arange(40) * 11
    c = CONSTANTS._replace(numerator_shift=13, denominator_shift=13, output_shift=9)
    forms = {name: getattr(c, name) for name in fullyqt.Stages._fields}
    ratios = {name: (getattr(c, f"{name}_multiplier"), getattr(c, f"{name}_shift")) for name in forms}
    stages = fullyqt.Stages(*(Stage(*ratios[name], form.min, form.max) for name, form in forms.items()))
    results = ((x.shape, np.int16), ((7, 1), np.uint16), (x.shape, np.int8), (x.shape, np.int8))
    codes = fullyqt.LayerNormCodes(*(np.empty(shape, dtype) for shape, dtype in results))
    zeros = fullyqt.Zeros(zero, c.output_zero_point)
    fullyqt.normalise_rows(x, gamma, beta, c.eps, stages, zeros, centred, codes, counters)
    for i, row in enumerate(matrix(x)):
        want = oracle_layernorm(row, gamma.tolist(), beta.tolist(), c, None if centred else zero)
        parts = parts_of(row, None if centred else zero, c.eps)
        seen += layernorm_events(*parts, gamma.tolist(), beta.tolist(), c, want)
        for name in codes._fields:
            assert_same(name, getattr(codes, name)[i], getattr(want, name))
    assert_same("counters", counters - half_full(), seen)
    assert seen[Counter.SATURATION] > 0
    assert seen[Counter.POSITIVE_TIE] > 0


def masks(shared: int) -> list[Masks]:
    """One row for each `shared` rows of 12, as bool and as uint8, and one without an allowed key."""
    kept = bytes_of(12 // shared, 19) > -40
    kept[-1] = False
    return [Masks(kept, shared), Masks(kept.astype(np.uint8), shared), Masks(kept[:0], shared)]


@pytest.mark.parametrize("shared", [1, 4])
def test_softmax_of_bytes(shared: int) -> None:
    scores = bytes_of(12, 19)
    for mask in masks(shared):
        codes = table.SoftmaxCodes(*(np.empty((12, n), dtype) for n, dtype in ((19, "u1"), (1, "u2"), (19, "u1"))))
        stages = Stage(3, 2, 0, 2**16 - 1), Stage(255 * 3, 2, 0, 255)
        table.softmax_rows(scores, mask, TABLE, *stages, codes, no_events())
        for i, row in enumerate(matrix(scores)):
            kept = mask.mask[i // shared].astype(bool).tolist() if mask.mask.size else [True] * 19
            want = oracle.softmax(row, kept, TABLE.tolist(), 3, 2, 2**16 - 1, 255 * 3, 2, 255)
            for name in codes._fields:
                assert_same(name, getattr(codes, name)[i], getattr(want, name))


@pytest.mark.parametrize("shared", [1, 4])
def test_softmax_of_ibert_of_bytes(shared: int) -> None:
    """The masks of the softmaxes that work in one array of distances."""
    scores, constants = bytes_of(12, 19), ibert.IBertConstants(14, 27, 300, 9, 27, 8)
    for mask in masks(shared):
        codes, counters, raised = np.empty((12, 19), np.uint8), half_full(), 0
        ibert.softmax_rows(scores, mask, constants, codes, room_for(scores), counters)
        for i, row in enumerate(matrix(scores)):
            kept = mask.mask[i // shared].astype(bool).tolist() if mask.mask.size else [True] * 19
            want = oracle.ibert_softmax(row, kept, oracle.Polynomial(14, 27, 300), 9, 27, 8)
            assert_same("ibert", codes[i], want.output)
            raised += want.denominator_below_one
        assert counters[Counter.DENOMINATOR_CLAMP] == half_full()[Counter.DENOMINATOR_CLAMP] + raised


def test_add_of_bytes() -> None:
    a, b = bytes_of(1, 999)[0], bytes_of(1, 999, np.uint8)[0]
    result = np.empty(999, np.int16)
    add_flat(a, b, Sum(3, 100, 5, 3, 2, 7, -200, 300), result, no_events())
    assert_same("add", result, oracle.add(a.tolist(), b.tolist(), 3, 100, 5, 3, 2, 7, -200, 300))


def test_the_narrow_codes_of_a_layernorm_are_its_codes() -> None:
    """By hand: a row of -1 and 1 has deviations of 2 * x, and its denominator is 1."""
    one = Stage(1, 0, -128, 127)
    codes = fullyqt.LayerNormCodes(*(np.empty((1, n), "i1") for n in (2, 1, 2, 2)))
    stages = fullyqt.Stages(one, Stage(1, 62, 0, 127), one, one)
    row, gamma, beta = np.array([[-1, 1]], np.int8), int32([3, 5]), int64([0, 1])
    fullyqt.normalise_rows(row, gamma, beta, 0, stages, fullyqt.Zeros(0, 10), True, codes, no_events())
    assert [array.tolist() for array in codes] == [[[-2, 2]], [[1]], [[-2, 2]], [[4, 21]]]
