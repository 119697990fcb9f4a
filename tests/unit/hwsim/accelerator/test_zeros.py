"""Zero counts of a run: (12) against plain loops, padding, and what the cost model makes of them."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from analysis.translation.steppers import MachineStepper
from hwsim.accelerator.lowered import program_workload
from hwsim.accelerator.zeros import SiteZeros, ZeroCounter, ZeroCounts
from hwsim.formats import IntFormat
from hwsim.machine import Machine
from hwsim.program import ConstantInfo, Dimension, Function, Program, TensorInfo
from hwsim.program.operations import ItaMax, MatMul
from reference.decoding import beam, greedy
from tests.small.bare import bare
from tests.small.sentences import sentences
from tests.unit.hwsim.accelerator.lowered_programs import native

Array = NDArray[Any]
TARGETS = ("fullyqt", "tflm", "ita", "gemmini")


# --- (12) by loops ----------------------------------------------------------------------------------------------------


def by_loops(a: Array, b: Array, zero_a: int, zero_b: int) -> tuple[int, int]:
    """MACs, and those with a zero operand, of a (m, k) by b (n, k)."""
    zero = [
        int(row[i]) == zero_a or int(column[i]) == zero_b
        for row, column in itertools.product(a, b)
        for i in range(a.shape[-1])
    ]
    return len(zero), sum(zero)


def small(
    a: Array, b: Array, zeros: tuple[int, int], kind: str, lengths: Array | None
) -> tuple[Program, dict[str, Array]]:
    """One product of a (batch, heads, m, k) by b; lengths hide positions along m, and along n or k of an attention."""
    _, heads, m, k = a.shape
    n = b.shape[0] if kind == "weight" else b.shape[-1 if kind == "transposed" else -2]
    real = "source" if lengths is not None else None
    dims: dict[str, list[str | int]] = {"a": ["batch", heads, real or m, k], "acc": ["batch", heads, real or m, n]}
    dims["b"] = ["batch", heads, k, n] if kind == "transposed" else ["batch", heads, n, k]
    if real and kind == "activation":
        dims["b"][2] = dims["acc"][3] = real
    if real and kind == "transposed":
        dims["a"][3] = dims["b"][2] = real
    code, wide = IntFormat(bits=4), IntFormat(bits=32)
    tensors = [
        TensorInfo(name="a", format=code, dims=dims["a"], zero_point=zeros[0]),
        TensorInfo(name="acc", format=wide, dims=dims["acc"]),
        TensorInfo(name="scores", format=code, dims=["batch", 1, 1, "source"]),
        TensorInfo(name="softmax", format=code, dims=["batch", 1, 1, "source"]),
        TensorInfo(name="mask", format=IntFormat(bits=2), dims=["batch", "source"]),
    ]
    constants, arrays = [], {}
    if kind == "weight":
        constants = [ConstantInfo(name="b", format=code, shape=[n, k], role="weight", zero_point=zeros[1])]
        arrays = {"b": b}
    else:
        tensors.append(TensorInfo(name="b", format=code, dims=dims["b"], zero_point=zeros[1]))
    product = MatMul(output="acc", a="a", b="b", transpose_b=kind == "transposed")
    masked = ItaMax(output="softmax", input="scores", mask="mask", shift=0, group=0)
    manifest = bare(
        dimensions=[Dimension(name=name, maximum=999) for name in ("batch", "source")],
        tensors=tensors,
        constants=constants,
        functions=[Function(name="forward", inputs=["a"], outputs=["acc"], operations=[product, masked])],
    )
    values = {"a": a} | ({} if kind == "weight" else {"b": b})
    if lengths is not None:
        values["mask"] = (np.arange(m if kind != "transposed" else k) < lengths[:, None]).astype(np.int32)
    return Program(manifest, arrays), values


def expected(a: Array, b: Array, zeros: tuple[int, int], kind: str, lengths: Array | None) -> tuple[int, int]:
    macs = zero = 0
    for i, head in np.ndindex(a.shape[:2]):
        one = b if kind == "weight" else b[i, head].T if kind == "transposed" else b[i, head]
        left, length = a[i, head], None if lengths is None else int(lengths[i])
        left = left[:length]
        if length is not None and kind == "activation":
            one = one[:length]
        if length is not None and kind == "transposed":
            left, one = left[:, :length], one[:, :length]
        of, found = by_loops(left, one, *zeros)
        macs, zero = macs + of, zero + found
    return macs, zero


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["weight", "activation", "transposed"]),
    st.booleans(),
    st.tuples(*[st.integers(1, 4)] * 5),
    st.tuples(st.integers(-2, 2), st.integers(-2, 2)),
    st.integers(0, 2**32 - 1),
)
def test_zero_macs_are_those_of_loops(
    kind: str, padded: bool, sizes: tuple[int, ...], zeros: tuple[int, int], seed: int
) -> None:
    batch, heads, m, k, n = sizes
    if padded and kind == "activation":
        n = m
    if padded and kind == "transposed":
        k = m  # one dimension is rows of a and terms of the sum
    rng = np.random.default_rng(seed)
    shape = {"weight": (n, k), "activation": (batch, heads, n, k), "transposed": (batch, heads, k, n)}[kind]
    a, b = (rng.integers(-2, 3, of).astype(np.int32) for of in ((batch, heads, m, k), shape))
    lengths = rng.integers(0, m + 1, batch) if padded else None
    program, values = small(a, b, zeros, kind, lengths)
    kept = {name: array.copy() for name, array in values.items()}
    counter = ZeroCounter(program)
    for _ in range(2):
        counter.count("forward", values)
    macs, zero = expected(a, b, zeros, kind, lengths)
    found = counter.counts.sites["acc"]
    assert (found.macs, found.macs_zero) == (2 * macs, 2 * zero)
    assert all((values[name] == array).all() for name, array in kept.items())


def test_codes_of_both_factors_by_hand() -> None:
    a, b = np.array([[[[3, 1, 1], [0, 3, 1]]]]), np.array([[2, 0, 2], [2, 2, 2], [5, 5, 2], [7, 7, 7]])
    program, values = small(a, b, (1, 2), "weight", None)
    counter = ZeroCounter(program)
    assert counter.counts.sites["acc"] == SiteZeros(weights=12, weights_zero=6)
    counter.count("forward", values)
    # z = (0, 1, 2), y = (2, 1, 3): 0*4 + 2*2 + 1*4 + 1*1 + 2*4 + 0*3
    once = SiteZeros(macs=24, macs_zero=17, weights=12, weights_zero=6, activations=6, activations_zero=3)
    assert counter.counts.sites["acc"] == once == counter.counts.total
    counter.count("forward", values)
    assert counter.counts.total == once + SiteZeros(macs=24, macs_zero=17, activations=6, activations_zero=3)
    program, values = small(a, b[None, None], (1, 2), "activation", None)
    counter = ZeroCounter(program)
    counter.count("forward", values)
    assert counter.counts.total == SiteZeros(macs=24, macs_zero=17, activations=18, activations_zero=9)


@pytest.mark.parametrize("kind", ["weight", "activation"])
def test_sums_of_more_rows_than_a_byte_holds(kind: str) -> None:
    rng = np.random.default_rng(1)
    a = np.ones((2, 1, 700, 3), np.int32)
    a[1] = rng.integers(0, 2, (1, 700, 3))
    b = rng.integers(0, 9, (600, 3) if kind == "weight" else (2, 1, 600, 3)).astype(np.int32).clip(0, 1)
    program, values = small(a, b, (0, 0), kind, None)
    counter = ZeroCounter(program)
    counter.count("forward", values)
    exact = np.einsum("bhmk,nk->" if kind == "weight" else "bhmk,bhnk->", a.astype(np.int64), b.astype(np.int64))
    site = counter.counts.sites["acc"]
    assert (site.macs, site.macs - site.macs_zero) == (2 * 700 * 600 * 3, int(exact))


# --- runs -------------------------------------------------------------------------------------------------------------


class Counting(Machine):
    """A machine that hands every call to a counter."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.zeros = ZeroCounter(program)

    def run(self, function: str, inputs: Any, observe: Any = None) -> dict[str, Array]:
        values = dict(inputs)
        outputs = super().run(function, inputs, values.__setitem__)
        self.zeros.count(function, values)
        return outputs


def translated(program: Program, batches: Sequence[list[list[int]]]) -> tuple[ZeroCounts, list[tuple[int, int]]]:
    """Counts of translating batches, and the lengths of each sentence."""
    machine, lengths = Counting(program), []
    for sources in batches:
        outputs = greedy(MachineStepper(machine, sources), [2 + len(source) // 2 for source in sources])
        lengths += [(len(source), len(output)) for source, output in zip(sources, outputs, strict=True)]
    return machine.zeros.counts, lengths


@pytest.mark.parametrize("target", TARGETS)
def test_padding_is_not_counted(target: str) -> None:
    """A batch counts as its sentences one by one do: weights aside, once each."""
    rows = sentences(4)
    together, lengths = translated(native(target), [rows])
    alone, same = translated(native(target), [[row] for row in rows])
    assert (together, lengths) == (alone, same)
    assert len({source for source, _ in lengths}) > 1


@pytest.mark.parametrize("target", TARGETS)
def test_a_run_does_the_macs_that_are_priced(target: str) -> None:
    program = native(target)
    counts, lengths = translated(program, [sentences(4)])
    workload = program_workload(program, lengths, counts)
    products = [layer for phase in workload.phases for layer in phase.layers if layer.product]
    for output, site in counts.sites.items():
        name = output.removesuffix(".accumulator")
        if target == "ita":  # whose heads' codes end the product
            name = name.replace("attention.output", "attention.heads")
        layers = [layer for layer in products if layer.name == name]
        assert sum(layer.repeat * layer.product.macs for layer in layers) == site.macs > 0
        spread = sum(layer.repeat * layer.macs_zero for layer in layers)
        assert abs(spread - site.macs_zero) <= sum(layer.repeat for layer in layers) / 2
    assert counts.total.macs_zero > 0


def test_a_run_counts_as_loops_do() -> None:
    """Every product of one encoding, from what an observer saw; real positions from the sentences themselves."""
    program, rows = native(), sentences(3)
    values: dict[str, Array] = {}
    machine = Machine(program)
    MachineStepper(machine, rows, values.__setitem__)
    counter = ZeroCounter(program)
    counter.count("encode", values)
    lengths = [len(row) for row in rows]
    for operation in program.functions["encode"].operations:
        if isinstance(operation, MatMul):
            site = counter.counts.sites[operation.output]
            assert (site.macs, site.macs_zero) == encoded_by_loops(program, operation, values, lengths)


def encoded_by_loops(program: Program, op: MatMul, values: dict[str, Array], lengths: list[int]) -> tuple[int, int]:
    a, weight = values[op.a], program.constants.get(op.b)
    info = program.constant_info.get(op.b) or program.tensors[op.b]
    zeros = program.tensors[op.a].zero_point, info.zero_point
    macs = zero = 0
    for i, length in enumerate(lengths):
        for head in range(a.shape[1] if a.ndim == 4 else 1):
            left = (a[i, head] if a.ndim == 4 else a[i])[:length]
            if weight is not None:
                right = weight
            elif op.transpose_b:
                left, right = left[:, :length], values[op.b][i, head, :length].T
            else:
                right = values[op.b][i, head, :length]
            of, found = by_loops(left, right, *zeros)
            macs, zero = macs + of, zero + found
    return macs, zero


def test_every_hypothesis_of_a_beam_counts() -> None:
    program, rows = native(), sentences(2)
    one, two = Counting(program), Counting(program)
    greedy(MachineStepper(one, rows), [4, 4])
    beam(MachineStepper(two, rows), [4, 4], width=3)
    assert two.zeros.counts.total.macs > one.zeros.counts.total.macs


# --- what is made of them ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("macs", "wanted"), [(0, 0), (1, 0), (2, 1), (3, 1), (10, 3), (30_000_000_001, 10_000_000_000)]
)
def test_a_rate_goes_to_the_nearest_mac(macs: int, wanted: int) -> None:
    counts = ZeroCounts(sites={"acc": SiteZeros(macs=3, macs_zero=1), "never": SiteZeros()})
    assert counts.zero_macs("acc", macs) == wanted
    assert counts.zero_macs("never", macs) == 0


def test_an_unknown_product_has_no_rate() -> None:
    with pytest.raises(ValueError, match="no zeros were counted of 'b'; counted are a"):
        ZeroCounts(sites={"a": SiteZeros()}).zero_macs("b", 1)
    with pytest.raises(ValueError, match="counted are none"):
        ZeroCounts(sites={}).zero_macs("b", 1)
