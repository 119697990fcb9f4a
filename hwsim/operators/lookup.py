"""The interpolated table read that softmax and activations share: docs/operators/softmax.md, section 3."""

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Integer
from hwsim.operators.arguments import Codes, check_array, check_elements, check_shape

INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
INTERPOLATED_ENTRIES = 513
"""512 intervals of 128 codes cover int16; the last entry is the end of the last interval."""
_MIDDLE, _STEP_BITS = 256, 7


@njit(cache=True, nogil=True, forceinline=True)
def interpolate(table: Codes, value: Integer) -> np.int64:
    """lookup(T, v): the straight line between the two entries around an int16 code."""
    index, offset = _MIDDLE + (np.int64(value) >> _STEP_BITS), np.int64(value) & ((1 << _STEP_BITS) - 1)
    left, right = np.int64(table[np.uint64(index)]), np.int64(table[np.uint64(index + 1)])
    return left + (((right - left) * offset + (1 << _STEP_BITS >> 1)) >> _STEP_BITS)


def check_interpolated_table(name: str, table: Codes, lo: int = INT16_MIN) -> None:
    """Refuse anything but 513 int32 entries in [lo, 2^15 - 1]."""
    check_array(name, table, (np.int32,), 1)
    check_shape(name, table, (INTERPOLATED_ENTRIES,))
    check_elements(name, table, lo, INT16_MAX)
