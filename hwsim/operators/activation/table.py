"""Functions of one code by table, direct and interpolated: docs/operators/activation.md, sections 3 and 4."""

import numpy as np
from numba import njit

from hwsim.operators.arguments import CODE_MAX, CODE_MIN, Codes, check_array, check_elements, check_range
from hwsim.operators.lookup import INT16_MAX, INT16_MIN, check_interpolated_table, interpolate

MAX_ENTRIES = 1 << 12


def table_lookup(x: Codes, table: Codes, lowest: int) -> Codes:
    """table[x - lowest], equation (G5); it rounds nothing and has no events.

    Parameters
    ----------
    x : int32, (..., n)
        Codes of [lowest, lowest + entries - 1].
    table : int32, (entries,)
        Codes of at most 16 bits, at most 2^12 of them.
    lowest : int
        The code of the first entry.

    Returns
    -------
    int32, the shape of x

    Raises
    ------
    ValueError
        For other dtypes, shapes or tables, or a code that the table has no entry for.
    """
    check_array("x", x, (np.int32,))
    check_array("table", table, (np.int32,), 1)
    check_range("the number of entries of table", table.size, 1, MAX_ENTRIES)
    check_elements("table", table, CODE_MIN, CODE_MAX)
    check_range("lowest", lowest, CODE_MIN, CODE_MAX)
    check_elements("x", x, lowest, lowest + table.size - 1)
    return table[x - np.int32(lowest)]


def table_interpolate(x: Codes, table: Codes) -> Codes:
    """The straight line between two of 513 entries, equation (G6); it has no events.

    Parameters
    ----------
    x : int32, (..., n)
        int16 codes.
    table : int32, (513,)
        int16 codes, one for every 128 codes of x.

    Returns
    -------
    int32, the shape of x

    Raises
    ------
    ValueError
        For other dtypes, shapes or codes.
    """
    check_array("x", x, (np.int32,))
    check_elements("x", x, INT16_MIN, INT16_MAX)
    check_interpolated_table("table", table)
    codes = np.empty_like(x)
    _table_interpolate(x.reshape(-1), table, codes.reshape(-1))
    return codes


@njit(cache=True)
def _table_interpolate(x: Codes, table: Codes, codes: Codes) -> None:
    """Equation (G6) on a flat array."""
    for j in range(x.size):
        codes[j] = np.int32(interpolate(table, x[j]))
