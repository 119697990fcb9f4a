"""How many multiply-accumulates of a run have a zero operand: equation (12) of docs/accelerator.md, counted exactly.

A code is zero if it equals its zero point. Padding is left out: of a dimension that a mask speaks of, only positions
that the mask allows count, as rows, as columns and as terms of a sum.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hwsim.program import Program
from hwsim.program.operations import AnyProduct, AnySoftmax, MatMul, ProjectHeads, written

Array = NDArray[Any]

BYTE_MAX = 255


class SiteZeros(msgspec.Struct, frozen=True, kw_only=True):
    """Zeros of one matrix product, over all calls and instances (batch elements, heads).

    Attributes
    ----------
    macs, macs_zero
        Multiply-accumulates, and those with a zero operand.
    weights, weights_zero
        Codes of b if it is a constant, each once however often it is used; else 0.
    activations, activations_zero
        Codes of a, and of b if it is no constant, each once a call.
    """

    macs: int = 0
    macs_zero: int = 0
    weights: int = 0
    weights_zero: int = 0
    activations: int = 0
    activations_zero: int = 0

    def __add__(self, other: "SiteZeros") -> "SiteZeros":
        return SiteZeros(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class ZeroCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run counted: output of a matrix product -> its zeros."""

    sites: dict[str, SiteZeros]

    def zero_macs(self, output: str, macs: int) -> int:
        """Of so many MACs of a product those with a zero operand, at the run's rate, to the nearest MAC.

        Raises
        ------
        ValueError
            If the product was not counted.
        """
        if output not in self.sites:
            raise ValueError(f"no zeros were counted of {output!r}; counted are {', '.join(self.sites) or 'none'}")
        site = self.sites[output]
        return (2 * macs * site.macs_zero + site.macs) // (2 * site.macs) if site.macs else 0

    @property
    def total(self) -> SiteZeros:
        """All products together."""
        return sum(self.sites.values(), SiteZeros())


class _Factor(NamedTuple):
    """One factor's codes at each k.

    Attributes
    ----------
    nonzero
        Those that are not zero, int64, (batch, heads..., k); (k,) where the instances share a weight.
    codes
        All, int64, of the same number of dimensions, 1 along those along which they are alike.
    total
        Codes, and zero codes.
    """

    nonzero: NDArray[np.int64]
    codes: NDArray[np.int64]
    total: tuple[int, int]


def _times(codes: NDArray[np.int64], size: int) -> int:
    """The sum of an array of so many elements that repeats `codes`."""
    return int(codes.sum()) * (size // max(1, codes.size))


def _factor(nonzero: NDArray[np.int64], codes: NDArray[np.int64]) -> _Factor:
    total = _times(codes, nonzero.size)
    return _Factor(nonzero, codes, (total, total - int(nonzero.sum())))


def _weight(program: Program, name: str) -> _Factor:
    """A constant (n, k)."""
    codes = program.constants[name]
    nonzero = np.count_nonzero(codes != program.constant_info[name].zero_point, axis=0)
    return _factor(nonzero.astype(np.int64), np.full(codes.shape[1:], len(codes), np.int64))


def _second(op: AnyProduct) -> str:
    """The second factor of a product."""
    return op.b if isinstance(op, MatMul) else op.weight


class ZeroCounter:
    """Counts zeros of every matrix product of a program while it runs.

    Its memory is six integers for each product and one for each k of a weight. Each call it looks once at each
    activation that is a factor: at m*k + k*n codes, at most, for m*k*n multiply-accumulates.

    Parameters
    ----------
    program
        A validated program. Its masks are the inputs that its softmaxes name, (batch, positions of a dimension).
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        products = [operation for _, operation in program.operations() if isinstance(operation, AnyProduct)]
        self._products = {op.output: op for op in products}
        masks = [operation.mask for _, operation in program.operations() if isinstance(operation, AnySoftmax)]
        self._masks = {tuple(program.tensors[name].dims): name for name in masks if name is not None}
        weights = {_second(op) for op in products} & set(program.constants)
        self._weights = {name: _weight(program, name) for name in weights}
        self._sites = {op.output: self._weight_zeros(op) for op in products}

    @property
    def counts(self) -> ZeroCounts:
        """What was counted so far."""
        return ZeroCounts(sites=dict(self._sites))

    def begin(self, values: Mapping[str, Array]) -> Callable[[str], None]:
        """Take in a call under way.

        Parameters
        ----------
        values
            The function's inputs, masks too, and what an observer saw being made; not changed.

        Returns
        -------
        Callable
            To be told the name of every tensor that is made, while its operands and the inputs are in `values`.
        """
        call = _Call(self._program, self._masks, values)

        def made(name: str) -> None:
            if name in self._products:
                self._count(self._products[name], call)

        return made

    def count(self, function: str, values: Mapping[str, Array]) -> None:
        """Take in one call of a function whose tensors are all in `values`."""
        made = self.begin(values)
        for operation in self._program.functions[function].operations:
            for name in written(operation):
                made(name)

    def _count(self, op: AnyProduct, call: "_Call") -> None:
        if isinstance(op, ProjectHeads):  # its MACs are those of one product with merged heads
            a = call.heads(op.input)
            self._add(op, a, self._weights[op.weight], a.total)
        elif op.b in self._weights:
            a = call.factor(op.a, merged=True)
            self._add(op, a, self._weights[op.b], a.total)
        else:
            a, b = call.factor(op.a), call.factor(op.b, transposed=op.transpose_b)
            self._add(op, a, b, a.total, b.total)

    def _weight_zeros(self, op: AnyProduct) -> SiteZeros:
        if _second(op) not in self._weights:
            return SiteZeros()
        weights, zero = self._weights[_second(op)].total
        return SiteZeros(weights=weights, weights_zero=zero)

    def _add(self, op: AnyProduct, a: _Factor, b: _Factor, *activations: tuple[int, int]) -> None:
        """(12): a MAC is no zero MAC if neither code is zero."""
        codes = a.codes * b.codes
        macs = _times(codes, a.nonzero.size)
        self._sites[op.output] += SiteZeros(
            macs=macs,
            macs_zero=macs - int(np.vdot(a.nonzero, b.nonzero)),
            activations=sum(codes for codes, _ in activations),
            activations_zero=sum(zero for _, zero in activations),
        )


class _Call:
    """The activations of one call as factors, each looked at once however many products it is in."""

    def __init__(
        self, program: Program, masks: Mapping[tuple[str | int, ...], str], values: Mapping[str, Array]
    ) -> None:
        self._program, self._masks, self._values = program, masks, values
        self._known: dict[tuple[str, bool, bool], _Factor] = {}

    def factor(self, name: str, *, transposed: bool = False, merged: bool = False) -> _Factor:
        """An activation (..., rows, k), or (..., k, rows) if transposed; `merged` makes all instances one."""
        key = name, transposed, merged
        if key not in self._known:
            self._known[key] = self._look(*key)
        return self._known[key]

    def heads(self, name: str) -> _Factor:
        """An activation (b, h, n, e) as a factor of h*e terms, all rows one instance."""
        info, codes = self._program.tensors[name], self._values[name]
        nonzero = (codes != info.zero_point).view(np.uint8).swapaxes(1, 2)
        nonzero = nonzero.reshape(*nonzero.shape[:2], -1)
        rows = np.broadcast_to(self._real([info.dims[0], info.dims[2], 0], -2, nonzero.shape), nonzero.shape[:-1])
        return _factor(
            _sum_rows(nonzero.reshape(-1, nonzero.shape[-1]), rows.reshape(-1)),
            np.full(nonzero.shape[-1:], rows.sum(dtype=np.int64), np.int64),
        )

    def _look(self, name: str, transposed: bool, merged: bool) -> _Factor:
        info, codes = self._program.tensors[name], self._values[name]
        dims, nonzero = list(info.dims), (codes != info.zero_point).view(np.uint8)
        if transposed:
            dims[-2:], nonzero = dims[:-3:-1], nonzero.swapaxes(-1, -2)
        rows, terms = (self._real(dims, axis, nonzero.shape) for axis in (-2, -1))
        if merged:  # k of a weight is a width, which has no padding
            rows, terms = np.broadcast_to(rows, nonzero.shape[:-1]).reshape(-1), terms.reshape(-1)
            nonzero = nonzero.reshape(-1, nonzero.shape[-1])
        return _factor(_sum_rows(nonzero, rows) * terms, rows.sum(-1, keepdims=True, dtype=np.int64) * terms)

    def _real(self, dims: list[str | int], axis: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """1 where a position along an axis is no padding, (batch, 1..., length); without a mask (1, 1..., length)."""
        mask = self._values.get(self._masks.get((dims[0], dims[axis]), ""))
        real = np.ones((1, shape[axis]), np.bool_) if mask is None else mask != 0
        return real.view(np.uint8).reshape(len(real), *(1,) * (len(shape) - 3), -1)


def _sum_rows(flags: NDArray[np.uint8], rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Sums of flags (..., rows, k), 0 or 1, over the rows whose own flag is 1; in bytes, for speed, 255 at once."""
    total = np.zeros((), np.int64)
    for start in range(0, flags.shape[-2], BYTE_MAX):
        block = slice(start, start + BYTE_MAX)
        total = total + np.einsum("...mk,...m->...k", flags[..., block, :], rows[..., block])
    return total
