"""Matrix products in an accumulator's register, embeddings, and the stages that only move codes."""

import random

import numpy as np
import pytest

from hwsim.formats import Accumulator, Granularity
from tests.oracle.accumulator import matmul_by
from tests.replay.products import product
from tests.replay.registers import Register


def oracle_product(
    a: list[list[int]], b: list[list[int]], bias: list[int], register: Register, granularity: str, tile: int
) -> list[list[int]]:
    found = matmul_by(a, b, bias, (0, 0), register.bits, register.overflow, granularity, tile)
    return [[one.value for one in row] for row in found]


@pytest.mark.parametrize("bits", [12, 17, 40])
@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
@pytest.mark.parametrize(("granularity", "tile"), [("mac", 1), ("tile", 3), ("end", 1)])
def test_products_in_a_register(bits: int, overflow: str, granularity: str, tile: int) -> None:
    """Registers that almost every sum leaves, some leave, and none: in the order of the products."""
    rng = random.Random(bits)
    a, b = ([[rng.randrange(-128, 128) for _ in range(11)] for _ in range(rows)] for rows in (6, 7))
    bias = [rng.randrange(-4000, 4000) for _ in b]
    register = Register(bits, "wrap" if overflow == "wrap" else "saturate")
    order = Accumulator(granularity=Granularity(granularity), tile=tile)
    found = product(np.array(a), np.array(b).T, np.array(bias), register, order)
    assert found.tolist() == oracle_product(a, b, bias, register, granularity, tile)


def test_a_saturating_sum_forgets_what_would_have_come_back() -> None:
    """100 + 100 stops at 127, less 100 is 27; at the end alone it is the exact 100."""
    a, b, bias = np.array([[1, 1, 1]]), np.array([[100], [100], [-100]]), np.array([0])
    register = Register(8, "saturate")
    assert product(a, b, bias, register, Accumulator()).tolist() == [[27]]
    assert product(a, b, bias, register, Accumulator(granularity=Granularity.END)).tolist() == [[100]]
    assert product(a, b, bias, Register(8), Accumulator()).tolist() == [[100]]


def test_products_of_heads_are_apart() -> None:
    a, b = np.arange(12).reshape(2, 2, 3), np.arange(12).reshape(2, 3, 2)
    found = product(a, b, np.zeros(2, np.int64), Register(32), Accumulator())
    assert found.tolist() == [[[10, 13], [28, 40]], [[172, 193], [244, 274]]]
