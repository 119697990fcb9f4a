"""Token embedding plus position table, rounded once: equation (8) of docs/numerics.md."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arithmetic.fixedpoint import Counters, add_events, clamp_and_change, half_even_and_tie
from hwsim.formats import IntFormat
from hwsim.operators.arguments import (
    MULTIPLIER_MAX,
    Codes,
    Multipliers,
    check_array,
    check_code_format,
    check_counters,
    check_elements,
    check_multipliers,
    check_range,
    check_ratio,
    check_shape,
    check_zero_point,
)
from hwsim.operators.quotients import Held


class Placement(NamedTuple):
    """The scalars of (8)."""

    first_position: int
    position_multiplier: int
    shift: int
    zero_point: int
    lo: int
    hi: int


def embed(
    ids: NDArray[np.int64],
    first_position: int,
    table: Codes,
    multipliers: Multipliers,
    positions: Codes,
    position_multiplier: int,
    shift: int,
    zero_point: int,
    output: IntFormat,
    counters: Counters,
) -> Codes:
    """clamp(HALF_EVEN((table[id]*multiplier[id] + positions[p]*position_multiplier) / 2^shift) + zero_point), (8).

    Parameters
    ----------
    ids : int64, (rows, n)
        Tokens, 0 <= id < v. Column i stands at position first_position + i.
    first_position : int
        At least 0; first_position + n may not exceed p.
    table, positions : int32, (v, d) and (p, d)
        Codes.
    multipliers : int64, (1,) or (v,)
        1 to 2^31 - 1, one for all tokens or one for each.
    position_multiplier, shift : int
        1 to 2^31 - 1 and 0 to 62.
    zero_point : int
        Of the result, added after the rounding.
    output : IntFormat
        At most 16 bits.
    counters : int64, (len(Counter),)
        Ties, and values that the clamp changed, are added.

    Returns
    -------
    int32, (rows, n, d)

    Raises
    ------
    ValueError
        For tokens or positions outside the tables, and for other dtypes, shapes, ratios or formats.
    """
    check_array("ids", ids, (np.int64,), 2)
    check_array("table", table, (np.int32,), 2)
    check_array("positions", positions, (np.int32,), 2)
    (rows, n), (vocabulary, width) = ids.shape, table.shape
    check_shape("positions", positions, (positions.shape[0], width))
    check_elements("ids", ids, 0, vocabulary - 1)
    check_range("first_position", first_position, 0, positions.shape[0] - n)
    check_multipliers("multipliers", multipliers, (1, vocabulary), 1, MULTIPLIER_MAX)
    check_ratio("position", position_multiplier, shift)
    check_zero_point("zero_point", zero_point)
    check_code_format("output", output)
    check_counters(counters)
    numbers = (first_position, position_multiplier, shift, zero_point, output.min, output.max)
    codes = np.empty((rows, n, width), np.int32)
    embed_rows(ids, table, multipliers, positions, Placement(*map(int, numbers)), codes, counters)
    return codes


@njit(cache=True, nogil=True)
def embed_rows(
    ids: NDArray[np.int64],
    table: Held,
    multipliers: Multipliers,
    positions: Held,
    place: Placement,
    result: Held,
    counters: Counters,
) -> None:
    """Equation (8) into (rows, n, d) of any integer dtype; the caller has checked what `embed` checks."""
    step = np.int64(multipliers.size > 1)
    lo, hi = place.lo - place.zero_point, place.hi - place.zero_point
    ties, balance, saturations = np.int64(0), np.int64(0), np.int64(0)
    for i in range(ids.shape[0]):
        for t in range(ids.shape[1]):
            token, position = ids[i, t], place.first_position + t
            multiplier = multipliers[token * step]
            for j in range(table.shape[1]):
                word = np.int64(table[token, j]) * multiplier
                where = np.int64(positions[position, j]) * place.position_multiplier
                value, tie = half_even_and_tie(word + where, place.shift)
                code, changed = clamp_and_change(value, lo, hi)
                result[i, t, j] = code + place.zero_point
                ties += tie & 1
                balance += tie
                saturations += changed
    add_events(ties, balance, saturations, counters)
