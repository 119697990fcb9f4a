"""The counting kernels are the operators: results of the oracle of the numerics, counts of the tables of the page."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracle
from tests.oracle.accelerator import kernels, layernorms, softmaxes
from tests.oracle.accelerator.kernels import Addend, Operand, Table
from tests.oracle.accelerator.unit import Event, Format, Ratio, Unit

SETTINGS = settings(deadline=None, max_examples=60)
INT8, INT16, UINT8 = Format(0, -128, 127), Format(0, -(2**15), 2**15 - 1), Format(0, 0, 255)
SCHEMES = {"q31_double": 31, "q31_double_half_up": 31, "q31_single": 31, "q15": 15, "dyadic": 16, "narrow_after": 8}
SCHEMES |= {"narrow_before": 16, "nvdla": 15, "float32": 24, "float32_inside": 24, "shift": 0}
CODES = st.integers(-128, 127)
ROWS = st.lists(st.tuples(CODES, st.sampled_from([True, True, True, False])), min_size=1, max_size=9)


def matrices(rows: int, cols: int) -> st.SearchStrategy[list[list[int]]]:
    return st.lists(st.lists(CODES, min_size=cols, max_size=cols), min_size=rows, max_size=rows)


def by_component(unit: Unit) -> dict[str, int]:
    made: Counter[str] = Counter()
    for (component, _, _), count in unit.counts.items():
        made[component] += count
    return dict(+made)


def expect(unit: Unit, elements: int, each: dict[str, int], row: dict[str, int] | None = None) -> None:
    """Counts of a row: so many of each element, and of the row."""
    expected = Counter({name: count * elements for name, count in each.items()})
    expected.update(row or {})
    assert by_component(unit) == dict(+expected)


@SETTINGS
@given(st.data())
def test_a_product_is_2_and_counts_its_zero_points(data) -> None:
    m, k, n = (data.draw(st.integers(1, 5)) for _ in range(3))
    za, zb = (data.draw(st.sampled_from([0, 0, 3, -5])) for _ in range(2))
    a, b = data.draw(matrices(m, k)), data.draw(matrices(n, k))
    bias = data.draw(st.none() | st.lists(CODES, min_size=n, max_size=n))
    constant, unit = data.draw(st.booleans()), Unit()
    made = kernels.matmul(unit, Operand(a, 8, za), Operand(b, 4, zb, constant), bias, 32)
    assert made == oracle.matmul(a, b, bias, za, zb, 32, "proven")[0]
    assert unit.counts["mac_multiply", 8, 4] == unit.counts["mac_add", 32, 0] == m * k * n
    counts = Counter(by_component(unit))
    assert counts["bias_add"] == (m * n if bias else 0)
    of_a, of_b = za != 0, zb != 0
    adds = of_a * m * n + of_a * (not constant) * k * n + of_b * (m * k + m * n) + of_a * of_b * m
    assert counts["zero_point_add"] == adds
    assert counts["zero_point_multiply"] == of_a * (not constant) * n + of_b * m


@SETTINGS
@given(st.data())
def test_zero_macs_are_those_of_12(data) -> None:
    m, k, n = (data.draw(st.integers(1, 5)) for _ in range(3))
    za, zb, few = data.draw(st.integers(-1, 1)), data.draw(st.integers(-1, 1)), st.integers(-1, 1)
    a = [[data.draw(few) for _ in range(k)] for _ in range(m)]
    b = [[data.draw(few) for _ in range(k)] for _ in range(n)]
    unit = Unit()
    made = kernels.matmul(unit, Operand(a, 8, za), Operand(b, 8, zb, True), None, gating=True)
    assert made == oracle.matmul(a, b, None, za, zb, 32, "proven")[0]
    z = [sum(row[i] == za for row in a) for i in range(k)]
    y = [sum(row[i] == zb for row in b) for i in range(k)]
    zero = sum(z[i] * n + (m - z[i]) * y[i] for i in range(k))
    assert unit.counts["mac_gated", 8, 8] == zero
    assert unit.counts["mac_multiply", 8, 8] == unit.counts["mac_add", 32, 0] == m * k * n - zero


def ratio_of(scheme: str, rng: random.Random) -> Ratio:
    width = SCHEMES[scheme]
    m = rng.randrange(1 << (width - 1), 1 << width) if width else 1
    return Ratio(scheme, m, rng.randrange(width + 3, width + 12), width, rng.choice(["half_up", "half_away", "floor"]))


def plain(ratio: Ratio) -> oracle.Ratio:
    return oracle.Ratio(ratio.scheme, ratio.m, ratio.e, ratio.rounding)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("zero", [0, -7])
def test_requantizations_are_r1(scheme: str, zero: int) -> None:
    rng = random.Random(f"{scheme} {zero}")
    acc = [[rng.randrange(-(2**15), 2**15) for _ in range(3)] for _ in range(20)]
    ratios, unit = [ratio_of(scheme, rng) for _ in range(3)], Unit()
    made = kernels.requantize(unit, acc, ratios, 32, Format(zero, -128, 127))
    assert made == oracle.requantize_by(acc, [plain(ratio) for ratio in ratios], zero, -128, 127)[0]
    each = {"requantize_multiply": int(scheme != "shift"), "requantize_shift": 1, "clamp": 1}
    expect(unit, 60, each | {"requantize_add": 1 + (zero != 0)})
    bits = SCHEMES[scheme]
    assert scheme == "shift" or unit.counts["requantize_multiply", 32, bits] == 60
    assert unit.counts["requantize_shift", 32 + bits, 0] == 60


@SETTINGS
@given(
    matrices(3, 4), st.integers(0, 9), st.sampled_from(["half_even", "half_up", "half_away", "floor", "toward_zero"])
)
def test_shifts_and_relu_are_3_and_6(acc, e, rounding) -> None:
    unit = Unit()
    assert kernels.shift_right(unit, acc, e, rounding, (32, 32)) == oracle.shift_right(acc, e, rounding)
    assert kernels.relu(unit, acc) == oracle.relu(acc)
    expect(unit, 12, {"requantize_shift": 1, "requantize_add": 1, "compare": 1})


@SETTINGS
@given(st.lists(CODES, max_size=9))
def test_a_table_is_read_once_an_element(x) -> None:
    unit, table = Unit(), [i * i % 251 for i in range(256)]
    assert kernels.table_lookup(unit, x, table, -128) == oracle.table_lookup(x, table, -128)
    expect(unit, len(x), {"table_read": 1})


@SETTINGS
@given(st.lists(st.tuples(CODES, CODES), min_size=1, max_size=9), st.sampled_from([(0, 0), (3, 0), (-4, 9)]))
def test_residual_sums_are_7_and_r10(pairs, zeros) -> None:
    x, y = ([pair[i] for pair in pairs] for i in range(2))
    a, b, result = Ratio("dyadic", 40000, 17, 16), Ratio("dyadic", 50001, 17, 16), Format(zeros[1], -128, 127)
    operands = [Addend(codes, 8, zero, ratio) for codes, zero, ratio in zip((x, y), zeros, (a, b), strict=True)]
    each = {"zero_point_add": sum(zero != 0 for zero in zeros), "vector_add": 1, "clamp": 1}
    z = int(zeros[1] != 0)
    unit = Unit()
    assert kernels.add(unit, *operands, 17, result) == oracle.add(x, y, *zeros, a.m, b.m, 17, *result)
    one = {"requantize_multiply": 2, "requantize_shift": 1, "requantize_add": 1 + z}
    expect(unit, len(pairs), each | one)
    for output in (None, Ratio("dyadic", 33000, 20, 16)):
        unit, own = Unit(), 0 if output is None else 1
        made = kernels.rescaled_add(unit, *operands, 4, output, result)
        given_output = output and plain(output)
        assert made == oracle.rescaled_add(x, y, zeros, (plain(a), plain(b)), 4, given_output, *result)[0]
        few = {"requantize_multiply": 2 + own, "requantize_shift": 2 + own, "requantize_add": 2 + own + z}
        expect(unit, len(pairs), each | few)
        assert unit.counts["requantize_multiply", 12, 16] == 2 * len(pairs)


@SETTINGS
@given(matrices(4, 3), matrices(6, 3), st.lists(st.integers(0, 3), max_size=4), st.integers(0, 2), st.integers(-3, 3))
def test_an_embedding_is_8(words, places, ids, first, zero) -> None:
    unit, ms, result = Unit(), [40000, 50001, 65535, 3], Format(zero, -128, 127)
    made = kernels.embed(unit, ids, first, Table(words, 8, ms), Table(places, 6, [30000]), 17, result)
    assert made == oracle.embed(ids, first, words, ms, places, 30000, 17, *result)
    each = {"requantize_multiply": 2, "vector_add": 1, "requantize_shift": 1, "requantize_add": 1 + (zero != 0)}
    expect(unit, 3 * len(ids), each | {"clamp": 1})


# --- softmaxes: what is made of a row, and what of each element and of the row ----------------------------------------

ONE = {"requantize_multiply": 1, "requantize_shift": 1, "requantize_add": 1, "clamp": 1}
QUOTIENT = {"requantize_multiply": 1, "divide": 1, "clamp": 1}
Row = tuple[list[int], list[bool]]


def table_softmax(unit: Unit | None, x: list[int], allowed: list[bool]) -> list[int]:
    table = [255 * 9 // (9 + d * d) for d in range(256)]
    if unit is None:
        return oracle.softmax(x, allowed, table, 41000, 18, 255, 60000, 9, 255).output
    return softmaxes.softmax(unit, x, allowed, 8, table, (Ratio("dyadic", 41000, 18, 16), 255), (60000, 9, 255))


def gemmlowp(unit: Unit | None, x: list[int], allowed: list[bool]) -> list[int]:
    q, left = oracle.gemmlowp_constants(0.05)
    if unit is None:
        return oracle.gemmlowp_softmax(x, allowed, q, left, 8).output
    return softmaxes.gemmlowp_softmax(unit, x, allowed, 8, q, left, 8)


def ibert(unit: Unit | None, x: list[int], allowed: list[bool]) -> list[int]:
    polynomial = oracle.ibert_constants(0.05)
    m, e = oracle.ibert_16_bit(polynomial.c)
    if unit is None:
        return oracle.ibert_softmax(x, allowed, polynomial, m, e, 8).output
    return softmaxes.ibert_softmax(unit, x, allowed, 8, polynomial, Ratio("dyadic", m, e, 16), 8)


def itamax(unit: Unit | None, x: list[int], allowed: list[bool]) -> list[int]:
    group = len(x) % 4
    if unit is None:
        return oracle.itamax(x, allowed, 3, group, 8).output
    return softmaxes.itamax(unit, x, allowed, 8, 3, group, 8)


def gemmini(unit: Unit | None, x: list[int], allowed: list[bool]) -> list[int]:
    polynomial = oracle.gemmini_constants(0.05)
    if unit is None:
        return oracle.gemmini_softmax(x, allowed, polynomial, 8).output
    return softmaxes.gemmini_softmax(unit, x, allowed, 8, polynomial, 8)


def pulp(unit: Unit | None, x: list[int], allowed: list[bool]) -> list[int]:
    if unit is None:
        return oracle.pulp_softmax(x, allowed, (13, 27, 384), 8).output
    return softmaxes.pulp_softmax(unit, x, allowed, 8, (13, 27, 384), 8)


def qlinear(unit: Unit | None, x: list[int], allowed: list[bool]) -> list[int]:
    table = oracle.qlinear_table(0.05, 8, 64)
    if unit is None:
        return oracle.qlinear_softmax(x, allowed, table, 256, 8).output
    return softmaxes.qlinear_softmax(unit, x, allowed, 8, table, 256, 8)


SHAPE = {"compare": 1, "vector_multiply": 3, "vector_add": 5}
SOFTMAXES: dict[str, tuple[Callable[[Unit | None, list[int], list[bool]], list[int]], dict, dict, dict[Event, int]]] = {
    "table": (
        table_softmax,
        {"compare": 1, "vector_add": 2, "table_read": 1} | QUOTIENT,
        {**ONE, "compare": 1, "requantize_shift": 2},
        {("vector_add", 8, 0): 1, ("vector_add", 32, 0): 1},
    ),
    "gemmlowp": (
        gemmlowp,
        {"compare": 1, "vector_multiply": 14, "vector_add": 7, "requantize_shift": 1, "requantize_add": 2, "clamp": 1},
        {"vector_multiply": 7, "vector_add": 8},
        {("vector_add", 8, 0): 1},
    ),
    "ibert": (
        ibert,
        {"compare": 1, "vector_multiply": 3, "vector_add": 5, "divide": 1, "clamp": 1}
        | {"requantize_multiply": 1, "requantize_shift": 3, "requantize_add": 1},
        {"divide": 1},
        {("requantize_multiply", 62, 16): 1, ("vector_multiply", 16, 32): 1, ("requantize_shift", 64, 0): 1},
    ),
    "itamax": (
        itamax,
        {"compare": 1, "vector_add": 3, "requantize_shift": 2, "clamp": 1},
        {"divide": 1},
        {("vector_add", 8, 0): 2, ("vector_add", 32, 0): 1},
    ),
    "gemmini": (
        gemmini,
        SHAPE | {"requantize_multiply": 1, "requantize_shift": 2, "requantize_add": 1, "clamp": 1},
        {"divide": 1},
        {("requantize_multiply", 32, 24): 1},
    ),
    "pulp": (
        pulp,
        *(SHAPE | {"divide": 2, "requantize_shift": 1}, {}, {("vector_multiply", 32, 8): 1}),
    ),
    "qlinear": (
        qlinear,
        {"compare": 1, "vector_add": 2, "table_read": 1, "vector_multiply": 1, "divide": 1}
        | {"requantize_add": 1, "clamp": 1},
        {},
        {("vector_add", 8, 0): 1, ("vector_add", 24, 0): 1, ("vector_multiply", 24, 8): 1, ("divide", 24, 0): 1},
    ),
}


@pytest.mark.parametrize("name", SOFTMAXES)
def test_softmaxes(name: str) -> None:
    kernel, each, row, widths = SOFTMAXES[name]

    @SETTINGS
    @given(ROWS)
    def check(keys: list[tuple[int, bool]]) -> None:
        x, allowed = [code for code, _ in keys], [keep for _, keep in keys]
        unit = Unit()
        assert kernel(unit, x, allowed) == kernel(None, x, allowed)
        expect(unit, len(x), each, row)
        assert all(unit.counts[event] == count * len(x) for event, count in widths.items())

    check()


# --- LayerNorms -------------------------------------------------------------------------------------------------------


def fullyqt(unit: Unit | None, x: list[int], gamma: list[int], beta: list[int], result: Format) -> list[int]:
    m = [(41000, 18), (50000, 19), (60000, 11), (45000, 22)]
    if unit is None:
        return oracle.layernorm(
            x, 7, *m[0], -128, 127, *m[1], 255, *m[2], -128, 127, gamma, beta, *m[3], *result
        ).output
    ratios = tuple(Ratio("dyadic", *one, 16) for one in m)
    return layernorms.layernorm(unit, x, 8, 7, ratios, (INT8, 255, INT8), (gamma, beta), result)


def ibert_norm(unit: Unit | None, x: list[int], gamma: list[int], beta: list[int], result: Format) -> list[int]:
    signs, t, ms = [min(max(g, -1), 1) for g in gamma], len(x) % 3, [(40000 + j, 44) for j in range(len(x))]
    if unit is None:
        return oracle.ibert_layernorm(x, 5, True, t, signs, beta, ms, oracle.Result(*result)).output
    return layernorms.ibert_layernorm(unit, x, 5, t, (signs, beta), [Ratio("dyadic", *r, 16) for r in ms], result)


def pulp(unit: Unit | None, x: list[int], gamma: list[int], beta: list[int], result: Format) -> list[int]:
    if unit is None:
        return oracle.pulp_layernorm(x, -3, True, gamma, beta, 2, oracle.Result(*result)).output
    return layernorms.pulp_layernorm(unit, x, -3, (gamma, beta), 2, result)


def tflite(unit: Unit | None, x: list[int], gamma: list[int], beta: list[int], result: Format) -> list[int]:
    if unit is None:
        return oracle.tflite_layernorm(x, 2, True, gamma, beta, 9, (2**30 + 5, 33), oracle.Result(*result)).output
    return layernorms.tflite_layernorm(unit, x, 2, (gamma, beta), 9, Ratio("q31_double", 2**30 + 5, 33, 31), result)


TWICE = {name: 2 * count for name, count in ONE.items()}
NORMS: dict[str, tuple[Callable[..., list[int]], dict[str, int], dict[str, int], dict[Event, int]]] = {
    "fullyqt": (
        fullyqt,
        TWICE
        | {"requantize_multiply": 3, "divide": 1, "clamp": 3, "vector_add": 3, "vector_multiply": 3, "bias_add": 1},
        ONE | {"requantize_shift": 2, "vector_multiply": 2, "vector_add": 2, "square_root": 1, "compare": 1},
        {("vector_multiply", 16, 8): 1, ("requantize_multiply", 32, 16): 2},
    ),
    "ibert": (
        ibert_norm,
        {**ONE, "vector_multiply": 2, "vector_add": 3, "bias_add": 1},
        {"divide": 2, "square_root": 1},
        {("requantize_multiply", 64, 16): 1, ("vector_add", 64, 0): 1},
    ),
    "pulp": (
        pulp,
        {"vector_multiply": 2, "vector_add": 3, "divide": 1, "bias_add": 1, "requantize_shift": 1, "clamp": 1},
        {"divide": 2, "vector_add": 1, "square_root": 1},
        {("vector_add", 64, 0): 1},
    ),
    "tflite": (
        tflite,
        {**ONE, "vector_multiply": 3, "vector_add": 3, "bias_add": 1, "requantize_shift": 3, "requantize_add": 3},
        {"divide": 1, "vector_multiply": 23, "vector_add": 6},
        {("requantize_multiply", 32, 31): 1},
    ),
}


@pytest.mark.parametrize("zero", [0, 11])
@pytest.mark.parametrize("name", NORMS)
def test_layernorms(name: str, zero: int) -> None:
    kernel, each, row, widths = NORMS[name]
    result = Format(zero, -128, 127)

    @SETTINGS
    @given(st.lists(st.tuples(CODES, CODES, CODES), min_size=1, max_size=9))
    def check(columns: list[tuple[int, int, int]]) -> None:
        x, gamma, beta = ([column[i] for column in columns] for i in range(3))
        unit = Unit()
        assert kernel(unit, x, gamma, beta, result) == kernel(None, x, gamma, beta, result)
        expect(unit, len(x), each | {"requantize_add": each.get("requantize_add", 0) + (zero != 0)}, row)
        assert all(unit.counts[event] >= count * len(x) for event, count in widths.items())

    check()
