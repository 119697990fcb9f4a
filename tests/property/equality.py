"""One example of "the program equals strict fake-quant": every site, every step, and what happened on the way."""

import tempfile
from collections import Counter as Multiset
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwsim.formats import Counter
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.loading import load
from hwsim.program.operations import Operation
from reference.lower import lower
from reference.models.arithmetic import KeyValue
from reference.models.translation import Transformer, source_mask
from reference.padding import Visibility, full_sequence
from reference.quantize.calibrate import calibrate
from reference.quantize.plan import Plan, make_plan
from reference.quantize.strict import Codes, StrictArithmetic
from reference.tokenizer import PAD
from reference.train import Batch, teacher_forced
from tests.strategies import Case

Sites = dict[str, NDArray[Any]]
ALL_OPERATIONS = {operation.__name__ for operation in Operation.__args__}
TARGET_OPERATIONS = {
    "GemmlowpSoftmax",
    "IBertSoftmax",
    "ItaMax",
    "ProjectHeads",
    "GemminiSoftmax",
    "PulpSoftmax",
    "Int16Softmax",
    "QLinearSoftmax",
    "IBertLayerNorm",
    "GemminiLayerNorm",
    "PulpLayerNorm",
    "TfliteLayerNorm",
    "RescaledAdd",
}
"""What only targets other than the default need."""
OPERATIONS = ALL_OPERATIONS - TARGET_OPERATIONS
WIDTHS = range(2, 17)
EVENTS = [counter.name.lower() for counter in Counter]


class RefusedError(Exception):
    """A scheme, a plan or a program was refused with a ValueError; its text is the argument."""


@dataclass(kw_only=True)
class Trace:
    """Codes of every site: one `encode`, then one record for every `decode_step`."""

    encode: Sites = field(default_factory=dict)
    steps: list[Sites] = field(default_factory=list)
    events: dict[Counter, int] = field(default_factory=dict)

    def records(self) -> list[Sites]:
        return [self.encode, *self.steps]


@dataclass(kw_only=True)
class Outcome:
    """What examples amounted to; outcomes add up."""

    examples: int = 0
    refused: int = 0
    compared: int = 0
    compared_whole: int = 0
    compared_alone: int = 0
    different: int = 0
    first: str = ""
    events: Multiset[str] = field(default_factory=Multiset)
    operations: Multiset[str] = field(default_factory=Multiset)
    widths: Multiset[str] = field(default_factory=Multiset)

    def add(self, other: "Outcome") -> None:
        for name, value in vars(other).items():
            if name == "first":
                self.first = self.first or value
            elif isinstance(value, int):
                setattr(self, name, getattr(self, name) + value)
            else:
                getattr(self, name).update(value)

    def differ(self, what: str, site: str, left: NDArray[Any], right: NDArray[Any]) -> None:
        """Count the elements of two arrays that are not equal; a wrong shape counts as all of them."""
        same_shape = left.shape == right.shape
        count = int((left != right).sum()) if same_shape else max(left.size, right.size, 1)
        if count:
            self.different += count
            self.first = self.first or f"{what}, site {site}: {count} of {right.size} codes differ"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A case, lowered, saved and loaded again."""

    model: Transformer
    plan: Plan
    program: Program
    batch: Batch
    strict: StrictArithmetic

    @property
    def sites(self) -> set[str]:
        """Every site that is an activation; the stage of sqrt(d_head) has one of its own."""
        shifted = {f"{site}.shifted" for site, constants in self.plan.scores.items() if constants.shift is not None}
        return set(self.plan.quantizers) | shifted


def prepare(case: Case) -> Prepared:
    """Calibrate, plan, lower, save, load.

    Raises
    ------
    RefusedError
        If any of them refuses the scheme for this model.
    """
    model = case.model()
    try:
        plan = make_plan(model, case.scheme, calibrate(model, case.calibration_batches()))
        made = lower(model, plan, name="drawn")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "drawn.hwsim"
            made.save(path)
            program = load(path)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    return Prepared(model=model, plan=plan, program=program, batch=case.batch(), strict=StrictArithmetic(model, plan))


# --- the two machines -----------------------------------------------------------------------------------------------


def _recorder(into: Sites) -> Callable[[str, Tensor], None]:
    def observe(site: str, codes: Tensor) -> None:
        into[site] = codes.numpy()

    return observe


@torch.no_grad()
def strict_trace(prepared: Prepared) -> Trace:
    """Strict fake-quant, step by step with a cache."""
    model, plan, batch = prepared.model, prepared.plan, prepared.batch
    mask, trace = source_mask(batch.source, PAD), Trace()
    strict = prepared.strict
    strict.observe, strict.overflows = _recorder(trace.encode), 0
    memory = model.encode(strict, batch.source, mask)
    past = [
        KeyValue(*(Codes(_nothing(model, len(batch.source)), symbol.site) for symbol in pair))
        for pair in plan.graph.past
    ]
    for step in range(batch.target.shape[1]):
        trace.steps.append({})
        strict.observe = _recorder(trace.steps[-1])
        ids, position = batch.target[:, step : step + 1], torch.tensor(step)
        _, past = model.decode(strict, ids, memory, past, mask, first_position=position, target_mask=None)
    trace.events[Counter.OVERFLOW] = strict.overflows
    return trace


def _nothing(model: Transformer, rows: int) -> Tensor:
    return torch.zeros(rows, model.config.n_heads, 0, model.config.d_head)


@torch.no_grad()
def strict_whole(prepared: Prepared) -> Sites:
    """Strict fake-quant of whole targets at once, under the causal mask."""
    sites: Sites = {}
    prepared.strict.observe = _recorder(sites)
    teacher_forced(prepared.model, prepared.strict, prepared.batch)
    return sites


def machine_trace(program: Program, source: NDArray[Any], target: NDArray[Any], sites: set[str]) -> Trace:
    """The program, step by step; only `sites` are kept."""
    machine, trace = Machine(program), Trace()

    def keep(into: Sites) -> Callable[[str, NDArray[Any]], None]:
        return lambda name, codes: into.update({name: codes}) if name in sites else None

    visible = source != PAD
    inputs = {"source_ids": source, "source_mask": visible, "encode.position": np.array(0)}
    cross = machine.run("encode", inputs, keep(trace.encode))
    states = program.manifest.states
    cache = {state.past: _empty(program, state.past, len(source)) for state in states}
    for step in range(target.shape[1]):
        trace.steps.append({})
        inputs = {"target_ids": target[:, step : step + 1], "decode_step.position": np.array(step)}
        made = machine.run("decode_step", {**inputs, "source_mask": visible, **cross, **cache}, keep(trace.steps[-1]))
        cache = {state.past: made[state.present] for state in states}
    trace.events = machine.totals
    return trace


def _empty(program: Program, name: str, rows: int) -> NDArray[np.int32]:
    _, heads, _, d_head = program.tensors[name].dims
    return np.zeros((rows, int(heads), 0, int(d_head)), np.int32)


# --- comparing ------------------------------------------------------------------------------------------------------


def compare(case: Case) -> Outcome:
    """Run one case through everything.

    Raises
    ------
    RefusedError
        As `prepare`.
    """
    prepared = prepare(case)
    batch, outcome = prepared.batch, Outcome(examples=1)
    strict = strict_trace(prepared)
    machine = machine_trace(prepared.program, batch.source.numpy(), batch.target.numpy(), prepared.sites)
    _compare_steps(prepared, outcome, machine, strict)
    _compare_whole(prepared, outcome, machine, strict_whole(prepared))
    _compare_alone(prepared, outcome, machine)
    _compare_session(prepared, outcome, strict)
    if machine.events[Counter.OVERFLOW] != strict.events[Counter.OVERFLOW]:
        outcome.different += 1
        outcome.first = outcome.first or f"overflows: {machine.events} in the machine, {strict.events} in the reference"
    _describe(prepared, outcome, machine)
    return outcome


def _visible(batch: Batch, step: int | None) -> Visibility:
    """What is not padding in `encode` (step None) or in one decoding step."""
    target = batch.target if step is None else batch.target[:, step : step + 1]
    return Visibility(source=batch.source != PAD, target=target != PAD)


def _compare_steps(prepared: Prepared, outcome: Outcome, machine: Trace, strict: Trace) -> None:
    """Every element, padding too; counted are the elements that are not padding."""
    for index, (left, right) in enumerate(zip(machine.records(), strict.records(), strict=True)):
        what = f"decode_step {index - 1}" if index else "encode"
        visible = _visible(prepared.batch, index - 1 if index else None)
        if set(left) != set(right):
            outcome.different += 1
            outcome.first = outcome.first or f"{what}: only one side has {sorted(set(left) ^ set(right))}"
        for site in set(left) & set(right):
            outcome.differ(what, site, left[site], right[site])
            outcome.compared += int(visible.mask(site, right[site].shape).expand(right[site].shape).sum())
    seen = {site for record in strict.records() for site in record}
    if seen != prepared.sites:
        outcome.different += 1
        outcome.first = outcome.first or f"sites not compared: {sorted(seen ^ prepared.sites)}"


def _compare_whole(prepared: Prepared, outcome: Outcome, machine: Trace, whole: Sites) -> None:
    """The reference over whole targets against the machine's steps, where nothing is padding."""
    visible = full_sequence(prepared.batch.source, prepared.batch.target, PAD)
    for site, codes in whole.items():
        unseen = prepared.plan.quantizers[site].zero_point if site.endswith("softmax.output") else 0
        stepped = _side_by_side(machine, site, codes, unseen)
        shown = visible.mask(site, codes.shape).expand(codes.shape).numpy()
        outcome.differ("whole target", site, stepped[shown], codes[shown])
        outcome.compared_whole += int(shown.sum())


def _side_by_side(machine: Trace, site: str, like: NDArray[Any], unseen: int) -> NDArray[Any]:
    """The steps of a site as one tensor; keys that a step did not have yet get the code that means 0."""
    if site in machine.encode:
        return machine.encode[site]
    axis = like.ndim - 2
    rows = []
    for record in machine.steps:
        missing = like.shape[-1] - record[site].shape[-1]
        rows.append(np.pad(record[site], [(0, 0)] * (like.ndim - 1) + [(0, missing)], constant_values=unseen))
    return np.concatenate(rows, axis=axis)


def _compare_alone(prepared: Prepared, outcome: Outcome, machine: Trace) -> None:
    """Each sentence without its neighbours and their padding."""
    for row, (source, target) in enumerate(zip(prepared.batch.source, prepared.batch.target, strict=True)):
        kept = max(1, int((source != PAD).sum()))  # padding is at the end; a blind sentence keeps one of it
        source, target = source[None, :kept].numpy(), target[target != PAD][None].numpy()
        alone = machine_trace(prepared.program, source, target, prepared.sites)
        for index, (left, right) in enumerate(zip(alone.records(), machine.records(), strict=False)):
            for site, codes in left.items():
                together = right[site][row : row + 1][tuple(slice(n) for n in codes.shape)]
                outcome.differ(f"sentence {row} alone, call {index}", site, codes, together)
                outcome.compared_alone += codes.size


def _compare_session(prepared: Prepared, outcome: Outcome, strict: Trace) -> None:
    """The logits of steps whose caches stay in the machine, on two threads."""
    source, target = prepared.batch.source.numpy(), prepared.batch.target.numpy()
    inputs = {"source_ids": source, "source_mask": source != PAD, "encode.position": np.array(0)}
    session = Machine(prepared.program, threads=2).session("encode", "decode_step", inputs)
    if session is None:
        return
    (logits,) = {"generator.logits"} & prepared.sites
    for step, record in enumerate(strict.steps):
        inputs = {"target_ids": target[:, step : step + 1], "decode_step.position": np.array(step)}
        made = session.step(inputs, np.arange(len(source)))
        outcome.differ(f"session, step {step}", logits, made[logits], record[logits])


def _describe(prepared: Prepared, outcome: Outcome, machine: Trace) -> None:
    """What occurred: events, operations and widths."""
    outcome.events.update({counter.name.lower(): count for counter, count in machine.events.items()})
    outcome.operations.update(type(operation).__name__ for _, operation in prepared.program.operations())
    manifest = prepared.program.manifest
    activations = [info.format.bits for info in manifest.tensors if info.name in prepared.plan.quantizers]
    weights = [info.format.bits for info in manifest.constants if info.role == "weight"]
    outcome.widths.update(f"activation {bits}" for bits in activations)
    outcome.widths.update(f"weight {bits}" for bits in weights)


def missing(seen: Outcome) -> list[str]:
    """What examples should have shown and did not: events, operations, widths."""
    absent = [event for event in EVENTS if not seen.events[event]]
    absent += sorted(OPERATIONS - set(seen.operations))
    widths = [f"{kind} {bits}" for kind in ("activation", "weight") for bits in WIDTHS]
    return absent + [width for width in widths if not seen.widths[width]]
