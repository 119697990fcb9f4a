"""Strict fake-quant of ONNX Runtime's softmax against the oracle: tables bit by bit, rows code by code, gradients."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch

from hwsim.formats import IntFormat
from reference.quantize.graph import Kind
from reference.quantize.plan.softmax import qlinear
from reference.quantize.strict.qlinear import qlinear_softmax, qlinear_table
from tests import oracle
from tests.unit.reference.quantize.plans import nodes, plan_of

INT8, UINT8 = IntFormat(bits=8), IntFormat(bits=8, signed=False)
ONE = 0x3F800000


@pytest.mark.parametrize(("bits", "keys"), [(8, 1), (8, 64), (8, 100), (3, 7), (12, 256)])
@pytest.mark.parametrize("scale", [0.004, 1 / 30, 0.25, 0.7, 3.0])
def test_tables_are_the_oracle_s(scale: float, bits: int, keys: int) -> None:
    """At 3.0 they end in subnormal numbers and 0."""
    assert qlinear_table(scale, bits, keys).tolist() == oracle.qlinear_table(scale, bits, keys)


def test_a_table_by_hand() -> None:
    """64 keys: 2^128 / 64 is 2^122, its logarithm 84.563957 in binary32; exp(79.563957) = 3.5827e34 and a factor e."""
    first, second = qlinear_table(1.0, 2, 64).to(torch.int32).view(torch.float32).tolist()[:2]
    assert first == pytest.approx(2.0**122 / math.exp(5), rel=2**-17)  # of the logarithm's last bit
    assert first / second == pytest.approx(math.e, rel=2**-22)


def test_rows_are_the_oracle_s() -> None:
    torch.manual_seed(3)
    for scale in (0.02, 0.3):
        table = qlinear_table(scale, 8, 64)
        for fmt, multiplier in ((INT8, 256), (UINT8, 256), (UINT8, 100), (IntFormat(bits=4), 16)):
            scores = (torch.randn(40, 33) * torch.logspace(0, 2, 40)[:, None]).round().clamp(-128, 127)
            allowed = torch.rand(40, 33) < 0.8
            allowed[0] = False
            got = qlinear_softmax(scores, allowed, table, multiplier=multiplier, fmt=fmt, slope=scale)
            rows = zip(scores.int().tolist(), allowed.tolist(), strict=True)
            numbers = table.tolist(), multiplier, fmt.bits, fmt.signed
            assert got.dtype == torch.float32
            assert got.tolist() == [oracle.qlinear_softmax(*row, *numbers).output for row in rows]
    free = qlinear_softmax(scores, None, table, multiplier=16, fmt=fmt, slope=scale)
    every = torch.ones(33, dtype=torch.bool)
    assert torch.equal(free, qlinear_softmax(scores, every, table, multiplier=16, fmt=fmt, slope=scale))


def test_the_sum_is_rounded_key_by_key() -> None:
    """As in the kernel's test: 2^23, 2^23, 1, 1 in either order."""
    table = torch.tensor([0x4B000000, ONE])
    for scores, expected in (([0, 0, -1, -1], [2, 2, 0, 0]), ([-1, -1, 0, 0], [0, 0, 1, 1])):
        row = torch.tensor([scores]).float()
        assert qlinear_softmax(row, None, table, multiplier=3, fmt=UINT8, slope=1.0).tolist() == [expected]


def test_product_and_quotient_are_exact() -> None:
    """As in the kernel's test, where binary32 would leave a tie or make one."""
    for numbers, multiplier, expected in (((9586981, 9586981), 7, [4, 4]), ((6291458, 2097153), 2, [1, 1])):
        table = torch.tensor(numbers, dtype=torch.float32).view(torch.int32)
        row = torch.tensor([[0.0, -1.0]])
        assert qlinear_softmax(row, None, table, multiplier=multiplier, fmt=UINT8, slope=1.0).tolist() == [expected]


def test_the_gradient_is_the_jacobian_in_units_of_the_output() -> None:
    scores, slope = torch.tensor([[3.0, -20, 0, 100]], requires_grad=True), 0.04
    allowed, weights = torch.tensor([[True, True, True, False]]), torch.tensor([1.0, -2, 5, 7])
    table = qlinear_table(slope, 8, 4)
    (qlinear_softmax(scores, allowed, table, multiplier=256, fmt=INT8, slope=slope) * weights).sum().backward()
    p = torch.softmax(scores.detach()[0, :3].double() * slope, -1)
    want = 256 * slope * p * (weights[:3] - (weights[:3] * p).sum())
    assert scores.grad is not None and scores.grad[0, 3] == 0
    torch.testing.assert_close(scores.grad[0, :3].double(), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fmt": IntFormat(bits=9)}, "qlinear_softmax to int9; allowed are 2 to 8 bits, not narrow"),
        ({"fmt": IntFormat(bits=8, narrow=True)}, "qlinear_softmax to int8n; allowed are"),
        ({"multiplier": 257}, "qlinear_softmax multiplier"),
        ({"multiplier": 0}, "qlinear_softmax multiplier"),
        ({"table": torch.tensor([ONE, ONE])}, "scores 2 apart; the table has 2 entries"),
        ({"table": torch.full((3,), 0x7F000000)}, "qlinear_softmax: the sum of 3 keys leaves binary32"),
    ],
)
def test_what_the_page_does_not_allow_is_refused(changes: dict, message: str) -> None:
    right = {"table": torch.full((3,), ONE), "multiplier": 256, "fmt": INT8}
    row = torch.tensor([[0.0, 1.0, 2.0]])
    qlinear_softmax(row, None, slope=0.1, **right)
    with pytest.raises(ValueError, match=message):
        qlinear_softmax(row, None, slope=0.1, **right | changes)


@pytest.mark.parametrize(("bits", "keys", "message"), [(13, 4, "a table of 13 bits"), (8, 0, "keys of a table")])
def test_tables_that_the_page_does_not_have_are_refused(bits: int, keys: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        qlinear_table(0.1, bits, keys)


def test_scores_whose_scale_is_no_binary32_are_refused_by_site() -> None:
    plan = plan_of("onnxruntime")
    node = nodes(plan, Kind.SOFTMAX)[0]
    planner = SimpleNamespace(plan=copy.deepcopy(plan), scale={node.inputs[0].site: 2.0**126})
    with pytest.raises(
        ValueError, match=r"self_attention\.scores: a score scale of .*; needed: below 2\^126; give .* range ="
    ):
        qlinear(planner, node)  # type: ignore[arg-type]
