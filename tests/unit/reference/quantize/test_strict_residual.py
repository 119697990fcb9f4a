"""Strict residual sums of other machines: each operand is rescaled, then the sum."""

import pytest
import torch

from hwsim.formats import IntFormat, Scaling
from reference.quantize.strict.scaling import rescaled_add, sum_of_heads
from tests.unit.reference.quantize.page_arithmetic import INT8, INT16, clamp, narrow, scaled, wide

TFLITE_ADD = {
    "left_shift": 20,
    "scaling": Scaling.Q31_DOUBLE,
    "a_multiplier": 2**30,
    "a_shift": 31,
    "b_multiplier": 1717986918,
    "b_shift": 33,
    "output_multiplier": 1288490189,
    "output_shift": 50,
}
ITA_ADD = {
    "left_shift": 0,
    "scaling": Scaling.HALF_UP,
    "a_multiplier": 201,
    "a_shift": 8,
    "b_multiplier": 129,
    "b_shift": 9,
    "output_multiplier": None,
    "output_shift": 0,
}


@pytest.mark.parametrize(
    "constants",
    [TFLITE_ADD, ITA_ADD, {**ITA_ADD, "scaling": Scaling.FLOAT32_INSIDE}, {**ITA_ADD, "scaling": Scaling.HALF_EVEN}],
)
def test_rescaled_add_rounds_each_operand(constants):
    a, b = torch.meshgrid(torch.arange(-128, 128), torch.arange(-128, 128, 3), indexing="ij")
    got = rescaled_add(a.float(), b.float(), a_zero=3, b_zero=-7, zero_point=-2, fmt=INT8, **constants)

    def total(x: int, y: int) -> int:
        scaling, lift = constants["scaling"], 2 ** constants["left_shift"]
        acc = scaled((x - 3) * lift, scaling, constants["a_multiplier"], constants["a_shift"])
        acc += scaled((y + 7) * lift, scaling, constants["b_multiplier"], constants["b_shift"])
        if constants["output_multiplier"] is not None:
            acc = scaled(acc, scaling, constants["output_multiplier"], constants["output_shift"])
        return clamp(acc - 2, INT8)

    assert got.dtype == torch.float32
    assert got.flatten().tolist() == [
        total(*pair) for pair in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
    ]


def test_rescaled_add_gradient_is_the_product_of_the_ratios():
    a, b = narrow([10, 127], True), narrow([-20, 127], True)
    rescaled_add(a, b, a_zero=0, b_zero=0, zero_point=120, fmt=INT8, **ITA_ADD).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([201 / 2**8, 0], [129 / 2**9, 0])
    a, b = narrow([10], True), narrow([-20], True)
    rescaled_add(a, b, a_zero=0, b_zero=0, zero_point=0, fmt=INT8, **TFLITE_ADD).sum().backward()
    assert float(a.grad) == pytest.approx(2**20 * 2**30 / 2**31 * 1288490189 / 2**50)
    assert float(b.grad) == pytest.approx(2**20 * 1717986918 / 2**33 * 1288490189 / 2**50)


def test_rescaled_add_refuses_operands_of_more_than_31_bits():
    with pytest.raises(ValueError, match="2\\^31"):
        rescaled_add(narrow([4000]), narrow([1]), a_zero=0, b_zero=0, zero_point=0, fmt=INT16, **TFLITE_ADD)


PULP_ADD = {
    "left_shift": 0,
    "scaling": Scaling.HALF_UP,
    "a_multiplier": 3,
    "a_shift": 1,
    "b_multiplier": 1,
    "b_shift": 0,
    "output_multiplier": 1,
    "output_shift": 1,
}


def test_each_operand_saturates_before_the_sum():
    a, b = narrow([100, 100, -100, 1], True), narrow([-100, 20, 50, 2], True)
    zeros = {"a_zero": 0, "b_zero": 0, "zero_point": 0, "fmt": INT8}
    # 150 -> 127, -150 -> -128; (127 - 100)/2 = 13.5, (127 + 20)/2 = 73.5, (-128 + 50)/2 = -39, (2 + 2)/2
    codes = rescaled_add(a, b, operand=INT8, **zeros, **PULP_ADD)
    assert codes.tolist() == [14, 74, -39, 2]
    codes.sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([0, 0, 0, 0.75], [0.5] * 4)
    assert rescaled_add(a, b, **zeros, **PULP_ADD).tolist() == [25, 85, -50, 2]


def test_the_operands_share_their_format_and_the_second_saturates_too():
    a, b = narrow([0, 0, 0]), narrow([9, -9, 7])
    zeros = {"a_zero": 0, "b_zero": 0, "zero_point": 0, "fmt": INT8}
    whole = {**PULP_ADD, "output_multiplier": None}
    assert rescaled_add(a, b, operand=IntFormat(bits=4), **zeros, **whole).tolist() == [7, -8, 7]


def test_the_sum_of_heads_rounds_every_head():
    heads = wide([[[[1, 3]], [[1, -3]]], [[[1000, -1000]], [[254, 1]]]], gradient=True)  # 2 batches, 2 heads, 1 row
    multiplier, shift = torch.tensor([1, 3]), torch.tensor([1, 2])
    codes, total = sum_of_heads(heads, multiplier, shift, INT8, 1000)
    # 0.5, 1.5 and 0.75, -2.25; 500, -500 and 190.5, 0.75: half up
    assert codes.tolist() == [[[[1, 2]], [[1, -2]]], [[[127, -128]], [[127, 1]]]]
    assert total.tolist() == [[[2, 0]], [[254, -127]]]
    (total * wide([1, 10])).sum().backward()
    assert heads.grad.tolist() == [[[[0.5, 5]], [[0.75, 7.5]]], [[[0, 0]], [[0, 7.5]]]]


def test_one_ratio_serves_all_heads_and_a_multiplier_of_0_silences_one():
    heads = wide([[[3]], [[5]], [[6]]])
    assert sum_of_heads(heads, 1, 1, INT8, 6).total.tolist() == [[2 + 3 + 3]]
    assert sum_of_heads(heads, torch.tensor([1, 0, 1]), 1, INT8, 6).heads.flatten().tolist() == [2, 0, 3]


def test_heads_have_one_constant_each():
    for constants in ((torch.tensor([1, 1, 1]), 1), (1, torch.tensor([[1], [1]]))):
        with pytest.raises(ValueError, match="of 2 heads; allowed is one a head"):
            sum_of_heads(wide([[[3]], [[5]]]), *constants, INT8, 6)
    with pytest.raises(ValueError, match="multipliers \\(1,\\) of 2 heads"):
        sum_of_heads(wide([[[3]], [[5]]]), torch.tensor([1]), 1, INT8, 6)
