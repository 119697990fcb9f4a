"""Token embedding plus position table, rounded once: equation (8) of docs/numerics.md."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arithmetic.fixedpoint import Counters, round_shift, saturate
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
    _embed(ids, table, multipliers, positions, Placement(*map(int, numbers)), codes, counters)
    return codes


@njit(cache=True)
def _embed(
    ids: NDArray[np.int64],
    table: Codes,
    multipliers: Multipliers,
    positions: Codes,
    place: Placement,
    result: Codes,
    counters: Counters,
) -> None:
    """Equation (8)."""
    step = np.int64(multipliers.size > 1)
    for i in range(ids.shape[0]):
        for t in range(ids.shape[1]):
            token, position = ids[i, t], place.first_position + t
            multiplier = multipliers[token * step]
            for j in range(table.shape[1]):
                word = np.int64(table[token, j]) * multiplier
                where = np.int64(positions[position, j]) * place.position_multiplier
                value = round_shift(word + where, place.shift, counters) + place.zero_point
                result[i, t, j] = np.int32(saturate(value, place.lo, place.hi, counters))
