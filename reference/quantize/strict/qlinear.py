"""Strict fake-quant of ONNX Runtime's quantized softmax: docs/operators/softmax.md, section 6b.

torch's float32 is the binary32 that the equations ask for, the sum key by key. A quotient of 33 by 24 bits is a tie or
lies further from one than float64 rounds, so that its rounding is that of the rational.
"""

import functools
import math
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from fractions import Fraction

import torch
from torch import Tensor

from hwsim.formats import IntFormat
from reference.quantize.strict.exact import check_range
from reference.quantize.strict.fullyqt import MAX_SCORE_BITS
from reference.quantize.strict.softmax import codes, distances

GREATEST = Fraction((1 << 24) - 1) * (1 << 104)
"""Of binary32."""
RESERVED = 5
"""Of the logarithm: sums stay exp(5) below that."""
FRACTION_BITS, LEAST_POWER = 23, -149
_DECIMAL = Context(prec=80, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])


def _bits_of(value: Fraction) -> int:
    """The 32 bits of the binary32 nearest to a value from 0 on, a tie to the even mantissa."""
    power = value.numerator.bit_length() - value.denominator.bit_length()  # 2^(power - 1) < value < 2^(power + 1)
    power = max(power if value >= Fraction(2) ** power else power - 1, LEAST_POWER + FRACTION_BITS)
    mantissa = round(value / Fraction(2) ** (power - FRACTION_BITS))
    return mantissa + (power - FRACTION_BITS - LEAST_POWER << FRACTION_BITS)


def _binary32(value: Fraction) -> Fraction:
    """fl32 of a number that is not subnormal."""
    bits = _bits_of(value)
    power = (bits >> FRACTION_BITS) - 1 + LEAST_POWER
    return Fraction((bits & (1 << FRACTION_BITS) - 1) | 1 << FRACTION_BITS) * Fraction(2) ** power


def _exact(value: Fraction) -> Decimal:
    """A value whose denominator is a power of two, to 80 digits."""
    return _DECIMAL.divide(Decimal(value.numerator), Decimal(value.denominator))


@functools.cache
def qlinear_table(scale: float, score_bits: int, keys: int) -> Tensor:
    """T of section 7 as the 32 bits of its numbers, int64, 2^score_bits entries, for rows of up to `keys` keys.

    Correctly rounded from exp at a float64 argument: exp of a rational but 0 is irrational, and 80 digits decide.
    """
    if not 2 <= score_bits <= MAX_SCORE_BITS:
        raise ValueError(f"a table of {score_bits} bits; allowed are 2-{MAX_SCORE_BITS}")
    check_range("keys of a table", keys, 1, 1 << 24)
    step = float(_binary32(Fraction(scale)))
    room = _binary32(Fraction(_DECIMAL.ln(_exact(_binary32(GREATEST / keys)))))
    top = (float(room) - RESERVED) / step
    arguments = ((top - distance) * step for distance in range(1 << score_bits))
    return torch.tensor([_bits_of(Fraction(_DECIMAL.exp(Decimal(argument)))) for argument in arguments])


def qlinear_softmax(
    scores: Tensor, allowed: Tensor | None, table: Tensor, *, multiplier: int, fmt: IntFormat, slope: float
) -> Tensor:
    """ONNX Runtime's softmax over the last axis: (S30) to (S32).

    Parameters
    ----------
    scores
        Codes, float32, (..., n).
    allowed
        bool, broadcasts to `scores`; None allows all.
    table
        The 32 bits of an exponential for each distance.
    multiplier
        Y, 1 to 256.
    fmt
        2 to 8 bits, not narrow.
    slope
        The scale of the scores, for the gradient.

    Returns
    -------
    Tensor
        Codes, float32, (..., n), scale 1/multiplier.
    """
    if fmt.narrow or fmt.bits > 8:
        raise ValueError(f"qlinear_softmax to {fmt}; allowed are 2 to 8 bits, not narrow")
    check_range("qlinear_softmax multiplier", multiplier, 1, 256)
    numbers = torch.cat((table.to(torch.int32).view(torch.float32), torch.zeros(1)))
    found = distances(scores, allowed)
    if int(found.max()) >= len(table):
        raise ValueError(f"scores {int(found.max())} apart; the table has {len(table)} entries")
    exponential = numbers[found]
    total = torch.zeros(exponential.shape[:-1])
    for key in range(exponential.shape[-1]):
        total = total + exponential[..., key]
    total = total.masked_fill(total == 0, 1.0)[..., None]  # where nothing is allowed
    if not math.isfinite(float(total.max())):
        raise ValueError(f"qlinear_softmax: the sum of {scores.shape[-1]} keys leaves binary32")
    output = (exponential.double() * multiplier / total).round() + fmt.min
    return codes(scores, allowed, output, slope, multiplier, fmt)
