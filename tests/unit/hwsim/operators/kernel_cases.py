"""Random arguments of the kernels: formats of 2 to 16 bits, ratios that fit them, arrays and shapes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwsim.formats import IntFormat
from hwsim.operators.layernorm import LayerNormConstants
from tests.unit.hwsim.operators.kernel_checks import Integers, int64

Draw = Callable[..., Any]
Ratio = tuple[int, int]

EDGE_SHIFTS = (0, 1, 31, 32, 61, 62)


class Requantize(NamedTuple):
    """Arguments of `check_requantize`, and so on for the others."""

    acc: Integers
    multiplier: Integers
    shift: Integers
    zero: int
    output: IntFormat


class Add(NamedTuple):
    a: Integers
    b: Integers
    zeros: tuple[int, int]
    multipliers: tuple[int, int]
    shift: int
    zero: int
    output: IntFormat


class Embed(NamedTuple):
    ids: Integers
    first: int
    table: Integers
    multipliers: Integers
    positions: Integers
    position_multiplier: int
    shift: int
    zero: int
    output: IntFormat


class Product(NamedTuple):
    a: Integers
    b: Integers
    bias: Integers | None
    zeros: tuple[int, int]


class Softmax(NamedTuple):
    scores: Integers
    allowed: NDArray[np.bool_]
    table: Integers
    denominator_ratio: Ratio
    denominator: IntFormat
    output_ratio: Ratio
    output: IntFormat


class LayerNorm(NamedTuple):
    x: Integers
    gamma: Integers
    beta: Integers
    constants: LayerNormConstants


GENERAL = st.integers(1, 2**16 - 1)
SIMPLE = st.builds(lambda odd, zeros: odd << zeros, st.sampled_from([1, 3]), st.integers(0, 14))
"""Multipliers with at most 2 significant bits."""
KINDS = st.sampled_from([SIMPLE, GENERAL, GENERAL])
"""The multipliers of one rounding: a third of the roundings has simple ones only, or ties would hardly occur."""


@st.composite
def ratios(draw: Draw, gain: int, multipliers: st.SearchStrategy[int] | None = None) -> Ratio:
    """A multiplier and a shift: a ratio of about 2^gain, or any, or one after whose product ties are likely."""
    multipliers = draw(KINDS) if multipliers is None else multipliers
    m = draw(multipliers)
    choice = draw(st.integers(0, 5))
    if choice == 0:
        return m, draw(st.sampled_from(EDGE_SHIFTS) | st.integers(0, 62))
    if choice == 1 or multipliers is GENERAL:
        return m, min(max(m.bit_length() - gain + draw(st.integers(-2, 2)), 0), 62)
    return m, (m & -m).bit_length() + draw(st.integers(0, 1))


@st.composite
def formats(draw: Draw, bits: int | None = None, signed: bool | None = None, most: int = 16) -> IntFormat:
    """A format of 2 to `most` bits; what is given stands."""
    width = draw(st.integers(2, most)) if bits is None else bits
    sign = draw(st.booleans()) if signed is None else signed
    return IntFormat(bits=width, signed=sign, narrow=draw(st.booleans()))


def zero_points(form: IntFormat) -> st.SearchStrategy[int]:
    return st.integers(form.min, form.max)


@st.composite
def arrays(draw: Draw, shape: tuple[int, ...], lo: int, hi: int, dtype: type = np.int32) -> Integers:
    """Uniform numbers of [lo, hi], small ones, its ends mixed, or one end everywhere."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["uniform", "uniform", "small", "ends", "low", "high"]))
    if kind == "small":
        lo, hi = max(lo, min(hi, -7)), min(hi, max(lo, 7))
    if kind in ("uniform", "small"):
        return rng.integers(lo, hi, shape, np.int64, endpoint=True).astype(dtype)
    high = {"ends": rng.random(shape) < 0.5, "low": np.zeros(shape, bool), "high": np.ones(shape, bool)}[kind]
    return np.where(high, np.int64(hi), np.int64(lo)).astype(dtype)


def codes(shape: tuple[int, ...], form: IntFormat) -> st.SearchStrategy[Integers]:
    return arrays(shape, form.min, form.max)


def shapes(*most: int, least: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*(st.integers(least, size) for size in most))


@st.composite
def requantizations(draw: Draw, bits: int) -> Requantize:
    """Accumulators of 2 to 46 bits to codes of `bits` bits."""
    acc_bits, output = draw(st.integers(2, 46)), draw(formats(bits))
    rows, channels = draw(shapes(5, 4, least=1))
    dtype = draw(st.sampled_from([np.int32, np.int64])) if acc_bits <= 32 else np.int64
    acc = draw(arrays((rows, channels), -(1 << (acc_bits - 1)), (1 << (acc_bits - 1)) - 1, dtype))
    one_each = [draw(ratios(bits - acc_bits)) for _ in range(draw(st.sampled_from([1, channels])))]
    m, e = (int64(column) for column in zip(*one_each, strict=True))
    return Requantize(acc, m, e, draw(zero_points(output)), output)


@st.composite
def additions(draw: Draw, bits: int) -> Add:
    """A sum of `bits` bits."""
    a, b, output = draw(formats()), draw(formats()), draw(formats(bits))
    shape = draw(shapes(3, 6))
    multipliers = draw(KINDS)
    m, e = draw(ratios(output.bits - max(a.bits, b.bits), multipliers))
    zeros = draw(zero_points(a)), draw(zero_points(b))
    numbers = zeros, (m, draw(multipliers)), e, draw(zero_points(output))
    return Add(draw(codes(shape, a)), draw(codes(shape, b)), *numbers, output)


@st.composite
def embeddings(draw: Draw, bits: int) -> Embed:
    """A sum of `bits` bits."""
    word, place, output = draw(formats(signed=True)), draw(formats(signed=True)), draw(formats(bits))
    (batch, n, first, spare), (vocabulary, width) = draw(shapes(3, 4, 3, 2)), draw(shapes(5, 4, least=1))
    ids = draw(arrays((batch, n), 0, vocabulary - 1, np.int64))
    multipliers = draw(KINDS)
    m, e = draw(ratios(output.bits - max(word.bits, place.bits), multipliers))
    ms = int64([draw(multipliers) for _ in range(draw(st.sampled_from([1, vocabulary])))])
    tables = draw(codes((vocabulary, width), word)), ms, draw(codes((first + n + spare, width), place))
    return Embed(ids, first, *tables, m, e, draw(zero_points(output)), output)


@st.composite
def products(draw: Draw, bits: int) -> Product:
    """A first operand of `bits` bits; sizes around the tiles and vectors of the engines; b batched or shared."""
    a, b = draw(formats(bits)), draw(formats())
    (m, n), k = draw(shapes(5, 9)), draw(st.integers(0, 5) | st.integers(6, 70))
    lead = draw(st.sampled_from([(), (1,), (2,), (0,)]))
    rows = draw(codes((*lead, m, k), a))
    columns = draw(codes((*draw(st.sampled_from([(), lead])), n, k), b))
    largest = 1 << draw(st.integers(0, 24))
    bias = draw(st.none() | arrays((n,), -largest, largest, np.int64))
    return Product(rows, columns, bias, (draw(zero_points(a)), draw(zero_points(b))))


@st.composite
def softmaxes(draw: Draw, bits: int) -> Softmax:
    """Scores of at most 12 bits to an output of `bits` bits."""
    scores, (rows, n) = draw(formats(most=12)), draw(shapes(4, 9))
    numerator, denominator, output = (draw(formats(width, signed=False)) for width in (None, None, bits))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    decay = 2.0 ** -draw(st.sampled_from([0, 4, scores.bits]))  # some tables fall at once, some hardly
    table = (rng.random(1 << scores.bits) ** (1 / (decay * (1 << scores.bits))) * numerator.max).astype(np.int32)
    table = np.append(np.int32(numerator.max), np.sort(table)[:0:-1])
    allowed = rng.random((rows, n)) < draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    denominator_ratio = draw(ratios(denominator.bits - numerator.bits - n.bit_length()))
    output_ratio = draw(ratios(output.bits + denominator.bits - numerator.bits))
    rest = denominator_ratio, denominator, output_ratio, output
    return Softmax(draw(codes((rows, n), scores)), allowed, table, *rest)


@st.composite
def layernorms(draw: Draw, bits: int) -> LayerNorm:
    """Rows of at most 12 codes (of 16 bits more could carry V to 2^52) to an output of `bits` bits."""
    residual, gamma, output = draw(formats()), draw(formats(signed=True)), draw(formats(bits))
    numerator, quotient = draw(formats(signed=True)), draw(formats(signed=True))
    denominator = draw(formats(signed=False))
    rows, n = draw(st.integers(0, 3)), draw(st.integers(1, 12))
    spread, affine = residual.bits + n.bit_length(), quotient.bits + gamma.bits
    constants = LayerNormConstants(
        draw(st.sampled_from([0, 0, 1, 2**20, 2**50]) | st.integers(0, 2**30)),
        *(*draw(ratios(numerator.bits - spread)), numerator),
        *(*draw(ratios(denominator.bits - spread)), denominator),
        *(*draw(ratios(quotient.bits + denominator.bits - numerator.bits - 2)), quotient),
        *(*draw(ratios(output.bits - affine)), draw(zero_points(output)), output),
    )
    beta = draw(arrays((n,), -(1 << affine), 1 << affine, np.int64))
    return LayerNorm(draw(codes((rows, n), residual)), draw(codes((n,), gamma)), beta, constants)
