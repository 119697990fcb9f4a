"""A sum of attention heads, each projected and requantized before it is added: (R14) of operators/requantization.md."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.arithmetic.fixedpoint import Counters
from hwsim.formats import Accumulator, IntFormat, Scaling
from hwsim.operators.arguments import (
    SHIFT_MAX,
    Accumulators,
    Codes,
    Multipliers,
    check_array,
    check_code_format,
    check_multipliers,
    multiplier_max,
    multiplier_min,
)
from hwsim.operators.gemm.operand import Prepared
from hwsim.operators.gemm.product import matmul
from hwsim.operators.rescale import rescale


class Heads(NamedTuple):
    """What (R14) makes: codes of each head (b, h, n, d), and their sum (b, n, d)."""

    codes: Codes
    total: Accumulators


def project_heads(
    context: Codes,
    weights: Sequence[Codes | Prepared],
    bias: NDArray[np.int64] | None,
    *,
    zero: int = 0,
    multiplier: Multipliers,
    shift: Multipliers,
    scaling: Scaling = Scaling.HALF_UP,
    output: IntFormat,
    accumulator: Accumulator,
    counters: Counters,
) -> Heads:
    """c[h] = clamp(scale(context[h] @ weights[h].T + (bias if h = 0))) and sum_h c[h], (R14) but for its last rounding.

    Parameters
    ----------
    context : int32, (b, h, n, d_head)
        Codes of at most 16 bits, of zero point `zero`.
    weights : h times int32, (d, d_head); or Prepared
        Each head's columns of the output matrix.
    bias : int64, (d,), or None
        Of head 0.
    multiplier, shift : int64, (1,) or (h,)
        As `requantize` takes them, one for all heads or one a head.
    scaling : Scaling
        The arithmetic of the scheme; HALF_UP is ITA's.
    output : IntFormat
        Of each head's codes, whose zero point is 0: signed, at most 16 bits.
    accumulator : Accumulator
        Of each head's product, and the width of the sum, which must hold it.
    counters : int64, (len(Counter),)
        Overflows of the products, ties, and codes that the clamp changed, are added.

    Returns
    -------
    Heads
        Codes int32 (b, h, n, d); the sum int32 (accumulators to 32 bits) or int64, (b, n, d).

    Raises
    ------
    ValueError
        For other dtypes, shapes, codes, multipliers or formats, as `matmul` and `requantize`, or if the sum could
        leave the accumulator.
    """
    check_array("context", context, (np.int32,), 4)
    check_code_format("output", output, signed=True)
    _, heads, _, _ = context.shape
    if len(weights) != heads or not heads:
        raise ValueError(f"{len(weights)} weights of {heads} heads; allowed: one of each, of at least one head")
    check_multipliers("multiplier", multiplier, (1, heads), multiplier_min(scaling), multiplier_max(scaling))
    check_multipliers("shift", shift, (1, heads), 0, SHIFT_MAX)
    if heads * output.min < accumulator.min:
        raise ValueError(f"a sum of {heads} codes of {output} in {accumulator.bits} bits; allowed: sums that fit")
    codes = []
    for head, weight in enumerate(weights):
        acc = matmul(
            np.ascontiguousarray(context[:, head]),
            weight,
            None if head else bias,
            a_zero=zero,
            accumulator=accumulator,
            counters=counters,
        )
        of_head = head % multiplier.size, head % shift.size
        ratio = multiplier[of_head[0] : of_head[0] + 1], shift[of_head[1] : of_head[1] + 1]
        flat = acc.reshape(acc.size // max(acc.shape[-1], 1), acc.shape[-1])
        codes.append(rescale(flat, *ratio, 0, output, counters, scaling).reshape(acc.shape))
    stacked = np.stack(codes, axis=1)
    total = stacked.sum(axis=1, dtype=np.int32 if accumulator.bits <= 32 else np.int64)
    return Heads(stacked, np.asarray(total))
