"""Projected heads (R14) at their bounds: names, shapes and formats, each head's accumulator, the sum of the codes."""

import re
from typing import Any

import numpy as np
import pytest

from hwsim.formats import Accumulator, IntFormat, Overflow
from hwsim.machine import Machine
from hwsim.program.catalogue import NarrowAfter, Q31Double
from hwsim.program.proofs import Interval, product_reach
from hwsim.program.validate import validate
from tests.small.heads import HALF, heads_program, random_codes
from tests.unit.hwsim.program.program_edits import UINT8, Edit, constant, edited, manifest, operation, tensor

WEIGHT, BIAS = np.array([[1, -2, 3, 4], [5, 6, -7, 8], [0, 0, 1, 0]]), np.array([10, -20, 30])
"""Two heads of d_head 2, three columns."""
A_COLUMN = NarrowAfter(multiplier="bias", shift=1)
SHAPE = ["batch", 2, "length", 3]


def small(**changes: Any) -> Any:
    return heads_program(WEIGHT, BIAS, 2, **changes)


REFUSED: dict[str, tuple[list[Edit], str]] = {
    "context merged": ([tensor("context", dims=["batch", "length", 4])], "context has dimensions ('batch',"),
    "context of 17 bits": ([tensor("context", format=IntFormat(bits=17))], "context has 17 bits; codes have 2 to 16"),
    "heads of varying number": ([tensor("context", dims=["batch", "batch", "length", 2])], "codes has dimensions"),
    "a head more in the codes": ([tensor("codes", dims=["batch", 3, "length", 3])], "codes has dimensions"),
    "codes merged": ([tensor("codes", dims=["batch", "length", 3])], "codes has dimensions ('batch', 'length', 3)"),
    "unsigned codes": ([tensor("codes", format=UINT8)], "codes must be signed"),
    "codes of a zero point": ([tensor("codes", zero_point=1)], "codes has zero point 1; the operation needs 0"),
    "codes of 17 bits": ([tensor("codes", format=IntFormat(bits=17))], "codes has 17 bits"),
    "total of four dimensions": ([tensor("total", dims=SHAPE)], f"total has dimensions {tuple(SHAPE)}"),
    "total of another length": ([tensor("total", dims=["batch", "batch", 3])], "not fit the output ('batch', 'batch'"),
    "total of 27 bits": ([tensor("total", format=IntFormat(bits=27))], "total must be as its accumulator, int26"),
    "total of a zero point": ([tensor("total", zero_point=-1)], "total must be as its accumulator, int26 with zero"),
    "a weight too narrow": ([constant("weight", WEIGHT[:, :3])], "constant weight has shape (3, 3), needed (3, 4)"),
    "a weight of a zero point": ([constant("weight", zero_point=1)], "constant weight has zero point 1"),
    "a weight of 17 bits": ([constant("weight", format=IntFormat(bits=17))], "constant weight has 17 bits"),
    "no such weight": ([operation("codes", weight="none")], "constant none is not declared"),
    "a bias a head": ([constant("bias", BIAS[:2])], "constant bias has shape (2,), needed (3,)"),
    "no such bias": ([operation("codes", bias="none")], "constant none is not declared"),
    "a multiplier a column": ([operation("codes", requantization=A_COLUMN)], "bias has shape (3,), needed (2,)"),
    "codes made twice": ([operation("codes", heads="total")], "total is made twice"),
    "an unknown context": ([operation("codes", input="none")], "reads none, which is not made before"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_operation_is_refused_by_name(case: str) -> None:
    edits, message = REFUSED[case]
    with pytest.raises(ValueError, match=rf"^function forward, total: .*{re.escape(message)}"):
        validate(edited(small(), *edits))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2, 3], "constant m has shape (3,), needed (2,)"),  # one a column is none a head
        ([1, 256], "constant m leaves 0..255"),
    ],
)
def test_multipliers_are_one_a_head(values: list[int], message: str) -> None:
    program = small(ratio=NarrowAfter(multiplier="m", shift=8), ratios={"m": np.array(values)})
    with pytest.raises(ValueError, match=re.escape(message)):
        validate(program)


def test_the_reach_is_of_the_sum_of_codes() -> None:
    """Two int8 codes: -256 to 254. Of an accumulator the interval is the worst head's, bias in head 0 alone."""
    program = small()
    assert validate(program)["total"] == Interval(-256, 254)
    made = program.functions["forward"].operations[0]
    # head 0: 10 + 1 * 127 + 2 * 128, -20 - (5 + 6) * 128, 30; head 1: 7 * 127, -7 * 127 - 8 * 128, 127
    assert product_reach(program, made) == Interval(-7 * 127 - 8 * 128, 7 * 128 + 8 * 127)
    assert "codes" not in validate(program)


def test_the_accumulator_of_each_head_is_proven() -> None:
    """16 * -128 = -2048 is in 12 bits; both heads in one accumulator would need 13."""
    accumulator = Accumulator(bits=12)
    assert validate(heads_program(np.array([[8, 8, 8, 8]]), None, 2, accumulator=accumulator))["total"] == (-256, 254)
    over = heads_program(np.array([[8, 8, 8, 9]]), None, 2, accumulator=accumulator)
    message = "codes: partial sums reach [-2176, 2159], which a 12-bit accumulator cannot hold; it needs 13 bits"
    with pytest.raises(ValueError, match=re.escape(message)):
        validate(over)


def test_the_bias_counts_in_the_first_head_alone() -> None:
    """Head 0 reaches 8 * 127 + 1031 = 2047, in 12 bits; with the bias in it head 1, of 9, would not."""
    weight, accumulator = np.array([[8, 9]]), Accumulator(bits=12)
    validate(heads_program(weight, np.array([1031]), 2, accumulator=accumulator))
    with pytest.raises(ValueError, match=re.escape("partial sums reach [-1152, 2048]")):
        validate(heads_program(weight, np.array([1032]), 2, accumulator=accumulator))


@pytest.mark.parametrize("overflow", Overflow)
def test_the_sum_is_proven_whatever_the_overflow_rule(overflow: Overflow) -> None:
    """Four codes of int8 reach -512, which 10 bits hold and 9 do not."""
    weight, accumulator = np.array([[1, 1, 1, 1]]), Accumulator(bits=10, overflow=overflow)
    validate(heads_program(weight, None, 4, accumulator=accumulator))
    message = (
        "function forward, total: the sum of 4 heads reaches [-512, 508], which 9 bits cannot hold; it needs 10 bits, "
        "whatever the overflow rule"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        validate(heads_program(weight, None, 4, accumulator=Accumulator(bits=9, overflow=overflow)))


def test_a_requantization_beyond_its_scheme_is_refused() -> None:
    """8 * 128 * 2^(31 - 10) is 2^31: the doubling high multiply takes it below 0 only."""
    scheme = Q31Double(multiplier=1 << 30, shift=10)
    validate(heads_program(np.array([[8, 8]]), None, 2, ratio=scheme))
    with pytest.raises(ValueError, match=re.escape("x * 2^(31 - shift) reaches 2147483648, at or above 2^31")):
        validate(heads_program(np.array([[8, -8]]), None, 2, ratio=scheme))


def test_products_beyond_simulation_are_refused() -> None:
    accumulator = Accumulator(bits=63, overflow=Overflow.WRAP)
    program = heads_program(np.array([[1, 1]]), np.array([1 << 30]), 2, accumulator=accumulator)
    program = edited(program, manifest(beyond=["bias_bits"]))  # of ITA's 24
    validate(program)
    wide = constant("bias", np.array([1 << 62]), format=IntFormat(bits=63, signed=False))
    with pytest.raises(ValueError, match=r"products reach \d+, beyond 64-bit simulation"):
        validate(edited(program, wide))


@pytest.mark.parametrize("bias", [BIAS, None], ids=["bias", "no bias"])
def test_what_passes_runs(bias: np.ndarray | None) -> None:
    """Heads 1 and 1 of m/2^e = 1/2 are 2, halved 1; and codes stay in their intervals."""
    machine = Machine(heads_program(np.array([[1, 1]]), None, 2))
    seen: dict[str, Any] = {}
    made = machine.run("forward", {"context": np.ones((1, 2, 1, 1), np.int32)}, seen.__setitem__)
    assert list(seen) == ["codes", "total", "y"]
    assert (seen["codes"].tolist(), seen["total"].tolist(), made["y"].tolist()) == ([[[[1]], [[1]]]], [[[2]]], [[[1]]])
    program = heads_program(WEIGHT, bias, 2, ratio=HALF)
    Machine(program).run("forward", {"context": random_codes(np.random.default_rng(1), 2, 2, 3, 2)})
