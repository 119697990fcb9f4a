"""What two programs declare differently at an operation, and which of it is enough to make B's codes of A's inputs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from analysis.proof.explain.bench import Bench
from analysis.proof.explain.records import Cause
from analysis.proof.explain.rules import rank
from analysis.proof.explain.tables import describe_entries
from analysis.proof.explain.tally import Sample
from hwsim.program import Program
from hwsim.program.catalogue import Requantization
from hwsim.program.operations import Operation, written

SHOWN = 3


class Change(NamedTuple):
    """One difference: in words, and what of B it takes over into A's program."""

    kind: str
    text: str
    fields: Mapping[str, Any] = {}
    """Of the operation; a dotted name is of the requantization in it."""
    constants: Sequence[str] = ()
    tensor: str | None = None


def explain_declared(a: Program, b: Program, operation: Operation, site: str, samples: Sequence[Sample]) -> list[Cause]:
    """Every declared difference at an operation that alone makes B's codes, else all of them together.

    The operation of A is run with B's field, constant or format in it, so nothing is claimed by its name alone.
    """
    other = next((op for _, op in b.operations() if site in written(op)), None)
    if other is None:
        return []
    if type(other) is not type(operation):
        text = f"another operation: {_tag(other)} in B, {_tag(operation)} in A"
        return _tried(Bench(b, proven=False), other, site, samples, "declared", text)
    changes = list(_changes(a, b, operation, other))
    trial = _Trial(a, b, operation, site, samples)
    causes = [cause for change in changes for cause in trial.apply(change)]
    if changes and not any(cause.exact for cause in causes):
        causes += _tried(Bench(b, proven=False), other, site, samples, "declared", _together(changes))
    return rank(causes)


def _together(changes: Sequence[Change]) -> str:
    more = len(changes) - SHOWN
    return ", and ".join(change.text for change in changes[:SHOWN]) + (f", and {more} more" if more > 0 else "")


def _tag(operation: Operation) -> str:
    return str(type(operation).__struct_config__.tag)


class _Trial(NamedTuple):
    """An operation of A that differs from B's, and sampled codes."""

    a: Program
    b: Program
    operation: Operation
    site: str
    samples: Sequence[Sample]

    def apply(self, change: Change) -> list[Cause]:
        """A's operation with one thing of B in it; nothing if they do not fit each other."""
        if any(
            self.a.constants[n].shape != self.b.constants[n].shape for n in change.constants if n in self.a.constants
        ):
            return []
        try:
            program, operation = self._hybrid(change)
        except ValueError:
            return []
        return _tried(Bench(program, proven=False), operation, self.site, self.samples, change.kind, change.text)

    def _hybrid(self, change: Change) -> tuple[Program, Operation]:
        replace = msgspec.structs.replace
        operation = self.operation
        for name, value in change.fields.items():
            field, _, part = name.partition(".")
            value = replace(getattr(operation, field), **{part: value}) if part else value
            operation = replace(operation, **{field: value})
        taken = set(change.constants)
        needed = set(self.a.constants_of(self.operation)) - taken
        manifest = replace(
            self.a.manifest,
            functions=[],  # only its operation is run
            tensors=[
                self.b.tensors[info.name] if info.name == change.tensor else info for info in self.a.manifest.tensors
            ],
            constants=[
                *(self.a.constant_info[name] for name in needed),
                *(self.b.constant_info[name] for name in taken),
            ],
        )
        arrays = {name: self.a.constants[name] for name in needed} | {name: self.b.constants[name] for name in taken}
        return Program(manifest, arrays), operation


def _tried(
    bench: Bench, operation: Operation, site: str, samples: Sequence[Sample], kind: str, text: str
) -> list[Cause]:
    """The cause, unless it reproduces nothing that differs."""
    checked = reproduced = gained = 0
    for sample in samples:
        made = bench.run(operation, sample.values)
        if made is None or made[site].shape != sample.b.shape:
            return []
        mine, a, b = map(sample.of, (made[site], sample.a, sample.b))
        checked, reproduced = checked + mine.size, reproduced + int((mine == b).sum())
        gained += int(((mine == b) & (a != b)).sum())
    return [Cause(kind=kind, text=text, declared=True, checked=checked, reproduced=reproduced)] if gained else []


# --- differences ------------------------------------------------------------------------------------------------------

_KINDS = {"rounding": "rounding", "multiplier": "multiplier", "shift": "multiplier", "table": "table", "bias": "bias"}


def _changes(a: Program, b: Program, mine: Operation, theirs: Operation) -> Iterator[Change]:
    for field, ours in msgspec.structs.asdict(mine).items():
        other = getattr(theirs, field)
        if isinstance(ours, Requantization) and type(ours) is type(other):
            for part, value in msgspec.structs.asdict(ours).items():
                yield from _compare(a, b, f"{field}.{part}", value, getattr(other, part))
        elif isinstance(ours, Requantization) and isinstance(other, Requantization):
            names = [name for name in (other.multiplier, other.shift) if isinstance(name, str)]
            yield Change("scaling", _schemes(field, ours, other), {field: other}, names)
        else:
            yield from _compare(a, b, field, ours, other)
    for name in dict.fromkeys([*a.inputs_of(mine), *written(mine)]):
        yield from _tensor(a, b, name)


def _schemes(field: str, ours: Requantization, theirs: Requantization) -> str:
    """Two schemes in words; their numbers only where they differ too."""

    def words(scheme: Requantization, other: Requantization) -> str:
        numbers = (
            f"{f} {getattr(scheme, f)}" for f in ("multiplier", "shift") if getattr(scheme, f) != getattr(other, f)
        )
        rounding = getattr(scheme, "rounding", None)
        return " ".join([scheme.record().name, *([rounding.value] if rounding is not None else []), *numbers])

    return f"{field} {words(theirs, ours)} in B, {words(ours, theirs)} in A"


def _compare(a: Program, b: Program, field: str, ours: Any, theirs: Any) -> Iterator[Change]:
    """One field: a number, a record, or the name of a constant whose elements are compared."""
    kind = _KINDS.get(field.rpartition(".")[2], "accumulator" if field == "accumulator" else "declared")
    if isinstance(ours, str) and isinstance(theirs, str) and ours in a.constants and theirs in b.constants:
        text = _elements(field, a, b, ours, theirs)
        if text:
            yield Change(kind, text, {field: theirs}, [theirs])
    elif ours != theirs:
        named = [theirs] if isinstance(theirs, str) and theirs in b.constants else []
        yield Change(kind, f"{field} {_plain(theirs, ours)} in B, {_plain(ours, theirs)} in A", {field: theirs}, named)


def _plain(value: Any, other: Any) -> str:
    """A value in words; of a record the fields that are others in the other."""
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.asdict(value).items()
        return ", ".join(f"{name} {_plain(part, None)}" for name, part in fields if part != getattr(other, name, None))
    return str(getattr(value, "value", value))


def _elements(field: str, a: Program, b: Program, ours: str, theirs: str) -> str:
    """Where two constants differ, in words; empty if they do not."""
    x, y = a.constants[ours], b.constants[theirs]
    zero, other = a.constant_info[ours].zero_point, b.constant_info[theirs].zero_point
    if x.shape != y.shape:
        return f"{field} of shape {y.shape} in B, {x.shape} in A"
    at = np.argwhere(x != y)
    if not len(at):
        return f"{field}: zero point {other} in B, {zero} in A" if zero != other else ""
    if field == "table" and x.ndim == 1:
        return describe_entries(x.tolist(), {int(i): int(y[i]) for (i,) in at})
    shown = "; ".join(f"{_place(i)} is {y[tuple(i)]} in B, {x[tuple(i)]} in A" for i in at[:SHOWN])
    return f"{field}: {len(at)} of {x.size} elements differ: {shown}{'; ...' if len(at) > SHOWN else ''}"


def _place(index: NDArray[np.int64]) -> str:
    return f"[{', '.join(map(str, index.tolist()))}]"


def _tensor(a: Program, b: Program, name: str) -> Iterator[Change]:
    """Format and zero point of a tensor that an operation reads or makes."""
    ours, theirs = a.tensors[name], b.tensors.get(name)
    if theirs is None:
        return
    if ours.zero_point != theirs.zero_point:
        yield Change("zero_point", f"{name}: zero point {theirs.zero_point} in B, {ours.zero_point} in A", tensor=name)
    if ours.format != theirs.format:
        yield Change("saturation", f"{name}: {theirs.format} in B, {ours.format} in A, another clamp", tensor=name)
