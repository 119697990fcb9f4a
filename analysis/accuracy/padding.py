"""Padding in the operands of a product: made such that no running sum knows of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.machine.steps.products import Operands
from hwsim.operators.gemm import Prepared
from hwsim.program import Program
from hwsim.program.operations import AnyProduct, AnySoftmax
from hwsim.program.proofs import first_factor

Array = NDArray[Any]
Dims = tuple[str | int, ...]


class Padding:
    """What is padding in a program's tensors, by the masks (batch, positions) that its softmaxes name."""

    def __init__(self, program: Program) -> None:
        self._program = program
        masks = {op.mask for _, op in program.operations() if isinstance(op, AnySoftmax) and op.mask is not None}
        self._masks = {tuple(program.tensors[name].dims): name for name in masks}

    def real(self, values: Mapping[str, Array]) -> dict[Dims, NDArray[np.bool_]]:
        """(batch, dimension) -> which positions (batch, length) are none, of the dimensions of a call that have any.

        A row ends with the last position that its mask allows.
        """
        masks = {dims: values[name] != 0 for dims, name in self._masks.items() if name in values}
        found = {dims: np.logical_or.accumulate(mask[:, ::-1], 1)[:, ::-1] for dims, mask in masks.items()}
        return {dims: real for dims, real in found.items() if not real.all()}

    def without(self, operation: AnyProduct, operands: Operands, real: Mapping[Dims, NDArray[np.bool_]]) -> Operands:
        """The same running sums, and none of padding.

        Rows of padding are left out; where each element of a batch has a second factor of its own, rows and columns of
        padding are the first ones again. Terms of padding are zero.

        Parameters
        ----------
        operands
            Of the operation, or of one of its heads.
        real
            As `real` gives it.
        """
        if not real:
            return operands
        a, b, bias, a_zero, b_zero = operands
        dims = self._program.tensors[first_factor(operation)].dims
        rows, terms = (real.get((dims[0], dim)) for dim in dims[-2:])
        if terms is not None:
            a = np.where(_along(terms, -1, a), a, np.int32(a_zero))
        if isinstance(b, Prepared):
            a = a if rows is None else np.ascontiguousarray(a.swapaxes(1, -2)[rows]).reshape(-1, a.shape[-1])
        else:
            a = a if rows is None else _repeated(a, rows)
            columns = real.get((dims[0], self._program.tensors[operation.output].dims[-1]))
            b = b if columns is None else _repeated(b, columns)
        return Operands(a, b, bias, a_zero, b_zero)


def _repeated(codes: Array, real: NDArray[np.bool_]) -> Array:
    """Codes (batch, ..., positions, k) with the first position in place of those that are padding."""
    return np.where(_along(real, -2, codes), codes, codes[..., :1, :])


def _along(real: NDArray[np.bool_], axis: int, codes: Array) -> NDArray[np.bool_]:
    """Positions of an axis of codes (batch, ...), which broadcast to them."""
    shape = [len(real)] + [1] * (codes.ndim - 1)
    shape[axis] = real.shape[1]
    return real.reshape(shape)
