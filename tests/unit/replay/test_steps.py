"""Single steps on a few tensors, by hand: embeddings, heads, residual sums, rows under a mask, channels."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET

from hwsim.formats import Accumulator, IntFormat, Overflow, Rounding
from hwsim.program.catalogue import Dyadic, Float32, NarrowAfter, NarrowBefore, Nvdla, Q31Double
from hwsim.program.operations import (
    Add,
    Embed,
    GemminiLayerNorm,
    Int16Softmax,
    MatMul,
    ProjectHeads,
    PulpLayerNorm,
    PulpSoftmax,
    QLinearSoftmax,
    Relu,
    Requantize,
    RescaledAdd,
    ShiftRight,
)
from tests.replay.arrays import by_pair, by_value
from tests.replay.context import Context
from tests.replay.replay import STEPS
from tests.unit.replay.programs import context_of

INT8, UINT8, INT16, INT32 = (IntFormat(bits=8), IntFormat(bits=8, signed=False), IntFormat(bits=16), IntFormat(bits=32))


def run(context: Context, operation: Any, **values: Any) -> list[Any]:
    """What an operation writes into `output`."""
    tensors = {name: np.array(one, np.int64) for name, one in values.items()}
    STEPS[str(operation.__struct_config__.tag)](context, operation, tensors)
    return list(tensors["output"].tolist())


def test_functions_of_channels_and_of_pairs() -> None:
    x = np.array([[5, -3], [5, 7], [0, -3]])
    assert by_value(x, [lambda v: 2 * v]).tolist() == [[10, -6], [10, 14], [0, -6]]
    assert by_value(x, [lambda v: 2 * v, lambda v: v - 1]).tolist() == [[10, -4], [10, 6], [0, -4]]
    assert by_pair(x[:, 0], x[:, 1], lambda a, b: a * 100 + b).tolist() == [497, 507, -3]
    empty = np.zeros((2, 0), np.int32)
    assert by_value(empty, [lambda v: v]).shape == by_pair(empty, empty, max).shape == (2, 0)


def test_pairs_that_are_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs of 0 to 4611686018427387904 and 0 to 2 are too many for an int64"):
        by_pair(np.array([0, 2**62]), np.array([0, 2]), max)


@pytest.mark.parametrize("multiplier", [3, "m"])
def test_embeddings(multiplier: int | str) -> None:
    """(table[id] * m + positions[first + i] * 5) / 4, ties to even, plus a zero point of 1."""
    constants = {"table": [[9, 9], [12, -8], [8, 3]], "positions": [[9, 9], [4, 1], [8, -1]], "m": [7, 2, 4]}
    op = Embed(
        output="output", ids="ids", position="at", table="table", positions="positions",
        multiplier=multiplier, position_multiplier=5, shift=2,
    )  # fmt: skip
    context = context_of("fullyqt", {"output": INT8}, constants, {"output": 1})
    expected = {
        "m": [[[12, -2], [19, 3]]],  # rows 1, 2 at positions 1, 2: (24 + 20, -16 + 5) / 4 and (32 + 40, 12 - 5) / 4
        3: [[[15, -4], [17, 2]]],  # (36 + 20, -24 + 5) / 4 and (24 + 40, 9 - 5) / 4
    }
    assert run(context, op, ids=[[1, 2]], at=1) == expected[multiplier]


def test_products_take_zero_points_off_and_turn_activations() -> None:
    formats = {"a": INT8, "b": INT8, "output": INT32}
    context = context_of("fullyqt", formats, {"bias": [100, 200]}, {"a": 1})
    flat = MatMul(output="output", a="a", b="b", bias="bias")
    turned = MatMul(output="output", a="a", b="b", bias="bias", transpose_b=True)
    b = [[1, 2], [3, 4]]
    assert run(context, flat, a=[[2, 3]], b=b) == [[105, 211]]
    assert run(context, turned, a=[[2, 3]], b=b) == [[107, 210]]


def test_ita_has_biases_of_24_bits_and_accumulators_of_26() -> None:
    constants = {"bias": [2**23, -5], "b": [[1, 0], [2**17, 2**17]]}
    context = context_of("ita", {"a": INT16, "output": INT32}, constants)
    context.program.constant_info["b"] = SimpleNamespace(zero_point=0)  # type: ignore[assignment]
    op = MatMul(output="output", a="a", b="b", bias="bias", accumulator=Accumulator(bits=26))
    # (3 + 253) * 2^17 = 2^25, one beyond what 26 bits hold: less 2^26, and -5
    assert run(context, op, a=[[3, 253]]) == [[3 - 2**23, 2**25 - 5]]
    assert run(context, op, a=[[3, 254]]) == [[3 - 2**23, 2**25 + 2**17 - 5 - 2**26]]


def test_a_program_that_asks_for_an_accumulator_that_saturates_gets_it() -> None:
    context = context_of("fullyqt", {"a": INT8, "b": INT8, "output": INT32})
    op = MatMul(output="output", a="a", b="b", accumulator=Accumulator(bits=10, overflow=Overflow.SATURATE))
    assert run(context, op, a=[[100, 100]], b=[[4, 4], [1, 1]]) == [[511, 200]]


def test_shifts_round_by_their_rule_and_relu_is_a_maximum() -> None:
    context = context_of("fullyqt", {"output": INT32})
    for rounding, expected in (
        (Rounding.HALF_EVEN, [2, -2, 2]),
        (Rounding.HALF_UP, [3, -2, 2]),
        (Rounding.FLOOR, [2, -3, 1]),
    ):
        op = ShiftRight(output="output", input="x", shift=1, rounding=rounding)
        assert run(context, op, x=[5, -5, 3]) == expected
    assert run(context, Relu(output="output", input="x"), x=[5, -5, 0]) == [5, 0, 0]


def test_biases_after_a_truncation_are_added_in_33_bits() -> None:
    """NVDLA: 5/2 and -5/2 away from 0, into 32 bits; the sums with the bias, 2^31 + 4 and -2, are 33 bits wide."""
    formats = {"x": IntFormat(bits=34), "output": INT32}
    context = context_of("nvdla", formats, {"bias": [5, 1]})
    rounded = ShiftRight(output="output", input="x", shift=1, rounding=Rounding.HALF_AWAY)
    assert run(context, rounded, x=[[5, -5], [2**33 - 1, -(2**33)]]) == [[3, -3], [2**31 - 1, -(2**31)]]
    biased = ShiftRight(output="output", input="x", shift=1, rounding=Rounding.HALF_AWAY, bias="bias")
    assert run(context, biased, x=[[5, -5], [2**33 - 1, 0]]) == [[8, -2], [2**31 + 4, 1]]


def test_channels_have_multipliers_and_shifts_of_their_own() -> None:
    context = context_of("ibert", {"output": INT8}, {"m": [1, 3], "e": [0, 1]})
    op = Requantize(output="output", input="x", requantization=Dyadic(multiplier="m", shift="e"))
    assert run(context, op, x=[[5, 5], [-7, -7]]) == [[5, 8], [-7, -10]]
    one = Requantize(output="output", input="x", requantization=Dyadic(multiplier=3, shift="e"))
    assert run(context, one, x=[[5, 5]]) == [[15, 8]]


@pytest.mark.parametrize(("bits", "expected"), [(8, [-64]), (32, [64])])
def test_logits_are_of_the_generator(bits: int, expected: list[int]) -> None:
    """Under PULP codes come from an int32 product; logits leave its datapath."""
    context = context_of("pulp", {"output": IntFormat(bits=bits)})
    scheme = NarrowBefore(multiplier=36283, shift=25) if bits == 8 else Dyadic(multiplier=36283, shift=25)
    assert run(context, Requantize(output="output", input="x", requantization=scheme), x=[58752]) == expected


def added(
    target: str, scheme: type[Any], ratios: list[tuple[int, int]], output: IntFormat = INT8, **fields: Any
) -> Any:
    requantizations = [scheme(multiplier=m, shift=e) for m, e in ratios]
    names = ("a_requantization", "b_requantization", "output_requantization")
    op = RescaledAdd(output="output", a="a", b="b", **dict(zip(names, requantizations, strict=False)), **fields)
    return context_of(target, {"a": INT8, "b": INT8, "output": output}), op


@pytest.mark.parametrize(
    ("target", "scheme", "ratios", "code"),
    [
        # PULP and Gemmini clamp the first operand to 127 before the sum; others have room for it
        ("pulp", NarrowBefore, [(512, 8), (256, 8)], 27),
        ("gemmini", Float32, [(2**23, 22), (2**23, 23)], 27),
        ("ita", NarrowAfter, [(2, 0), (1, 0)], 27),
        ("ibert", Dyadic, [(512, 8), (256, 8)], 127),
        ("nvdla", Nvdla, [(512, 8), (256, 8)], 127),
        # with an output ratio of 1/2: (127 - 100) / 2 = 13.5, up under PULP; (254 - 100) / 2 elsewhere
        ("pulp", NarrowBefore, [(512, 8), (256, 8), (1, 1)], 14),
        ("ibert", Dyadic, [(512, 8), (256, 8), (1, 1)], 77),
    ],
)
def test_residual_sums_clamp_their_operands_where_the_hardware_does(
    target: str, scheme: type[Any], ratios: list[tuple[int, int]], code: int
) -> None:
    context, op = added(target, scheme, ratios)
    assert run(context, op, a=[127], b=[-100]) == [code]


def test_residual_operands_are_clamped_where_the_program_says_so() -> None:
    context, op = added("ibert", Dyadic, [(512, 8), (256, 8)], operand=INT8)
    assert run(context, op, a=[127], b=[-100]) == [27]


def test_residual_operands_are_shifted_left_and_less_their_zero_points() -> None:
    """((7 - 3) * 2^4 * 3/8 + (2 - 1) * 2^4 / 2) / 2^4 = (24 + 8) / 16 = 2, less 5."""
    ratios = [(3, 3), (1, 1), (1, 4)]
    _, op = added("ibert", Dyadic, ratios, left_shift=4)
    context = context_of("ibert", {"a": INT8, "b": INT8, "output": INT8}, {}, {"a": 3, "b": 1, "output": -5})
    assert run(context, op, a=[7], b=[2]) == [-3]


def test_sums_of_one_rounding() -> None:
    """((9 - 2) * 3 + (4 - 1) * 5) / 8 = 4.5 goes to 4, plus 7."""
    context = context_of("fullyqt", {"a": INT8, "b": INT8, "output": INT8}, {}, {"a": 2, "b": 1, "output": 7})
    op = Add(output="output", a="a", b="b", a_multiplier=3, b_multiplier=5, shift=3)
    assert run(context, op, a=[9], b=[4]) == [11]


def test_heads_are_projected_requantized_and_added() -> None:
    """Two heads of acc 1 + 0 and 1 at 1/2: each rounds up to 1, their sum is 2; the bias is the first head's."""
    constants = {"weight": [[1, 0, 0, 1], [2, 2, 9, 0]], "bias": [0, 4], "m": [1, 1], "e": [1, 0]}
    context = context_of("ita", {"input": INT8, "heads": INT8, "output": INT32}, constants)
    op = ProjectHeads(
        heads="heads", output="output", input="input", weight="weight", bias="bias",
        accumulator=Accumulator(bits=26), requantization=NarrowAfter(multiplier="m", shift="e"),
    )  # fmt: skip
    tensors = {"input": np.array([[[[1, 0]], [[0, 1]]], [[[1, 1]], [[20, 0]]]])}
    STEPS["project_heads"](context, op, tensors)
    # batch 0: head 0 (1, 2 + 4) / 2 -> 1, 3; head 1 (1, 0); batch 1: (1, 8) / 2 -> 1, 4; (0, 180) -> 0, 127
    assert tensors["heads"].tolist() == [[[[1, 3]], [[1, 0]]], [[[1, 4]], [[0, 127]]]]
    assert tensors["output"].tolist() == [[[2, 3]], [[1, 131]]]


def test_masked_keys_take_no_part_in_any_head() -> None:
    op = PulpSoftmax(output="output", input="x", mask="mask", ln2=20, b=40, c=400)
    context = context_of("pulp", {"output": UINT8})
    scores = [[[[100, 90, 120]], [[90, 100, 0]]]]
    assert run(context, op, x=scores, mask=[[1, 1, 0]]) == [[[[154, 100, 0]], [[100, 154, 0]]]]


def test_scores_of_onnx_runtime_read_a_table_of_binary32() -> None:
    """Exponentials 4, 2, 1 with a masked 4 between: 10 / 7 * (4, 2, 1) = 5.7, 2.9, 1.4, less 128."""
    context = context_of("onnxruntime", {"output": INT8}, {"t": [129 << 23, 128 << 23, 127 << 23]}, {"output": -128})
    op = QLinearSoftmax(output="output", input="x", mask="mask", table="t", multiplier=10)
    assert run(context, op, x=[[[[9, 9, 8, 7]]]], mask=[[1, 0, 1, 1]]) == [[[[-122, -128, -125, -127]]]]


def test_gemmini_layernorms_have_a_ratio() -> None:
    """x = 7, -3, 2, 12 as in the test of the row."""
    constants = {"gamma": [10, 20, 30, -40], "beta": [1, 3, 8, 2]}
    context = context_of("gemmini", {"x": INT8, "output": INT8}, constants, {"x": 1, "output": -5})
    names = {"output": "output", "input": "x", "gamma": "gamma", "beta": "beta"}
    op = GemminiLayerNorm(**names, requantization=Float32(multiplier=2**23, shift=24))
    assert run(context, op, x=[[8, -2, 3, 13]]) == [[1, -13, -1, -44]]


@pytest.mark.parametrize(("clamped", "code"), [(True, 32767), (False, -32768)])
def test_int16_softmaxes_read_their_tables(clamped: bool, code: int) -> None:
    from tests.oracle.interpolation import softmax_tables

    exp, reciprocal = softmax_tables()
    context = context_of("tflm", {"output": INT16}, {"e": exp, "r": reciprocal})
    op = Int16Softmax(
        output="output", input="x", requantization=Q31Double(multiplier=1717986918, shift=29),
        exp_table="e", reciprocal_table="r", clamped=clamped,
    )  # fmt: skip
    assert run(context, op, x=[[[[7]]]]) == [[[[code]]]]


@pytest.mark.parametrize(
    ("overflow", "codes"),
    [(UNSET, [127, -128]), (Overflow.SATURATE, [127, -128]), (Overflow.WRAP, [-56, 56])],
)
def test_pulp_layernorms_wrap_where_the_program_says_so(overflow: Any, codes: list[int]) -> None:
    context = context_of("deeploy", {"x": INT8, "output": INT8}, {"gamma": [1600, 1600], "beta": [0, 0]})
    op = PulpLayerNorm(output="output", input="x", gamma="gamma", beta="beta", shift=3, overflow=overflow)
    assert run(context, op, x=[[10, -10]]) == [codes]
