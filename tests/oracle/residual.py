"""Residual sum: one rounding for both operands (7), each rescaled and then added (R10), and a sum of heads (R14)."""

from fractions import Fraction

from .formats import clamp, saturate
from .rounding import half_even
from .scaling import Ratio, Scaled, requantize_by, scale


def add(
    a: list[int],
    b: list[int],
    a_zero: int,
    b_zero: int,
    a_multiplier: int,
    b_multiplier: int,
    shift: int,
    zero_point: int,
    lo: int,
    hi: int,
) -> list[int]:
    """q = clamp(HALF_EVEN(((a - z_a)*m_a + (b - z_b)*m_b) / 2^e) + z) (7)."""
    totals = [(x - a_zero) * a_multiplier + (y - b_zero) * b_multiplier for x, y in zip(a, b, strict=True)]
    return [clamp(half_even(Fraction(total, 2**shift)) + zero_point, lo, hi) for total in totals]


def rescaled_add(
    a: list[int],
    b: list[int],
    zeros: tuple[int, int],
    ratios: tuple[Ratio, Ratio],
    left_shift: int,
    output_ratio: Ratio | None,
    zero_point: int,
    lo: int,
    hi: int,
    operand: tuple[int, int] | None = None,
) -> tuple[list[int], list[int], int]:
    """q = clamp(scale_o(c(scale_a((a - z_a) * 2^L)) + c(scale_b((b - z_b) * 2^L))) + z) (R10).

    `operand` has the limits of c, None stands for the identity. Returns the codes, the sign of every tie met, and how
    many values the clamps changed.
    """
    codes: list[int] = []
    ties: list[int] = []
    saturated = 0
    for pair in zip(a, b, strict=True):
        terms = [scale((x - zero) * 2**left_shift, ratio) for x, zero, ratio in zip(pair, zeros, ratios, strict=True)]
        kept = [(term.value, 0) if operand is None else saturate(term.value, *operand) for term in terms]
        total = sum(value for value, _ in kept)
        terms.append(Scaled(total, 0) if output_ratio is None else scale(total, output_ratio))
        code, event = saturate(terms[-1].value + zero_point, lo, hi)
        codes.append(code)
        ties += [term.tie for term in terms if term.tie]
        saturated += event + sum(changed for _, changed in kept)
    return codes, ties, saturated


def sum_of_heads(
    contexts: list[list[list[int]]],
    weights: list[list[list[int]]],
    bias: list[int],
    ratios: list[Ratio],
    output_ratio: Ratio,
    zero_point: int,
    lo: int,
    hi: int,
) -> tuple[list[list[int]], list[int], int]:
    """A row of outputs for each row of the contexts, each head's int8 codes added and requantized (R14).

    contexts[h] has rows of d_head codes, weights[h] a row of d_head codes for each output. Returns the codes, the sign
    of every tie met, and how many values the clamps changed.
    """
    heads = [
        head_codes(context, weight, bias if h == 0 else [0] * len(bias), ratio)
        for h, (context, weight, ratio) in enumerate(zip(contexts, weights, ratios, strict=True))
    ]
    per_row = zip(*(head[0] for head in heads), strict=True)
    totals = [[sum(parts) for parts in zip(*rows, strict=True)] for rows in per_row]
    codes, ties, saturated = requantize_by(totals, [output_ratio], zero_point, lo, hi)
    before = [tie for head in heads for tie in head[1]]
    return codes, before + ties, saturated + sum(head[2] for head in heads)


def head_codes(
    context: list[list[int]], weight: list[list[int]], bias: list[int], ratio: Ratio
) -> tuple[list[list[int]], list[int], int]:
    """c[h] of (R14) and its events."""
    acc = [
        [sum(x * w for x, w in zip(row, column, strict=True)) + b for column, b in zip(weight, bias, strict=True)]
        for row in context
    ]
    return requantize_by(acc, [ratio], 0, -128, 127)
