"""Requantization of one integer, (R1) to (R9) of docs/operators/requantization.md, in a converter's registers."""

from collections.abc import Callable
from typing import NamedTuple

from tests.replay.rounding import (
    SHIFTS,
    Binary,
    binary32,
    binary32_product,
    half_away,
    half_even,
    half_up,
    nearest_integer,
)
from tests.replay.widths import Converter


class Ratio(NamedTuple):
    """m / 2^e of one scheme, by the scheme's tag; `rounding` is that of `shift`."""

    scheme: str
    m: int
    e: int
    rounding: str = "half_even"


Function = Callable[[int], int]
Maker = Callable[[Ratio, int, Converter], Function]
"""Of a ratio, a zero point and a converter: what x becomes, the zero point added, not yet clamped."""


def _rounded_once(rounds: Callable[[int, int], int]) -> Maker:
    """The product in its register, the rounding on its way out (R4 to R8n)."""

    def make(ratio: Ratio, zero: int, converter: Converter) -> Function:
        _, m, e, _ = ratio
        product, result = converter.product.keeper(), converter.result.keeper()
        return lambda x: result(rounds(product(x * m), e)) + zero

    return make


def _narrow_before(ratio: Ratio, zero: int, converter: Converter) -> Function:
    """One register for x*m + z*2^e + 2^(e-1), then a shift (R7, R11)."""
    _, m, e, _ = ratio
    product, added = converter.product.keeper(), (zero << e) + (1 << e >> 1)
    return lambda x: product(x * m + added) >> e


def _narrow_after(ratio: Ratio, zero: int, converter: Converter) -> Function:
    """The shifted product, and the last bit that the shift took off; there is none beyond the register (R7)."""
    _, m, e, _ = ratio
    product, result, bit = converter.product.keeper(), converter.result.keeper(), e - 1
    if not 0 < e <= converter.product.bits:
        return lambda x: result(product(x * m) >> e) + zero

    def scale(x: int) -> int:
        p = product(x * m)
        return result((p >> e) + ((p >> bit) & 1)) + zero

    return scale


def doubling_high(a: int, b: int) -> int:
    """S(a, b): the upper half of a doubled int32 product, ties up."""
    return min((1 << 31) - 1, (a * b + (1 << 30)) >> 31)


def _doubled(rounds: Callable[[int, int], int]) -> Maker:
    """A left shift in int32, the doubling high multiply, and a second rounding (R2, R3)."""

    def make(ratio: Ratio, zero: int, converter: Converter) -> Function:
        _, m, e, _ = ratio
        left, right = max(31 - e, 0), max(e - 31, 0)
        keep = converter.accumulator.keeper()
        return lambda x: rounds(doubling_high(keep(x << left), m), right) + zero

    return make


def _shift(ratio: Ratio, zero: int, converter: Converter) -> Function:
    return _rounded_once(SHIFTS[ratio.rounding])(ratio, zero, converter)


def _float32(ratio: Ratio, zero: int, converter: Converter) -> Function:
    """Operand, product and the rounding in binary32, the zero point an integer (R9)."""
    factor = Binary(ratio.m, -ratio.e)
    return lambda x: nearest_integer(binary32_product(binary32(x), factor)) + zero


def _float32_inside(ratio: Ratio, zero: int, converter: Converter) -> Function:
    """The zero point added in binary32 too (R9)."""
    factor = Binary(ratio.m, -ratio.e)

    def scale(x: int) -> int:
        mantissa, exponent = binary32_product(binary32(x), factor)
        common = min(exponent, 0)
        return nearest_integer(binary32((mantissa << (exponent - common)) + (zero << -common), common))

    return scale


SCHEMES: dict[str, Maker] = {
    "q31_double": _doubled(half_away),
    "q31_double_half_up": _doubled(half_up),
    "q31_single": _rounded_once(half_up),
    "q15": _rounded_once(half_up),
    "dyadic": _rounded_once(half_even),
    "narrow_after": _narrow_after,
    "narrow_before": _narrow_before,
    "shift": _shift,
    "nvdla": _rounded_once(half_away),
    "float32": _float32,
    "float32_inside": _float32_inside,
}
"""Every scheme of a program file by its tag."""


def scaler(ratio: Ratio, converter: Converter, zero: int = 0) -> Function:
    """What an accumulator becomes before the clamp."""
    if ratio.scheme not in SCHEMES:
        raise ValueError(f"no replay of the scheme {ratio.scheme!r}; there are {', '.join(SCHEMES)}")
    held = ratio._replace(m=converter.multiplier.hold(ratio.m))
    scale, keep = SCHEMES[ratio.scheme](held, zero, converter), converter.accumulator.keeper()
    return lambda x: scale(keep(x))


def requantizer(ratio: Ratio, converter: Converter, zero: int, low: int, high: int) -> Function:
    """The code of an accumulator (R1)."""
    scale = scaler(ratio, converter, zero)

    def code(x: int) -> int:
        value = scale(x)
        return low if value < low else min(value, high)

    return code
