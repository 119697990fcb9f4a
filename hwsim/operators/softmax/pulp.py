"""Softmax of the PULP cluster, iSoftmax of Deeploy's PULPOpen platform: docs/operators/softmax.md, section 6a."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.division import Divisor, divisor, floor_divide
from hwsim.arithmetic.fixedpoint import Counters, Integer
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
    store,
)

MAX_HALVINGS = 31
MAX_OUTPUT_BITS = 8
INT32_LIMIT, UINT32_LIMIT = 1 << 31, 1 << 32


class PulpConstants(NamedTuple):
    """What the kernel needs to know of section 6a."""

    ln2: int
    b: int
    c: int
    greatest: int


class Reach(NamedTuple):
    """The greatest exponential before and after its shift, and sum."""

    wide: np.int64
    narrow: np.int64
    total: np.int64


def pulp_softmax(
    scores: Codes, allowed: Mask, *, ln2: int, b: int, c: int, output: IntFormat, counters: Counters
) -> Codes:
    """Softmax with I-BERT's polynomial in 32 bits and a division a key, equations (S20) to (S22).

    Parameters
    ----------
    scores : int32, (rows, n)
        Score codes.
    allowed : bool, (rows, n)
        False where a key is masked; a masked key gets 0.
    ln2, b, c : int
        At least 1; exp(r) is (r + b)^2 + c.
    output : IntFormat
        Unsigned, 2 to 8 bits, zero point 0.
    counters : int64, (len(Counter),)
        Saturations, and sums raised to 1 in rows with an allowed key, are added.

    Returns
    -------
    int32, (rows, n)

    Raises
    ------
    ValueError
        For other dtypes, shapes, constants or formats, or where the 32-bit code would wrap: an exponential before its
        shift of 2^31 or more, (2^bits - 1) times one after it, or a sum, of 2^32 or more.
    """
    check_rows(scores, allowed, counters)
    for name, value in (("ln2", ln2), ("b", b), ("c", c)):
        check_range(name, value, 1, INT32_LIMIT - 1)
    check_code_format("output", output, signed=False)
    check_range("output bits", output.bits, 2, MAX_OUTPUT_BITS)
    check_range("b^2 + c", int(b) ** 2 + int(c), 0, INT32_LIMIT - 1)
    check_range("the greatest distance", int(furthest(scores, allowed)), -1, INT32_LIMIT - 1)
    codes, events = np.empty_like(scores), np.zeros_like(counters)
    constants = PulpConstants(int(ln2), int(b), int(c), output.max)
    reach = softmax_rows(scores, masks_of(allowed), constants, codes, room_for(scores), events)
    check_range("the greatest exponential before its shift", int(reach.wide), 0, INT32_LIMIT - 1)
    check_range("the greatest code times an exponential", int(reach.narrow) * output.max, 0, UINT32_LIMIT - 1)
    check_range("the greatest sum of exponentials", int(reach.total), 0, UINT32_LIMIT - 1)
    counters += events
    return codes


@njit(cache=True, nogil=True)
def _exponentials(work: Work, lanes: Integer, ln2: Divisor, constants: PulpConstants) -> tuple[np.int64, np.int64]:
    """(S20) and (S21) in place; the greatest exponential before and after its shift."""
    most_wide, most_narrow = np.int64(0), np.int64(0)
    for j in range(work.values.shape[0]):
        for lane in range(lanes):
            distance = work.values[j, lane]
            # of 2^28 or more the floor is not exact
            halvings = min(floor_divide(max(distance, np.int64(0)), ln2), np.int64(MAX_HALVINGS))
            root = halvings * constants.ln2 - distance + constants.b
            wide = kept(root * root + constants.c, distance)
            narrow = wide >> halvings
            work.values[j, lane] = narrow
            most_wide, most_narrow = max(most_wide, wide), max(most_narrow, narrow)
    return most_wide, most_narrow


@njit(cache=True, nogil=True)
def softmax_rows(
    scores: Held, masks: Masks, constants: PulpConstants, codes: Held, work: Work, counters: Counters
) -> Reach:
    """(S20) to (S22) on (rows, n) of any integer dtype; what was met, to be refused where it is beyond 32 bits."""
    most_wide, most_narrow, most_total = np.int64(0), np.int64(0), np.int64(0)
    ln2 = divisor(constants.ln2)
    for first in range(0, scores.shape[0], LANES):
        lanes = distances(scores, first, masks, work)
        wide, narrow = _exponentials(work, lanes, ln2, constants)
        most_wide, most_narrow = max(most_wide, wide), max(most_narrow, narrow)
        add_up(work, lanes)
        raise_totals(work, lanes, counters)
        for lane in range(lanes):
            most_total = max(most_total, work.totals[lane])
            work.factors[lane], work.shifts[lane], work.totals[lane] = divisor(
                min(work.totals[lane], np.int64(UINT32_LIMIT))
            )
        for j in range(work.values.shape[0]):
            for lane in range(lanes):
                by = Divisor(work.factors[lane], work.shifts[lane], work.totals[lane])
                numerator = min(constants.greatest * work.values[j, lane], np.int64(UINT32_LIMIT - 1))
                work.values[j, lane] = floor_divide(numerator, by)
        store(codes, first, lanes, work.values, 0, constants.greatest, counters)
    return Reach(most_wide, most_narrow, most_total)
