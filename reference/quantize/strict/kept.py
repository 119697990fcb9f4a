"""What is made of parameters and kept while no gradient is wanted."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class _Entry(NamedTuple):
    """What was made of parameters, and their versions then."""

    parameters: tuple[Tensor | None, ...]
    versions: tuple[int, ...]
    value: Any


def versions_of(parameters: tuple[Tensor | None, ...]) -> tuple[int, ...]:
    """A number each that rises when it is written to in place; tensors of inference mode have none."""
    return tuple(0 if p is None or p.is_inference() else p._version for p in parameters)


class Kept:
    """Values by key, each made again when a gradient may be wanted or its parameters were replaced or written to.

    What is written through `parameter.data` has no version: it goes unnoticed.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def get(self, key: str, parameters: tuple[Tensor | None, ...], make: Callable[[], T]) -> T:
        """The value of a key, always the same `make` of the same parameters."""
        if torch.is_grad_enabled():
            return make()
        entry, versions = self._entries.get(key), versions_of(parameters)
        same = entry is not None and all(map(operator.is_, entry.parameters, parameters))
        if entry is None or not same or entry.versions != versions:
            entry = self._entries[key] = _Entry(parameters, versions, make())
        return entry.value  # type: ignore[no-any-return]

    def clear(self) -> None:
        """Let go of all; it is made again when it is wanted."""
        self._entries.clear()
