"""Which products of a plan are made in one pass, and their constants: those that are HALF_EVEN and cannot overflow."""

import torch
from torch import Tensor

from hwsim.formats import Overflow, Scaling
from hwsim.program.catalogue import scaling_of, scheme_type
from reference.quantize.plan import Plan
from reference.quantize.plan.constants import ContextConstants, ScoresConstants
from reference.quantize.strict import attention, dense
from reference.quantize.strict.blocks import Ends, fits
from reference.quantize.strict.exact import largest, ratio
from reference.quantize.strict.matmul import accumulator_dtype


def rounds_half_to_even(plan: Plan, site: str) -> bool:
    """Whether a site's requantization is that of eq (1)."""
    return scaling_of(scheme_type(plan.settings[site].requantization)) is Scaling.HALF_EVEN


def cannot_overflow(plan: Plan, bound: int) -> bool:
    """Whether sums up to a bound stay in the accumulator, or are proven to."""
    accumulator = plan.scheme.accumulator
    return accumulator.overflow is Overflow.PROVEN or bound <= accumulator.max


def dense_site(plan: Plan, site: str, a_site: str, m: Tensor, e: Tensor, rows: int, relu: bool) -> dense.Site:
    """Constants of a product of `a_site` with a weight of so many rows; m and e: one, or one a row."""
    a, to = plan.quantizers[a_site], plan.quantizers[site]
    with torch.inference_mode(False):  # a backward pass may save it
        slope = torch.as_tensor(ratio(m, e)).expand(rows).contiguous()
    return dense.Site(
        a_format=a.format,
        a_zero=a.zero_point,
        slope=slope,
        multiplier=largest(m),
        to_format=to.format,
        to_zero=to.zero_point,
        relu=relu,
    )


def linear_site(plan: Plan, site: str, a_site: str, rows: int, relu: bool) -> dense.Site | None:
    """Constants of a layer, or None if it is not made in one pass."""
    c = plan.linear[site]
    if c.truncate is not None or not rounds_half_to_even(plan, site):
        return None
    return dense_site(plan, site, a_site, c.multipliers, c.shifts, rows, relu)


def pair_bound(plan: Plan, length: int, a_site: str, b_site: str) -> int:
    """The greatest |sum| of so many products of two sites."""
    bound = length
    for q in (plan.quantizers[name] for name in (a_site, b_site)):
        bound *= max(q.format.max - q.zero_point, q.zero_point - q.format.min)
    return bound


def pair_constants(
    plan: Plan, site: str, length: int, a_site: str, b_site: str, to: ScoresConstants | ContextConstants
) -> attention.Constants | None:
    """Constants of a product of two activations, or None if it is not made in one pass."""
    bound, (m, e), q = pair_bound(plan, length, a_site, b_site), to.requantization, plan.quantizers[site]
    one_pass = to.truncate is None and rounds_half_to_even(plan, site) and cannot_overflow(plan, bound)
    if not (one_pass and fits(bound, m)):
        return None
    shift, slope = (to.shift or 0) if isinstance(to, ScoresConstants) else 0, float(ratio(m, e))
    return attention.Constants(
        a_zero=plan.quantizers[a_site].zero_point,
        b_zero=plan.quantizers[b_site].zero_point,
        shift=shift,
        slope=slope,
        carrier=accumulator_dtype(bound),
        ends=Ends(q.format, q.zero_point, bound * 2.0**-shift * slope + 2),
    )
