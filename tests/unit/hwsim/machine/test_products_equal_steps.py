"""Products in accumulators that saturate, wrap or are wide, of wide codes, and of projected heads, as instructions."""

from itertools import product

import numpy as np
import pytest

from hwsim.formats import Accumulator, Counter, Granularity, IntFormat, Overflow
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program import operations as ops
from hwsim.program.catalogue import AnyRequantization, Dyadic, Float32, NarrowAfter, Q31Double
from tests.unit.hwsim.machine.few_operations import Constant, Tensor, constant, few, same

INT8, UINT8, INT16, UINT16 = (IntFormat(bits=bits, signed=signed) for bits in (8, 16) for signed in (True, False))
RULES = {
    "mac": {"granularity": Granularity.MAC},
    "tile": {"granularity": Granularity.TILE, "tile": 3},
    "end": {"granularity": Granularity.END},
}
LARGE_BIAS, SUM = IntFormat(bits=63), IntFormat(bits=32)


def unproven(bits: int, overflow: str, when: str) -> Accumulator:
    return Accumulator(bits=bits, overflow=Overflow(overflow), **RULES[when])  # type: ignore[arg-type]


def with_weight(
    a: Tensor, weight: IntFormat, n: int, accumulator: Accumulator, *, zero: int = 0, bias: int | None = None
) -> Program:
    """x (batch, ..., k) times a weight (n, k), with a bias to +-`bias`."""
    rng, k = np.random.default_rng(n), int(a.dims[-1])
    constants = {"w": constant(rng, weight, (n, k), zero)}
    if bias is not None:
        constants["bias"] = Constant(LARGE_BIAS, rng.integers(-bias, bias + 1, n))
    op = ops.MatMul(output="y", a="x", b="w", bias=None if bias is None else "bias", accumulator=accumulator)
    sums = Tensor(IntFormat(bits=accumulator.bits), [*a.dims[:-1], n])
    return few([op], {"x": a, "y": sums}, constants)


@pytest.mark.parametrize("when", RULES)
@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
def test_weights_in_narrow_accumulators(overflow: str, when: str) -> None:
    """Odd sizes, rows in blocks and columns in several; biases out of range count once a result."""
    for (k, n), (bits, bias) in product(((1, 1), (7, 17), (70, 515)), ((12, None), (12, 1 << 13), (20, 1 << 18))):
        program = with_weight(Tensor(INT8, ["batch", 15, k], 3), INT8, n, unproven(bits, overflow, when), bias=bias)
        overflows = same(program)[Counter.OVERFLOW]
        assert overflows > 0 or k == 1 or bits == 20


@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
def test_weights_in_wide_accumulators(overflow: str) -> None:
    """Sums of 16-bit codes beyond 32 bits, in lanes of 64."""
    for bits, when in product((31, 32, 33, 40), RULES):
        program = with_weight(Tensor(INT16, ["batch", 24]), INT16, 5, unproven(bits, overflow, when), bias=1 << 31)
        assert same(program)[Counter.OVERFLOW] > 0 or bits > 32


@pytest.mark.parametrize("bits", [32, 34, 40, 63])
def test_proven_weights(bits: int) -> None:
    """Of wide accumulators: what is proven to fit 32 bits is made by an engine, what is not in lanes of 64."""
    proven = Accumulator(bits=bits)
    codes = INT16 if bits >= 40 else INT8
    for a in (Tensor(codes, ["batch", 33], 5), Tensor(codes, ["batch", 2, 33], codes.min)):
        same(with_weight(a, codes, 17, proven, bias=1 << 20))


def test_weights_and_codes_that_are_no_int16() -> None:
    proven = Accumulator(bits=36)
    for a, (weight, zero) in product(
        (Tensor(UINT16, ["batch", 9], 7), Tensor(INT16, ["batch", 9], 9)), ((INT8, 0), (UINT16, 0), (UINT8, 128))
    ):
        same(with_weight(a, weight, 17, proven, zero=zero, bias=1 << 20))
    same(with_weight(Tensor(UINT16, ["batch", 9]), INT8, 3, Accumulator(), bias=100))
    same(with_weight(Tensor(INT8, ["batch", 9]), UINT16, 3, Accumulator(), bias=100))


@pytest.mark.parametrize(("code", "factor"), [(65535, 65535), (65535, 1), (3, 2)])
def test_sums_of_wide_accumulators_by_hand(code: int, factor: int) -> None:
    """Nine products; int64 by their format, though they may lie in 32 bits."""
    weight = {"w": Constant(UINT16, np.full((2, 9), factor))}
    op = ops.MatMul(output="y", a="x", b="w", accumulator=Accumulator(bits=40))
    program = few([op], {"x": Tensor(UINT16, ["batch", 9]), "y": Tensor(IntFormat(bits=40), ["batch", 2])}, weight)
    made = Machine(program).run("forward", {"x": np.full((1, 9), code)})["y"]
    assert made.dtype == np.int64 and made.tolist() == [[9 * code * factor] * 2]


def of_activations(a: Tensor, b: Tensor, accumulator: Accumulator, *, transpose: bool) -> Program:
    """x (batch, 2, m, k) times z (batch, 2, n, k), or (batch, 2, k, n)."""
    n = b.dims[-1] if transpose else b.dims[-2]
    op = ops.MatMul(output="y", a="x", b="z", transpose_b=transpose, accumulator=accumulator)
    return few([op], {"x": a, "z": b, "y": Tensor(IntFormat(bits=accumulator.bits), [*a.dims[:-1], n])})


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
def test_activations(overflow: str, transpose: bool) -> None:
    """Lengths that are known at the call, as columns and as products of a sum."""
    for when, bits, (keys, columns) in product(RULES, (12, 20), ((1, 1), (13, 5), (21, 33))):
        b: list[str | int] = ["batch", 2, "keys", "columns"] if transpose else ["batch", 2, "columns", "keys"]
        a: list[str | int] = ["batch", 2, 3, "keys"]
        program = of_activations(
            Tensor(UINT8, a, 3), Tensor(INT8, b, -5), unproven(bits, overflow, when), transpose=transpose
        )
        overflows = same(program, {"keys": keys, "columns": columns})[Counter.OVERFLOW]
        assert overflows > 0 or keys == 1 or bits == 20


def test_factors_that_are_accumulators_of_8_bits() -> None:
    """Their format has 8 bits, but they are held in 32: no engine may read them as bytes."""
    rng, ends = np.random.default_rng(4), unproven(8, "saturate", "end")
    constants = {name: constant(rng, INT8, shape) for name, shape in (("v", (6, 5)), ("w", (4, 6)))}
    tensors = {"x": Tensor(INT8, ["batch", 3, 5]), "y": Tensor(INT8, ["batch", 3, 6])}
    first = ops.MatMul(output="y", a="x", b="v", accumulator=ends)
    by_weight = ops.MatMul(output="z", a="y", b="w")
    assert same(few([first, by_weight], tensors | {"z": Tensor(SUM, ["batch", 3, 4])}, constants))
    by_codes = ops.MatMul(output="z", a="y", b="k", transpose_b=False)
    others = {"k": Tensor(INT8, ["batch", 7, 6]), "z": Tensor(SUM, ["batch", 3, 7])}
    assert same(few([first, by_codes], tensors | others, {"v": constants["v"]}))


@pytest.mark.parametrize("overflow", ["proven", "saturate"])
def test_longer_batches_bring_no_new_constants(overflow: str) -> None:
    a, b = Tensor(INT8, ["batch", 2, 8]), Tensor(INT8, ["batch", "keys", 8])
    accumulator = Accumulator() if overflow == "proven" else unproven(12, overflow, "mac")
    machine = Machine(of_activations(a, b, accumulator, transpose=False))
    counts = []
    for keys in (3, 40, 700):
        machine.run("forward", {"x": np.ones((2, 2, 8), np.int8), "z": np.ones((2, keys, 8), np.int8)})
        counts.append(len(machine._workers._constants._places))
    assert counts[0] == counts[1] == counts[2]


def test_wide_activations() -> None:
    for accumulator in (Accumulator(bits=50), unproven(33, "saturate", "mac"), unproven(32, "wrap", "end")):
        for form, zero in ((INT16, 0), (INT16, -9), (UINT16, 5)):
            a, b = Tensor(form, ["batch", 2, 3, 11], zero), Tensor(form, ["batch", 2, 6, 11], zero)
            same(of_activations(a, b, accumulator, transpose=False))


def projecting(
    x: Tensor,
    scheme: AnyRequantization,
    accumulator: Accumulator,
    *,
    columns: int = 21,
    weight: IntFormat = INT8,
    ratios: tuple[list[int], list[int]] = ([], []),
    bias: int | None = 900,
    codes: IntFormat = INT8,
) -> Program:
    """x (batch, heads, length, d_head), heads projected to so many columns."""
    rng, (_, heads, length, d_head) = np.random.default_rng(columns), x.dims
    constants = {"w": constant(rng, weight, (columns, int(heads) * int(d_head)))}
    fields = {}
    for name, numbers in zip(("multiplier", "shift"), ratios, strict=True):
        if numbers:
            constants[name] = Constant(IntFormat(bits=40), np.array(numbers))
            fields[name] = name
    if bias is not None:
        constants["bias"] = Constant(LARGE_BIAS, rng.integers(-bias, bias + 1, columns))
    op = ops.ProjectHeads(
        heads="c",
        output="y",
        input="x",
        weight="w",
        bias=None if bias is None else "bias",
        accumulator=accumulator,
        requantization=type(scheme)(**{"multiplier": scheme.multiplier, "shift": scheme.shift, **fields}),
    )
    made = Tensor(codes, ["batch", heads, length, columns])
    return few(
        [op], {"x": x, "c": made, "y": Tensor(IntFormat(bits=accumulator.bits), ["batch", length, columns])}, constants
    )


SCHEMES: list[AnyRequantization] = [
    NarrowAfter(multiplier=3, shift=8),
    Dyadic(multiplier=5, shift=9),
    Q31Double(multiplier=1 << 30, shift=37),
    Float32(multiplier=1 << 23, shift=30),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: type(scheme).__name__)
@pytest.mark.parametrize("d_head", [1, 5, 16])
def test_projected_heads(d_head: int, scheme: AnyRequantization) -> None:
    """Saturations, and ties of both signs, of every head."""
    counted = same(
        projecting(Tensor(INT8, ["batch", 3, "length", d_head], 4), scheme, Accumulator(bits=26)), {"length": 7}
    )
    assert counted[Counter.SATURATION] > 0
    assert d_head < 16 or (counted[Counter.POSITIVE_TIE] > 0 < counted[Counter.NEGATIVE_TIE])


def test_every_head_has_its_ratio() -> None:
    x, scheme = Tensor(UINT8, ["batch", 3, 2, 6], 100), Dyadic(multiplier=1, shift=8)
    for ratios in (([1, 3, 7], []), ([], [8, 6, 9]), ([3, 1, 5], [9, 7, 8])):
        same(projecting(x, scheme, Accumulator(bits=26), ratios=ratios, bias=None))


@pytest.mark.parametrize("form", [INT16, UINT16, IntFormat(bits=12)])
def test_projected_heads_of_wide_codes(form: IntFormat) -> None:
    scheme = Dyadic(multiplier=1, shift=20)
    for accumulator, zero in product((Accumulator(), Accumulator(bits=36), Accumulator(bits=63)), (0, 11)):
        x = Tensor(form, ["batch", 2, 3, 6], zero)
        same(projecting(x, scheme, accumulator, codes=INT16))
        if accumulator.bits > 32:
            same(projecting(x, scheme, accumulator, codes=INT16, weight=INT16))


@pytest.mark.parametrize("when", RULES)
@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
def test_projected_heads_that_overflow(overflow: str, when: str) -> None:
    x, scheme = Tensor(INT8, ["batch", 3, 2, 9], -3), Dyadic(multiplier=1, shift=4)
    program = projecting(x, scheme, unproven(12, overflow, when), bias=1 << 12)
    assert same(program)[Counter.OVERFLOW] > 0
