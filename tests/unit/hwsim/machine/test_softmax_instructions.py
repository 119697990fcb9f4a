"""The softmaxes of a plan against the pure-Python oracles: masks that rows share, every code, every event."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim import program as ir
from hwsim.formats import Counter, IntFormat
from hwsim.machine import Machine
from hwsim.machine.steps import STEPS
from hwsim.program import Program
from hwsim.program import operations as ops
from hwsim.program.catalogue import Q31Double
from tests import oracle
from tests.small.bare import bare
from tests.unit.hwsim.operators.kernel_checks import assert_occurred, assert_same, tallied

INT8, UINT8, INT10, INT16 = IntFormat(bits=8), IntFormat(bits=8, signed=False), IntFormat(bits=10), IntFormat(bits=16)
SCALE = 0.02
"""Of scores: 10 bits of them are less than 31 halvings apart."""
HEADS = 2
SHAPES = [(3, 7, 13), (2, 1, 1), (5, 4, 33), (2, 40, 6), (2, 3, 0)]
"""Sentences, queries, keys: rows beyond those that go at once, fewer, and some left over."""
MASKS = {"few bits": (IntFormat(bits=2, signed=False), [0, 1, 2, 3]), "wide": (INT16, [0, 1, 256, -512])}
"""Whatever is not 0 allows a key, also if its low byte is 0."""
EXP, RECIPROCAL = oracle.softmax_tables()
Row = Callable[[list[int], list[bool]], oracle.ShortSoftmaxRow]


class Case(NamedTuple):
    """An operation but for the names of its tensors, their formats, its constants, and a row of it by the oracle."""

    kind: type[Any]
    fields: dict[str, Any]
    scores: IntFormat
    output: IntFormat
    row: Row
    constants: dict[str, list[int]]


def gemmlowp(scores: IntFormat) -> Case:
    q, left = oracle.gemmlowp_constants(SCALE)
    row = partial(oracle.gemmlowp_softmax, multiplier=q, left_shift=left, bits=8)
    return Case(ops.GemmlowpSoftmax, {"multiplier": q, "left_shift": left}, scores, INT8, row, {})


def int16(scores: IntFormat, clamped: bool) -> Case:
    m, e = 1125882727, 28
    row = partial(oracle.softmax_int16, multiplier=m, shift=e, exp_table=EXP, reciprocal_table=RECIPROCAL)
    fields = {"exp_table": "exp", "reciprocal_table": "reciprocal", "clamped": clamped}
    fields["requantization"] = Q31Double(multiplier=m, shift=e)
    constants = {"exp": EXP, "reciprocal": RECIPROCAL}
    return Case(ops.Int16Softmax, fields, scores, INT16, partial(row, clamped=clamped), constants)


def itamax(scores: IntFormat, group: int, shift: int = 5) -> Case:
    row = partial(oracle.itamax, fraction_bits=shift, group=group, bits=8)
    return Case(ops.ItaMax, {"shift": shift, "group": group}, scores, UINT8, row, {})


def ibert(scores: IntFormat, shift: int | None = None) -> Case:
    """With the greatest shift every exponential is 0, and their sum is raised to 1."""
    polynomial = oracle.ibert_constants(SCALE)
    m, usual = oracle.ibert_16_bit(polynomial.c)
    e = usual if shift is None else shift
    row = partial(oracle.ibert_softmax, polynomial=polynomial, multiplier=m, shift=e, bits=8)
    return Case(ops.IBertSoftmax, {**polynomial._asdict(), "multiplier": m, "shift": e}, scores, UINT8, row, {})


def gemmini(scores: IntFormat) -> Case:
    polynomial = oracle.gemmini_constants(SCALE)
    row = partial(oracle.gemmini_softmax, polynomial=polynomial, bits=8)
    return Case(ops.GemminiSoftmax, polynomial._asdict(), scores, INT8, row, {})


def pulp(scores: IntFormat) -> Case:
    polynomial = oracle.pulp_constants(SCALE)
    row = partial(oracle.pulp_softmax, polynomial=polynomial, bits=8)
    return Case(ops.PulpSoftmax, polynomial._asdict(), scores, UINT8, row, {})


def qlinear(scores: IntFormat, output: IntFormat) -> Case:
    table = oracle.qlinear_table(SCALE, scores.bits, 64)
    row = partial(oracle.qlinear_softmax, table=table, multiplier=256, bits=output.bits, signed=output.signed)
    return Case(ops.QLinearSoftmax, {"table": "exp", "multiplier": 256}, scores, output, row, {"exp": table})


CASES = {
    **{f"{make.__name__} {x}": make(x) for make in (gemmlowp, ibert, gemmini, pulp) for x in (INT8, UINT8, INT10)},
    **{f"itamax {x} {group}": itamax(x, group) for x in (INT8, UINT8, INT10) for group in (0, 16, 5)},
    **{f"int16 {x} {clamped}": int16(x, clamped) for x, clamped in ((INT16, True), (INT8, True), (INT16, False))},
    **{f"qlinear {x} {y}": qlinear(x, y) for x, y in ((INT8, INT8), (UINT8, UINT8), (INT10, INT8))},
    "ibert of nothing": ibert(INT8, 62),
    "itamax of whole halvings": itamax(INT8, 16, 0),
}
OCCURRING = {
    "gemmlowp int8": Counter.SATURATION,
    "int16 int16 True": Counter.SATURATION,
    "qlinear int8 int8": Counter.SATURATION,
    "ibert of nothing": Counter.DENOMINATOR_CLAMP,
}


def program_of(case: Case, mask: IntFormat | None) -> Program:
    """The operation alone, from x and its mask to y."""
    dims: list[str | int] = ["batch", HEADS, "queries", "keys"]
    zero = case.output.min if case.kind in (ops.GemmlowpSoftmax, ops.QLinearSoftmax) else 0
    tensors = [
        ir.TensorInfo(name="x", format=case.scores, dims=dims),
        ir.TensorInfo(name="y", format=case.output, dims=dims, zero_point=zero),
    ]
    if mask is not None:
        tensors.append(ir.TensorInfo(name="mask", format=mask, dims=["batch", "keys"]))
    operation = case.kind(output="y", input="x", mask=None if mask is None else "mask", **case.fields)
    inputs = [info.name for info in tensors if info.name != "y"]
    about = bare(
        dimensions=[ir.Dimension(name=name, maximum=64) for name in ("batch", "queries", "keys")],
        tensors=tensors,
        constants=[
            ir.ConstantInfo(name=name, format=IntFormat(bits=32), shape=[len(values)], role="table")
            for name, values in case.constants.items()
        ],
        functions=[ir.Function(name="forward", inputs=inputs, outputs=["y"], operations=[operation])],
    )
    return Program(about, {name: np.array(values) for name, values in case.constants.items()})


def check(case: Case, machine: Machine, scores: NDArray[Any], mask: NDArray[Any] | None) -> NDArray[np.int64]:
    """The codes of a run and what it counted; the events."""
    before = machine.counters.get("y", np.zeros(len(Counter), np.int64)).copy()
    inputs = {"x": scores} if mask is None else {"x": scores, "mask": mask}
    got = machine.run("forward", inputs)["y"]
    shown = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask[:, None, None] != 0, scores.shape)
    keys = (-1, scores.shape[-1]) if scores.size else (0, 0)
    rows = [case.row(*row) for row in zip(scores.reshape(keys).tolist(), shown.reshape(keys).tolist(), strict=True)]
    assert_same("codes", got.reshape(keys), [row.output for row in rows])
    events = machine.counters["y"] - before
    saturated, raised = sum(row.output_saturated for row in rows), sum(row.denominator_below_one for row in rows)
    assert_same("events", events, tallied((), saturated, raised=raised))
    return events


@pytest.mark.parametrize("name", CASES)
def test_a_softmax_of_a_plan_is_the_oracle(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mask, and with masks that leave one sentence nothing; the checked step never runs."""
    case, rng = CASES[name], np.random.default_rng(7)
    monkeypatch.delitem(STEPS, case.kind)
    seen = np.zeros(len(Counter), np.int64)
    for form, values in [(None, []), *MASKS.values()]:
        machine = Machine(program_of(case, form), threads=2)
        for batch, queries, keys in SHAPES:
            spread = 2.0 ** rng.uniform(0, case.scores.bits - 1, (batch, HEADS, queries, 1))
            middle = (case.scores.min + case.scores.max) / 2
            drawn = np.rint(middle + spread * rng.normal(size=(batch, HEADS, queries, keys)))
            scores = drawn.clip(case.scores.min, case.scores.max).astype(np.int32)
            mask = None if form is None else rng.choice(values, (batch, keys))
            if mask is not None:
                mask[-1] = 0
            seen += check(case, machine, scores, mask)
    if name in OCCURRING:
        assert_occurred(seen, OCCURRING[name])
