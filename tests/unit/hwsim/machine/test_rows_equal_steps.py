"""LayerNorms, sums, shifts and moves as instructions: odd sizes, every rule, every counter."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

from hwsim.formats import Accumulator, Counter, IntFormat, Overflow, Rounding
from hwsim.machine import Machine
from hwsim.program import Program, TensorInfo
from hwsim.program import operations as ops
from hwsim.program.catalogue import (
    Q15,
    AnyRequantization,
    Dyadic,
    Float32,
    NarrowAfter,
    NarrowBefore,
    Nvdla,
    Q31Double,
    Q31DoubleHalfUp,
    Q31Single,
    Shift,
)
from tests.unit.hwsim.machine.few_operations import Constant, Tensor, constant, few, same

INT8, INT16, INT32, INT63 = (IntFormat(bits=bits) for bits in (8, 16, 32, 63))
UINT8 = IntFormat(bits=8, signed=False)
EVENTS = np.zeros(len(Counter), np.int64)
TIES = (Counter.POSITIVE_TIE, Counter.NEGATIVE_TIE)

# LayerNorms

AFFINE: dict[str, Any] = {"output": "y", "input": "x", "gamma": "gamma", "beta": "beta"}
NORMS: dict[str, tuple[ops.AnyLayerNorm, int, int, tuple[Counter, ...]]] = {
    "ibert": (
        ops.IBertLayerNorm(**AFFINE, variance_shift=1, requantization=Dyadic(multiplier=1, shift=26)),
        *(1, 25, (Counter.SATURATION, *TIES, Counter.DENOMINATOR_CLAMP)),
    ),
    "ibert by channel": (
        ops.IBertLayerNorm(**AFFINE, variance_shift=0, requantization=Dyadic(multiplier="m", shift="e")),
        *(1, 25, (Counter.SATURATION, Counter.DENOMINATOR_CLAMP)),
    ),
    "tflite": (
        ops.TfliteLayerNorm(**AFFINE, variance_limit=3, requantization=Q31Double(multiplier=1 << 30, shift=36)),
        *(3000, 15, (Counter.SATURATION, *TIES, Counter.DENOMINATOR_CLAMP)),
    ),
    "gemmini": (
        ops.GemminiLayerNorm(**AFFINE, requantization=Float32(multiplier=1 << 23, shift=26)),
        *(127, 2, (Counter.SATURATION, *TIES)),
    ),
    "pulp": (ops.PulpLayerNorm(**AFFINE, shift=9), 1 << 15, 9, (Counter.SATURATION,)),
    "pulp wraps": (
        ops.PulpLayerNorm(**AFFINE, shift=20, overflow=Overflow.WRAP),
        *((1 << 31) - 1, 20, (Counter.OVERFLOW,)),
    ),
}
"""Operation, greatest gamma, bits of the steps of beta, and what must occur."""


Place = tuple[IntFormat, int, IntFormat, int]
PLACES: list[Place] = [(INT8, -3, INT8, 5), (UINT8, 100, INT16, 0), (INT8, 0, UINT8, 255)]
"""Format and zero point of the input, and of the output."""


def norm_of(name: str, n: int, place: Place) -> Program:
    """Rows (batch, 3, n)."""
    (op, gamma, bits, _), (x, x_zero, y, y_zero), rng = NORMS[name], place, np.random.default_rng(n)
    constants = {
        "gamma": Constant(INT32 if gamma >> 15 else INT16, rng.integers(-gamma, gamma + 1, n)),
        "beta": Constant(INT63, rng.integers(-9, 10, n) << bits),
    }
    if name == "ibert by channel":
        constants |= {"m": Constant(INT32, 1 + 2 * np.arange(n)), "e": Constant(INT8, 24 + np.arange(n) % 5)}
    tensors = {"x": Tensor(x, ["batch", 3, n], x_zero), "y": Tensor(y, ["batch", 3, n], y_zero)}
    return few([op], tensors, constants)


@pytest.mark.parametrize("name", NORMS)
def test_layernorm(name: str) -> None:
    """A row of one code is its beta, among them ties."""
    seen = EVENTS.copy()
    for n, place in product((1, 3, 37), PLACES):
        events = same(norm_of(name, n, place))
        seen += [events[counter] for counter in Counter]
    assert [counter for counter in NORMS[name][3] if not seen[counter]] == []


def level(rng: np.random.Generator, info: TensorInfo, shape: Sequence[int]) -> Any:
    """Codes beside the zero point, where the mean is cut, and the variance is below 1."""
    form = info.format
    return (info.zero_point + rng.integers(-1, 2, shape) * rng.integers(0, 2, shape)).clip(form.min, form.max)


@pytest.mark.parametrize("name", NORMS)
def test_layernorm_of_level_rows(name: str) -> None:
    for n, place in product((3, 8, 37), PLACES):
        same(norm_of(name, n, place), make=level)


# Sums

M31, M15 = (1 << 30) + 3, 3 << 13
RATIOS: list[tuple[type[AnyRequantization], tuple[int, int], tuple[int, int], tuple[int, int]]] = [
    (Q31Double, (1 << 30, 31), (M31, 33), (1 << 30, 31)),
    (Q31DoubleHalfUp, (1 << 30, 31), (M31, 33), (1 << 30, 31)),
    (Q31Single, (1 << 30, 31), (M31, 33), (1 << 30, 31)),
    (Q15, (1 << 14, 15), (M15, 16), (1 << 14, 15)),
    (Dyadic, (1, 1), (7, 3), (3, 1)),
    (NarrowAfter, (1, 1), (7, 3), (3, 1)),
    (NarrowBefore, (1, 1), (7, 3), (3, 1)),
    (Shift, (1, 1), (1, 2), (1, 0)),
    (Nvdla, (1, 1), (7, 3), (3, 1)),
    (Float32, (1 << 23, 24), (7 << 20, 24), (3 << 22, 24)),
]
"""Scheme, and the ratios of both operands and of their sum."""


@pytest.mark.parametrize(("scheme", "a", "b", "last"), RATIOS, ids=[scheme.__name__ for scheme, *_ in RATIOS])
def test_rescaled_sum(scheme: Any, a: tuple[int, int], b: tuple[int, int], last: tuple[int, int]) -> None:
    """With and without a last rounding, a left shift and operands that saturate."""

    def ratio(one: tuple[int, int]) -> AnyRequantization:
        return scheme(shift=one[1]) if scheme is Shift else scheme(multiplier=one[0], shift=one[1])  # type: ignore[no-any-return]

    seen = EVENTS.copy()
    for n, left, ends, operand in product((1, 37), (0, 3), (None, last), ({}, {"operand": IntFormat(bits=6)})):
        sum_of: dict[str, Any] = {"output": "y", "a": "x", "b": "z", "left_shift": left, **operand}
        op = ops.RescaledAdd(
            **sum_of,
            a_requantization=ratio(a),
            b_requantization=ratio(b),
            output_requantization=None if ends is None else ratio(ends),
        )
        dims: list[str | int] = ["batch", 3, n]
        tensors = {"x": Tensor(INT8, dims, 5), "z": Tensor(UINT8, dims, 77), "y": Tensor(INT8, dims, -9)}
        events = same(few([op], tensors))
        seen += [events[counter] for counter in Counter]
    assert seen[Counter.SATURATION] > 0 < seen[Counter.POSITIVE_TIE]


# Embeddings


@pytest.mark.parametrize("code", [60000, -20000])
def test_words_of_every_format(code: int) -> None:
    """By hand: a word of 16 bits, with a sign or without one, over 2^10, and a position of 0."""
    words = Constant(IntFormat(bits=16, signed=code < 0), np.full((4, 2), code))
    constants = {"words": words, "places": Constant(INT8, np.zeros((1024, 2), np.int64))}
    tables = {"table": "words", "positions": "places", "multiplier": 1, "position_multiplier": 1, "shift": 10}
    op = ops.Embed(output="y", ids="ids", position="first", **tables)  # type: ignore[arg-type]
    tensors = {"ids": Tensor(INT16, ["batch", "n"]), "first": Tensor(INT16, []), "y": Tensor(INT8, ["batch", "n", 2])}
    made = Machine(few([op], tensors, constants)).run("forward", {"ids": np.array([[1]]), "first": np.array(0)})
    assert made["y"].tolist() == [[[round(code / 1024)] * 2]]


# Shifts, and codes in accumulators


def product_of(n: int, accumulator: Accumulator, dims: list[str | int]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A product with a weight into `acc`, its tensors and constants."""
    op = ops.MatMul(output="acc", a="x", b="w", accumulator=accumulator)
    sums = Tensor(IntFormat(bits=accumulator.bits), [*dims, n])
    return op, {"x": Tensor(INT8, [*dims, 8], 3), "acc": sums}, {"w": constant(np.random.default_rng(n), INT8, (n, 8))}


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("bits", [32, 40])
def test_shift_with_a_bias(bits: int, rounding: Rounding) -> None:
    for n, (to, shift) in product((1, 19), ((bits, 0), (bits, 3), (10, 3), (10, 9))):
        made, tensors, constants = product_of(n, Accumulator(bits=bits), ["batch", 5])
        op = ops.ShiftRight(output="y", input="acc", shift=shift, rounding=rounding, bias="bias")
        tensors["y"] = Tensor(IntFormat(bits=to), ["batch", 5, n])
        constants["bias"] = Constant(INT32, np.random.default_rng(n).integers(-500, 501, n))
        saturations = same(few([made, op], tensors, constants))[Counter.SATURATION]
        assert saturations > 0 or to > 10 or n == 1


def test_heads_of_an_accumulator() -> None:
    """Sums of 12 bits are held in 32, the heads that they are split into in 16; and back into a cache, and merged."""
    int12 = IntFormat(bits=12)
    made, tensors, constants = product_of(6, Accumulator(bits=12, overflow=Overflow.WRAP), ["batch", "new"])
    operations = [
        made,
        ops.SplitHeads(output="split", input="acc"),
        ops.Append(output="cache", past="past", input="split"),
        ops.MergeHeads(output="y", input="cache"),
    ]
    tensors |= {
        "split": Tensor(int12, ["batch", 2, "new", 3]),
        "past": Tensor(int12, ["batch", 2, "past", 3]),
        "cache": Tensor(int12, ["batch", 2, "all", 3]),
        "y": Tensor(int12, ["batch", "all", 6]),
    }
    program = few(operations, tensors, constants, {"all": ["past", "new"]})
    for new, past in ((1, 0), (1, 4), (5, 1)):
        same(program, {"new": new, "past": past})


def test_accumulators_merged_and_appended() -> None:
    """A product of activations makes sums of heads; they are merged, and joined to a cache, as they are."""
    int14, rule = IntFormat(bits=14), Accumulator(bits=14, overflow=Overflow.SATURATE)
    dims: list[str | int] = ["batch", 2, "new", 5]
    operations = [
        ops.MatMul(output="acc", a="x", b="z", accumulator=rule),
        ops.MergeHeads(output="merged", input="acc"),
        ops.Append(output="y", past="past", input="acc"),
    ]
    tensors = {
        "x": Tensor(INT8, dims, 3),
        "z": Tensor(INT8, ["batch", 2, 3, 5]),
        "acc": Tensor(int14, ["batch", 2, "new", 3]),
        "merged": Tensor(int14, ["batch", "new", 6]),
        "past": Tensor(int14, ["batch", 2, "past", 3]),
        "y": Tensor(int14, ["batch", 2, "all", 3]),
    }
    program = few(operations, tensors, terms={"all": ["past", "new"]})
    for new, past in ((1, 0), (4, 3)):
        same(program, {"new": new, "past": past})
