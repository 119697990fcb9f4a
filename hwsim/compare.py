"""A function of the user's own against a kernel, code by code."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

Codes = ArrayLike
"""An array of integers; floats are taken if they hold integers, as fake-quant's codes do."""
FLOAT_EXACT = 1 << 53


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Where two arrays differ: the user's code and the kernel's."""

    index: tuple[int, ...]
    function: int
    kernel: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of `compare`.

    Attributes
    ----------
    compared, different
        Codes.
    first
        The first difference in C order, or None.
    histogram
        Function minus kernel, in LSB -> codes, ascending; {0: compared} if all are equal.
    """

    compared: int
    different: int
    first: Difference | None
    histogram: dict[int, int]

    @property
    def max_lsb(self) -> int:
        """The greatest difference, in LSB."""
        return max((abs(lsb) for lsb in self.histogram), default=0)

    def __str__(self) -> str:
        told = f"{self.compared} codes compared, {self.different} different"
        if self.first is None:
            return told
        at = ", ".join(map(str, self.first.index))
        return (
            f"{told}, by at most {self.max_lsb} LSB; first at [{at}]: {self.first.function}, kernel {self.first.kernel}"
        )


def compare(
    function: Callable[..., Codes] | Codes, kernel: Callable[..., Codes] | Codes, *inputs: NDArray[Any]
) -> Comparison:
    """Compare a user's own function with a kernel on the same codes, or two arrays of codes.

    Parameters
    ----------
    function, kernel
        Two arrays of codes of one shape; or functions, each called with copies of `inputs`, which return them. Where a
        kernel returns several arrays, wrap it: `lambda q: kernels.softmax(q, ...).output`.
    inputs
        What a function is called with.

    Raises
    ------
    ValueError
        If the results differ in shape or are not integers.
    """
    if inputs and not (callable(function) or callable(kernel)):
        raise ValueError("inputs beside two arrays; allowed: inputs where one of the two is a function")
    theirs, ours = _codes("function", function, inputs), _codes("kernel", kernel, inputs)
    if theirs.shape != ours.shape:
        raise ValueError(f"function gives shape {theirs.shape}, kernel {ours.shape}; allowed: one shape")
    lsb, counts = np.unique(theirs - ours, return_counts=True)
    unequal = np.flatnonzero(theirs != ours)
    first = None
    if unequal.size:
        at = tuple(int(i) for i in np.unravel_index(unequal[0], ours.shape))
        first = Difference(index=at, function=int(theirs[at]), kernel=int(ours[at]))
    histogram = dict(zip(lsb.tolist(), counts.tolist(), strict=True))
    return Comparison(compared=ours.size, different=unequal.size, first=first, histogram=histogram)


def _codes(name: str, given: Callable[..., Codes] | Codes, inputs: tuple[NDArray[Any], ...]) -> NDArray[np.int64]:
    """The codes that were given, or that a function returns, as int64."""
    result = given(*(np.array(codes) for codes in inputs)) if callable(given) else given
    if isinstance(result, tuple):
        raise ValueError(f"{name} returns a tuple of {len(result)}; allowed: one array; pick a part of it")
    array = np.asarray(result)
    if array.dtype.kind == "f":
        broken = array[~((np.abs(array) <= FLOAT_EXACT) & (array == np.rint(array)))]
        if broken.size:
            raise ValueError(f"{name} gives {broken[0]}; allowed: codes, that is integers")
    elif array.dtype.kind not in "iub" or (array.dtype == np.uint64 and (array >> np.uint64(63)).any()):
        raise ValueError(f"{name} gives an array of {array.dtype}; allowed: integers of at most 64 bits with a sign")
    return array.astype(np.int64)
