"""The loop of (R1): accumulators to codes by any rule, for every operator that ends so; its caller checks arguments."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import inner, named
from hwsim.arithmetic.fixedpoint import Counters, Integer, add_events, clamp_and_change
from hwsim.arithmetic.scaling import FLOAT32_INSIDE, greatest_input, least_input, scale_and_tie
from hwsim.formats import IntFormat, Scaling
from hwsim.operators.arguments import INT64_MIN, Accumulators, Codes, Multipliers
from hwsim.operators.quotients import Held

Loop = Callable[..., None]


class Ends(NamedTuple):
    """Least accumulator, the zero point that is added before the last rounding, and the ends of what is clamped."""

    floor: int
    inside: int
    lo: int
    hi: int


_INPUTS = {
    Scaling.Q31_DOUBLE: "acc * 2^max(31 - shift, 0) from -2^31 to 2^31 - 1",
    Scaling.Q31_DOUBLE_HALF_UP: "acc * 2^max(31 - shift, 0) from -2^31 to 2^31 - 1",
    Scaling.FLOAT32: "|acc| to 2^31",
    Scaling.FLOAT32_INSIDE: "|acc| to 2^31",
}
_EXACT_INPUT = "|acc|*multiplier + floor(2^shift / 2) below 2^63"


def rescale(
    acc: Accumulators,
    multiplier: Multipliers,
    shift: Multipliers,
    zero_point: int,
    output: IntFormat,
    counters: Counters,
    scaling: Scaling,
) -> Codes:
    """clamp(scale(acc; multiplier, shift) + zero_point) of (rows, channels), one ratio or one for each channel.

    Raises
    ------
    ValueError
        If an accumulator is greater than the rule takes with the ratio of its channel.
    """
    _check_inputs(acc, multiplier, shift, scaling)
    codes = np.empty(acc.shape, np.int32)
    LOOPS[scaling](acc, *paired(multiplier, shift), int(zero_point), output.min, output.max, INT64_MIN, codes, counters)
    return codes


def paired(multiplier: Multipliers, shift: Multipliers) -> tuple[Multipliers, Multipliers]:
    """As many multipliers as shifts: one of each, or both for each channel."""
    count = max(multiplier.size, shift.size)
    return np.resize(multiplier, count), np.resize(shift, count)


def _check_inputs(acc: Accumulators, multiplier: Multipliers, shift: Multipliers, scaling: Scaling) -> None:
    """Refuse accumulators greater than a rule takes. Of int32, only the doubling high multiply does not take all."""
    if acc.dtype == np.int32 and scaling not in (Scaling.Q31_DOUBLE, Scaling.Q31_DOUBLE_HALF_UP):
        return
    if not _are_taken(acc, multiplier, shift, int(scaling)):
        got = f"acc of {acc.min()} to {acc.max()} by multipliers to {multiplier.max()}, shifts to {shift.max()}"
        raise ValueError(f"{got}; allowed: {_INPUTS.get(scaling, _EXACT_INPUT)}")


@njit(cache=True, nogil=True)
def _are_taken(acc: Accumulators, multiplier: Multipliers, shift: Multipliers, rule: int) -> bool:
    """Whether every |acc| is one that the rule takes."""
    m_step, e_step = np.int64(multiplier.size > 1), np.int64(shift.size > 1)
    least, greatest = np.empty(acc.shape[1], np.int64), np.empty(acc.shape[1], np.int64)
    for j in range(acc.shape[1]):
        least[j] = least_input(rule, multiplier[j * m_step], shift[j * e_step])
        greatest[j] = greatest_input(rule, multiplier[j * m_step], shift[j * e_step])
    beyond = np.int64(0)
    for i in range(acc.shape[0]):
        for j in range(acc.shape[1]):
            value = np.int64(acc[i, j])
            beyond += np.int64(value > greatest[j]) + np.int64(value < least[j])
    return bool(beyond == 0)


@inner(forceinline=True)
def _code(rule: int, acc: Integer, m: Integer, e: Integer, ends: Ends) -> tuple[np.int64, np.int64, np.int64]:
    """(R1) of one accumulator: the code less what is added last, the sign of a tie, and 1 if the clamp changed it."""
    value, tie = scale_and_tie(rule, max(np.int64(acc), np.int64(ends.floor)), m, e, ends.inside)
    code, changed = clamp_and_change(value, ends.lo, ends.hi)
    return code, tie, changed


@inner(forceinline=True)
def rescale_rows(
    rule: int,
    acc: Accumulators,
    multiplier: Multipliers,
    shift: Multipliers,
    zero_point: int,
    lo: int,
    hi: int,
    floor: int,
    result: Held,
    counters: Counters,
) -> None:
    """Equation (R1) on (rows, channels) by one rule, which has to be a constant of the caller for a loop that is fast.

    Accumulators are of any integer dtype, results of any that holds the codes; an accumulator below `floor` counts as
    that, so that 0 is a ReLU. There are as many multipliers as shifts: see `paired`. Events are kept in registers so
    that the loop vectorises; for the same reason it is written out for one ratio and for one in each channel, and no
    more often: it is most of what a kernel takes to compile. The zero point moves the bounds of the clamp instead of
    the value, which it could carry past 2^63.
    """
    inside = zero_point if rule == FLOAT32_INSIDE else 0
    outside = zero_point - inside
    ends = Ends(floor, inside, lo - outside, hi - outside)
    saturations, ties, balance = np.int64(0), np.int64(0), np.int64(0)
    for i in range(acc.shape[0]):
        if multiplier.size == 1:
            m, e = multiplier[0], shift[0]
            for j in range(acc.shape[1]):
                code, tie, changed = _code(rule, acc[i, j], m, e, ends)
                result[i, j] = code + outside
                ties, balance, saturations = ties + (tie & 1), balance + tie, saturations + changed
        else:
            for j in range(acc.shape[1]):
                code, tie, changed = _code(rule, acc[i, j], multiplier[j], shift[j], ends)
                result[i, j] = code + outside
                ties, balance, saturations = ties + (tie & 1), balance + tie, saturations + changed
    add_events(ties, balance, saturations, counters)


def _loop(rule: int) -> Loop:
    """`rescale_rows` by one rule."""

    @njit(cache=True, nogil=True)
    @named(rule)
    def loop(
        acc: Accumulators,
        multiplier: Multipliers,
        shift: Multipliers,
        zero_point: int,
        lo: int,
        hi: int,
        floor: int,
        result: Held,
        counters: Counters,
    ) -> None:
        rescale_rows(rule, acc, multiplier, shift, zero_point, lo, hi, floor, result, counters)

    return loop


LOOPS: dict[Scaling, Loop] = {scaling: _loop(int(scaling)) for scaling in Scaling}
"""The loop of every rule; each is compiled when it is first used."""
