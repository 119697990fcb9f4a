"""Strict fake-quant: the equations of docs/numerics.md over integers that are carried in float tensors.

Every forward value is the exact integer of the page. Codes are float32, accumulators float64, or float32 while their
bound is at most 2^24. Gradients are straight-through: a rounding counts as the identity.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from hwsim.formats import IntFormat, Rounding

CODE_BITS = 16
MAX_MULTIPLIER, MAX_SHIFT = (1 << 31) - 1, 62
"""Of any requantization scheme; section 0 of docs/numerics.md allows multipliers of 16 bits."""
FLOAT32_EXACT, FLOAT64_EXACT, INT64_END = 1 << 24, 1 << 53, 1 << 63
"""Floats carry integers exactly up to and including the first two; int64 ends before the third."""


# Straight-through gradients


def tracked(*tensors: Tensor | None) -> bool:
    """Whether a gradient of one of the tensors is wanted."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


class _StraightThrough(Function):
    @staticmethod
    def forward(ctx: Any, real: Tensor, exact: Tensor, slope: Tensor, passes: Tensor | None) -> Tensor:
        ctx.dtype = real.dtype
        ctx.save_for_backward(slope, passes)
        return exact

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        slope, passes = ctx.saved_tensors
        grad = grads[0] * slope.to(grads[0].dtype)
        if passes is not None:
            grad = torch.where(passes, grad, 0.0)
        return grad.to(ctx.dtype), None, None, None


def straight_through(real: Tensor, exact: Tensor, slope: float | Tensor, passes: Tensor | None = None) -> Tensor:
    """The value of `exact` with d/d real = `slope`, and 0 where `passes` is False.

    `exact` is returned itself, not as real + (exact - real), which floats would round.
    """
    if not tracked(real):
        return exact
    wide = torch.as_tensor(slope, dtype=torch.float64)
    return _StraightThrough.apply(real, exact, wide, passes)  # type: ignore[no-any-return, no-untyped-call]


def clamp_codes(
    real: Tensor, exact: Tensor, slope: float | Tensor, fmt: IntFormat, pass_clamped: bool = False
) -> Tensor:
    """Clamp `exact` (float64 integers) to `fmt`; the gradient is that of `straight_through`, 0 where clamped."""
    if fmt.bits > 53:
        raise ValueError(f"a result of {fmt.bits} bits; a float64 tensor carries at most 53")
    # Rounding to float32 first keeps the order, and changes nothing between the ends of a format of 24 bits.
    codes = (exact.float() if fmt.bits <= 24 else exact).clamp(fmt.min, fmt.max)
    passes = None if pass_clamped or not tracked(real) else codes == exact
    return straight_through(real, codes, slope, passes)


# Exact rounding


def largest(value: int | Tensor) -> int:
    return int(value.max()) if isinstance(value, Tensor) else value


def magnitude(fmt: IntFormat) -> int:
    """The largest |code| of a format."""
    return max(fmt.max, -fmt.min)


def reach(x: Tensor) -> int:
    """The largest |x|."""
    return largest(x.detach().abs())


def smallest(value: int | Tensor) -> int:
    return int(value.min()) if isinstance(value, Tensor) else value


def check_range(name: str, value: int | Tensor, low: int, high: int) -> None:
    """Refuse a constant, or one of several, outside low..high."""
    least, most = smallest(value), largest(value)
    if least < low or most > high:
        raise ValueError(f"{name} {least if least < low else most}; allowed are {low} to {high}")


def ratio(multiplier: int | Tensor, shift: int | Tensor, least: int = 1) -> float | Tensor:
    """multiplier / 2^shift, exact: a float, or float64 per channel; a multiplier below `least` is refused."""
    check_range("multiplier", multiplier, least, MAX_MULTIPLIER)
    check_range("shift", shift, 0, MAX_SHIFT)
    above = multiplier.double() if isinstance(multiplier, Tensor) else float(multiplier)
    below = (torch.ones_like(shift) << shift).double() if isinstance(shift, Tensor) else float(1 << shift)
    return above / below


def check_carrier(x: Tensor, bound: int) -> None:
    if bound > FLOAT64_EXACT and x.is_floating_point():
        raise ValueError(f"integers up to {bound} in a float tensor; allowed is up to 2^53, or int64")


def int64_product(acc: Tensor, multiplier: int | Tensor, shift: int | Tensor, bound: int) -> Tensor:
    """acc*multiplier as a new int64 tensor that is yet to be rounded and shifted right by `shift`; no gradient.

    Raises
    ------
    ValueError
        If bound*multiplier + 2^(shift-1) reaches 2^63, or a float `acc` may exceed 2^53.
    """
    check_carrier(acc, bound)
    pairs: tuple[Tensor, ...] = torch.broadcast_tensors(torch.as_tensor(multiplier), torch.as_tensor(shift))
    worst = max(bound * m + (1 << e >> 1) for m, e in zip(*(p.flatten().tolist() for p in pairs), strict=True))
    if worst >= INT64_END:
        raise ValueError(f"|acc|*multiplier + 2^(shift-1) may be {worst}; it must be below 2^63")
    return acc.long() * multiplier


def scaled_int64(acc: Tensor, multiplier: int | Tensor, shift: int | Tensor, bound: int) -> Tensor:
    """HALF_EVEN(acc*multiplier/2^shift) in int64, for products that float64 cannot hold; refuses as `int64_product`."""
    product = int64_product(acc, multiplier, shift, bound)
    whole = product >> shift
    twice_rest = (product - (whole << shift)) << 1
    unit = torch.ones_like(whole) << shift
    return whole + ((twice_rest > unit) | ((twice_rest == unit) & (whole & 1 == 1)))


def scaled_half_even(
    acc: Tensor, multiplier: int | Tensor, shift: int | Tensor, slope: float | Tensor, bound: int
) -> Tensor:
    """HALF_EVEN(acc*slope) as a new float64 tensor, by the cheapest exact way."""
    if bound * largest(multiplier) < FLOAT64_EXACT:
        return (acc.double() * slope).round_()  # the product is exact, and torch rounds half to even
    return scaled_int64(acc, multiplier, shift, bound).double()


def round_half_even_scaled(acc: Tensor, multiplier: int | Tensor, shift: int | Tensor, bound: int) -> Tensor:
    """HALF_EVEN(acc*multiplier/2^shift): eq (1) before zero point and clamp, multipliers of 16 bits.

    Parameters
    ----------
    acc
        Integers, float32, float64 or int64, (..., channels).
    multiplier, shift
        One for all or int64 per channel.
    bound
        Proven maximum of |acc|.

    Returns
    -------
    Tensor
        float64. Results beyond 2^53 are the nearest float64, which no clamp to a format can tell.
    """
    check_range("multiplier", multiplier, 1, (1 << 16) - 1)
    slope = ratio(multiplier, shift)
    return straight_through(acc, scaled_half_even(acc.detach(), multiplier, shift, slope, bound), slope)


def quotient_int64(numerator: Tensor, denominator: Tensor) -> Tensor:
    """HALF_EVEN(numerator/denominator) for int64 tensors, denominator > 0; no gradient."""
    whole = torch.div(numerator, denominator, rounding_mode="floor")
    rest = numerator - whole * denominator
    missing = denominator - rest  # rest against missing is 2*rest against denominator, without the overflow
    return whole + ((rest > missing) | ((rest == missing) & (whole & 1 == 1)))


def rounded_quotient(numerator: Tensor, denominator: Tensor, multiplier: int, shift: int, bound: int) -> Tensor:
    """HALF_EVEN(numerator*multiplier/(denominator*2^shift)) in float64; |numerator| <= bound; no gradient.

    With a = numerator*multiplier and b = denominator*2^shift, a quotient that is no tie is at least 1/(2b) from one.
    A float64 division errs by at most |a/b|/2^53, too little to make or break a tie if 2|a| < 2^52, whatever b is.
    """
    if 2 * bound * multiplier < 1 << 52:
        return (numerator.double() * ratio(multiplier, shift)).div_(denominator).round_()
    check_carrier(numerator, bound)
    below = largest(denominator) << shift
    if max(bound * multiplier, below) >= INT64_END:
        raise ValueError(f"a quotient of up to {bound * multiplier} by up to {below}; both must be below 2^63")
    return quotient_int64(numerator.long() * multiplier, denominator.long() << shift).double()


# Elementwise stages


def requantize(
    acc: Tensor,
    multiplier: int | Tensor,
    shift: int | Tensor,
    zero_point: int,
    fmt: IntFormat,
    bound: int,
    *,
    pass_clamped: bool = False,
) -> Tensor:
    """clamp(HALF_EVEN(acc*multiplier/2^shift) + zero_point): eq (1), and (9) with 32 bits.

    Parameters as in `round_half_even_scaled`. The gradient is multiplier/2^shift, and 0 where the clamp changed the
    result unless `pass_clamped`.

    Returns
    -------
    Tensor
        Codes, float32; float64 if `fmt` has more than 24 bits.
    """
    slope = ratio(multiplier, shift)
    rounded = scaled_half_even(acc.detach(), multiplier, shift, slope, bound)
    if zero_point:
        rounded += zero_point
    return clamp_codes(acc, rounded, slope, fmt, pass_clamped)


_OF_SIZE = {Rounding.HALF_AWAY: Rounding.HALF_UP, Rounding.TOWARD_ZERO: Rounding.FLOOR}
"""How |v| is rounded where v goes away from zero or towards it."""


def _shifted(acc: Tensor, k: int, rounding: Rounding) -> Tensor:
    """ROUND(acc/2^k), k > 0, in the dtype of `acc`."""
    if rounding is Rounding.HALF_EVEN:
        return (acc * 2.0**-k).round_() if acc.is_floating_point() else scaled_int64(acc, 1, k, reach(acc))
    if rounding in _OF_SIZE:
        return acc.sign() * _shifted(acc.abs(), k, _OF_SIZE[rounding])
    twice = torch.div(acc, 1 << k - 1, rounding_mode="floor")
    return torch.div(twice + (rounding is Rounding.HALF_UP), 2, rounding_mode="floor")


def shift_right(acc: Tensor, k: int, rounding: Rounding = Rounding.HALF_EVEN, fmt: IntFormat | None = None) -> Tensor:
    """clamp(ROUND(acc/2^k)): (3) of docs/numerics.md and, with a signed `fmt` to clamp to, (R13), 0 <= k <= 62.

    The result has the dtype of `acc`; the gradient is 1/2^k, and 0 where clamped.
    """
    check_range("shift", k, 0, MAX_SHIFT)
    if fmt is not None and not fmt.signed:
        raise ValueError(f"a shift to {fmt}; allowed are signed formats")
    if k == 0 and fmt is None:
        return acc
    rounded = _shifted(acc.detach(), k, rounding) if k else acc.detach()
    if fmt is None:
        return straight_through(acc, rounded, 2.0**-k)
    codes = rounded.clamp(fmt.min, fmt.max)
    return straight_through(acc, codes, 2.0**-k, codes == rounded)


def relu(acc: Tensor) -> Tensor:
    """max(acc, 0): eq (6)."""
    return torch.relu(acc)


def embed(
    ids: Tensor,
    first_position: int | Tensor,
    table_codes: Tensor,
    multipliers: int | Tensor,
    position_codes: Tensor,
    position_multiplier: int,
    shift: int,
    zero_point: int,
    fmt: IntFormat,
) -> Tensor:
    """clamp(HALF_EVEN((E[id]*m[id] + P[position]*m_p)/2^shift) + zero_point): eq (8).

    Parameters
    ----------
    ids
        int64, (..., n); column i takes position first_position + i.
    first_position
        One for all, or int64 that broadcasts with (..., n).
    table_codes, multipliers
        E, (vocabulary, d); m, one or int64 (vocabulary,).
    position_codes
        P, (positions, d).

    Returns
    -------
    Tensor
        Codes, (..., n, d). The gradient reaches `table_codes`.
    """
    row_multipliers = multipliers[ids].unsqueeze(-1) if isinstance(multipliers, Tensor) else multipliers
    rows = torch.nn.functional.embedding(ids, table_codes).double() * row_multipliers
    positions = position_codes[first_position + torch.arange(ids.shape[-1])].double()
    acc = torch.add(rows, positions, alpha=position_multiplier)
    bound = (largest(multipliers) + position_multiplier) << CODE_BITS
    return requantize(acc, 1, shift, zero_point, fmt, bound)
