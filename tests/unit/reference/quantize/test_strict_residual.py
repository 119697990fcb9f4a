"""Strict residual sums of other machines: each operand is rescaled, then the sum."""

import pytest
import torch

from hwsim.formats import Scaling
from reference.quantize.strict.scaling import rescaled_add
from tests.unit.reference.quantize.page_arithmetic import INT8, INT16, clamp, narrow, scaled

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
