"""The shipped model under every target holds what the hardware holds: a walk over all constants, in Python integers.

The figures are the authors' code's: Deeploy bf64cfa (RequantShift, iLayerNorm, ITAMax), pulp-nn-mixed b69ec23, ITA
40564cf and ba96519, gemmini-rocc-tests 180c468, nvdla/hw 8e06b1b, tflite-micro 90b983c, CMSIS-NN 99f736a, and the
specification of TOSA; none is read from hwsim's records.
"""

import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from analysis.workload import calibrate_model, load_model
from hwsim.program import Program
from hwsim.program import operations as ops
from reference.lower import lower
from reference.models.translation import Transformer
from reference.quantize.calibrate import Range
from reference.quantize.plan import make_plan
from reference.quantize.scheme import scheme_for
from tests.small.programs import with_operation

INT8, INT16, INT32, INT64 = 1 << 7, 1 << 15, 1 << 31, 1 << 63


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Bounds, the upper ones exclusive; `left` is for schemes that shift x to the left first (gemmlowp's)."""

    least: int = 1
    below: int
    shifts: tuple[int, int] = (0, 62)
    product: int = INT64
    left: bool = False
    mantissa: bool = False
    one_shift: bool = False
    accumulator: int = INT32
    bias: int = INT32
    left_shifted_bias: bool = False
    gamma: int | None = None
    keys: int | None = None
    halving: int | None = None
    clip: bool = False
    sums: "Figures | None" = None


Q31 = Figures(least=1 << 30, below=1 << 31, left=True, keys=512)
Q15 = Figures(least=1 << 14, below=1 << 15, shifts=(8, 46), accumulator=1 << 47, bias=INT64, sums=Q31)
DEEPLOY = Figures(below=INT32, shifts=(0, 31), product=INT32, one_shift=True, gamma=INT32, halving=5, clip=True)
ITA = Figures(
    least=0,
    below=256,
    shifts=(0, 35),
    one_shift=True,
    accumulator=1 << 25,
    bias=1 << 23,
    gamma=INT32,
    keys=2048,
    halving=5,
    clip=True,
    sums=DEEPLOY,
)
BINARY32 = Figures(below=1 << 24, mantissa=True)
NVDLA = Figures(below=INT16, shifts=(0, 63), one_shift=True, accumulator=1 << 33, bias=INT16, left_shifted_bias=True)
FIGURES = {
    "fullyqt": Figures(below=1 << 16),
    "ibert": Figures(below=1 << 31),
    "onnxruntime": BINARY32,
    "tosa": Figures(least=1 << 30, below=1 << 31, shifts=(2, 62)),
    "tflm": Q31,
    "cmsis-nn": Q31,
    "tflm, 16 bits": Q15,
    "cmsis-nn, 16 bits": Q15,
    "ita": ITA,
    "ita-head": replace(ITA, halving=0),
    "deeploy": DEEPLOY,
    "pulp": replace(DEEPLOY, halving=None),
    "gemmini": replace(BINARY32, gamma=INT8, clip=True),
    "nvdla": NVDLA,
    "nvdla, 16 bits": replace(NVDLA, accumulator=1 << 47),
}


# --- the walk ---------------------------------------------------------------------------------------------------------


class Walk:
    """Every constant of a program against figures; `broken` are those beyond, as (site, limit)."""

    def __init__(self, program: Program, figures: Figures) -> None:
        self.program, self.figures = program, figures
        self.reach: dict[str, list[int]] = {}
        self.broken: set[tuple[str, str]] = set()
        self.met: set[str] = set()
        for _, op in program.operations():
            getattr(self, f"_{type(op).__name__.lower()}", self._nothing)(op)

    def _nothing(self, op: ops.Operation) -> None:
        if "softmax" in type(op).__name__.lower() or isinstance(op, ops.ItaMax):
            self._softmax(op)

    def check(self, site: str, limit: str, holds: bool) -> None:
        self.met.add(limit)
        if not holds:
            self.broken.add((site, limit))

    def widest(self, name: str) -> int:
        info = self.program.tensors[name]
        return max(info.format.max - info.zero_point, info.zero_point - info.format.min)

    def values(self, given: int | str, count: int) -> list[int]:
        return [given] * count if isinstance(given, int) else self.program.constants[given].tolist()

    def rows(self, op: ops.MatMul) -> list[int]:
        """The greatest |sum| of each row, its bias in it, whatever the codes of its operands."""
        terms = self.program.tensors[op.a].dims[-1]
        if op.b not in self.program.constants:
            count = terms if isinstance(terms, int) else self.program.dimensions[terms].maximum
            return [count * self.widest(op.a) * self.widest(op.b)]
        return self.of_weight(self.program.constants[op.b], op.a, op.bias)

    def of_weight(self, weight: np.ndarray, source: str, bias: str | None) -> list[int]:
        sums = np.abs(weight.astype(np.int64)).sum(1).tolist()
        added = [0] * len(sums) if bias is None else self.program.constants[bias].tolist()
        return [s * self.widest(source) + abs(int(b)) for s, b in zip(sums, added, strict=True)]

    def _matmul(self, op: ops.MatMul) -> None:
        site = op.output.removesuffix(".accumulator")
        self.reach[op.output] = self.rows(op)
        if site == "generator.logits":
            return
        self.check(site, "accumulator", max(self.reach[op.output]) < self.figures.accumulator)
        self.bias(site, op.bias)

    def bias(self, site: str, name: str | None) -> None:
        """As wide as it may be, or with one shift to the left for the layer."""
        if name is None:
            return
        codes = [int(code) for code in self.program.constants[name].tolist()]
        step = 1
        if self.figures.left_shifted_bias:
            while all(code % (2 * step) == 0 for code in codes) and any(codes):
                step *= 2
        self.check(site, "bias", all(-self.figures.bias <= code // step < self.figures.bias for code in codes))

    def _projectheads(self, op: ops.ProjectHeads) -> None:
        weight, heads = self.program.constants[op.weight], self.program.tensors[op.heads].dims[1]
        width = weight.shape[1] // heads
        parts = [weight[:, h * width : (h + 1) * width] for h in range(heads)]
        reach = [max(self.of_weight(part, op.input, None if h else op.bias)) for h, part in enumerate(parts)]
        self.check(op.heads, "accumulator", max(reach) < self.figures.accumulator)
        self.bias(op.heads, op.bias)
        self.ratio(op.heads, op.requantization, reach, self.figures)
        self.reach[op.output] = [heads * self.widest(op.heads)]

    def _shiftright(self, op: ops.ShiftRight) -> None:
        """Also NVDLA's way into 32 bits, and its bias after that."""
        self.reach[op.output] = [(x >> op.shift) + 1 for x in self.reach[op.input]]
        if isinstance(op.bias, str):
            self.bias(op.output.removesuffix(".truncated"), op.bias)
            worst = max(abs(int(code)) for code in self.program.constants[op.bias].tolist())
            self.reach[op.output] = [x + worst for x in self.reach[op.output]]
        if op.output.endswith(".truncated"):
            self.check(op.output.removesuffix(".truncated"), "32 bits", max(self.reach[op.output]) <= INT32)

    def _relu(self, op: ops.Relu) -> None:
        self.reach[op.output] = self.reach[op.input]

    def _requantize(self, op: ops.Requantize) -> None:
        if op.output != "generator.logits":
            self.ratio(op.output, op.requantization, self.reach[op.input], self.figures)

    def ratio(self, site: str, record: object, reach: list[int], figures: Figures) -> None:
        """Multipliers, shifts and products of x to `reach`, row by row or one for all."""
        count = max(len(reach), *(len(self.values(v, 1)) for v in (record.multiplier, record.shift)))
        multipliers, shifts = self.values(record.multiplier, count), self.values(record.shift, count)
        reach = reach * (count // len(reach))
        self.check(site, "multiplier", all(figures.least <= m < figures.below for m in multipliers))
        self.check(site, "shift", all(figures.shifts[0] <= e <= figures.shifts[1] for e in shifts))
        if figures.one_shift:
            self.check(site, "one shift", len(set(shifts)) == 1)
        if figures.left:
            products = [x << max(31 - e, 0) for x, e in zip(reach, shifts, strict=True)]
            self.check(site, "product", max(products) < INT32)
        elif not figures.mantissa:
            products = [x * m + (1 << e >> 1) for x, m, e in zip(reach, multipliers, shifts, strict=True)]
            self.check(site, "product", max(products) < figures.product)

    def _rescaledadd(self, op: ops.RescaledAdd) -> None:
        figures = self.figures.sums or self.figures
        for source, record in ((op.a, op.a_requantization), (op.b, op.b_requantization)):
            self.ratio(op.output, record, [self.widest(source) << op.left_shift], figures)
        if self.figures.clip:
            held = isinstance(op.operand, ops.IntFormat) and (op.operand.min, op.operand.max) == (-128, 127)
            self.check(op.output, "clip", held)
            self.ratio(op.output, op.output_requantization, [2 * 128], figures)

    def _pulplayernorm(self, op: ops.PulpLayerNorm | ops.GemminiLayerNorm) -> None:
        bound, beta = self.figures.gamma, self.program.constants[op.beta].tolist()
        codes = self.program.constants[op.gamma].tolist()
        self.check(op.output, "gamma", bound is not None and all(-bound <= int(w) < bound for w in codes))
        self.check(op.output, "beta", all(-INT32 <= int(b) < INT32 for b in beta))

    _gemminilayernorm = _pulplayernorm

    def _softmax(self, op: ops.Operation) -> None:
        keys = self.program.tensors[op.input].dims[-1]
        longest = keys if isinstance(keys, int) else self.program.dimensions[keys].maximum
        self.check(op.output, "keys", self.figures.keys is None or longest < self.figures.keys)
        if isinstance(op, ops.ItaMax):
            self.check(op.output, "B", op.shift == self.figures.halving)


# --- the shipped model ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> tuple[Transformer, dict[str, Range]]:
    model = load_model()
    return model.network, calibrate_model(model)


@functools.cache
def _lowered(name: str, model: Transformer, ranges: int) -> Program:
    target, *wide = name.split(", ")
    scheme = scheme_for(target, name="shipped", **({"activation_bits": 16} if wide else {}))
    return lower(model, make_plan(model, scheme, RANGES[ranges]), name="shipped")


RANGES: dict[int, dict[str, Range]] = {}


def program_of(name: str, shipped: tuple[Transformer, dict[str, Range]]) -> Program:
    model, ranges = shipped
    RANGES[id(ranges)] = ranges
    return _lowered(name, model, id(ranges))


def expected(name: str) -> Iterator[str]:
    """What a walk must have met."""
    figures = FIGURES[name]
    yield from ("accumulator", "bias", "multiplier", "shift", "keys")
    yield from (["one shift"] if figures.one_shift else []) + (["clip"] if figures.clip else [])
    yield from (["gamma", "beta"] if figures.gamma else []) + (["B"] if figures.halving is not None else [])
    yield from ["32 bits"] if name == "nvdla, 16 bits" else []
    yield from [] if figures.mantissa else ["product"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_every_constant_is_within_the_hardware(name: str, shipped) -> None:
    walk = Walk(program_of(name, shipped), FIGURES[name])
    assert walk.broken == set()
    assert walk.met == set(expected(name))


SITE = "encoder.0.feed_forward.hidden"


def planted(program: Program, name: str, index: int, value: int) -> Program:
    """The program with one element of a constant changed, past the check of its format."""
    changed = copy.copy(program)
    array = program.constants[name].astype(np.int64)
    assert array[index] != value
    array[index] = value
    changed.constants = program.constants | {name: array}
    return changed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "constant", "index", "value", "limit"),
    [
        ("deeploy", "multiplier", 0, 1 << 20, "product"),
        ("pulp", "bias", 3, 1 << 27, "product"),
        ("ita", "bias", 3, 1 << 23, "bias"),
        ("nvdla", "multiplier", 5, 1 << 15, "multiplier"),
        ("nvdla, 16 bits", "multiplier", 5, 0, "multiplier"),
        ("tflm", "multiplier", 5, 1 << 29, "multiplier"),
        ("tflm", "shift", 5, 16, "product"),
        ("tflm, 16 bits", "shift", 5, 7, "shift"),
        ("cmsis-nn, 16 bits", "multiplier", 5, 1 << 15, "multiplier"),
        ("tosa", "shift", 5, 1, "shift"),
    ],
)
def test_a_constant_beyond_is_noticed(name: str, constant: str, index: int, value: int, limit: str, shipped) -> None:
    program = planted(program_of(name, shipped), f"{SITE}.{constant}", index, value)
    broken = Walk(program, FIGURES[name]).broken
    assert (SITE, limit) in broken
    assert {site for site, _ in broken} == {SITE}


@pytest.mark.slow
def test_an_operation_beyond_is_noticed(shipped) -> None:
    norm, attention = "encoder.0.feed_forward.layernorm", "encoder.0.self_attention"
    deeploy, gemmini = program_of("deeploy", shipped), program_of("gemmini", shipped)
    gamma = planted(gemmini, f"{norm}.gamma", 2, 128)
    assert Walk(gamma, FIGURES["gemmini"]).broken == {(f"{norm}.output", "gamma")}
    softmax = with_operation(deeploy, f"{attention}.softmax.output", shift=4)
    assert Walk(softmax, FIGURES["deeploy"]).broken == {(f"{attention}.softmax.output", "B")}
    clip = with_operation(deeploy, f"{attention}.residual", operand=ops.IntFormat(bits=9))
    assert Walk(clip, FIGURES["deeploy"]).broken == {(f"{attention}.residual", "clip")}
    # Other figures, where the program stays.
    fullyqt = program_of("fullyqt", shipped)
    assert {limit for _, limit in Walk(fullyqt, replace(FIGURES["fullyqt"], one_shift=True)).broken} == {"one shift"}
    assert {limit for _, limit in Walk(deeploy, replace(DEEPLOY, shifts=(0, 8))).broken} == {"shift"}
    assert {limit for _, limit in Walk(deeploy, replace(DEEPLOY, accumulator=1 << 20)).broken} == {"accumulator"}
    assert {limit for _, limit in Walk(deeploy, replace(DEEPLOY, keys=256)).broken} == {"keys"}
