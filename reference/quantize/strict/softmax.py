"""Strict fake-quant softmaxes of other machines: docs/operators/softmax.md, sections 2 to 6a.

Scores have at most 12 bits, so an exponential is a table of all distances from the greatest score; those of section 3
have 16. The last entry of every table, index -1, belongs to masked keys and is 0. Gradients are those of the real
softmax in units of the output.
"""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from hwsim.formats import IntFormat, Scaling
from reference.quantize.strict.exact import check_range, straight_through, tracked
from reference.quantize.strict.fullyqt import MAX_SCORE_BITS
from reference.quantize.strict.scaling import (
    INT32_MAX,
    divide_by_power,
    exp_q,
    high_multiply,
    leading_zeros,
    lookup,
    reciprocal_q,
    scale,
)

DISTANCES = 1 << MAX_SCORE_BITS
MASKED = -1
END = 1 << 62
UINT32_MAX = (1 << 32) - 1


# What all share


def _check_output(name: str, fmt: IntFormat, signed: bool, most_bits: int = 16) -> None:
    if fmt.signed is not signed or fmt.narrow or fmt.bits > most_bits:
        kind = "int" if signed else "uint"
        raise ValueError(f"{name} to {fmt}; allowed are {kind}2 to {kind}{most_bits}")


def distances(scores: Tensor, allowed: Tensor | None, bits: int = MAX_SCORE_BITS) -> Tensor:
    """d[j], int64, of scores of at most `bits` bits; MASKED for a masked key."""
    q = scores.detach()
    if allowed is None:
        found = (q.amax(-1, keepdim=True) - q).long()
    else:
        seen = q.masked_fill(~allowed, -torch.inf)
        found = (seen.amax(-1, keepdim=True) - seen).masked_fill(~allowed, MASKED).long()
    if int(found.max()) >= 1 << bits:
        raise ValueError(f"scores {int(found.max())} apart; allowed are less than {1 << bits}, {bits} bits")
    return found


def _table(exponentials: Tensor) -> Tensor:
    return torch.cat((exponentials, exponentials.new_zeros(1)))


def codes(scores: Tensor, allowed: Tensor | None, output: Tensor, slope: float, units: int, fmt: IntFormat) -> Tensor:
    """`output` clamped, with the gradient of units * softmax(slope*scores) over the allowed keys."""
    codes = output.clamp(fmt.min, fmt.max).float()
    if not tracked(scores):
        return codes
    logits = scores * slope
    if allowed is not None:  # finite, so that a row in which nothing is allowed has the gradient 0 instead of nan
        logits = logits.masked_fill(~allowed, torch.finfo(logits.dtype).min)
    return straight_through(torch.softmax(logits, -1), codes, float(units))


# gemmlowp


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
    exponential = _gemmlowp_table(multiplier, left_shift)[distances(scores, allowed)]
    # One allowed key adds 2^19; where there is none, any sum will do.
    total = divide_by_power(exponential, 12).sum(-1, keepdim=True).clamp_(min=1 << 19)
    headroom = leading_zeros(total)
    reciprocal = reciprocal_q((total << headroom) - (1 << 31))
    output = divide_by_power(high_multiply(exponential, reciprocal), 43 - headroom - fmt.bits) + fmt.min
    return codes(scores, allowed, output, slope, 1 << fmt.bits, fmt)


# Two interpolated tables

ENTRIES = 513
INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
NEAREST_MIN = 1 << 14
"""The least exponential of the greatest score: a sum has at most 17 leading zeros."""
_MIDDLE = 98304
"""The sum, 1.5 in 16 fractional bits, at which the table of reciprocals has code 0."""


def _entries(name: str, table: Tensor, low: int) -> Tensor:
    if table.shape != (ENTRIES,):
        raise ValueError(f"softmax_int16 {name} of shape {tuple(table.shape)}; allowed is ({ENTRIES},)")
    check_range(f"softmax_int16 {name}", table, low, INT16_MAX)
    return table.long()


def softmax_int16(
    scores: Tensor,
    allowed: Tensor | None,
    exp_table: Tensor,
    reciprocal_table: Tensor,
    *,
    multiplier: int,
    shift: int,
    slope: float,
    clamped: bool = True,
) -> Tensor:
    """TFLM's and CMSIS-NN's int16 softmax over the last axis: (S6) to (S9).

    Parameters
    ----------
    scores
        Codes, float32, (..., n), of at most 16 bits.
    allowed
        bool, broadcasts to `scores`; None allows all.
    exp_table, reciprocal_table
        Integers, (513,): exp over [-10, 0], 0 to 2^15 - 1, and 1/(1 + x) over [0, 1], int16; scaled by 2^15.
    multiplier, shift
        Of (R2): distances to steps of the first table.
    slope
        The scale of the scores, for the gradient.
    clamped
        False for CMSIS-NN, which stores the low 16 bits of a probability of 1.

    Returns
    -------
    Tensor
        Codes, float32, (..., n), scale 2^-15; 0 for a masked key.
    """
    exponentials = _entries("exp table", exp_table, 0)
    reciprocals = _entries("reciprocal table", reciprocal_table, INT16_MIN)
    nearest = int(lookup(exponentials, torch.tensor(INT16_MAX)))
    check_range("softmax_int16 exponential of the greatest score", nearest, NEAREST_MIN, INT16_MAX)
    check_range("softmax_int16 keys", scores.shape[-1], 1, INT32_MAX // int(exponentials.max()))
    apart = distances(scores, allowed, 16)
    masked, furthest = apart == MASKED, max(int(apart.max()), 0)
    steps = scale(-apart.masked_fill(masked, 0), Scaling.Q31_DOUBLE, multiplier, shift, furthest).long()
    exponential = lookup(exponentials, (steps + INT16_MAX).clamp_(INT16_MIN, INT16_MAX)).masked_fill_(masked, 0)
    # Where nothing is allowed, any sum will do.
    total = exponential.sum(-1, keepdim=True).clamp_(min=NEAREST_MIN)
    headroom = leading_zeros(total)
    position = ((total << headroom - 1) + (1 << 13) >> 14) - _MIDDLE
    rho = lookup(reciprocals, position.clamp_(INT16_MIN, INT16_MAX))
    output = exponential * rho + (1 << 30 - headroom) >> 31 - headroom
    output = output.clamp_(0, INT16_MAX) if clamped else (output - INT16_MIN & (1 << 16) - 1) + INT16_MIN
    return codes(scores, allowed, output, slope, 1 << 15, IntFormat(bits=16))


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
    exponential = _ibert_table(ln2, b, c, multiplier, shift)[distances(scores, allowed)]
    factor = (1 << 32) // exponential.sum(-1, keepdim=True).clamp_(min=1)
    output = exponential * factor >> 32 - fmt.bits
    return codes(scores, allowed, output, slope, 1 << fmt.bits, fmt)


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
    return codes(scores, allowed, inverse >> halvings(greatest - q), slope, fmt.max, fmt)


# Completed squares, Gemmini and PULP


class _Square(NamedTuple):
    """E of (S18) or (S20) by distance, and the furthest distance before which all stays in int32."""

    table: Tensor
    furthest: int


def _check_square(name: str, ln2: int, b: int, c: int) -> None:
    for part, value in (("ln2", ln2), ("b", b), ("c", c)):
        check_range(f"{name} {part}", value, 1, INT32_MAX)


def _square(name: str, ln2: int, b: int, c: int, halvings: Tensor) -> _Square:
    square = (halvings * ln2 - torch.arange(DISTANCES) + b).square() + c
    outside = (halvings > 31) | (square > INT32_MAX)
    if bool(outside[0]):
        raise ValueError(f"{name}: b^2 + c is {b * b + c}; it must be below 2^31")
    within = int(outside.long().argmax()) if bool(outside.any()) else DISTANCES
    return _Square(_table(square >> halvings.clamp(max=31)), within - 1)


def _exponentials(name: str, square: _Square, scores: Tensor, allowed: Tensor | None) -> Tensor:
    apart = distances(scores, allowed)
    check_range(f"{name} distance of two scores", apart.clamp(min=0), 0, square.furthest)
    return square.table[apart]


@functools.cache
def _gemmini_square(ln2: int, b: int, c: int) -> _Square:
    """(S18)."""
    _check_square("gemmini_softmax", ln2, b, c)
    return _square("gemmini_softmax", ln2, b, c, torch.arange(DISTANCES) * (65536 // ln2) >> 16)


def gemmini_softmax(
    scores: Tensor, allowed: Tensor | None, *, ln2: int, b: int, c: int, fmt: IntFormat, slope: float
) -> Tensor:
    """Gemmini's I-BERT softmax over the last axis: (S18), (S19), the latter in torch's own binary32.

    Scores, mask and slope as in `gemmlowp_softmax`; `fmt` is signed, 2 to 16 bits, of scale 1/(2^(bits-1) - 1).

    Raises
    ------
    ValueError
        For constants or a format outside their range; if a shift z passes 31 or a square or a sum reaches 2^31.
    """
    _check_output("gemmini_softmax", fmt, signed=True)
    exponential = _exponentials("gemmini_softmax", _gemmini_square(ln2, b, c), scores, allowed)
    total = exponential.sum(-1, keepdim=True).clamp_(min=1)
    check_range("gemmini_softmax sum", total, 1, INT32_MAX)
    # A division of two tensors: torch divides a Python number by way of a rounded reciprocal.
    factor = torch.tensor(fmt.max, dtype=torch.float32) / total.float()
    output = (exponential.float() * factor).round_()
    return codes(scores, allowed, output, slope, fmt.max, fmt)


@functools.cache
def _pulp_square(ln2: int, b: int, c: int) -> _Square:
    """(S20)."""
    _check_square("pulp_softmax", ln2, b, c)
    return _square("pulp_softmax", ln2, b, c, (torch.arange(DISTANCES) // ln2).clamp_(max=31))


def pulp_softmax(
    scores: Tensor, allowed: Tensor | None, *, ln2: int, b: int, c: int, fmt: IntFormat, slope: float
) -> Tensor:
    """PULP's iSoftmax over the last axis: (S20) to (S22).

    Scores, mask and slope as in `gemmlowp_softmax`; `fmt` is unsigned, 2 to 8 bits, of scale 1/(2^bits - 1).

    Raises
    ------
    ValueError
        For constants or a format outside their range; if a square reaches 2^31, or a sum or (2^bits - 1)*E 2^32.
    """
    _check_output("pulp_softmax", fmt, signed=False, most_bits=8)
    exponential = _exponentials("pulp_softmax", _pulp_square(ln2, b, c), scores, allowed)
    total, scaled = exponential.sum(-1, keepdim=True).clamp_(min=1), exponential * fmt.max
    check_range("pulp_softmax sum", total, 1, UINT32_MAX)
    check_range("pulp_softmax numerator", scaled, 0, UINT32_MAX)
    return codes(scores, allowed, scaled // total, slope, fmt.max, fmt)
