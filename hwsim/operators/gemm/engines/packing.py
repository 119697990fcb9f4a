"""The second operand as the engines read it: panels of 16 columns, each with its groups of k one after the other.

`quads` is int8 (panels, groups, 16, 4), for 8-bit codes; `pairs` is int16 (panels, groups, 16, 2). A group is 64 bytes
in both, and an element of a group is (column, k). What lies beyond n is 0, and what lies beyond k in its last group;
engines read no further.
"""

from typing import Any

import numpy as np
from numba import njit
from numba.extending import register_jitable
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import inner

Quads = NDArray[np.int8]
Pairs = NDArray[np.int16]

DEPTH_BITS = 32
"""Of a column in a group: four quads or two pairs."""
_TILE_GROUPS = 16
"""Groups of quads are a multiple of it, k of 64, so that a tile of AMX is never cut off."""


@register_jitable
def packed_shape(n: int, k: int, size: int) -> tuple[int, int, int, int]:
    """Shape of an (n, k) operand in groups of so many numbers, 4 or 2."""
    multiple = _TILE_GROUPS if size == 4 else 1
    return -(-n // 16), -(-k // (size * multiple)) * multiple, 16, size


@register_jitable
def quads_shape(n: int, k: int) -> tuple[int, int, int, int]:
    """Shape of the quads of an (n, k) operand, groups a multiple of 16."""
    return packed_shape(n, k, 4)


@register_jitable
def pairs_shape(n: int, k: int) -> tuple[int, int, int, int]:
    """Shape of the pairs of an (n, k) operand."""
    return packed_shape(n, k, 2)


@njit(nogil=True, cache=True)
def pack_centred(b: NDArray[Any], zero: int, packed: Quads | Pairs) -> None:
    """Pack b - zero, which must fit, as quads or pairs.

    The loops stand here, and go over as many elements of a group as the dtype says: a function below this one would be
    compiled again in it, and a number that is only known at run time would give loops that nobody needs.
    """
    n, k = b.shape
    _check(packed.shape, n, k)
    size = DEPTH_BITS // np.iinfo(packed.dtype).bits
    whole = min(k // size, packed.shape[1])
    for panel in range(packed.shape[0]):
        for column in range(16):
            j = 16 * panel + column
            used = np.int64(0)
            if j < n:
                used = whole
                for group in range(whole):
                    for at in range(size):
                        packed[panel, group, column, at] = np.int64(b[j, group * size + at]) - zero
            for group in range(used, packed.shape[1]):
                for at in range(size):
                    place = group * size + at
                    inside = j < n and place < k
                    packed[panel, group, column, at] = np.int64(b[j, place]) - zero if inside else 0


@inner
def _check(packed: tuple[int, int, int, int], n: int, k: int) -> None:
    if n > packed[0] * 16 or k > packed[1] * packed[3]:
        raise ValueError("a packed operand has fewer columns or rows than are put into it")


@njit(nogil=True, cache=True)
def put_column(packed: Quads | Pairs, j: int, row: NDArray[Any], zero: int) -> None:
    """Write row j of b, (k,), less its zero point: a column of the product. Elements beyond k stay as they are."""
    _check(packed.shape, j + 1, row.size)
    size = packed.shape[3]
    panel = packed[j >> 4, :, j & 15]
    for k in range(row.size):
        panel[k // size, k % size] = np.int64(row[k]) - zero


@njit(nogil=True, cache=True)
def put_depth(packed: Quads | Pairs, t: int, values: NDArray[Any], zero: int) -> None:
    """Write element t of all n rows of b, (n,), less their zero point, and zeros in the rest of its group.

    Elements are put in order, from 0; columns beyond n stay as they are.
    """
    _check(packed.shape, values.size, t + 1)
    size = packed.shape[3]
    for j in range(values.size):
        group = packed[j >> 4, t // size, j & 15]
        group[t % size] = np.int64(values[j]) - zero
        for rest in range(t % size + 1, size):
            group[rest] = 0
