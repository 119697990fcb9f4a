"""The constant arrays of a program: held as narrow as their formats, read as numbers to reckon with."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.formats import IntFormat


def carrier(form: IntFormat) -> Any:
    """The narrowest integer type of NumPy's that holds a format; of 31 and more bits, one with a sign."""
    signed: list[tuple[int, Any]] = [(8, np.int8), (16, np.int16), (32, np.int32), (64, np.int64)]
    unsigned: list[tuple[int, Any]] = [(8, np.uint8), (16, np.uint16), (31, np.int32), (64, np.int64)]
    return next(dtype for bits, dtype in (signed if form.signed else unsigned) if form.bits <= bits)


class Constants(Mapping[str, NDArray[Any]]):
    """Arrays by name. What is read is a copy, int32 or (wider formats) int64, in which products and sums have room.

    Parameters
    ----------
    arrays
        Of any integer types; they are not copied.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._held: dict[str, NDArray[Any]] = dict(arrays._held if isinstance(arrays, Constants) else arrays)

    def held(self, name: str) -> NDArray[Any]:
        """An array as it is held, which the caller must not change."""
        return self._held[name]

    def __getitem__(self, name: str) -> NDArray[Any]:
        held = self._held[name]
        return held.astype(np.int32 if np.can_cast(held.dtype, np.int32) else np.int64)

    def __or__(self, other: Mapping[str, NDArray[Any]]) -> "Constants":
        return Constants({**self._held, **Constants(other)._held})

    def __ror__(self, other: Mapping[str, NDArray[Any]]) -> "Constants":
        return Constants(other) | self

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)
