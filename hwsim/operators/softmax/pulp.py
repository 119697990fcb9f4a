"""Softmax of the PULP cluster, iSoftmax of Deeploy's PULPOpen platform: docs/operators/softmax.md, section 6a."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.division import Divisor, divisor, floor_divide
from hwsim.arithmetic.fixedpoint import Counters, raise_to_one
from hwsim.formats import IntFormat
from hwsim.operators.arguments import Codes, check_code_format, check_range
from hwsim.operators.quotients import Held
from hwsim.operators.softmax.rows import (
    Mask,
    Masks,
    Values,
    allowed_sum,
    check_rows,
    distances,
    furthest,
    masks_of,
    row_of_mask,
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
    codes, events, values = np.empty_like(scores), np.zeros_like(counters), np.empty(scores.shape[1], np.int64)
    constants = PulpConstants(int(ln2), int(b), int(c), output.max)
    reach = softmax_rows(scores, masks_of(allowed), constants, codes, values, events)
    check_range("the greatest exponential before its shift", int(reach[0]), 0, INT32_LIMIT - 1)
    check_range("the greatest code times an exponential", int(reach[1]) * output.max, 0, UINT32_LIMIT - 1)
    check_range("the greatest sum of exponentials", int(reach[2]), 0, UINT32_LIMIT - 1)
    counters += events
    return codes


@njit(cache=True, nogil=True)
def _exponentials(values: Values, ln2: Divisor, constants: PulpConstants) -> tuple[np.int64, np.int64]:
    """(S20) and (S21) in place; the greatest exponential before and after its shift."""
    most_wide, most_narrow = np.int64(0), np.int64(0)
    for j in range(values.size):
        halvings = min(floor_divide(values[j], ln2), np.int64(MAX_HALVINGS))  # of 2^28 or more the floor is not exact
        root = halvings * constants.ln2 - values[j] + constants.b
        wide = root * root + constants.c
        values[j] = wide >> halvings
        most_wide, most_narrow = max(most_wide, wide), max(most_narrow, values[j])
    return most_wide, most_narrow


@njit(cache=True, nogil=True)
def softmax_rows(
    scores: Held, masks: Masks, constants: PulpConstants, codes: Held, values: Values, counters: Counters
) -> tuple[np.int64, np.int64, np.int64]:
    """(S20) to (S22) on (rows, n) of any integer dtype; values are int64 (n,) to work in.

    The greatest exponential before and after its shift, and sum, that were met: beyond 32 bits they are to be refused.
    """
    most_wide, most_narrow, most_total = np.int64(0), np.int64(0), np.int64(0)
    ln2 = divisor(constants.ln2)
    for i in range(scores.shape[0]):
        k = row_of_mask(i, masks)
        some = distances(scores, i, masks.mask, k, values)
        wide, narrow = _exponentials(values, ln2, constants)
        total = allowed_sum(values, masks.mask, k)
        if some:
            most_wide, most_narrow, most_total = max(most_wide, wide), max(most_narrow, narrow), max(most_total, total)
            by = divisor(min(raise_to_one(total, counters), np.int64(UINT32_LIMIT)))
            for j in range(values.size):
                values[j] = floor_divide(min(constants.greatest * values[j], np.int64(UINT32_LIMIT - 1)), by)
        store(codes, i, values, 0, constants.greatest, counters)
    return most_wide, most_narrow, most_total
