"""The operands of a matrix product: codes checked once, in the forms that the products want."""

from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.operators.arguments import (
    CODE_MAX,
    CODE_MIN,
    Codes,
    check_array,
    check_elements,
    check_zero_point,
)
from hwsim.operators.gemm.engines import EIGHT_BITS, pack_centred, pairs_shape, quads_shape
from hwsim.operators.gemm.ordered import transposed

DWORD = 4
"""Rows of a first operand are a multiple of so many bytes long, as the engines read them."""
_NARROW = (np.int8, np.uint8, np.int16)
INT16_OFFSET = 1 << 15


class Rows(NamedTuple):
    """A first operand for an engine, (batch, m, k and what fills it up), and its zero point."""

    codes: NDArray[Any]
    zero: int


class Operand:
    """Codes (..., rows, k) of a zero point, checked once, with the forms that an engine may want.

    Raises
    ------
    ValueError
        If the codes are of another dtype, not C-contiguous, of less than two dimensions, or of more than 16 bits.
    """

    def __init__(self, name: str, codes: NDArray[Any], zero: int, dtypes: tuple[type[np.generic], ...]) -> None:
        check_array(name, codes, dtypes)
        check_zero_point(f"{name}_zero", zero)
        if codes.ndim < 2:
            raise ValueError(f"{name} has shape {codes.shape}; allowed: at least two dimensions")
        self.given, self.zero, self.shape = codes, int(zero), codes.shape
        self.bounds = _bounds(name, codes)

    @cached_property
    def codes(self) -> Codes:
        """The codes as int32."""
        return self.given.astype(np.int32, copy=False)

    @property
    def batched(self) -> Codes:
        """The codes with one batch dimension, (batch, rows, k)."""
        return self.codes.reshape(prod(self.shape[:-2]), *self.shape[-2:])

    @property
    def _stacked(self) -> NDArray[Any]:
        """As `batched`, of the type that was given."""
        return self.given.reshape(prod(self.shape[:-2]), *self.shape[-2:])

    @property
    def magnitude(self) -> int:
        """The greatest |code - zero point|."""
        return max(abs(bound - self.zero) for bound in self.bounds)

    def rows(self, shape: tuple[int, ...]) -> Codes:
        """The codes of a first operand as the batch and rows of a product of this shape."""
        return self.codes.reshape(shape[0], shape[1], self.shape[-1])

    @property
    def is_eight_bits(self) -> bool:
        """Whether the codes fit int8 or uint8."""
        return self._fits(np.int8) or self._fits(np.uint8)

    @property
    def is_sixteen_bits(self) -> bool:
        """Whether the codes fit int16 or uint16: not where one is below 0 and another above 2^15 - 1."""
        return self._fits(np.int16) or self._fits(np.uint16)

    def bytes(self, shape: tuple[int, ...]) -> Rows:
        """The rows as uint8 if they fit, else int8; one that `is_eight_bits`."""
        return Rows(self._narrowed(np.uint8 if self._fits(np.uint8) else np.int8, 0, shape), self.zero)

    def words(self, shape: tuple[int, ...]) -> Rows:
        """The rows as int16 of codes that `is_sixteen_bits`; those without sign lose 2^15, as does their zero point."""
        offset = 0 if self._fits(np.int16) else INT16_OFFSET
        return Rows(self._narrowed(np.int16, offset, shape), self.zero - offset)

    def _fits(self, dtype: type[np.signedinteger] | type[np.unsignedinteger]) -> bool:
        info = np.iinfo(dtype)
        return bool(info.min <= self.bounds[0] and self.bounds[1] <= info.max)

    def _narrowed(self, dtype: type[np.generic], offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
        """Codes - offset of a smaller type, (batch, m, k filled up to a DWORD); no copy where none is needed."""
        k, size = self.shape[-1], np.dtype(dtype).itemsize
        if self.given.dtype.itemsize == size and not k * size % DWORD and not offset:
            return self.given.view(dtype).reshape(shape[0], shape[1], k)
        rows = self.given.reshape(shape[0] * shape[1], k)
        narrowed = np.zeros((len(rows), -(-k * size // DWORD) * DWORD // size), dtype)
        narrow(rows, offset, narrowed)
        return narrowed.reshape(shape[0], shape[1], narrowed.shape[1])


Packed = NDArray[Any]
"""A second operand less its zero point, for the engines: int8 (batch, panels, groups, 16, 4) or int16 (..., 16, 2)."""


class Prepared(Operand):
    """A second operand made by `prepare`. It refers to the codes it was made from; they must not change after."""

    def __init__(self, name: str, codes: NDArray[Any], zero: int, dtypes: tuple[type[np.generic], ...]) -> None:
        super().__init__(name, codes, zero, dtypes)
        if codes.size:  # a type's ends may be wider than the codes
            self.bounds = int(codes.min()), int(codes.max())

    @property
    def has_quads(self) -> bool:
        """Whether codes less their zero point fit int8, and the engine has a use for them."""
        return EIGHT_BITS == "quads" and self._is_centred_in(np.int8)

    @property
    def has_pairs(self) -> bool:
        """Whether codes less their zero point fit int16."""
        return self._is_centred_in(np.int16)

    @cached_property
    def quads(self) -> Packed:
        """Codes less their zero point as int8, of an operand that `has_quads`."""
        return self.packed(np.int8)

    @cached_property
    def pairs(self) -> Packed:
        """Codes less their zero point as int16, of an operand that `has_pairs`."""
        return self.packed(np.int16)

    @cached_property
    def column_sums(self) -> NDArray[np.int64]:
        """sum_k (code - zero point), (batch, n): what a unit of the first operand's zero point costs."""
        sums = self._stacked.sum(axis=2, dtype=np.int64)
        return np.asarray(sums - self.shape[-1] * self.zero)

    @cached_property
    def columns(self) -> Codes:
        """Codes minus zero point transposed, (batch, k, at least rows)."""
        return self.transposed()

    def transposed(self) -> Codes:
        """As `columns`, which are kept; this is not."""
        return transposed(self._stacked, self.zero)

    def _is_centred_in(self, dtype: type[np.int8] | type[np.int16]) -> bool:
        info = np.iinfo(dtype)
        return bool(info.min <= self.bounds[0] - self.zero and self.bounds[1] - self.zero <= info.max)

    def packed(self, dtype: type[np.int8] | type[np.int16]) -> Packed:
        """Codes less their zero point for an engine; `quads` and `pairs` are kept, this is not."""
        codes = self._stacked
        shape = (quads_shape if dtype is np.int8 else pairs_shape)(*codes.shape[1:])
        packed = np.empty((len(codes), *shape), dtype)
        pack_batch(codes, self.zero, packed)
        return packed


def prepare(b: NDArray[Any], b_zero: int = 0) -> Prepared:
    """Check and convert a constant second operand once, for many calls of `matmul`.

    Parameters
    ----------
    b : int8, uint8, int16, uint16 or int32, (..., n, k)
        Codes of at most 16 bits, the summed dimension last.
    b_zero : int
        Their zero point.

    Raises
    ------
    ValueError
        For other dtypes, layouts, codes or zero points.
    """
    return Prepared("b", b, b_zero, (*_NARROW, np.uint16, np.int32))


@njit(nogil=True, cache=True)
def narrow(codes: NDArray[Any], offset: int, result: NDArray[Any]) -> None:
    """codes - offset, (rows, k), in a smaller type; the caller has seen that it fits."""
    for i in range(codes.shape[0]):
        for k in range(codes.shape[1]):
            result[i, k] = np.int64(codes[i, k]) - offset


@njit(nogil=True, cache=True)
def pack_batch(b: NDArray[Any], zero: int, packed: NDArray[Any]) -> None:
    """`pack_centred` of every element of a batch."""
    for s in range(b.shape[0]):
        pack_centred(b[s], zero, packed[s])


def _bounds(name: str, codes: NDArray[Any]) -> tuple[int, int]:
    """Least and greatest code; of a type that holds codes alone its ends, which cost no look."""
    if codes.dtype not in _NARROW or not codes.size:
        return check_elements(name, codes, CODE_MIN, CODE_MAX)
    info = np.iinfo(codes.dtype)
    return int(info.min), int(info.max)
