"""`hwsim bench`: the parts that were asked for, in order, as one record."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np

from analysis.bench import gemm, growth, machine, model, operators, roofline, subjects
from analysis.bench import threads as threading
from analysis.bench.growth import Growth
from analysis.bench.parts import Part
from analysis.bench.roofline import Roofline
from analysis.translation.calibration import ranges_of
from analysis.workload import Model
from hwsim.machine import Machine
from hwsim.program.targets import DEFAULT_TARGET, TARGETS, target
from reference.data import corpus
from reference.quantize.calibrate import Range
from reference.quantize.scheme import NATIVE, Scheme, preset

BATCH = 64
FEWER = 4
"""A target's text, and that of single sentences, is so many times shorter."""
SLOW_REPEATS = 3
"""Of models beside the shipped one, at most."""
BASE_SENTENCES = 16
DECODE_STEPS = 8
Step = Callable[[str], None]
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure, and how. Without targets, models of all of them."""

    parts: Sequence[Part]
    threads: int
    repeats: int
    sentences: int
    seed: int
    targets: Sequence[str] | None = None
    growth: bool = False

    @property
    def names(self) -> list[str]:
        """The targets.

        Raises
        ------
        ValueError
            For an unknown one.
        """
        return [target(name).name for name in dict.fromkeys(self.targets or TARGETS)]


Products: TypeAlias = list[gemm.Row]
Models: TypeAlias = list[model.Row]
Operators: TypeAlias = list[operators.Row]


@dataclass(kw_only=True)
class Result:
    """What was measured, and a line for everything that was left out."""

    gemm: Products = field(default_factory=list)
    model: Models = field(default_factory=list)
    operators: Operators = field(default_factory=list)
    roofline: Roofline | None = None
    growth: Growth | None = None
    missing: list[str] = field(default_factory=list)


def run(request: Request, loaded: Model | None, step: Step) -> Result:
    """Measure; `step` is told what begins. Products alone need no model."""
    threading.set_threads(request.threads)
    result = Result(missing=threading.missing())
    if Part.GEMM in request.parts:
        step("products")
        rng = np.random.default_rng(request.seed)
        result.gemm = gemm.measure(gemm.CASES, threads=request.threads, repeats=request.repeats, rng=rng)
    if loaded is not None and set(request.parts) & {Part.MODEL, Part.OPERATORS}:
        step("calibration")
        ranges = ranges_of(loaded)
        if Part.OPERATORS in request.parts:
            step("operators")
            result.operators = _operators(request, loaded, ranges, request.names)
        if Part.MODEL in request.parts:
            result.model = _models(request, loaded, ranges, request.names, step)
    if result.gemm or result.operators:
        step("roofline")
        result.roofline = roofline.measure(
            result.gemm, result.operators, threads=request.threads, repeats=request.repeats, seed=request.seed
        )
    if request.growth:
        step("growth")
        result.growth = growth.measure(preset("int8", DEFAULT_TARGET), repeats=request.repeats, seed=request.seed)
    return result


def _operators(request: Request, loaded: Model, ranges: dict[str, Range], names: Sequence[str]) -> list[operators.Row]:
    (rows, *_) = subjects.batches_of(loaded, corpus("test").source[: min(request.sentences, BATCH)], BATCH)
    machines: dict[str, Machine] = {
        name: subjects.subject(name, loaded.network, preset(NATIVE, name), ranges, []).machine for name in names
    }
    return operators.measure(machines, list(rows), repeats=request.repeats, steps=DECODE_STEPS)


def _models(
    request: Request, loaded: Model, ranges: dict[str, Range], names: Sequence[str], step: Step
) -> list[model.Row]:
    """The shipped model in batches and sentence by sentence, the other targets, and the larger model."""
    few = min(request.repeats, SLOW_REPEATS)
    fewer = max(1, request.sentences // FEWER)
    text = corpus("test").source[: request.sentences]
    plain = preset("int8", DEFAULT_TARGET)
    wanted: list[tuple[str, Scheme, Sequence[str], int, int]] = []
    if DEFAULT_TARGET in names:
        wanted.append(("shipped, int8", plain, text, BATCH, request.repeats))
        wanted.append(("shipped, int8, alone", plain, text[: max(1, fewer // 2)], 1, request.repeats))
    others = [name for name in names if name != DEFAULT_TARGET]
    wanted += [(f"shipped, {name}", preset(NATIVE, name), text[:fewer], BATCH, few) for name in others]
    rows = []
    for name, scheme, some, size, repeats in wanted:
        step(name)
        batches = subjects.batches_of(loaded, some, size)
        subject = subjects.subject(name, loaded.network, scheme, ranges, batches)
        rows.append(model.measure(subject, threads=request.threads, repeats=repeats))
    if request.targets is None:
        step("transformer-base")
        rows.append(_base(request, plain, few))
    return rows


def _base(request: Request, scheme: Scheme, repeats: int) -> model.Row:
    network = subjects.random_model(subjects.BASE, request.seed)
    ranges = subjects.random_ranges(network, request.seed)
    count = min(BASE_SENTENCES, request.sentences)
    rows = subjects.random_rows(subjects.BASE, count, subjects.RANDOM_LENGTH, request.seed + 1)
    subject = subjects.subject("transformer-base, int8", network, scheme, ranges, [rows])
    return model.measure(subject, threads=request.threads, repeats=repeats)


def record(request: Request, result: Result, provenance: Record) -> Record:
    """Everything, as plain data."""
    computer = asdict(machine.examine())
    del computer["numba_cache"]  # says nothing about speed, and where somebody's folders are
    return {
        "context": provenance,
        "machine": computer,
        "threads": request.threads,
        "repeats": request.repeats,
        **asdict(result),
    }
