"""Matrix product (2) with its overflow rules, and the bounds of its partial sums (10a), (10b)."""

from .formats import clamp, limits, wrap


def accumulate(start: int, products: list[int], bits: int, overflow: str) -> tuple[int, int]:
    """Running sum under `saturate` or `wrap` and its overflow events (section 2)."""
    lo, hi = limits(bits, signed=True, narrow=False)
    acc, events = 0, 0
    for term in [start, *products]:
        total = acc + term
        if lo <= total <= hi:
            acc = total
            continue
        events += 1
        acc = clamp(total, lo, hi) if overflow == "saturate" else wrap(total, lo, bits)
    return acc, events


def element(start: int, products: list[int], bits: int, overflow: str) -> tuple[int, int]:
    """One acc[i,j] of (2) and its overflow events."""
    if overflow == "proven":
        return start + sum(products), 0
    if overflow in ("saturate", "wrap"):
        return accumulate(start, products, bits, overflow)
    raise ValueError(f"unknown overflow rule {overflow!r}")


def matmul(
    a: list[list[int]],
    b: list[list[int]],
    bias: list[int] | None,
    a_zero: int,
    b_zero: int,
    bits: int,
    overflow: str,
) -> tuple[list[list[int]], int]:
    """acc[i,j] = bias[j] + sum_k (a[i,k] - z_a) * (b[j,k] - z_b) (2), and the overflow events."""
    result: list[list[int]] = []
    overflow_events = 0
    for a_row in a:
        result.append([])
        for j, b_row in enumerate(b):
            start = 0 if bias is None else bias[j]
            products = [(x - a_zero) * (y - b_zero) for x, y in zip(a_row, b_row, strict=True)]
            acc, events = element(start, products, bits, overflow)
            result[-1].append(acc)
            overflow_events += events
    return result, overflow_events


def partial_sum_bounds(b: list[int], b_zero: int, bias: int, a_low: int, a_high: int) -> tuple[int, int]:
    """(low[j], high[j]) of every partial sum with row j of b known (10a).

    Parameters
    ----------
    a_low, a_high
        The interval [A0, A1] of a - z_a, the zero point already subtracted.
    """
    products = [[(y - b_zero) * a_low, (y - b_zero) * a_high] for y in b]
    low = min(0, bias) + sum(min(0, *pair) for pair in products)
    high = max(0, bias) + sum(max(0, *pair) for pair in products)
    return low, high


def product_bounds(terms: int, a_low: int, a_high: int, b_low: int, b_high: int) -> tuple[int, int]:
    """(low, high) of every sum of at most `terms` products of two activations (10b)."""
    corners = [a_low * b_low, a_low * b_high, a_high * b_low, a_high * b_high]
    return terms * min(0, *corners), terms * max(0, *corners)
