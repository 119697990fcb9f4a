"""Constants of each softmax, and the scale of its output (section 7 of docs/operators/softmax.md)."""

import math
from collections.abc import Callable

from hwsim.formats import IntFormat
from hwsim.program.catalogue import Q31Double
from hwsim.program.targets import SoftmaxMethod
from reference.quantize.graph import Node
from reference.quantize.plan.binary32 import FINEST, gemmini_exponential
from reference.quantize.plan.constants import (
    GemminiSoftmaxConstants,
    GemmlowpConstants,
    IBertSoftmaxConstants,
    Int16SoftmaxConstants,
    ItaMaxConstants,
    PulpSoftmaxConstants,
    QLinearSoftmaxConstants,
    SoftmaxConstants,
)
from reference.quantize.plan.planner import Planner
from reference.quantize.plan.snap import snap_down
from reference.quantize.scheme import SCORE_BITS
from reference.quantize.sites import softmax_of

MAX_ITAMAX_SHIFT = 8
COARSEST = 0.6931
"""ln 2 as I-BERT writes it: the coarsest scale of scores whose codes can be counted in halvings."""
MAX_HALVINGS = 31
GEMMINI_MARGIN = 0.01
"""Of ln2 in codes, for the score's scale to grow a little when it is snapped."""
INT16_RANGE, INT16_STEPS = 10, 65535
"""The int16 table's exponent runs from -10 to 0 in so many steps."""
EXPONENTIAL_BITS = 15
"""Of I-BERT's exponential in (S12): its greatest is 2^15 - 1."""
LEAST_BINARY32 = 2.0**-126
"""The least that is not subnormal."""
_C = 1 / 0.35815147
"""c of I-BERT at a scale of 1."""
_B_SQUARED_AND_C = 1.353**2 + 0.344 / 0.3585
"""b^2 + c of PULP and Gemmini at a scale of 1."""
BYTE = 255
"""The greatest probability of PULP."""
EXPONENTIAL_ROOM = 32
"""Bits that c and the multiplier of (S12) have together, beside the 30 of (S11)."""


def _s_in(planner: Planner, node: Node) -> float:
    return planner.scale[node.inputs[0].site]


def _output_bits(planner: Planner, node: Node) -> int:
    return planner.plan.settings[f"{node.site}.output"].bits


def table(planner: Planner, node: Node) -> None:
    """(4a) to (4e) of docs/numerics.md."""
    numerator, denominator, output = (f"{node.site}.{p}" for p in ("numerator", "denominator", "output"))
    s_n = 1 / planner.plan.settings[numerator].format.max
    total = snap_down(denominator, s_n / planner.scale[denominator], planner.bits)
    s_d = s_n / total.ratio
    quotient = snap_down(output, s_n / (s_d * planner.scale[output]), planner.bits)
    planner.scale |= {numerator: s_n, denominator: s_d, output: s_n / (s_d * quotient.ratio)}
    planner.plan.softmax[node.site] = SoftmaxConstants(
        table_scale=_s_in(planner, node), denominator=total, output=quotient
    )


def gemmlowp(planner: Planner, node: Node) -> None:
    real = min(math.ldexp(_s_in(planner, node), 26), 2.0**31 - 1)
    fraction, exponent = math.frexp(real)
    multiplier = math.floor(math.ldexp(fraction, 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, exponent = multiplier >> 1, exponent + 1
    planner.plan.softmax[node.site] = GemmlowpConstants(multiplier=multiplier, left_shift=exponent)
    planner.scale[f"{node.site}.output"] = math.ldexp(1.0, -_output_bits(planner, node))


def _check_polynomial(planner: Planner, node: Node, ln2: int, b: int, c: int) -> None:
    """Refuse constants that a score scale near or above ln 2 leaves no room for."""
    site, scale = node.inputs[0].site, _s_in(planner, node)
    if scale > COARSEST or not (0 < ln2 < b and c > 0):
        settings = planner.plan.settings[site]
        bits = settings.bits + math.ceil(math.log2(2 * scale / COARSEST))
        share = settings.range * COARSEST / (2 * scale)
        advice = f"bits = {bits}" if bits <= SCORE_BITS else f"range = {share:.1e}, beyond which they saturate"
        raise ValueError(
            f"site {site}: at its scale {scale:.5g} the exponential's constants are ln2 {ln2}, b {b}, "
            f"c {c}; needed: a scale of at most {COARSEST}, 0 < ln2 < b, c > 0; give {site} {advice}"
        )


def ibert(planner: Planner, node: Node) -> None:
    s = _s_in(planner, node)
    ln2, b, c = -math.floor(-0.6931 / s), math.floor(0.96963238 / 0.35815147 / s), math.floor(1 / 0.35815147 / s**2)
    _check_polynomial(planner, node, ln2, b, c)
    width = min(16, EXPONENTIAL_ROOM - c.bit_length())
    constants = IBertSoftmaxConstants(
        ln2=ln2,
        b=b,
        c=c,
        requantization=snap_down(node.site, ((1 << EXPONENTIAL_BITS) - 1) / (c << 30), width, width),
    )
    planner.plan.softmax[node.site] = constants
    planner.scale[f"{node.site}.output"] = math.ldexp(1.0, -_output_bits(planner, node))


def itamax_shift(scale: float) -> int:
    """B of (S15): scores of scale ln(2) / 2^B, the finest that covers the range of `scale`."""
    return max(0, min(MAX_ITAMAX_SHIFT, math.floor(math.log2(math.log(2) / scale))))


def itamax_scale(scale: float, wired: int | None) -> float:
    """The scale of scores that ITAMax reads: that of the B that is wired, or of the best for an ideal scale."""
    return math.ldexp(math.log(2), -(itamax_shift(scale) if wired is None else wired))


def gemmini_coarsest(fmt: IntFormat) -> float:
    """The coarsest scale of scores whose greatest distance takes at most 31 halvings of (S18)."""
    span = fmt.max - fmt.min
    ln2 = next(ln2 for ln2 in range(1, span + 2) if span * (65536 // ln2) >> 16 <= MAX_HALVINGS)
    return 0.693147 / (ln2 + GEMMINI_MARGIN)


def finest(planner: Planner, method: SoftmaxMethod) -> float:
    """The finest scale of scores that a softmax reads (12f), and a little more for the rounding of what is derived."""
    keys, margin = planner.model.config.max_positions, 1 + 2.0**-20
    squared = _B_SQUARED_AND_C * margin  # times 1/s^2: the greatest exponential of PULP's and Gemmini's
    match method:
        case "gemmlowp":
            return 2.0**-26
        case "ibert":
            return math.sqrt(_C / 2.0**24) * margin
        case "pulp":
            return math.sqrt(squared * max(keys, BYTE) / 2.0**32)
        case "gemmini":
            return max(FINEST, math.sqrt(squared * keys / 2.0**31))
        case "int16":
            return math.ldexp(INT16_RANGE / INT16_STEPS, -32) * margin
        case "qlinear":
            return LEAST_BINARY32
        case "table" | "itamax":
            return 0.0


def score_scale(planner: Planner, site: str) -> float:
    """The scale that a site of scores should have for the softmax that reads it."""
    ideal, method = planner.scale[site], planner.plan.scheme.softmax_at(softmax_of(site))
    if method == "itamax":  # its exponential has base 2
        wired = planner.limit("score_scale")
        if wired is not None and planner.plan.settings[site].range != 1.0:
            raise ValueError(
                f"site {site}: target {planner.plan.target.name} wires its scale to ln(2) / 2^{wired}, which a `range` "
                "cannot change; remove the rule (`hwsim centre` moves scores into that range)"
            )
        return itamax_scale(ideal, wired)
    ideal = max(ideal, finest(planner, method))
    if method == "gemmini":
        return min(ideal, gemmini_coarsest(planner.plan.settings[site].format))
    return ideal


def itamax(planner: Planner, node: Node) -> None:
    wired = planner.limit("score_scale")
    # The snapped scale lies a multiplier's rounding above ln(2) / 2^B.
    shift = round(math.log2(math.log(2) / _s_in(planner, node))) if wired is None else wired
    if shift < 0:
        site, scale = node.inputs[0].site, _s_in(planner, node)
        raise ValueError(f"site {site}: its scale {scale:.3g} is coarser than ln 2; use more multiplier_bits")
    planner.plan.softmax[node.site] = ItaMaxConstants(shift=shift, group=planner.plan.target.itamax_group)
    planner.scale[f"{node.site}.output"] = 1 / ((1 << _output_bits(planner, node)) - 1)


def gemmini(planner: Planner, node: Node) -> None:
    s = _s_in(planner, node)
    ln2, b, c = gemmini_exponential(s)
    _check_polynomial(planner, node, ln2, b, c)
    planner.plan.softmax[node.site] = GemminiSoftmaxConstants(ln2=ln2, b=b, c=c)
    planner.scale[f"{node.site}.output"] = 1 / planner.plan.settings[f"{node.site}.output"].format.max


def pulp(planner: Planner, node: Node) -> None:
    s = _s_in(planner, node)
    ln2, b, c = math.trunc(0.693147 / s), math.trunc(1.353 / s), math.trunc(0.344 / (0.3585 * s**2))
    _check_polynomial(planner, node, ln2, b, c)
    planner.plan.softmax[node.site] = PulpSoftmaxConstants(ln2=ln2, b=b, c=c)
    planner.scale[f"{node.site}.output"] = 1 / planner.plan.settings[f"{node.site}.output"].format.max


def int16(planner: Planner, node: Node) -> None:
    """(S6): distances to steps of the table."""
    width = Q31Double.record().limits.multiplier_bits
    ratio = _s_in(planner, node) * INT16_STEPS / INT16_RANGE
    planner.plan.softmax[node.site] = Int16SoftmaxConstants(
        requantization=snap_down(node.site, ratio, width, width), clamped=planner.plan.target.clamps_softmax
    )
    planner.scale[f"{node.site}.output"] = math.ldexp(1.0, 1 - _output_bits(planner, node))


def qlinear(planner: Planner, node: Node) -> None:
    scale, bits = _s_in(planner, node), _output_bits(planner, node)
    if scale >= 1 / LEAST_BINARY32:  # it is never finer than what it reads, `finest`
        site = node.inputs[0].site
        share = planner.plan.settings[site].range / (2 * scale * LEAST_BINARY32)
        raise ValueError(
            f"site {site}: a score scale of {scale:.3g}; needed: below 2^126; give {site} range = {share:.1e}, "
            "beyond which they saturate"
        )
    keys = planner.model.config.max_positions
    planner.plan.softmax[node.site] = QLinearSoftmaxConstants(table_scale=scale, keys=keys, multiplier=1 << bits)
    planner.scale[f"{node.site}.output"] = math.ldexp(1.0, -bits)


SOFTMAX: dict[SoftmaxMethod, Callable[[Planner, Node], None]] = {
    "table": table,
    "gemmlowp": gemmlowp,
    "ibert": ibert,
    "itamax": itamax,
    "gemmini": gemmini,
    "pulp": pulp,
    "int16": int16,
    "qlinear": qlinear,
}
"""Softmaxes by the name that targets have for them."""
