"""A sum of heads that are projected and requantized one by one: (R14) of operators/requantization.md."""

from typing import NamedTuple

from .accumulator import accumulate
from .formats import saturate
from .scaling import Ratio, scale


class HeadSum(NamedTuple):
    """What became of one batch element: codes [h][n][d], their sum [n][d], and the events on the way."""

    codes: list[list[list[int]]]
    total: list[list[int]]
    ties: list[int]
    saturated: int
    overflows: int


def project_heads(
    context: list[list[list[int]]], weight: list[list[int]], bias: list[int] | None, ratios: list[Ratio],
    lo: int, hi: int, zero: int = 0, rule: tuple[int, str, str, int] | None = None,
) -> HeadSum:  # fmt: skip
    """context [h][n][e], weight [d][h*e]; one ratio a head. Without a rule of (A1) to (A3) the sums are exact."""
    width = len(context[0][0])
    codes: list[list[list[int]]] = []
    ties: list[int] = []
    saturated = overflows = 0
    for h, rows in enumerate(context):
        codes.append([])
        for row in rows:
            codes[h].append([])
            for o, columns in enumerate(weight):
                start = bias[o] if bias is not None and h == 0 else 0
                products = [(row[e] - zero) * columns[h * width + e] for e in range(width)]
                acc = start + sum(products)
                if rule is not None:
                    acc, events, *_ = accumulate(start, products, *rule)
                    overflows += events
                value, tie = scale(acc, ratios[h])
                code, event = saturate(value, lo, hi)
                codes[h][-1].append(code)
                saturated += event
                ties += [tie] if tie else []
    positions, outputs = range(len(context[0])), range(len(weight))
    total = [[sum(codes[h][n][o] for h in range(len(context))) for o in outputs] for n in positions]
    return HeadSum(codes, total, ties, saturated, overflows)
