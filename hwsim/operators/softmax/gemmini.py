"""Gemmini's variant of I-BERT's softmax: docs/operators/softmax.md, section 6."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, Integer, half_even_shift
from hwsim.arithmetic.softfloat import divide_integers, multiply
from hwsim.formats import IntFormat
from hwsim.operators.arguments import Codes, check_code_format, check_range
from hwsim.operators.quotients import Held
from hwsim.operators.softmax.rows import (
    LANES,
    Mask,
    Masks,
    Work,
    add_up,
    check_rows,
    distances,
    furthest,
    kept,
    masks_of,
    raise_totals,
    room_for,
    shifted_right,
    store,
)

INT32_LIMIT = 1 << 31
MAX_HALVINGS = 31


class GemminiConstants(NamedTuple):
    """What the kernel needs to know of section 6."""

    ln2: int
    b: int
    c: int
    greatest: int


class Reach(NamedTuple):
    """The greatest z, exponential before its shift, and sum."""

    halvings: np.int64
    exponential: np.int64
    total: np.int64


def gemmini_softmax(
    scores: Codes, allowed: Mask, *, ln2: int, b: int, c: int, output: IntFormat, counters: Counters
) -> Codes:
    """Softmax with I-BERT's polynomial, halved by a shift, and a binary32 factor a row, equations (S18) and (S19).

    Parameters
    ----------
    scores : int32, (rows, n)
        Score codes, or accumulators.
    allowed : bool, (rows, n)
        False where a key is masked; a masked key gets 0.
    ln2, b, c : int
        At least 1; exp(r) is (r + b)^2 + c.
    output : IntFormat
        Signed, 2 to 16 bits, zero point 0.
    counters : int64, (len(Counter),)
        Saturations, and sums raised to 1 in rows with an allowed key, are added.

    Returns
    -------
    int32, (rows, n)

    Raises
    ------
    ValueError
        For other dtypes, shapes, constants or formats, or where the C code would leave int32: a distance times
        floor(65536 / ln2), an exponential before its shift, or the sum of n of them could reach 2^31, or z 32.
    """
    check_rows(scores, allowed, counters)
    for name, value in (("ln2", ln2), ("b", b), ("c", c)):
        check_range(name, value, 1, INT32_LIMIT - 1)
    check_code_format("output", output, signed=True)
    check_range("b^2 + c", int(b) ** 2 + int(c), 0, INT32_LIMIT - 1)
    greatest = int(furthest(scores, allowed))
    check_range("the greatest distance", greatest, -1, INT32_LIMIT - 1)
    check_range("the greatest distance * floor(65536 / ln2)", greatest * (65536 // int(ln2)), -65536, INT32_LIMIT - 1)
    codes, events = np.empty_like(scores), np.zeros_like(counters)
    constants = GemminiConstants(int(ln2), int(b), int(c), output.max)
    reach = softmax_rows(scores, masks_of(allowed), constants, codes, room_for(scores), events)
    check_range("the greatest z", int(reach.halvings), 0, MAX_HALVINGS)
    check_range("the greatest exponential before its shift", int(reach.exponential), 0, INT32_LIMIT - 1)
    check_range("the greatest sum of exponentials", int(reach.total), 0, INT32_LIMIT - 1)
    counters += events
    return codes


@njit(cache=True, nogil=True)
def _exponentials(work: Work, lanes: Integer, constants: GemminiConstants) -> tuple[np.int64, np.int64]:
    """(S18) in place; the greatest z, and exponential before its shift."""
    most_halvings, most_wide, per_step = np.int64(0), np.int64(0), np.int64(65536 // constants.ln2)
    for j in range(work.values.shape[0]):
        for lane in range(lanes):
            distance = work.values[j, lane]
            halvings = kept(distance * per_step, distance) >> 16
            root = halvings * constants.ln2 - distance + constants.b
            wide = kept(root * root + constants.c, distance)
            work.values[j, lane] = shifted_right(wide, halvings)
            most_halvings, most_wide = max(most_halvings, halvings), max(most_wide, wide)
    return most_halvings, most_wide


@njit(cache=True, nogil=True)
def softmax_rows(
    scores: Held, masks: Masks, constants: GemminiConstants, codes: Held, work: Work, counters: Counters
) -> Reach:
    """(S18) and (S19) on (rows, n) of any integer dtype; what was met, to be refused where it is beyond int32."""
    most_halvings, most_wide, most_total = np.int64(0), np.int64(0), np.int64(0)
    for first in range(0, scores.shape[0], LANES):
        lanes = distances(scores, first, masks, work)
        halvings, wide = _exponentials(work, lanes, constants)
        most_halvings, most_wide = max(most_halvings, halvings), max(most_wide, wide)
        add_up(work, lanes)
        raise_totals(work, lanes, counters)
        for lane in range(lanes):
            most_total = max(most_total, work.totals[lane])
            held = min(work.totals[lane], np.int64(INT32_LIMIT - 1))
            work.factors[lane], work.shifts[lane] = divide_integers(constants.greatest, held)
        for j in range(work.values.shape[0]):
            for lane in range(lanes):
                product = multiply(work.values[j, lane], work.factors[lane])
                work.values[j, lane] = half_even_shift(product, work.shifts[lane])
        store(codes, first, lanes, work.values, -constants.greatest, constants.greatest, counters)
    return Reach(most_halvings, most_wide, most_total)
