"""GELU as a polynomial of second degree: docs/operators/activation.md, sections 1, 2, 5 and 6."""

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
ITA_BITS = 26
INT8_MIN = -(1 << 7)
INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


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
        Codes of at most 16 bits.
    zero : int
        Zero point of x.
    b, c : int
        int16, at most -1, as the hardware is fed.

    Returns
    -------
    int64, the shape of x
        Of a negative scale.

    Raises
    ------
    ValueError
        For another dtype, layout or constant, or a result beyond 26 bits.
    """
    values = _centred(x, zero)
    check_range("b", b, INT16_MIN, -1)
    check_range("c", c, INT16_MIN, -1)
    acc = values * (_polynomial(values, -b, c) + c)
    check_elements("the accumulator", acc, -(1 << ITA_BITS - 1), (1 << ITA_BITS - 1) - 1)
    return acc


def pulp_gelu(x: Codes, *, zero: int, b: int, one: int) -> Values:
    """The accumulator of Deeploy's iGELU, equation (G7); its only rounding is a floor, and it has no events.

    Parameters
    ----------
    x : int32, (..., n)
        Codes of int8, less their zero point within int16.
    zero : int
        Zero point of x: minus the page's input offset.
    b : int
        -128 to -1.
    one : int
        int16.

    Returns
    -------
    int64, the shape of x
        Within int32.

    Raises
    ------
    ValueError
        For another dtype, layout, code or constant.
    """
    values = _centred(x, zero)
    check_range("b", b, INT8_MIN, -1)
    check_range("one", one, INT16_MIN, INT16_MAX)
    check_elements("x - zero", values, INT16_MIN, INT16_MAX)
    return values * ((one - _polynomial(values, -b, -one)) >> 1)


def gemmini_gelu(x: Codes, *, q1: int, qb: int, qc: int) -> Values:
    """The accumulator of Gemmini's I-GELU, equation (G9); it rounds nothing and has no events.

    Parameters
    ----------
    x : int32, (..., n)
        Codes or accumulators.
    q1, qb, qc : int
        int32, at most -1.

    Returns
    -------
    int64, the shape of x
        Within int32, of a negative scale.

    Raises
    ------
    ValueError
        For another dtype, layout or constant, or a result beyond int32.
    """
    check_array("x", x, (np.int32,))
    for name, value in (("q1", q1), ("qb", qb), ("qc", qc)):
        check_range(name, value, INT32_MIN, -1)
    check_elements("x", x, 1 + INT32_MIN, INT32_MAX)
    values = x.astype(np.int64)
    distance = np.minimum(np.abs(values), -qb) + qb
    erf = np.where(values < 0, -1, 1) * (distance * distance + qc)
    check_exact("x * (L + q1)", _reach(values) * (int(np.abs(erf).max(initial=0)) - q1))
    acc = values * (erf + q1)
    check_elements("the accumulator", acc, INT32_MIN, INT32_MAX)
    return acc


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
