"""What the kernels refuse, the shapes and dtypes they return, and the laws that need no second implementation."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwsim.arithmetic.fixedpoint import half_even_divide, half_even_shift, isqrt, wrap
from hwsim.formats import Accumulator, Counter, IntFormat, Overflow
from hwsim.operators.activation import relu
from hwsim.operators.embedding import embed
from hwsim.operators.gemm import matmul, prepare
from hwsim.operators.layernorm import LayerNormCodes, LayerNormConstants, layernorm
from hwsim.operators.requantize import requantize, shift_right
from hwsim.operators.residual import add
from hwsim.operators.softmax import SoftmaxCodes, softmax

INT8, UINT8, UINT16 = IntFormat(bits=8), IntFormat(bits=8, signed=False), IntFormat(bits=16, signed=False)
INT12 = IntFormat(bits=12)
CONSTANTS = LayerNormConstants(
    eps=5,
    numerator_multiplier=1000,
    numerator_shift=10,
    numerator=INT12,
    denominator_multiplier=1000,
    denominator_shift=10,
    denominator=UINT16,
    quotient_multiplier=32,
    quotient_shift=0,
    quotient=INT8,
    output_multiplier=300,
    output_shift=14,
    output_zero_point=3,
    output=INT8,
)
SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None)


def counters() -> NDArray[np.int64]:
    return np.zeros(len(Counter), np.int64)


def codes(rng: np.random.Generator, *shape: int, lo: int = -128, hi: int = 127) -> NDArray[np.int32]:
    return rng.integers(lo, hi + 1, shape).astype(np.int32)


def zeros(*shape: int) -> NDArray[np.int32]:
    return np.zeros(shape, np.int32)


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def run_requantize(**changes: Any) -> NDArray[np.int32]:
    arguments = {"acc": zeros(2, 3), "multiplier": ints(1), "shift": ints(0), "zero_point": 0, "output": INT8}
    return requantize(**{**arguments, "counters": counters(), **changes})


def run_matmul(**changes: Any) -> NDArray[Any]:
    arguments = {"a": zeros(2, 3), "b": zeros(4, 3), "bias": None, "accumulator": Accumulator()}
    return matmul(**{**arguments, "counters": counters(), **changes})


def run_softmax(**changes: Any) -> SoftmaxCodes:
    arguments = {
        "scores": zeros(2, 3),
        "allowed": np.ones((2, 3), np.bool_),
        "table": np.arange(255, -1, -1, dtype=np.int32),
        "denominator_multiplier": 3,
        "denominator_shift": 2,
        "denominator": UINT16,
        "output_multiplier": 191,
        "output_shift": 0,
        "output": UINT8,
    }
    return softmax(**{**arguments, "counters": counters(), **changes})


def run_layernorm(**changes: Any) -> LayerNormCodes:
    arguments = {"x": zeros(2, 3), "gamma": zeros(3), "beta": np.zeros(3, np.int64), "constants": CONSTANTS}
    return layernorm(**{**arguments, "counters": counters(), **changes})


def run_add(**changes: Any) -> NDArray[np.int32]:
    numbers = {"a_zero": 0, "b_zero": 0, "a_multiplier": 1, "b_multiplier": 1, "shift": 0, "zero_point": 0}
    arguments = {"a": zeros(2, 3), "b": zeros(2, 3), **numbers, "output": INT8, "counters": counters()}
    return add(**{**arguments, **changes})


def run_embed(**changes: Any) -> NDArray[np.int32]:
    numbers = {"first_position": 0, "position_multiplier": 1, "shift": 0, "zero_point": 0}
    tables = {"table": zeros(7, 5), "multipliers": ints(1), "positions": zeros(4, 5)}
    arguments = {"ids": np.zeros((2, 3), np.int64), **tables, **numbers, "output": INT8, "counters": counters()}
    return embed(**{**arguments, **changes})


REFUSALS = [
    (run_requantize, {"acc": np.zeros((2, 3), np.int16)}, "acc is of int16; allowed: int32 or int64"),
    (run_requantize, {"acc": np.zeros((2, 3))}, "acc is of float64"),
    (run_requantize, {"acc": [[1, 2]]}, "acc is of list"),
    (run_requantize, {"acc": zeros(4, 6)[:, ::2]}, "C-contiguous"),
    (run_requantize, {"acc": np.int32(3).reshape(())}, "no dimensions"),
    (run_requantize, {"multiplier": ints(1, 1)}, "multiplier has 2 elements; allowed: 1 or 3"),
    (run_requantize, {"multiplier": ints(0)}, f"multiplier is 0; allowed: 1 to {(1 << 31) - 1}"),
    (run_requantize, {"multiplier": ints(1 << 31)}, "multiplier is 2147483648"),
    (run_requantize, {"shift": ints(63)}, "shift is 63; allowed: 0 to 62"),
    (run_requantize, {"shift": zeros(1)}, "shift is of int32"),
    (run_requantize, {"output": IntFormat(bits=33)}, "format int33"),
    (run_requantize, {"output": IntFormat(bits=32, signed=False)}, "format uint32"),
    (run_requantize, {"counters": ints(0)}, r"counters has shape \(1,\); allowed: \(5,\)"),
    (run_requantize, {"acc": np.full((1, 1), -(2**62)), "multiplier": ints(2)}, "acc of -4611686018427387904 to"),
    (run_matmul, {"a": zeros(3)}, "at least two dimensions"),
    (run_matmul, {"a": zeros(2, 4)}, r"a has shape \(2, 4\) and b \(4, 3\)"),
    (run_matmul, {"a": zeros(2, 2, 3), "b": zeros(3, 4, 3)}, "allowed: "),
    (
        run_matmul,
        {"b": np.zeros((4, 3), np.int64)},
        "b is of int64; allowed: int8 or uint8 or int16 or uint16 or int32",
    ),
    (run_matmul, {"a": np.full((2, 3), 1 << 16, np.int32)}, "an element of a is 65536"),
    (run_matmul, {"a_zero": -(1 << 15) - 1}, "a_zero is -32769"),
    (run_matmul, {"bias": ints(1, 2, 3)}, "bias has 3 elements; allowed: 4"),
    (run_matmul, {"bias": ints(0, 0, 0, 1 << 31)}, "an element of bias is 2147483648"),
    (run_matmul, {"b": prepare(zeros(4, 3), 5), "b_zero": 4}, "b_zero is 4 .* allowed: 0 or 5"),
    (run_softmax, {"scores": zeros(3)}, "2 dimensions"),
    (run_softmax, {"allowed": np.ones((2, 3), np.int8)}, "allowed is of int8"),
    (run_softmax, {"allowed": np.ones((2, 4), np.bool_)}, r"allowed has shape \(2, 4\); allowed: \(2, 3\)"),
    (run_softmax, {"scores": np.array([[0, 0, 256]] * 2, np.int32)}, "lies 256 below"),
    (run_softmax, {"table": np.array([-1], np.int32)}, "an element of table is -1"),
    (run_softmax, {"denominator": INT8}, "unsigned codes"),
    (run_softmax, {"output_shift": -1}, "output shift is -1"),
    (run_layernorm, {"gamma": zeros(4)}, r"gamma has shape \(4,\); allowed: \(3,\)"),
    (run_layernorm, {"beta": zeros(3)}, "beta is of int32; allowed: int64"),
    (run_layernorm, {"x": zeros(2, 0), "gamma": zeros(0), "beta": ints()}, "at least one element a row"),
    (run_layernorm, {"beta": ints(0, 0, 1 << 60)}, "could reach"),
    (run_layernorm, {"constants": CONSTANTS._replace(eps=1 << 52)}, "V could reach 4503599627370496"),
    (run_layernorm, {"constants": CONSTANTS._replace(eps=-1)}, "V could reach -1"),
    (run_layernorm, {"constants": CONSTANTS._replace(quotient=UINT8)}, "allowed: signed codes"),
    (run_layernorm, {"constants": CONSTANTS._replace(numerator_multiplier=0)}, "numerator multiplier is 0"),
    (run_add, {"b": zeros(3, 2)}, r"b has shape \(3, 2\); allowed: \(2, 3\)"),
    (run_add, {"a_multiplier": 0}, "a multiplier is 0"),
    (run_add, {"output": IntFormat(bits=17)}, "format int17"),
    (run_embed, {"ids": zeros(2, 3)}, "ids is of int32; allowed: int64"),
    (run_embed, {"ids": np.full((2, 3), 7)}, "an element of ids is 7; allowed: 0 to 6"),
    (run_embed, {"ids": np.full((2, 3), -1)}, "an element of ids is -1"),
    (run_embed, {"first_position": 2}, "first_position is 2; allowed: 0 to 1"),
    (run_embed, {"first_position": -1}, "first_position is -1"),
    (run_embed, {"positions": zeros(4, 6)}, "positions has shape"),
    (run_embed, {"multipliers": ints(1, 1)}, "multipliers has 2 elements; allowed: 1 or 7"),
]


@pytest.mark.parametrize(("run", "changes", "message"), REFUSALS)
def test_refuses_and_says_what_is_allowed(run: Any, changes: dict[str, Any], message: str) -> None:
    run()
    with pytest.raises(ValueError, match=message):
        run(**changes)


def test_refuses_a_shift_beyond_62_and_a_relu_of_floats() -> None:
    with pytest.raises(ValueError, match="shift is 63"):
        shift_right(zeros(2), 63, counters())
    with pytest.raises(ValueError, match="acc is of float32"):
        relu(np.zeros(2, np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (2, 0), (2, 3, 5), (4,)])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_shapes_of_elementwise_kernels(shape: tuple[int, ...], dtype: type[np.int32]) -> None:
    acc: NDArray[np.int32] = np.ones(shape, dtype)
    for result, expected in (
        (run_requantize(acc=acc), np.dtype(np.int32)),
        (shift_right(acc, 1, counters()), np.dtype(dtype)),
        (relu(acc), np.dtype(dtype)),
        (run_add(a=zeros(*shape), b=zeros(*shape)), np.dtype(np.int32)),
    ):
        assert result.shape == shape
        assert result.dtype == expected


@pytest.mark.parametrize(("rows", "n"), [(0, 3), (1, 1), (2, 0), (2, 3)])
def test_shapes_of_softmax_and_embedding(rows: int, n: int) -> None:
    result = run_softmax(scores=zeros(rows, n), allowed=np.ones((rows, n), np.bool_))
    assert [part.shape for part in result] == [(rows, n), (rows, 1), (rows, n)]
    assert all(part.dtype == np.int32 for part in result)
    assert run_embed(ids=np.zeros((rows, n), np.int64)).shape == (rows, n, 5)


@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3)])
@pytest.mark.parametrize("n", [1, 4])
def test_shapes_of_layernorm(lead: tuple[int, ...], n: int) -> None:
    result = run_layernorm(x=zeros(*lead, n), gamma=zeros(n), beta=np.zeros(n, np.int64))
    assert [part.shape for part in result] == [(*lead, n), (*lead, 1), (*lead, n), (*lead, n)]
    assert all(part.dtype == np.int32 for part in result)


@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("bits", [32, 33])
@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3)])
@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (3, 0, 2), (0, 2, 2), (2, 3, 0), (3, 5, 6)])
def test_matmul_shapes_and_value(overflow: Overflow, bits: int, lead: tuple[int, ...], m: int, k: int, n: int) -> None:
    rng = np.random.default_rng(m + k + n)
    a, bias = codes(rng, *lead, m, k), rng.integers(-99, 99, n)
    for b in (codes(rng, n, k), codes(rng, *lead, n, k)):
        acc = Accumulator(bits=bits, overflow=overflow)
        result = run_matmul(a=a, b=b, bias=bias, a_zero=3, b_zero=-7, accumulator=acc)
        assert result.dtype == (np.int32 if bits == 32 else np.int64)
        expected = (a.astype(np.int64) - 3) @ (b.astype(np.int64) + 7).swapaxes(-1, -2) + bias
        assert result.shape == expected.shape
        assert np.array_equal(result, expected)
        assert np.array_equal(result, run_matmul(a=a, b=prepare(b, -7), bias=bias, a_zero=3, accumulator=acc))


@few
@given(seed=SEEDS, m=st.integers(1, 5), k=st.integers(0, 40), n=st.integers(1, 9))
def test_the_engines_agree(seed: int, m: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, bias = codes(rng, 2, m, k, lo=-2048, hi=2047), codes(rng, 2, n, k), rng.integers(-(2**20), 2**20, n)
    narrow, wide = (run_matmul(a=a, b=b, bias=bias, accumulator=Accumulator(bits=bits)) for bits in (32, 33))
    assert (narrow.dtype, wide.dtype) == (np.int32, np.int64)
    assert np.array_equal(narrow, wide)
    for overflow in (Overflow.SATURATE, Overflow.WRAP):
        tally = counters()
        acc = Accumulator(overflow=overflow)
        assert np.array_equal(run_matmul(a=a, b=b, bias=bias, accumulator=acc, counters=tally), wide)
        assert not tally.any()


def test_codes_that_do_not_fit_int16() -> None:
    """As first operands they are moved, as second ones they take the wide engine."""
    a, b = np.array([[65535, 0]], np.int32), np.array([[2, 1]], np.int32)
    assert run_matmul(a=a, b=b, a_zero=1).tolist() == [[131067]]
    assert run_matmul(a=b, b=a, b_zero=1).tolist() == [[131067]]


@few
@given(seed=SEEDS, overflow=st.sampled_from(list(Overflow)), bits=st.sampled_from([16, 32, 40]))
def test_matmul_does_not_depend_on_the_batch_split(seed: int, overflow: Overflow, bits: int) -> None:
    rng = np.random.default_rng(seed)
    small = 7 if overflow is Overflow.PROVEN else 127
    a, b = codes(rng, 5, 11, lo=-small, hi=small), codes(rng, 6, 11)
    acc, split, whole = Accumulator(bits=bits, overflow=overflow), counters(), counters()
    result = run_matmul(a=a, b=b, accumulator=acc, counters=whole)
    parts = [run_matmul(a=part, b=b, accumulator=acc, counters=split) for part in (a[:2], a[2:])]
    assert np.array_equal(result, np.concatenate(parts))
    assert np.array_equal(whole, split)


@few
@given(
    m=st.integers(1, 65535), e=st.integers(0, 40), z=st.integers(-128, 127), start=st.integers(-(2**31), 2**31 - 400)
)
def test_requantize_is_monotone(m: int, e: int, z: int, start: int) -> None:
    acc = np.arange(start, start + 400, dtype=np.int32)
    result = run_requantize(acc=acc, multiplier=ints(m), shift=ints(e), zero_point=z, output=IntFormat(bits=32))
    assert np.all(np.diff(result.astype(np.int64)) >= 0)


def test_requantize_per_channel_is_requantize_of_each_channel() -> None:
    acc = codes(np.random.default_rng(1), 4, 3, lo=-(2**20), hi=2**20)
    m, e, whole, single = ints(3, 40000, 65535), ints(4, 28, 30), counters(), counters()
    result = run_requantize(acc=acc, multiplier=m, shift=e, counters=whole)
    for j in range(3):
        column = np.ascontiguousarray(acc[:, j])
        alone = run_requantize(acc=column, multiplier=m[j : j + 1], shift=e[j : j + 1], counters=single)
        assert np.array_equal(result[:, j], alone)
    assert np.array_equal(whole, single)


@few
@given(seed=SEEDS, n=st.integers(1, 12), step=st.integers(-50, 50))
def test_softmax_laws(seed: int, n: int, step: int) -> None:
    rng = np.random.default_rng(seed)
    scores, allowed, order = codes(rng, 3, n, lo=-64, hi=63), rng.random((3, n)) < 0.7, rng.permutation(n)
    tally, moved_tally, permuted_tally = counters(), counters(), counters()
    result = run_softmax(scores=scores, allowed=allowed, counters=tally)
    shifted = run_softmax(scores=scores + np.int32(step), allowed=allowed, counters=moved_tally)
    arrays = {"scores": np.ascontiguousarray(scores[:, order]), "allowed": np.ascontiguousarray(allowed[:, order])}
    permuted = run_softmax(**arrays, counters=permuted_tally)
    for one, other in zip(result, shifted, strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(result.output[:, order], permuted.output)
    assert np.array_equal(result.denominator, permuted.denominator)
    assert np.array_equal(tally, moved_tally)
    assert np.array_equal(tally, permuted_tally)
    assert not result.output[~allowed].any()


def test_requantize_is_exact_up_to_2_to_the_63() -> None:
    acc, m, e = np.array([[2**47 - 1, 2**62]]), ints(65535, 1), ints(47, 62)
    assert run_requantize(acc=acc, multiplier=m, shift=e, output=IntFormat(bits=32)).tolist() == [[65535, 1]]
    assert run_requantize(acc=ints(2**63 - 1), zero_point=9).tolist() == [127]
    acc[0, 1] = 2**63 - 2**61
    with pytest.raises(ValueError, match="to 6917529027641081856 by multipliers to 65535, shifts to 62"):
        run_requantize(acc=acc, multiplier=m, shift=e)


def test_softmax_of_a_row_without_allowed_keys() -> None:
    tally = counters()
    result = run_softmax(allowed=np.zeros((2, 3), np.bool_), counters=tally)
    assert not result.numerator.any()
    assert not result.output.any()
    assert result.denominator.tolist() == [[1], [1]]
    assert tally[Counter.DENOMINATOR_CLAMP] == 2
    assert tally.sum() == 2


@few
@given(seed=SEEDS, n=st.integers(1, 12), step=st.integers(-1000, 1000))
def test_layernorm_laws(seed: int, n: int, step: int) -> None:
    rng = np.random.default_rng(seed)
    x, gamma, beta, order = codes(rng, 3, n), codes(rng, n), rng.integers(-5000, 5000, n), rng.permutation(n)
    tally, moved_tally, permuted_tally = counters(), counters(), counters()
    result = run_layernorm(x=x, gamma=gamma, beta=beta, counters=tally)
    moved = run_layernorm(x=x + np.int32(step), gamma=gamma, beta=beta, counters=moved_tally)
    mixed = np.ascontiguousarray(x[:, order])
    permuted = run_layernorm(x=mixed, gamma=gamma[order], beta=beta[order], counters=permuted_tally)
    for one, other in zip(result, moved, strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(result.output[:, order], permuted.output)
    assert np.array_equal(tally, moved_tally)
    assert np.array_equal(tally, permuted_tally)


@pytest.mark.parametrize("shift", [0, 1, 31, 61, 62])
def test_rounding_at_the_ends_of_int64(shift: int) -> None:
    for value in (-(2**63), -(2**63) + 1, -1, 0, 1, 2**63 - 1):
        exact = value >> shift
        rest = (value - (exact << shift)) * 2 - (1 << shift)
        expected = exact + (rest > 0 or (rest == 0 and exact % 2 == 1))
        assert half_even_shift(value, shift) == expected
        assert half_even_divide(value, 1 << shift) == expected


def test_isqrt_and_wrap_at_their_ends() -> None:
    roots = [1, 2, 3, 2**13, 2**26 - 1]
    assert [isqrt(root * root) for root in roots] == roots
    assert [isqrt(root * root - 1) for root in roots] == [root - 1 for root in roots]
    assert [isqrt(0), isqrt(2**52 - 1)] == [0, 2**26 - 1]
    assert [wrap(value, 8) for value in (127, 128, 255, 256, -128, -129)] == [127, -128, -1, 0, -128, 127]
    assert [wrap(2**62, 63), wrap(-(2**62) - 1, 63)] == [-(2**62), 2**62 - 1]
