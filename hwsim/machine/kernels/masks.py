"""Which mask a row of scores has, on a worker's memory."""

from typing import Any, NamedTuple

from numba import njit

from hwsim.machine.kernels.builder import Builder
from hwsim.machine.native import Bytes, matrix
from hwsim.machine.record import Words
from hwsim.operators.softmax.rows import Masks
from hwsim.program.operations import AnySoftmax


class Masked(NamedTuple):
    """Whether there is a mask, where, how many rows it has, and how many rows of scores share one."""

    given: int
    start: int
    rows: int
    shared: int


def mask_of(b: Builder, op: AnySoftmax) -> Masked:
    """The mask of a softmax."""
    batch, *rest = b.dims(op.input)[:-1]
    place = (0, 0) if op.mask is None else (1, b.at(op.mask))
    return Masked(*place, b.sizes.of([batch]), b.sizes.of(rest))


@njit(cache=True, nogil=True)
def masks_of(memory: Bytes, masked: Masked, sizes: Words, n: int, dtype: Any) -> Masks:
    """The mask as softmaxes read it, over rows of n scores."""
    rows = sizes[masked.rows] if masked.given else 0
    return Masks(matrix(memory, masked.start, rows, n, dtype), sizes[masked.shared])
