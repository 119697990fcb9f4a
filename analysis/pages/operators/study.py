"""What an error study is: codes of a kernel beside real mathematics, in steps of the output (LSB)."""

from collections.abc import Callable
from dataclasses import dataclass
from math import frexp, ldexp
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hwsim.formats import Counter, IntFormat

Reals = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]
Codes = NDArray[np.int32]

SEED = 2026
HALF = 0.5 + 1e-6
"""Beyond it a code is not the nearest one; what is over 1/2 leaves room for float64."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Errors code - real value of one operator over one domain; results outside the output's range are left out.

    `where` is the input of the greatest error, `lsb` the real value of a step, `beyond_half` the share of codes that
    are not the nearest to the real value.
    """

    operator: str
    domain: str
    lsb: str
    codes: int
    max_lsb: float
    where: str
    mean_lsb: float
    bias_lsb: float
    beyond_half: float


@dataclass(frozen=True, kw_only=True)
class Study:
    """One plot of a page, and the rows of the page's table that belong to it."""

    page: str
    name: str
    findings: list[Finding]
    figure: Figure


class Errors(NamedTuple):
    """Errors in LSB of the results inside the output's range, and the places of these in the flat result."""

    values: Reals
    places: Integers


def errors(result: NDArray[Any], real: Reals, low: float, high: float) -> Errors:
    """result - real, both in steps of the output, where low <= real <= high."""
    places = np.flatnonzero((low <= real) & (real <= high))
    return Errors(result.reshape(-1)[places] - real.reshape(-1)[places], places)


def finding(operator: str, domain: str, lsb: str, found: Errors, where: Callable[[int], str]) -> Finding:
    """The row of a table; `where` describes a place in the flat result."""
    size = np.abs(found.values)
    return Finding(
        operator=operator,
        domain=domain,
        lsb=lsb,
        codes=size.size,
        max_lsb=float(size.max()),
        where=where(int(found.places[size.argmax()])),
        mean_lsb=float(size.mean()),
        bias_lsb=float(found.values.mean()),
        beyond_half=float((size > HALF).mean()),
    )


def encoded(ratio: float, bits: int) -> tuple[int, int]:
    """Multiplier of exactly `bits` bits and shift with multiplier / 2^shift nearest to a ratio."""
    fraction, exponent = frexp(ratio)
    multiplier = int(np.floor(ldexp(fraction, bits) + 0.5))
    if multiplier == 1 << bits:
        return multiplier >> 1, bits - exponent - 1
    return multiplier, bits - exponent


def one(value: int) -> Integers:
    """A multiplier or shift for the whole tensor."""
    return np.array([value], np.int64)


def no_events() -> Integers:
    """Counters that nobody looks at."""
    return np.zeros(len(Counter), np.int64)


def signed(bits: int) -> IntFormat:
    """A signed format."""
    return IntFormat(bits=bits)


def unsigned(bits: int) -> IntFormat:
    """An unsigned format."""
    return IntFormat(bits=bits, signed=False)
