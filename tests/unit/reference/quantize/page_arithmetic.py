"""Roundings, fixed point and rescalings of docs/operators/*.md, in Python integers and Fractions."""

import math
from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

from hwsim.formats import IntFormat, Scaling

INT8, INT16, UINT8 = IntFormat(bits=8), IntFormat(bits=16), IntFormat(bits=8, signed=False)
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def clamp(q: int, fmt: IntFormat) -> int:
    return min(max(q, fmt.min), fmt.max)


def half_up(v: Fraction) -> int:
    return math.floor(v + Fraction(1, 2))


def half_away(v: Fraction) -> int:
    return half_up(v) if v >= 0 else -half_up(-v)


ROUND: dict[Scaling, Callable[[Fraction], int]] = {
    Scaling.HALF_UP: half_up,
    Scaling.HALF_AWAY: half_away,
    Scaling.HALF_EVEN: round,
    Scaling.FLOOR: math.floor,
    Scaling.TOWARD_ZERO: math.trunc,
}
Q31 = (Scaling.Q31_DOUBLE, Scaling.Q31_DOUBLE_HALF_UP)
FLOATS = (Scaling.FLOAT32, Scaling.FLOAT32_INSIDE)


def S(a: int, b: int) -> int:
    return min(INT32_MAX, half_up(Fraction(a * b, 2**31)))


def R(a: int, r: int) -> int:
    return half_away(Fraction(a, 2**r))


def satshl(a: int, k: int) -> int:
    return min(max(a * 2**k, INT32_MIN), INT32_MAX)


def fl32(v: Fraction) -> Fraction:
    """The nearest binary32: 24 bits of mantissa, a tie to the even one."""
    if v == 0:
        return v
    exponent = math.floor(math.log2(abs(v))) - 25
    while abs(v) / Fraction(2) ** exponent >= 2**24:
        exponent += 1
    return round(v / Fraction(2) ** exponent) * Fraction(2) ** exponent


def scaled(x: int, scaling: Scaling, m: int, e: int, z: int = 0) -> int:
    if scaling in ROUND:
        return ROUND[scaling](Fraction(x * m, 2**e))
    if scaling in Q31:
        y, r = S(x * 2 ** max(31 - e, 0), m), max(e - 31, 0)
        return R(y, r) if scaling is Scaling.Q31_DOUBLE else half_up(Fraction(y, 2**r))
    product = fl32(fl32(Fraction(x)) * Fraction(m, 2**e))
    return round(fl32(product + z)) if scaling is Scaling.FLOAT32_INSIDE else round(product)


def wide(values: list, gradient: bool = False) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=gradient)


def narrow(values: list, gradient: bool = False) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, requires_grad=gradient)
