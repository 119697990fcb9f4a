"""Arguments of the six softmaxes beside (4a) to (4e): constants, rows, masks, and the check against the oracle."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwsim.formats import IntFormat
from hwsim.operators.softmax import (
    gemmini_softmax,
    gemmlowp_softmax,
    ibert_softmax,
    itamax,
    pulp_softmax,
    softmax_int16,
)
from tests import oracle
from tests.unit.hwsim.operators.kernel_cases import arrays, codes, formats, shapes
from tests.unit.hwsim.operators.kernel_checks import (
    Events,
    Integers,
    assert_counted,
    assert_same,
    half_full,
    int32,
    tallied,
)

INT8, UINT8 = IntFormat(bits=8), IntFormat(bits=8, signed=False)
Draw = Callable[..., Any]
Constants = dict[str, Any]

KERNELS: dict[str, tuple[Callable[..., Integers], Callable[..., oracle.ShortSoftmaxRow], tuple[str, ...]]] = {
    "gemmlowp": (gemmlowp_softmax, oracle.gemmlowp_softmax, ("multiplier", "left_shift")),
    "int16": (softmax_int16, oracle.softmax_int16, ("multiplier", "shift", "exp_table", "reciprocal_table")),
    "ibert": (ibert_softmax, oracle.ibert_softmax, ("polynomial", "multiplier", "shift")),
    "itamax": (itamax, oracle.itamax, ("shift", "group")),
    "gemmini": (gemmini_softmax, oracle.gemmini_softmax, ("polynomial",)),
    "pulp": (pulp_softmax, oracle.pulp_softmax, ("polynomial",)),
}
"""Kernel, oracle, and the names of the constants in the oracle's order; an output format comes last if there is one."""


class Case(NamedTuple):
    """Arguments of `check_softmax_of`."""

    name: str
    scores: Integers
    allowed: NDArray[np.bool_]
    constants: Constants
    output: IntFormat | None


def run(
    name: str,
    scores: Integers,
    allowed: NDArray[np.bool_],
    constants: Constants,
    output: IntFormat | None,
    counters: Events,
) -> Integers:
    keywords = {key: int32(value) if isinstance(value, list) else value for key, value in constants.items()}
    keywords |= dict(zip(("ln2", "b", "c"), keywords.pop("polynomial", ()), strict=False))
    form = {} if output is None else {"output": output}
    return KERNELS[name][0](scores, allowed, **keywords, **form, counters=counters)


def check_softmax_of(
    name: str, scores: Integers, allowed: NDArray[np.bool_], constants: Constants, output: IntFormat | None
) -> Events:
    """A softmax of rows."""
    counters, (_, row_of, order) = half_full(), KERNELS[name]
    got = run(name, scores, allowed, constants, output, counters)
    numbers = [*(constants[key] for key in order), *([] if output is None else [output.bits])]
    rows = [row_of(row, kept, *numbers) for row, kept in zip(scores.tolist(), allowed.tolist(), strict=True)]
    assert_same(f"{name} {constants}", got, [row.output for row in rows])
    saturated, raised = sum(row.output_saturated for row in rows), sum(row.denominator_below_one for row in rows)
    return assert_counted(counters, tallied((), saturated, raised=raised))


# Random constants


@st.composite
def scales(draw: Draw, low: float, high: float) -> float:
    return float(low * (high / low) ** draw(st.floats(0, 1)))


@st.composite
def gemmlowp_constants(draw: Draw) -> Constants:
    if draw(st.booleans()):
        q, left = oracle.gemmlowp_constants(draw(scales(1e-6, 30)))
    else:
        simple = st.sampled_from([2**30, 3 * 2**29, 2**31 - 1])
        q, left = draw(simple | st.integers(2**30, 2**31 - 1)), draw(st.integers(0, 31))
    return {"multiplier": q, "left_shift": left}


TABLES = dict(zip(("exp_table", "reciprocal_table"), oracle.softmax_tables(), strict=True))


@st.composite
def tables(draw: Draw) -> dict[str, list[int]]:
    """Those of the page, or any with a greatest exponential that is great enough."""
    if draw(st.booleans()):
        return TABLES
    exp = draw(arrays((513,), 0, 2**15 - 1))
    exp[-2:] = exp[-2:].clip(2**14)
    return {"exp_table": exp.tolist(), "reciprocal_table": draw(arrays((513,), -(2**15), 2**15 - 1)).tolist()}


@st.composite
def int16_constants(draw: Draw) -> Constants:
    multiplier = draw(st.sampled_from([2**30, 3 * 2**29, 2**31 - 1]) | st.integers(2**30, 2**31 - 1))
    return {
        "multiplier": multiplier,
        "shift": draw(st.integers(17, 40) | st.sampled_from([31, 32, 62])),
        **draw(tables()),
    }


@st.composite
def ibert_constants(draw: Draw) -> Constants:
    """Of a scale, or any whose exponential stays below 2^62 and its product below 2^63."""
    if draw(st.booleans()):
        polynomial = oracle.ibert_constants(draw(scales(0.0005, 0.65)))
        multiplier, shift = oracle.ibert_16_bit(polynomial.c)
        return {"polynomial": polynomial, "multiplier": multiplier, "shift": shift}
    powers = st.sampled_from([1, 2, 8, 1024])  # whose sums divide 2^32, so that a quotient may be 1
    numbers = powers if draw(st.integers(0, 2)) == 0 else st.integers(1, draw(st.sampled_from([9, 3000])))
    polynomial = oracle.Polynomial(*(draw(numbers) for _ in range(3)))
    greatest = max(polynomial.c, polynomial.ln2**2 + polynomial.c) * 2**30
    multiplier = min(draw(numbers | st.integers(1, 2**31 - 1)), (2**63 - 1) // greatest)
    return {"polynomial": polynomial, "multiplier": multiplier, "shift": draw(st.integers(10, 62))}


@st.composite
def int32_constants(draw: Draw, of_scale: Callable[[float], oracle.Polynomial]) -> Constants:
    """Gemmini's or PULP's: of a scale, or any that stay in int32 to `FURTHEST` times ln2."""
    if draw(st.booleans()):
        return {"polynomial": of_scale(draw(scales(1e-3, 0.17)))}
    most = st.sampled_from([9, 3000])
    return {
        "polynomial": oracle.Polynomial(draw(st.integers(4, draw(most))), *(draw(st.integers(1, 3000)) for _ in "bc"))
    }


FURTHEST = {"gemmini": 31, "pulp": 40}
"""The greatest distance in ln2; Gemmini's z is 31 at most, PULP's stays there."""


CONSTANTS = {
    "gemmlowp": gemmlowp_constants(),
    "int16": int16_constants(),
    "ibert": ibert_constants(),
    "itamax": st.builds(lambda b, g: {"shift": b, "group": g}, st.integers(0, 8), st.integers(0, 12)),
    "gemmini": int32_constants(oracle.gemmini_constants),
    "pulp": int32_constants(oracle.pulp_constants),
}


def output_formats(name: str, bits: int) -> st.SearchStrategy[IntFormat | None]:
    """Signed or unsigned as the kernel has it; ITAMax and PULP have 8 bits at most, `softmax_int16` its own."""
    if name == "int16":
        return st.none()
    width, signed = (min(bits, 8) if name in ("itamax", "pulp") else bits), name in ("gemmlowp", "gemmini")
    return st.just(IntFormat(bits=width, signed=signed)) if name == "gemmlowp" else formats(width, signed)


@st.composite
def cases(draw: Draw, name: str, bits: int) -> Case:
    """Up to 4 rows of 11 keys; scores of any format."""
    score, (rows, n) = draw(formats(signed=True if name == "int16" else None)), draw(shapes(4, 11))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    allowed = rng.random((rows, n)) < draw(st.sampled_from([0.0, 0.3, 0.8, 1.0, 1.0]))
    scores, constants = draw(codes((rows, n), score)), draw(CONSTANTS[name])
    if name in FURTHEST and n:
        least = scores.max(axis=1, keepdims=True) - FURTHEST[name] * constants["polynomial"].ln2
        scores = np.maximum(scores, least).astype(np.int32)
    return Case(name, scores, allowed, constants, draw(output_formats(name, bits)))


# Exact equality

SCALES = (0.0005, 0.01, 0.03, 0.1, 0.3)
GEMMINI_SCALES = (0.0005, 0.01, 0.03, 0.0623, 0.077)
"""At the last a distance of 255 is 31 times ln2."""
OUTPUT = {"gemmlowp": INT8, "gemmini": INT8, "ibert": UINT8, "itamax": UINT8, "int16": None, "pulp": UINT8}


def constants_of(name: str) -> list[Constants]:
    """Constants of usual scales."""
    if name == "gemmlowp":
        return [dict(zip(("multiplier", "left_shift"), oracle.gemmlowp_constants(s), strict=True)) for s in SCALES]
    if name == "int16":
        return [{"multiplier": 1125882727, "shift": e, **TABLES} for e in (20, 24, 28, 34)]
    if name == "itamax":
        return [{"shift": shift, "group": group} for shift in range(9) for group in (0, 1, 16)]
    if name == "gemmini":
        return [{"polynomial": oracle.gemmini_constants(s)} for s in GEMMINI_SCALES]
    if name == "pulp":
        return [{"polynomial": oracle.pulp_constants(s)} for s in SCALES]
    return [
        {"polynomial": polynomial, "multiplier": m, "shift": e}
        for polynomial in map(oracle.ibert_constants, SCALES)
        for m, e in [oracle.ibert_16_bit(polynomial.c)]
    ]


def extreme_rows() -> list[list[int]]:
    """All equal, rising, falling, one far from the others."""
    rise = [-128, -127, -1, 0, 1, 126, 127, 127]
    return [
        [-128] * 8,
        [127] * 8,
        [0] * 8,
        rise,
        rise[::-1],
        [-128] * 7 + [127],
        [127] * 7 + [-128],
        [127] + [-128] * 7,
    ]


def masks(scores: Integers) -> list[NDArray[np.bool_]]:
    """All keys, none, those that are not the greatest, every second, only the last."""
    all_of = np.ones(scores.shape, np.bool_)
    below, second, last = scores < scores.max(axis=1, keepdims=True), all_of.copy(), ~all_of
    second[:, 1::2], last[:, -1] = False, True
    return [all_of, ~all_of, below, second, last]


def pinned(name: str) -> list[Case]:
    rows = int32(extreme_rows())
    arguments = [(scores, mask) for scores in (rows, rows[:, :1].copy()) for mask in masks(scores)]
    arguments += [(scores, np.ones(scores.shape, np.bool_)) for scores in (rows[:0], rows[:, :0].copy())]
    cases = [
        Case(name, *pair, constants_of(name)[i % len(constants_of(name))], OUTPUT[name])
        for i, pair in enumerate(arguments)
    ]
    if name == "ibert":  # a sum of 2^10, and so a quotient of 1
        certain = {"polynomial": oracle.Polynomial(1, 1, 1), "multiplier": 1, "shift": 20}
        cases.append(Case(name, rows[:, :1].copy(), np.ones((len(rows), 1), np.bool_), certain, UINT8))
        tie = certain | {"multiplier": 5, "shift": 31}  # the greatest exponential is 5/2
        nothing = certain | {"shift": 62}  # each exponential is 0, and so is their sum
        cases += [Case(name, rows, np.ones(rows.shape, np.bool_), constants, UINT8) for constants in (tie, nothing)]
    return cases + (group_ends() if name == "itamax" else [])


def group_ends() -> list[Case]:
    """Two groups, the second one key far above the others: in one group they would count for nothing."""
    rows = [int32([[0] * low + [9]]) for low in range(1, 8)]
    return [
        Case("itamax", row, np.ones(row.shape, np.bool_), {"shift": 0, "group": row.shape[1] - 1}, UINT8)
        for row in rows
    ]
