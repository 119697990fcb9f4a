"""Arguments of the kernels that scale: each scheme within the table of the page, and checks against the oracle."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from hwsim.formats import IntFormat, Rounding, Scaling
from hwsim.operators.requantize import requantize
from hwsim.operators.residual import rescaled_add
from hwsim.program.catalogue import Shift, scheme_type
from tests import oracle
from tests.oracle import Ratio
from tests.oracle.rounding import ROUNDINGS
from tests.unit.hwsim.operators.kernel_cases import EDGE_SHIFTS, arrays, formats, shapes, zero_points
from tests.unit.hwsim.operators.kernel_checks import (
    Events,
    Integers,
    assert_counted,
    assert_same,
    half_full,
    int64,
    matrix,
    tallied,
)

Draw = Callable[..., Any]
INT8 = IntFormat(bits=8)

MULTIPLIERS = {
    "q31_double": (2**30, 2**31 - 1),
    "q31_double_half_up": (2**30, 2**31 - 1),
    "q31_single": (2**30, 2**31 - 1),
    "q15": (2**14, 2**15 - 1),
    "dyadic": (1, 2**31 - 1),
    "narrow_after": (0, 2**8 - 1),
    "narrow_before": (1, 2**31 - 1),
    "nvdla": (1, 2**15 - 1),
    "float32": (1, 2**24 - 1),
    "float32_inside": (1, 2**24 - 1),
}
"""The table of docs/operators/requantization.md."""
SHIFTS = {"q31_single": (1, 62), "narrow_after": (0, 34), "narrow_before": (0, 31)}
"""Those of the table that are not 0 to 62; kernels take them all."""
SCHEMES = [(scheme, "half_even") for scheme in MULTIPLIERS] + [("shift", rounding) for rounding in ROUNDINGS]
DOUBLE = ("q31_double", "q31_double_half_up")


class Scaled(NamedTuple):
    """Arguments of `check_scheme`."""

    scheme: str
    rounding: str
    acc: Integers
    multiplier: Integers
    shift: Integers
    zero: int
    output: IntFormat


def greatest(scheme: str, m: int, e: int) -> int:
    """The greatest x of the page."""
    if scheme in DOUBLE:
        return int((2**31 - 1) // 2 ** max(31 - e, 0))
    exact = (2**63 - 1 - 2**e // 2) // max(m, 1)
    int32 = dict.fromkeys(("q31_single", "narrow_before", "float32", "float32_inside"), 2**31)
    return min(exact, (int32 | {"q15": 2**47}).get(scheme, exact))


def least(scheme: str, m: int, e: int) -> int:
    """The least x of the page: x * 2^l of the doubling high multiply may be -2^31."""
    return -greatest(scheme, m, e) - (scheme in DOUBLE)


def scaling_of(scheme: str, rounding: str) -> Scaling:
    """What a program of the scheme hands to the kernel."""
    if scheme == "shift":
        return Shift(shift=1, rounding=Rounding(rounding)).scaling
    return scheme_type(scheme)(multiplier=MULTIPLIERS[scheme][0], shift=1).scaling


def check_scheme(
    scheme: str, rounding: str, acc: Integers, multiplier: Integers, shift: Integers, zero: int, output: IntFormat
) -> Events:
    """Equation (R1) with the arithmetic of a scheme."""
    counters = half_full()
    codes = requantize(acc, multiplier, shift, zero, output, counters, scaling_of(scheme, rounding))
    ratios = [Ratio(scheme, int(m), int(e), rounding) for m, e in np.broadcast(multiplier, shift)]
    rows, ties, saturated = oracle.requantize_by(matrix(acc), ratios, zero, output.min, output.max)
    assert_same(f"{scheme} {rounding}", codes, rows)
    return assert_counted(counters, tallied(ties, saturated))


@st.composite
def ratios_of(draw: Draw, scheme: str) -> tuple[int, int]:
    """A third of the multipliers has at most 2 significant bits, and shifts after which ties are likely."""
    if scheme == "shift":
        return 1, draw(st.integers(1, 4) | st.sampled_from(EDGE_SHIFTS))
    low, high = MULTIPLIERS[scheme]
    if draw(st.integers(0, 2)):
        return draw(st.integers(low, high)), draw(st.integers(1, 62) | st.integers(28, 40))
    last = high.bit_length() - 1
    first = last if low > 1 else draw(st.integers(1, last))
    m = 2**first | draw(st.sampled_from([0, 2 ** (first - 1)]))
    return m, min((m & -m).bit_length() + draw(st.integers(0, 3)), 62)


@st.composite
def scalings(draw: Draw, scheme: str, rounding: str, bits: int) -> Scaled:
    """Accumulators as wide as the scheme takes, or near 0."""
    output, (rows, channels) = draw(formats(bits)), draw(shapes(4, 4, least=1))
    one_each = [draw(ratios_of(scheme)) for _ in range(draw(st.sampled_from([1, channels])))]
    limit = min(greatest(scheme, *ratio) for ratio in one_each)
    limit = min(limit, draw(st.sampled_from([2 ** (bits + 1), 2 ** (bits + 2), 2**31 - 1, limit])))
    dtype = draw(st.sampled_from([np.int32, np.int64])) if limit < 2**31 else np.int64
    m, e = (int64(column) for column in zip(*one_each, strict=True))
    acc = draw(arrays((rows, channels), -limit, limit, dtype))
    return Scaled(scheme, rounding, acc, m, e, draw(zero_points(output)), output)


def ends(scheme: str, m: int, e: int) -> Integers:
    low, high = least(scheme, m, e), greatest(scheme, m, e)
    return np.array([[low, low + 1, -1, 0, 1, high - 1, high]]).clip(low, high)


def corners(scheme: str, rounding: str) -> list[Scaled]:
    """The ends of the accumulators, of the multipliers and of the shifts."""
    multipliers = (1,) if scheme == "shift" else MULTIPLIERS[scheme]
    return [
        Scaled(scheme, rounding, ends(scheme, m, e), int64([m]), int64([e]), zero, output)
        for m in multipliers
        for e in (int(scheme == "q31_single"), 1, 30, 31, 32, 33, 61, 62)
        for zero, output in ((-128, INT8), (127, INT8), (0, IntFormat(bits=32)))
    ]


class RescaledAdd(NamedTuple):
    """Arguments of `check_rescaled_add`; a ratio is a multiplier and a shift."""

    scheme: str
    rounding: str
    a: Integers
    b: Integers
    zeros: tuple[int, int]
    left_shift: int
    ratios: tuple[tuple[int, int], tuple[int, int]]
    output_ratio: tuple[int, int] | None
    zero: int
    output: IntFormat
    operand: IntFormat | None = None


def check_rescaled_add(*arguments: Any) -> Events:
    """Equation (R10)."""
    case, counters = RescaledAdd(*arguments), half_full()
    of_scheme = [Ratio(case.scheme, *ratio, case.rounding) for ratio in (*case.ratios, case.output_ratio or (1, 1))]
    operands = case.a.reshape(-1).tolist(), case.b.reshape(-1).tolist()
    last = None if case.output_ratio is None else of_scheme[2]
    limits = case.output.min, case.output.max
    held = None if case.operand is None else (case.operand.min, case.operand.max)
    want, ties, saturated = oracle.rescaled_add(
        *operands, case.zeros, (of_scheme[0], of_scheme[1]), case.left_shift, last, case.zero, *limits, held
    )
    assert_same(f"rescaled_add {case.scheme}", add_by(case, counters), want)
    return assert_counted(counters, tallied(ties, saturated))


def add_by(case: RescaledAdd, counters: Events) -> Integers:
    (a_m, a_e), (b_m, b_e) = case.ratios
    output_m, output_e = case.output_ratio or (None, 0)
    ratios = {"a_multiplier": a_m, "a_shift": a_e, "b_multiplier": b_m, "b_shift": b_e}
    last = {"output_multiplier": output_m, "output_shift": output_e, "zero_point": case.zero, "output": case.output}
    last |= {} if case.operand is None else {"operand": case.operand}
    first = {"a_zero": case.zeros[0], "b_zero": case.zeros[1], "left_shift": case.left_shift}
    rule = scaling_of(case.scheme, case.rounding)
    return rescaled_add(case.a, case.b, **first, **ratios, **last, scaling=rule, counters=counters)


@st.composite
def rescaled_sums(draw: Draw, scheme: str, rounding: str, bits: int) -> RescaledAdd:
    """Operands of at most 11 bits less zero point, to that many bits and, with an output ratio, back."""
    a, b, output = draw(formats(most=10)), draw(formats(most=10)), draw(formats(bits))
    shape, left, back = draw(shapes(3, 6)), draw(st.sampled_from([0, 0, 3, 15, 20])), draw(st.booleans())
    gain = left if back else 0  # bits by which the operands may grow

    def near(m: int, growth: int) -> tuple[int, int]:
        tie = (m & -m).bit_length() + draw(st.integers(0, 2))
        least = max(m.bit_length() - growth, 11 + left if scheme in DOUBLE else 0)
        return m, min(max(least, draw(st.sampled_from([0, tie]))), 62)

    first, second = (near(draw(ratios_of(scheme))[0], gain - left) for _ in range(2))
    last = near(draw(ratios_of(scheme))[0], bits - 11 - gain) if back else None
    zeros = draw(zero_points(a)), draw(zero_points(b))
    operands = draw(arrays(shape, a.min, a.max)), draw(arrays(shape, b.min, b.max))
    zero, operand = draw(zero_points(output)), draw(st.none() | formats(most=10, signed=True))
    return RescaledAdd(scheme, rounding, *operands, zeros, left, (first, second), last, zero, output, operand)
