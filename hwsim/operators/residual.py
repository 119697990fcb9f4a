"""The residual sum of two code tensors of different scales: (7) of docs/numerics.md and (R10) of requantization.md."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import inner, named
from hwsim.arithmetic.fixedpoint import (
    Counters,
    Integer,
    add_events,
    bounds,
    clamp,
    clamp_and_change,
    half_even_and_tie,
)
from hwsim.arithmetic.scaling import scale, scale_and_tie
from hwsim.formats import IntFormat, Scaling
from hwsim.operators.arguments import (
    INT64_MAX,
    INT64_MIN,
    Codes,
    check_array,
    check_code_format,
    check_counters,
    check_exact,
    check_range,
    check_ratio,
    check_scaled,
    check_shape,
    check_zero_point,
)
from hwsim.operators.quotients import Held

MAX_LEFT_SHIFT = 20
IDENTITY = -1


class Sum(NamedTuple):
    """The scalars of (7)."""

    a_zero: int
    b_zero: int
    a_multiplier: int
    b_multiplier: int
    shift: int
    zero_point: int
    lo: int
    hi: int


class Rescaling(NamedTuple):
    """A zero point and a ratio multiplier / 2^shift; a multiplier of IDENTITY stands for no ratio."""

    zero_point: int
    multiplier: int
    shift: int


class RescaledSum(NamedTuple):
    """The scalars of (R10)."""

    a: Rescaling
    b: Rescaling
    output: Rescaling
    left_shift: int
    lo: int
    hi: int
    operand_lo: int
    operand_hi: int


def add(
    a: Codes,
    b: Codes,
    *,
    a_zero: int,
    b_zero: int,
    a_multiplier: int,
    b_multiplier: int,
    shift: int,
    zero_point: int,
    output: IntFormat,
    counters: Counters,
) -> Codes:
    """clamp(HALF_EVEN(((a - a_zero)*a_multiplier + (b - b_zero)*b_multiplier) / 2^shift) + zero_point), equation (7).

    Parameters
    ----------
    a, b : int32, one shape
        Codes.
    a_zero, b_zero, zero_point : int
        Zero points of a, b and the result.
    a_multiplier, b_multiplier, shift : int
        1 <= multiplier <= 2^31 - 1, 0 <= shift <= 62; one rounding for both.
    output : IntFormat
        At most 16 bits.
    counters : int64, (len(Counter),)
        Ties, and values that the clamp changed, are added.

    Returns
    -------
    int32, the shape of a and b

    Raises
    ------
    ValueError
        For other dtypes, shapes, ratios, zero points or formats.
    """
    _check_operands(a, b, (a_zero, b_zero, zero_point), output, counters)
    check_ratio("a", a_multiplier, shift)
    check_ratio("b", b_multiplier, shift)
    numbers = (a_zero, b_zero, a_multiplier, b_multiplier, shift, zero_point, output.min, output.max)
    codes = np.empty_like(a)
    add_flat(a.reshape(-1), b.reshape(-1), Sum(*map(int, numbers)), codes.reshape(-1), counters)
    return codes


def rescaled_add(
    a: Codes,
    b: Codes,
    *,
    a_zero: int,
    b_zero: int,
    left_shift: int,
    scaling: Scaling,
    a_multiplier: int,
    a_shift: int,
    b_multiplier: int,
    b_shift: int,
    output_multiplier: int | None,
    output_shift: int,
    zero_point: int,
    output: IntFormat,
    counters: Counters,
    operand: IntFormat | None = None,
) -> Codes:
    """clamp(scale_o(c(scale_a((a - a_zero) * 2^L)) + c(scale_b((b - b_zero) * 2^L))) + zero_point), equation (R10).

    Parameters
    ----------
    a, b : int32, one shape
        Codes.
    a_zero, b_zero, zero_point : int
        Zero points of a, b and the result.
    left_shift : int
        L, 0 to 20.
    scaling : Scaling
        The arithmetic of all three rescalings; not FLOAT32_INSIDE, whose zero point has no place here.
    a_multiplier, a_shift, b_multiplier, b_shift, output_multiplier, output_shift : int
        The ratios, under the terms of `requantize`. An output_multiplier None stands for no output scheme.
    output : IntFormat
        At most 16 bits.
    counters : int64, (len(Counter),)
        Ties of all roundings, and values that a clamp changed, are added.
    operand : IntFormat, optional
        Signed; c saturates each rescaled operand to it. Without it c is the identity.

    Returns
    -------
    int32, the shape of a and b

    Raises
    ------
    ValueError
        For other dtypes, shapes, ratios, zero points, formats or rules, or if an operand or the sum of two, between
        their least and greatest, could be greater than the rule takes.
    """
    _check_operands(a, b, (a_zero, b_zero, zero_point), output, counters)
    check_range("left_shift", left_shift, 0, MAX_LEFT_SHIFT)
    if scaling is Scaling.FLOAT32_INSIDE:
        raise ValueError("scaling is FLOAT32_INSIDE; allowed in a rescaled sum: the other rules")
    if operand is not None and not operand.signed:
        raise ValueError(f"operand has format {operand}; allowed: signed formats")
    held = (INT64_MIN, INT64_MAX) if operand is None else (operand.min, operand.max)
    last = IDENTITY if output_multiplier is None else int(output_multiplier)
    terms = RescaledSum(
        Rescaling(int(a_zero), int(a_multiplier), int(a_shift)),
        Rescaling(int(b_zero), int(b_multiplier), int(b_shift)),
        Rescaling(int(zero_point), last, int(output_shift)),
        *(int(left_shift), output.min, output.max, *held),
    )
    _check_reach(a, b, terms, scaling, rescaled=output_multiplier is not None)
    codes = np.empty_like(a)
    SUMS[scaling](a.reshape(-1), b.reshape(-1), terms, codes.reshape(-1), counters)
    return codes


def _check_operands(a: Codes, b: Codes, zeros: tuple[int, int, int], output: IntFormat, counters: Counters) -> None:
    check_array("a", a, (np.int32,))
    check_array("b", b, (np.int32,))
    check_shape("b", b, a.shape)
    for name, zero in zip(("a_zero", "b_zero", "zero_point"), zeros, strict=True):
        check_zero_point(name, zero)
    check_code_format("output", output)
    check_counters(counters)


def _check_reach(a: Codes, b: Codes, terms: RescaledSum, scaling: Scaling, *, rescaled: bool) -> None:
    """Refuse operands, and a sum, that could be greater than the rule takes."""
    (low_a, high_a), (low_b, high_b) = (
        _reach(name, codes, by, terms, scaling) for name, codes, by in (("a", a, terms.a), ("b", b, terms.b))
    )
    reach = max(abs(low_a + low_b), abs(high_a + high_b))
    check_exact("the sum", reach)
    if rescaled:
        check_scaled("the sum", scaling, terms.output.multiplier, terms.output.shift, reach)


def _reach(name: str, codes: Codes, by: Rescaling, terms: RescaledSum, scaling: Scaling) -> tuple[int, int]:
    """Least and greatest rescaled operand: a rounding is monotone. Refuses one that the rule does not take."""
    ends = [(int(end) - by.zero_point) << terms.left_shift for end in bounds(codes.reshape(-1))]
    check_scaled(name, scaling, by.multiplier, by.shift, max(map(abs, ends)))
    low, high = (int(scale(int(scaling), end, by.multiplier, by.shift)) for end in ends)
    return int(clamp(low, terms.operand_lo, terms.operand_hi)), int(clamp(high, terms.operand_lo, terms.operand_hi))


@njit(cache=True, nogil=True)
def add_flat(a: Held, b: Held, terms: Sum, result: Held, counters: Counters) -> None:
    """Equation (7) on flat arrays of any integer dtypes; the caller has checked what `add` checks."""
    lo, hi = terms.lo - terms.zero_point, terms.hi - terms.zero_point
    ties, balance, saturations = np.int64(0), np.int64(0), np.int64(0)
    for i in range(a.size):
        left = (np.int64(a[i]) - terms.a_zero) * terms.a_multiplier
        right = (np.int64(b[i]) - terms.b_zero) * terms.b_multiplier
        value, tie = half_even_and_tie(left + right, terms.shift)
        code, changed = clamp_and_change(value, lo, hi)
        result[i] = code + terms.zero_point
        ties += tie & 1
        balance += tie
        saturations += changed
    add_events(ties, balance, saturations, counters)


@inner(forceinline=True)
def _operand(rule: int, code: Integer, by: Rescaling, terms: RescaledSum) -> tuple[np.int64, np.int64, np.int64]:
    """c(scale((code - zero point) * 2^L)), the sign of a tie, and 1 if c changed it."""
    scaled, tie = scale_and_tie(rule, (np.int64(code) - by.zero_point) << terms.left_shift, by.multiplier, by.shift, 0)
    held, changed = clamp_and_change(scaled, terms.operand_lo, terms.operand_hi)
    return held, tie, changed


@inner(forceinline=True)
def rescaled_add_flat(rule: int, a: Held, b: Held, terms: RescaledSum, result: Held, counters: Counters) -> None:
    """Equation (R10) on flat arrays of any integer dtypes by one rule, a constant of the caller if it is to be fast.

    The zero point moves the bounds of the clamp, as in `requantize`. Sums that are not scaled have a loop of their own.
    """
    out = terms.output
    lo, hi = terms.lo - out.zero_point, terms.hi - out.zero_point
    ties, balance, saturations = np.int64(0), np.int64(0), np.int64(0)
    if out.multiplier == IDENTITY:
        for i in range(a.size):
            left, left_tie, left_held = _operand(rule, a[i], terms.a, terms)
            right, right_tie, right_held = _operand(rule, b[i], terms.b, terms)
            code, changed = clamp_and_change(left + right, lo, hi)
            result[i] = code + out.zero_point
            ties += (left_tie & 1) + (right_tie & 1)
            balance += left_tie + right_tie
            saturations += changed + left_held + right_held
    else:
        for i in range(a.size):
            left, left_tie, left_held = _operand(rule, a[i], terms.a, terms)
            right, right_tie, right_held = _operand(rule, b[i], terms.b, terms)
            total, tie = scale_and_tie(rule, left + right, out.multiplier, out.shift, 0)
            code, changed = clamp_and_change(total, lo, hi)
            result[i] = code + out.zero_point
            ties += (left_tie & 1) + (right_tie & 1) + (tie & 1)
            balance += left_tie + right_tie + tie
            saturations += changed + left_held + right_held
    add_events(ties, balance, saturations, counters)


def _rescaled_sum(rule: int) -> Callable[..., None]:
    """`rescaled_add_flat` by one rule."""

    @njit(cache=True, nogil=True)
    @named(rule)
    def loop(a: Held, b: Held, terms: RescaledSum, result: Held, counters: Counters) -> None:
        rescaled_add_flat(rule, a, b, terms, result, counters)

    return loop


SUMS: dict[Scaling, Callable[..., None]] = {
    scaling: _rescaled_sum(int(scaling)) for scaling in Scaling if scaling is not Scaling.FLOAT32_INSIDE
}
"""The loop of every rule that a rescaled sum may have; each is compiled when it is first used."""
