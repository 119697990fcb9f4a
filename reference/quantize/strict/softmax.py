"""Strict fake-quant softmaxes of other machines: docs/operators/softmax.md, sections 2, 4, 5 and 6.

Scores have at most 12 bits, so an exponential is a table of all distances from the greatest score. The last entry of
every table, index -1, belongs to masked keys and is 0. Gradients are those of the real softmax in units of the output.
"""

import functools

import torch
from torch import Tensor

from hwsim.formats import IntFormat, Scaling
from reference.quantize.strict.exact import check_range, rounded_quotient, straight_through, tracked
from reference.quantize.strict.fullyqt import MAX_SCORE_BITS
from reference.quantize.strict.scaling import (
    INT32_MAX,
    divide_by_power,
    high_multiply,
    leading_zeros,
    saturating_shift,
    scale,
)

DISTANCES = 1 << MAX_SCORE_BITS
MASKED = -1
END = 1 << 62


# What all share


def _check_output(name: str, fmt: IntFormat, signed: bool, most_bits: int = 16) -> None:
    if fmt.signed is not signed or fmt.narrow or fmt.bits > most_bits:
        kind = "int" if signed else "uint"
        raise ValueError(f"{name} to {fmt}; allowed are {kind}2 to {kind}{most_bits}")


def _distances(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """d[j], int64; MASKED for a masked key."""
    q = scores.detach()
    if allowed is None:
        distances = (q.amax(-1, keepdim=True) - q).long()
    else:
        seen = q.masked_fill(~allowed, -torch.inf)
        distances = (seen.amax(-1, keepdim=True) - seen).masked_fill(~allowed, MASKED).long()
    if int(distances.max()) >= DISTANCES:
        raise ValueError(
            f"scores {int(distances.max())} apart; allowed are less than {DISTANCES}, {MAX_SCORE_BITS} bits"
        )
    return distances


def _table(exponentials: Tensor) -> Tensor:
    return torch.cat((exponentials, exponentials.new_zeros(1)))


def _codes(scores: Tensor, allowed: Tensor | None, output: Tensor, slope: float, units: int, fmt: IntFormat) -> Tensor:
    """`output` clamped, with the gradient of units * softmax(slope*scores) over the allowed keys."""
    codes = output.clamp(fmt.min, fmt.max).float()
    if not tracked(scores):
        return codes
    logits = scores * slope
    if allowed is not None:  # finite, so that a row in which nothing is allowed has the gradient 0 instead of nan
        logits = logits.masked_fill(~allowed, torch.finfo(logits.dtype).min)
    return straight_through(torch.softmax(logits, -1), codes, float(units))


# gemmlowp

_EXP_EIGHTH, _THIRD = 1895147668, 715827883
_EXP_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2^k) for k = -2..4, Q0.31."""


def exp_q(a: Tensor) -> Tensor:
    """exp(a), Q5.26 to Q0.31, -2^31 <= a <= 0; int64."""
    fraction = (a & (1 << 24) - 1) - (1 << 24)
    x = saturating_shift(fraction, 5) + (1 << 28)
    x2 = high_multiply(x, x)
    x3, x4 = high_multiply(x2, x), high_multiply(x2, x2)
    y = divide_by_power(high_multiply(divide_by_power(x4, 2) + x3, _THIRD) + x2, 1)
    result = _EXP_EIGHTH + high_multiply(x + y, _EXP_EIGHTH)
    remainder = fraction - a
    for bit, power in enumerate(_EXP_POWERS, 24):
        result = torch.where((remainder >> bit) & 1 == 1, high_multiply(result, power), result)
    return torch.where(a == 0, INT32_MAX, result)


def reciprocal_q(v: Tensor) -> Tensor:
    """1/(1+v), Q0.31, 0 <= v < 2^31; int64."""
    half = (v + (1 << 31)) >> 1
    x = 1515870810 + high_multiply(half, -1010580540)
    for _ in range(3):
        x = x + saturating_shift(high_multiply(x, (1 << 29) - high_multiply(half, x)), 2)
    return saturating_shift(x, 1)


@functools.cache
def _gemmlowp_table(multiplier: int, left_shift: int) -> Tensor:
    """E of (S1), (S2)."""
    check_range("gemmlowp_softmax multiplier", multiplier, 1 << 30, INT32_MAX)
    check_range("gemmlowp_softmax left shift", left_shift, 0, 31)
    distance, farthest = torch.arange(DISTANCES), 31 << 26 >> left_shift
    raised = -distance.clamp(max=farthest) << left_shift
    return _table(exp_q(high_multiply(raised, multiplier)).masked_fill(distance > farthest, 0))


def gemmlowp_softmax(
    scores: Tensor, allowed: Tensor | None, *, multiplier: int, left_shift: int, fmt: IntFormat, slope: float
) -> Tensor:
    """gemmlowp's int8 softmax over the last axis: (S1) to (S5).

    Parameters
    ----------
    scores
        Codes, float32, (..., n), n <= 4095, of at most 12 bits.
    allowed
        bool, broadcasts to `scores`; None allows all.
    fmt
        Signed, 2 to 16 bits.
    slope
        The scale of the scores, for the gradient.

    Returns
    -------
    Tensor
        Codes, float32, (..., n), scale 2^-bits.
    """
    _check_output("gemmlowp_softmax", fmt, signed=True)
    check_range("gemmlowp_softmax keys", scores.shape[-1], 1, 4095)
    exponential = _gemmlowp_table(multiplier, left_shift)[_distances(scores, allowed)]
    # One allowed key adds 2^19; where there is none, any sum will do.
    total = divide_by_power(exponential, 12).sum(-1, keepdim=True).clamp_(min=1 << 19)
    headroom = leading_zeros(total)
    reciprocal = reciprocal_q((total << headroom) - (1 << 31))
    output = divide_by_power(high_multiply(exponential, reciprocal), 43 - headroom - fmt.bits) + fmt.min
    return _codes(scores, allowed, output, slope, 1 << fmt.bits, fmt)


# I-BERT


@functools.cache
def _ibert_table(ln2: int, b: int, c: int, multiplier: int, shift: int) -> Tensor:
    """E16 of (S10) to (S12)."""
    for name, value in (("ln2", ln2), ("b", b), ("c", c)):
        check_range(f"ibert_softmax {name}", value, 1, 1 << 32)
    if c << 30 >= END:
        raise ValueError(f"ibert_softmax: c*2^30 = {c << 30}; it must be below 2^62")
    distance = torch.arange(DISTANCES).clamp(max=30 * ln2)
    halvings = distance // ln2
    rest = ln2 * halvings - distance
    polynomial = ((rest + b) * rest + c).clamp_(min=0)
    bound = int(polynomial.max()) << 30
    wide = scale(polynomial << 30 - halvings, Scaling.HALF_EVEN, multiplier, shift, bound)
    return _table(wide.clamp_(max=(1 << 16) - 1).long())


def ibert_softmax(
    scores: Tensor,
    allowed: Tensor | None,
    *,
    ln2: int,
    b: int,
    c: int,
    multiplier: int,
    shift: int,
    fmt: IntFormat,
    slope: float,
) -> Tensor:
    """I-BERT's polynomial softmax over the last axis: (S10) to (S14).

    Scores, mask and slope as in `gemmlowp_softmax`; `fmt` is unsigned, 2 to 16 bits, of scale 2^-bits.
    """
    _check_output("ibert_softmax", fmt, signed=False)
    exponential = _ibert_table(ln2, b, c, multiplier, shift)[_distances(scores, allowed)]
    factor = (1 << 32) // exponential.sum(-1, keepdim=True).clamp_(min=1)
    output = exponential * factor >> 32 - fmt.bits
    return _codes(scores, allowed, output, slope, 1 << fmt.bits, fmt)


# ITA

_NOWHERE = -(1 << 24)
"""A maximum below all scores, whose distance to any shifts everything out; masked keys lie as far below it again."""


def itamax(scores: Tensor, allowed: Tensor | None, *, shift: int, group: int, fmt: IntFormat, slope: float) -> Tensor:
    """ITA's softmax of base 2 over the last axis, in groups of `group` keys: (S15) to (S17).

    Scores, mask and slope as in `gemmlowp_softmax`; `shift` is B, `group` is G; `fmt` is unsigned, 2 to 8 bits, of
    scale 1/(2^bits - 1).
    """
    _check_output("itamax", fmt, signed=False, most_bits=8)
    check_range("itamax shift", shift, 0, 8)
    check_range("itamax group", group, 0, INT32_MAX)

    def halvings(distance: Tensor) -> Tensor:
        return ((distance + (1 << shift >> 1)) >> shift).clamp_(max=63)

    q = scores.detach().long()
    if allowed is not None:
        q = q.masked_fill(~allowed, 2 * _NOWHERE)
    greatest, total = q.new_full((*q.shape[:-1], 1), _NOWHERE), q.new_zeros((*q.shape[:-1], 1))
    one = torch.tensor(256)
    for keys in q.split(group or q.shape[-1], -1):
        raised = torch.maximum(greatest, keys.amax(-1, keepdim=True))
        total = (total >> halvings(raised - greatest)) + (one >> halvings(raised - keys)).sum(-1, keepdim=True)
        greatest = raised
    inverse = fmt.max * 256 // total.clamp_(min=1)
    return _codes(scores, allowed, inverse >> halvings(greatest - q), slope, fmt.max, fmt)


# Gemmini


@functools.cache
def _gemmini_table(ln2: int, b: int, c: int) -> Tensor:
    """E of (S18)."""
    for name, value in (("ln2", ln2), ("b", b), ("c", c)):
        check_range(f"gemmini_softmax {name}", value, 1, END)
    distance = torch.arange(DISTANCES)
    if b * b + c < END:  # else the entry of distance 0 is refused below
        halvings = distance * (65536 // ln2) >> 16
        exponential = (halvings * ln2 - distance + b).square() + c >> halvings.clamp(max=63)
        if int(exponential.max()) < END:
            return _table(exponential)
    raise ValueError(f"gemmini_softmax: ln2 {ln2}, b {b}, c {c} give exponentials of 2^62 or more")


def gemmini_softmax(
    scores: Tensor, allowed: Tensor | None, *, ln2: int, b: int, c: int, fmt: IntFormat, slope: float
) -> Tensor:
    """Gemmini's I-BERT softmax over the last axis: (S18), (S19).

    Scores, mask and slope as in `gemmlowp_softmax`; `fmt` is signed, 2 to 16 bits, of scale 1/(2^(bits-1) - 1).
    """
    _check_output("gemmini_softmax", fmt, signed=True)
    table = _gemmini_table(ln2, b, c)
    peak = int(table.max())
    if (scores.shape[-1] * peak) << fmt.bits >= END:
        raise ValueError(f"gemmini_softmax: {scores.shape[-1]} exponentials of {peak} and {fmt.bits} bits reach 2^62")
    exponential = table[_distances(scores, allowed)]
    total = exponential.sum(-1, keepdim=True).clamp_(min=1)
    output = rounded_quotient(exponential, total, fmt.max, 0, peak)
    return _codes(scores, allowed, output, slope, fmt.max, fmt)
