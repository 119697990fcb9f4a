"""Three LayerNorms, and RMSNorm from each and from FullyQT's parts: kernel equals oracle, codes and events."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.formats import Counter, IntFormat
from hwsim.operators.layernorm import ibert_layernorm, pulp_layernorm, tflite_layernorm
from tests import oracle
from tests.oracle import Result
from tests.unit.hwsim.operators.kernel_cases import EDGE_SHIFTS, arrays, codes, formats, layernorms, zero_points
from tests.unit.hwsim.operators.kernel_checks import (
    Events,
    Integers,
    assert_counted,
    assert_occurred,
    assert_same,
    check_layernorm,
    half_full,
    int32,
    int64,
    matrix,
    tallied,
    thin,
)
from tests.unit.hwsim.operators.test_kernels_properties import (
    HALVES,
    INT8,
    INT16,
    NORM,
    SPREAD,
    TIES,
    UINT8,
    explore,
)

Draw = Callable[..., Any]
Numbers = dict[str, Any]


class Case(NamedTuple):
    """Arguments of `check_norm`; `numbers` are the keywords of the kernel."""

    name: str
    x: Integers
    gamma: Integers
    bias: Integers
    ratios: tuple[Integers, Integers] | None
    numbers: Numbers
    output: IntFormat
    centred: bool


KERNELS = {"ibert": ibert_layernorm, "pulp": pulp_layernorm, "tflite": tflite_layernorm}


def run(case: Case, counters: Events) -> Integers:
    name, x, gamma, bias, ratios, numbers, output, centred = case
    result: Integers = KERNELS[name](
        x, gamma, bias, *(ratios or ()), **numbers, output=output, counters=counters, centred=centred
    )
    return result


def row_of(case: Case, row: list[int]) -> oracle.ShortNormRow:
    """The oracle's row."""
    name, _, gamma, bias, ratios, numbers, output, centred = case
    affine, first = (gamma.tolist(), bias.tolist()), (row, numbers["zero"], centred)
    result = Result(numbers["zero_point"], output.min, output.max)
    if name == "ibert":
        assert ratios is not None
        one_each = [(int(m), int(e)) for m, e, _ in np.broadcast(*ratios, gamma)]
        return oracle.ibert_layernorm(*first, numbers["variance_shift"], *affine, one_each, result)
    if name == "pulp":
        return oracle.pulp_layernorm(*first, *affine, numbers["shift"], result)
    ratio = numbers["multiplier"], numbers["shift"]
    return oracle.tflite_layernorm(*first, *affine, numbers["variance_limit"], ratio, result)


def check_norm(*arguments: Any) -> Events:
    """A normalisation of rows."""
    case, counters = Case(*arguments), half_full()
    got = run(case, counters)
    rows = [row_of(case, row) for row in matrix(case.x)]
    assert_same(f"{case.name} {case.numbers}", got, [row.output for row in rows])
    ties = [tie for row in rows for tie in row.ties]
    saturated, raised = sum(row.output_saturated for row in rows), sum(row.denominator_below_one for row in rows)
    return assert_counted(counters, tallied(ties, saturated, raised=raised))


# Random arguments


class Rows(NamedTuple):
    """Codes, their zero point, and the greatest |x'|."""

    x: Integers
    zero: int
    reach: int


@st.composite
def rows(draw: Draw, most: int) -> Rows:
    """Up to 3 rows of 1 to 12 codes."""
    form = draw(formats(most=most))
    zero, shape = draw(zero_points(form)), (draw(st.integers(0, 3)), draw(st.integers(1, 12)))
    return Rows(draw(codes(shape, form)), zero, max(form.max - zero, zero - form.min))


@st.composite
def simple_or(draw: Draw, low: int, high: int) -> int:
    """A third of the multipliers has at most 2 significant bits."""
    top = high.bit_length() - 1
    first = top if low > 1 else draw(st.integers(0, top))
    simple = st.sampled_from([2**first, max(3 * 2**first // 2, 1)]).map(lambda m: min(m, high))
    return int(draw(simple) if draw(st.integers(0, 2)) == 0 else draw(st.integers(low, high)))


@st.composite
def ibert_cases(draw: Draw, bits: int, centred: bool) -> Case:
    x, zero, reach = draw(rows(16))
    n, output = x.shape[1], draw(formats(bits))
    enough = next(t for t in range(32) if n * (2 * reach + 2**t) ** 2 < 2**32 * 4**t)
    shift = draw(st.integers(enough, min(enough + 3, 31)))
    bias = draw(arrays((n,), -(2**31), 2**31, np.int64))
    greatest = (2**63 - 2**61 - 1) // (2 * reach * 2**30 + 2**31)
    one_each = []
    for _ in range(draw(st.sampled_from([1, n]))):
        m = draw(simple_or(1, min(greatest, 2**31 - 1)))
        near = m.bit_length() + 32 - bits + draw(st.integers(-2, 2))
        tie = (m & -m).bit_length() + draw(st.integers(0, 2))
        one_each.append((m, min(draw(st.sampled_from([near, near, tie, *EDGE_SHIFTS])), 62)))
    ratios = tuple(int64(column) for column in zip(*one_each, strict=True))
    numbers = {"zero": zero, "variance_shift": shift, "zero_point": draw(zero_points(output))}
    return Case("ibert", x, draw(arrays((n,), -1, 1)), bias, ratios, numbers, output, centred)


@st.composite
def pulp_cases(draw: Draw, bits: int, centred: bool) -> Case:
    x, zero, _ = draw(rows(16))
    n, output, gamma = x.shape[1], draw(formats(bits)), draw(formats(signed=True))
    shift = draw(st.sampled_from([0, 31]) | st.integers(max(gamma.bits - bits, 0), 16))
    bias = draw(arrays((n,), -(2 ** (shift + 4)), 2 ** (shift + 4), np.int64))
    numbers = {"zero": zero, "shift": shift, "zero_point": draw(zero_points(output))}
    return Case("pulp", x, draw(codes((n,), gamma)), bias, None, numbers, output, centred)


@st.composite
def tflite_cases(draw: Draw, bits: int, centred: bool) -> Case:
    """Codes of 14 bits, so that their squares stay below 2^30; gamma so small that v stays within (L14)."""
    x, zero, reach = draw(rows(14))
    n, output = x.shape[1], draw(formats(bits))
    m, gamma = draw(simple_or(2**30, 2**31 - 1)), draw(formats(signed=True, most=15))
    width = (2 * reach * 2**gamma.bits + 2**gamma.bits).bit_length() + 1  # of every v, whatever the variance
    near = max(gamma.bits + 31 - bits + draw(st.integers(-2, 2)), width)
    shift = draw(st.sampled_from([near, near, max(width, 30), max(width, 32), 62]))
    bias = draw(arrays((n,), -(2 ** (gamma.bits + 10)), 2 ** (gamma.bits + 10), np.int64))
    limit = draw(st.sampled_from([1, 2, 2**31 - 1]) | st.integers(1, 1000))
    numbers = {"zero": zero, "variance_limit": limit, "multiplier": m, "shift": min(shift, 62)}
    numbers["zero_point"] = draw(zero_points(output))
    return Case("tflite", x, draw(codes((n,), gamma)), bias, None, numbers, output, centred)


CASES = {"ibert": ibert_cases, "pulp": pulp_cases, "tflite": tflite_cases}

# Directed


def numbers_of(name: str, **changes: int) -> Numbers:
    """Usual constants of 8-bit codes."""
    usual = {
        "ibert": {"variance_shift": 0},
        "pulp": {"shift": 8},
        "tflite": {"variance_limit": 1, "multiplier": 2**30, "shift": 38},
    }
    return {"zero": 0, "zero_point": 3, **usual[name], **changes}


def usual(name: str, x: Integers, centred: bool = True, output: IntFormat = INT8, **changes: int) -> Case:
    n = x.shape[-1]
    sizes = int32([8192, -8192, 0, 3, -16384] * n)[:n].copy()
    gamma = np.sign(sizes).astype(np.int32) if name == "ibert" else sizes
    bias = int64([0, 1, -1, 2**12, -(2**12)] * n)[:n].copy()
    ratios = (int64([3 * 2**20]), int64([47])) if name == "ibert" else None
    return Case(name, x, gamma, bias, ratios, numbers_of(name, **changes), output, centred)


FLAT = int32([[0] * 5, [1] * 5, [-128] * 5, [127] * 5])
"""Constant rows: sigma is 0 without the mean, or of 0."""
FAR = int32([[-128, -128, -128, -128, 127], [127, 127, 127, 127, -128], [-128, 127, -128, 127, 0], [0, 0, 0, 0, 1]])


def pinned(name: str, centred: bool) -> list[Case]:
    arrays_of = [FLAT, FAR, SPREAD, FLAT[:, :1].copy(), FAR[:, :1].copy(), FAR[:0], FAR[None, :, None].copy()]
    cases = [usual(name, x, centred, zero=zero) for x in arrays_of for zero in (0, 127, -128)]
    cases += [usual(name, FAR, centred, form, zero_point=form.max) for form in (INT8, UINT8, INT16)]
    if name == "ibert":
        cases += [usual(name, FAR, centred, variance_shift=shift) for shift in (1, 7, 30, 31)]
        ends = [(1, 0), (1, 1), (1, 2), (1, 62), (2**20, 0), (2**20, 62), (2**20, 31), (2**20, 32)]
        cases += [usual(name, FAR, centred)._replace(ratios=(int64([m]), int64([e]))) for m, e in ends]
    if name == "pulp":
        cases += [usual(name, FAR, centred, shift=shift) for shift in (0, 1, 30, 31)]
    if name == "tflite":
        wide = int32([[-32767, 32767, 0, 5]])
        cases += [usual(name, FAR, centred, variance_limit=limit) for limit in (2, 2**31 - 1)]
        cases += [usual(name, FAR, centred, shift=shift) for shift in (30, 31, 32, 33, 34, 35, 62)]
        cases += [usual(name, x, centred) for x in (wide, wide[:, :3].copy())]
    return cases


OCCURRING = {
    "ibert": (Counter.SATURATION, *TIES, Counter.DENOMINATOR_CLAMP),
    "pulp": (Counter.SATURATION,),
    "tflite": (Counter.SATURATION, *TIES, Counter.DENOMINATOR_CLAMP),
}


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("name", KERNELS)
def test_norm(name: str, centred: bool) -> None:
    seen = explore(check_norm, lambda bits: CASES[name](bits, centred), pinned(name, centred), examples=16)
    assert_occurred(seen, *OCCURRING[name])


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("name", KERNELS)
def test_every_pair_of_small_codes(name: str, centred: bool) -> None:
    """Rows of two codes of 5 bits beside 3 and -7: means and variances of every remainder."""
    pairs = thin([(a, b) for a in range(-16, 16) for b in range(-16, 16)])
    check_norm(*usual(name, int32([[a, b, 3, -7] for a, b in pairs]), centred))


def rms(bits: int) -> st.SearchStrategy[tuple[Any, ...]]:
    """Arguments of a LayerNorm of few keys, and a zero point: so V stays below 2^52."""
    return st.tuples(layernorms(bits), st.integers(-(2**15), 2**15)).map(
        lambda drawn: (*drawn[0], drawn[1] if np.abs(drawn[0].x).max(initial=0) < 2**14 else 0)
    )


def test_rms_of_fullyqt() -> None:
    cases = [(*NORM, zero) for zero in (0, 5, -128)] + [(*NORM._replace(x=SPREAD), zero) for zero in (1, 127)]
    cases += [(*NORM._replace(x=x, constants=HALVES), 0) for x in (SPREAD, -SPREAD)]
    empty = NORM.constants._replace(eps=0)
    cases += [(*NORM._replace(constants=empty), -128), (*NORM._replace(x=FLAT, constants=empty), 0)]
    seen = explore(check_layernorm, rms, cases)
    assert_occurred(seen, Counter.SATURATION, *TIES, Counter.DENOMINATOR_CLAMP)


# Laws


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_laws(name: str, data: st.DataObject) -> None:
    """Codes and zero point may move together, and columns may be permuted."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    case = usual(name, rng.integers(-64, 64, (3, 7)).astype(np.int32), data.draw(st.booleans()))
    step, order, tally = data.draw(st.integers(-64, 64)), rng.permutation(7), half_full()
    result = run(case, tally)
    moved = case._replace(x=case.x + np.int32(step), numbers=case.numbers | {"zero": step})
    permuted = case._replace(x=case.x[:, order].copy(), gamma=case.gamma[order], bias=case.bias[order])
    for other, back in ((moved, slice(None)), (permuted, np.argsort(order))):
        other_tally = half_full()
        assert np.array_equal(run(other, other_tally)[:, back], result)
        assert np.array_equal(other_tally, tally)


@pytest.mark.parametrize("name", KERNELS)
def test_a_constant_row_is_its_bias(name: str) -> None:
    case = usual(name, FLAT)
    empty = case._replace(gamma=np.zeros_like(case.gamma))
    assert np.array_equal(run(case, half_full()), run(empty, half_full()))


# Refusals

WRONG: list[tuple[str, Numbers, str]] = [
    ("ibert", {"variance_shift": 32}, "variance_shift is 32; allowed: 0 to 31"),
    ("ibert", {"variance_shift": -1}, "variance_shift is -1; allowed: 0 to 31"),
    ("pulp", {"shift": 32}, "shift is 32; allowed: 0 to 31"),
    ("tflite", {"variance_limit": 0}, "variance_limit is 0; allowed: 1 to 2147483647"),
    ("tflite", {"variance_limit": 2**31}, "variance_limit is 2147483648; allowed: 1 to 2147483647"),
    ("tflite", {"multiplier": 2**30 - 1}, "multiplier is 1073741823; allowed: 1073741824 to 2147483647"),
    ("tflite", {"multiplier": 2**31}, "multiplier is 2147483648; allowed: 1073741824 to 2147483647"),
    ("tflite", {"shift": 63}, "shift is 63; allowed: 0 to 62"),
    ("tflite", {"shift": 0}, "; allowed: .*[01]$"),
    ("pulp", {"zero": 2**16}, "zero is 65536; allowed: -32768 to 65535"),
]


@pytest.mark.parametrize(("name", "changes", "message"), WRONG)
def test_refuses_numbers(name: str, changes: Numbers, message: str) -> None:
    run(usual(name, FAR), half_full())
    tally = half_full()
    with pytest.raises(ValueError, match=message):
        run(usual(name, FAR, **changes), tally)
    assert np.array_equal(tally, half_full())


ARRAYS: list[tuple[str, dict[str, Any], str]] = [
    ("ibert", {"gamma": int32([0, 1, 2, 0, 0])}, "gamma is 2; allowed: -1 to 1"),
    ("ibert", {"ratios": (int64([2**31]), int64([1]))}, "multiplier is 2147483648; allowed: 1 to 2147483647"),
    ("ibert", {"ratios": (int64([1]), int64([63]))}, "shift is 63; allowed: 0 to 62"),
    ("ibert", {"ratios": (int64([1, 1]), int64([1]))}, "multiplier has 2 elements; allowed: 1 or 5"),
    ("ibert", {"x": int32([[-32768, 65535, 65535, -32768, 0]])}, f"V of a row is .*; allowed: 0 to {2**32 - 1}"),
    ("ibert", {"bias": int64([2**62] * 5)}, r"allowed: .* below 2\^63"),
    ("ibert", {"bias": int64([2**62 + 1] * 5)}, f"bias is {2**62 + 1}; allowed: -{2**62} to {2**62}"),
    ("tflite", {"gamma": int32([2**15] * 5)}, "gamma is 32768; allowed: -32768 to 32767"),
    ("pulp", {"bias": int64([1])}, r"bias has shape \(1,\); allowed: \(5,\)"),
    ("pulp", {"x": int32([[2**16] * 5])}, "x is 65536; allowed: -32768 to 65535"),
    ("pulp", {"x": np.zeros((2, 0), np.int32), "gamma": int32([]), "bias": int64([])}, "at least one element"),
    ("pulp", {"output": IntFormat(bits=17)}, "allowed: codes of at most 16 bits"),
    ("tflite", {"gamma": int32([-(2**15) - 1] * 5)}, "gamma is -32769; allowed: -32768 to 32767"),
    ("tflite", {"x": int32([[-32768, 65535, 65535, 0, 0]])}, f"; allowed: 0 to {2**50}"),
    ("tflite", {"bias": int64([2**41] * 5)}, r"; allowed: acc \* 2\^max.* 2\^31 - 1"),
]


@pytest.mark.parametrize(("name", "changes", "message"), ARRAYS)
def test_refuses_arrays(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(usual(name, FAR)._replace(**changes), half_full())
