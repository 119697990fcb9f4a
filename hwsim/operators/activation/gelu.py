"""GELU as a polynomial of second degree, of I-BERT and of ITA: docs/operators/activation.md, sections 1 and 2."""

import numpy as np
from numpy.typing import NDArray

from hwsim.operators.arguments import (
    CODE_MAX,
    CODE_MIN,
    EXACT_LIMIT,
    Codes,
    check_array,
    check_elements,
    check_exact,
    check_range,
    check_zero_point,
)

Values = NDArray[np.int64]

_CONSTANT_BITS = 14
"""I-BERT's square loses so many bits."""
ITA_MIN = -127


def ibert_gelu(x: Codes, *, zero: int, b: int, c: int, offset: int) -> Values:
    """The accumulator of I-BERT's GELU, equations (G1) and (G2); it rounds nothing and has no events.

    Parameters
    ----------
    x : int32, (..., n)
        Codes of at most 16 bits.
    zero : int
        Zero point of x.
    b, c, offset : int
        b >= 1, c <= -1, and the page's sh, at most -1.

    Returns
    -------
    int64, the shape of x

    Raises
    ------
    ValueError
        For another dtype, layout or constant, or if a product could reach 2^63.
    """
    values = _centred(x, zero)
    _check_constants(b, c)
    check_range("offset", offset, 1 - EXACT_LIMIT, -1)
    square = (_polynomial_reach(b, c) >> _CONSTANT_BITS) + 1
    check_exact("x' * (floor(L / 2^14) + offset)", _reach(values) * (square - offset))
    return -values * ((_polynomial(values, b, c) >> _CONSTANT_BITS) + offset)


def ita_gelu(x: Codes, *, zero: int, b: int, c: int) -> Values:
    """The accumulator of ITA's GELU, equations (G3) and (G4); it rounds nothing and has no events.

    Parameters
    ----------
    x : int32, (..., n)
        Codes of at most 16 bits; below -127 they count as -127.
    zero : int
        Zero point of x.
    b, c : int
        b >= 1, c <= -1.

    Returns
    -------
    int64, the shape of x

    Raises
    ------
    ValueError
        For another dtype, layout or constant, or if a product could reach 2^63.
    """
    values = np.maximum(_centred(x, zero), ITA_MIN)
    _check_constants(b, c)
    check_exact("x' * (L + c)", _reach(values) * (_polynomial_reach(b, c) - c))
    return -values * (_polynomial(values, b, c) + c)


def _centred(x: Codes, zero: int) -> Values:
    """x' = x - zero."""
    check_array("x", x, (np.int32,))
    check_elements("x", x, CODE_MIN, CODE_MAX)
    check_zero_point("zero", zero)
    return x.astype(np.int64) - zero


def _check_constants(b: int, c: int) -> None:
    """Refuse constants of the wrong sign, and those whose square could reach 2^63."""
    check_range("b", b, 1, EXACT_LIMIT - 1)
    check_range("c", c, 1 - EXACT_LIMIT, -1)
    check_exact("b^2 - c", b * b - c)


def _reach(values: Values) -> int:
    return int(np.abs(values).max(initial=0))


def _polynomial_reach(b: int, c: int) -> int:
    """Greatest magnitude of L: its square lies between 0 and b^2, c is negative."""
    return max(b * b + c, -c)


def _polynomial(values: Values, b: int, c: int) -> Values:
    """L = sgn(x') * ((min(|x'|, b) - b)^2 + c)."""
    distance = np.minimum(np.abs(values), b) - b
    return np.sign(values) * (distance * distance + c)
