"""Kernel equals oracle exactly, results and events alike: one check for each operator, used by several tests.

A check runs the kernel once over whole arrays, the oracle in plain loops, raises AssertionError where they differ, and
returns the events, so that a test can assert that what it means to cover occurred. The counters are handed over
half full: kernels add to them.

`HWSIM_TEST_THIN=n` in the environment keeps every n-th point of a grid and 1/n of the examples; n should be odd, so
that even and odd values remain.
"""

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import isqrt, prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hwsim.formats import Accumulator, Counter, IntFormat
from hwsim.operators.activation import relu
from hwsim.operators.embedding import embed
from hwsim.operators.gemm import matmul
from hwsim.operators.layernorm import LayerNormConstants, layernorm
from hwsim.operators.requantize import requantize, shift_right
from hwsim.operators.residual import add
from hwsim.operators.softmax import softmax
from tests import oracle
from tests.oracle.formats import saturate_row
from tests.oracle.layernorm import parts

T = TypeVar("T")
Integers = NDArray[Any]
Events = NDArray[np.int64]

THIN = int(os.environ.get("HWSIM_TEST_THIN", "1"))
UNLIMITED = 1 << 80
"""A bound that no value of the datapath reaches: the oracle's result before its clamp."""


def thin(points: Sequence[T]) -> list[T]:
    """Every THIN-th point, and the last one."""
    return [*points[:-1:THIN], points[-1]]


def int32(values: Any) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def int64(values: Any) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def no_events() -> Events:
    return np.zeros(len(Counter), np.int64)


def half_full() -> Events:
    """Counters that have counted before: 1000, 1001, ..."""
    return np.arange(1000, 1000 + len(Counter), dtype=np.int64)


def tallied(ties: Sequence[int] = (), saturated: int = 0, overflowed: int = 0, raised: int = 0) -> Events:
    """Events in the order of `Counter`, ties given by their signs."""
    return int64([overflowed, saturated, ties.count(1), ties.count(-1), raised])


def events(ratios: Iterable[Fraction] = (), saturated: int = 0, overflowed: int = 0, raised: int = 0) -> Events:
    """The events of a kernel that rounds these ratios."""
    return tallied([oracle.tie_sign(ratio) for ratio in ratios], saturated, overflowed, raised)


def assert_same(name: str, got: Integers, expected: Any) -> None:
    """Fail with the first element that differs."""
    want = int64(expected).reshape(got.shape)
    wrong = np.argwhere(got != want)
    if len(wrong):
        at = tuple(int(i) for i in wrong[0])
        raise AssertionError(f"{name}: {len(wrong)} of {got.size} differ, first at {at}: {got[at]} != {want[at]}")


def assert_counted(counters: Events, expected: Events) -> Events:
    """Fail unless the half full counters grew by the expected events, which are returned."""
    assert_same(f"counters {[counter.name for counter in Counter]}", counters, half_full() + expected)
    return expected


def assert_occurred(seen: Events, *counters: Counter) -> None:
    """Fail if a test did not meet an event that it is meant to cover, or met one that cannot be."""
    occurred = {counter for counter in Counter if seen[counter] > 0}
    if occurred != set(counters):
        raise AssertionError(f"occurred: {sorted(occurred)}, meant: {sorted(counters)}")


def matrix(array: Integers) -> list[list[int]]:
    """Lists of Python ints, (rows, last axis)."""
    rows: list[list[int]] = array.reshape(prod(array.shape[:-1]), array.shape[-1]).tolist()
    return rows


def saturated_rows(rows: list[list[int]], form: IntFormat) -> tuple[list[list[int]], int]:
    """Rows of the oracle clamped to a format, and how many values that changed."""
    pairs = [saturate_row(row, form.min, form.max) for row in rows]
    return [row for row, _ in pairs], sum(moved for _, moved in pairs)


def check_requantize(acc: Integers, multiplier: Integers, shift: Integers, zero: int, output: IntFormat) -> Events:
    """Equation (1), and (9) with a signed format of 32 bits."""
    counters = half_full()
    codes = requantize(acc, multiplier, shift, zero, output, counters)
    rows, m, e = matrix(acc), multiplier.tolist(), shift.tolist()
    unlimited = oracle.requantize(rows, m, e, zero, -UNLIMITED, UNLIMITED)
    expected, saturated = saturated_rows(unlimited, output)
    assert_same("requantize", codes, expected)
    width = acc.shape[-1]
    ms, es = (m * width)[:width], (e * width)[:width]
    powers = [2**exponent for exponent in es]
    ratios = (Fraction(x * f, power) for row in rows for x, f, power in zip(row, ms, powers, strict=True))
    return assert_counted(counters, events(ratios, saturated))


def check_generator(acc: Integers, multiplier: Integers, shift: Integers) -> None:
    """Equation (9)."""
    counters, int32_format = half_full(), IntFormat(bits=32)
    logits, saturated = oracle.generator(matrix(acc), multiplier.tolist(), shift.tolist())
    assert_same("generator", requantize(acc, multiplier, shift, 0, int32_format, counters), logits)
    assert_same("saturations", (counters - half_full())[[Counter.SATURATION]], saturated)


def check_shift_right(acc: Integers, shift: int) -> Events:
    """Equation (3)."""
    counters = half_full()
    assert_same(f"shift_right by {shift}", shift_right(acc, shift, counters), oracle.shift_right(matrix(acc), shift))
    return assert_counted(counters, events(Fraction(x, 2**shift) for row in matrix(acc) for x in row))


def check_relu(acc: Integers) -> None:
    """Equation (6)."""
    assert_same("relu", relu(acc), oracle.relu(matrix(acc)))


def check_add(
    a: Integers,
    b: Integers,
    zeros: tuple[int, int],
    multipliers: tuple[int, int],
    shift: int,
    zero: int,
    output: IntFormat,
) -> Events:
    """Equation (7)."""
    counters = half_full()
    (a_zero, b_zero), (a_m, b_m) = zeros, multipliers
    numbers = {"a_zero": a_zero, "b_zero": b_zero, "a_multiplier": a_m, "b_multiplier": b_m, "shift": shift}
    codes = add(a, b, **numbers, zero_point=zero, output=output, counters=counters)
    left, right = a.reshape(-1).tolist(), b.reshape(-1).tolist()
    unlimited = oracle.add(left, right, *zeros, *multipliers, shift, zero, -UNLIMITED, UNLIMITED)
    expected, saturated = saturated_rows([unlimited], output)
    assert_same("add", codes, expected)
    ratios = (Fraction((x - a_zero) * a_m + (y - b_zero) * b_m, 2**shift) for x, y in zip(left, right, strict=True))
    return assert_counted(counters, events(ratios, saturated))


def check_embed(
    ids: Integers,
    first: int,
    table: Integers,
    multipliers: Integers,
    positions: Integers,
    position_multiplier: int,
    shift: int,
    zero: int,
    output: IntFormat,
) -> Events:
    """Equation (8)."""
    counters = half_full()
    codes = embed(ids, first, table, multipliers, positions, position_multiplier, shift, zero, output, counters)
    words, places, ms = matrix(table), matrix(positions), multipliers.tolist()
    expected, ratios, saturated = [], [], 0
    for row in matrix(ids):
        unlimited = oracle.embed(row, first, words, ms, places, position_multiplier, shift, zero, -UNLIMITED, UNLIMITED)
        clamped, moved = saturated_rows(unlimited, output)
        expected.append(clamped)
        saturated += moved
        for i, token in enumerate(row):
            m = ms[token % len(ms)]
            pairs = zip(words[token], places[first + i], strict=True)
            ratios += [Fraction(word * m + place * position_multiplier, 2**shift) for word, place in pairs]
    assert_same("embed", codes, expected)
    return assert_counted(counters, events(ratios, saturated))


def check_matmul(
    a: Integers, b: Integers, bias: Integers | None, zeros: tuple[int, int], accumulator: Accumulator
) -> Events:
    """Equation (2)."""
    counters = half_full()
    a_zero, b_zero = zeros
    got = matmul(a, b, bias, a_zero=a_zero, b_zero=b_zero, accumulator=accumulator, counters=counters)
    start = None if bias is None else bias.tolist()
    rule, batch = accumulator.overflow.value, a.shape[:-2]
    expected, overflowed = np.empty(got.shape, np.int64), 0
    for at in np.ndindex(batch):
        keys = b if b.ndim == 2 else b[at]
        rows, moved = oracle.matmul(a[at].tolist(), keys.tolist(), start, a_zero, b_zero, accumulator.bits, rule)
        expected[at] = int64(rows).reshape(got.shape[-2:])
        overflowed += moved
    assert_same(f"matmul, {accumulator.bits} bits, {rule}", got, expected)
    return assert_counted(counters, events(overflowed=overflowed))


def check_softmax(
    scores: Integers,
    allowed: NDArray[np.bool_],
    table: Integers,
    denominator_ratio: tuple[int, int],
    denominator: IntFormat,
    output_ratio: tuple[int, int],
    output: IntFormat,
) -> Events:
    """Equations (4a) to (4e); a ratio is a multiplier and a shift."""
    counters, seen = half_full(), no_events()
    (d_m, d_e), (o_m, o_e) = denominator_ratio, output_ratio
    ratios = {"denominator_multiplier": d_m, "denominator_shift": d_e, "output_multiplier": o_m, "output_shift": o_e}
    codes = softmax(scores, allowed, table, **ratios, denominator=denominator, output=output, counters=counters)
    expected = []
    for row, kept in zip(scores.tolist(), allowed.tolist(), strict=True):
        want = oracle.softmax(row, kept, table.tolist(), d_m, d_e, denominator.max, o_m, o_e, output.max)
        rounded = [Fraction(sum(want.numerator) * d_m, 2**d_e)]
        rounded += [Fraction(part * o_m, want.denominator * 2**o_e) for part in want.numerator]
        saturated = want.denominator_saturated + want.output_saturated
        seen += events(rounded, saturated, raised=want.denominator_below_one)
        expected.append(want)
    for name in ("numerator", "denominator", "output"):
        assert_same(f"softmax {name}", getattr(codes, name), [getattr(row, name) for row in expected])
    return assert_counted(counters, seen)


def check_layernorm(
    x: Integers, gamma: Integers, beta: Integers, constants: LayerNormConstants, zero: int | None = None
) -> Events:
    """Equations (5a) to (5f); of RMSNorm if a zero point is given."""
    counters, seen = half_full(), no_events()
    codes = layernorm(x, gamma, beta, constants, counters, centred=zero is None, zero=zero or 0)
    expected = []
    for row in matrix(x):
        want = oracle_layernorm(row, gamma.tolist(), beta.tolist(), constants, zero)
        seen += layernorm_events(*parts(row, zero, constants.eps), gamma.tolist(), beta.tolist(), constants, want)
        expected.append(want)
    for name in ("numerator", "denominator", "quotient", "output"):
        assert_same(f"layernorm {name}", getattr(codes, name), [getattr(row, name) for row in expected])
    return assert_counted(counters, seen)


def oracle_layernorm(
    row: list[int], gamma: list[int], beta: list[int], c: LayerNormConstants, zero: int | None
) -> oracle.LayerNormRow:
    return oracle.layernorm(
        row,
        c.eps,
        *(c.numerator_multiplier, c.numerator_shift, c.numerator.min, c.numerator.max),
        *(c.denominator_multiplier, c.denominator_shift, c.denominator.max),
        *(c.quotient_multiplier, c.quotient_shift, c.quotient.min, c.quotient.max),
        *(gamma, beta),
        *(c.output_multiplier, c.output_shift, c.output_zero_point, c.output.min, c.output.max),
        zero,
    )


def layernorm_events(
    deviations: list[int], variance: int, gamma: list[int], beta: list[int], c: LayerNormConstants,
    want: oracle.LayerNormRow,
) -> Events:  # fmt: skip
    """The events of one row, from the ratios of (5c) to (5f) and the oracle's own codes."""
    root = isqrt(variance)
    affine = [q * g + b for q, g, b in zip(want.quotient, gamma, beta, strict=True)]
    ratios = [Fraction(value * c.numerator_multiplier, 2**c.numerator_shift) for value in deviations]
    ratios += [Fraction(root * c.denominator_multiplier, 2**c.denominator_shift)]
    divisor = want.denominator * 2**c.quotient_shift
    ratios += [Fraction(value * c.quotient_multiplier, divisor) for value in want.numerator]
    last = [Fraction(value * c.output_multiplier, 2**c.output_shift) for value in affine]
    unlimited = [oracle.half_even(ratio) + c.output_zero_point for ratio in last]
    _, output_saturated = saturate_row(unlimited, c.output.min, c.output.max)
    saturated = want.numerator_saturated + want.denominator_saturated + want.quotient_saturated + output_saturated
    return events(ratios + last, saturated, raised=want.denominator_below_one)
