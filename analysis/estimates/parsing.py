"""Values of options as they are typed; every error is one line that names the option."""

from collections.abc import Iterable
from enum import Enum
from typing import TypeVar

from hwsim.accelerator.options import Sparsity
from hwsim.accelerator.reading import nearest, short

LARGEST = 1 << 20
"""Rows, columns and KiB at most."""

E = TypeVar("E", bound=Enum)


def choice(name: str, given: str | None, kind: type[E]) -> E | None:
    """A value by its name; the error lists the known ones, or names the nearest."""
    if given is None:
        return None
    known = [str(member.value) for member in kind]
    if given not in known:
        raise ValueError(f"{name} is {short(repr(given))}; {nearest(given, known)}")
    return kind(given)


def pair(text: str, name: str, separator: str, example: str) -> tuple[int, int]:
    first, _, second = text.partition(separator)
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in (first, second)):
        raise ValueError(f"{name} {short(repr(text))}; it is two whole numbers, for example {example}")
    return int(first), int(second)


def size(name: str, value: int) -> int:
    if not 1 <= value <= LARGEST:
        raise ValueError(f"{name} is {value}; allowed are 1 to {LARGEST}")
    return value


def positive(name: str, value: float) -> float:
    if not 1e-3 <= value <= 1e6:
        raise ValueError(f"{name} is {value:g}; allowed are 0.001 to 1000000")
    return value


def sparsity(given: str | None) -> Sparsity | None:
    """N:M as `--sparsity` has it."""
    if given is None:
        return None
    found = Sparsity(*pair(given, "--sparsity", ":", "2:4"))
    if found.kept < 1 or found.group > LARGEST:
        raise ValueError(f"--sparsity {given}; at least one weight of 2 to {LARGEST} is kept")
    return found


def check_known(name: str, given: str, known: Iterable[str]) -> None:
    """Refuse an unknown name."""
    if given not in list(known):
        raise ValueError(f"{name} is {short(repr(given))}; {nearest(given, known)}")
