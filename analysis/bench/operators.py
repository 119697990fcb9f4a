"""Every kind of operator at work: time an element in a run of the shipped model, on codes of real sentences.

The machine shows every tensor when it is made, so the time of an operation is that between two tensors.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.bench.timing import Spread, spread
from analysis.translation.steppers import MachineStepper
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.operations import Operation, Requantize, written

NANO = 1e9
LEFT_OUT = ("matmul", "project_heads", "split_heads", "merge_heads", "append", "embed")
"""Products have a table of their own; an embedding is the first of a function, and its time would be that of laying the
inputs into memory; the rest moves codes and computes nothing."""


FULL_SIZE = ("input", "a", "b")
"""Fields of operands that are as large as the result; ids, masks, positions and constants are small beside them."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of operator, under the first target that has it.

    `shape` is its largest result, `elements` those of all its results in one pass; `bytes_per_element` what it must
    read and write for one, in the dtype that the machine holds codes in.
    """

    operator: str
    target: str
    shape: list[int]
    elements: int
    ns_per_element: Spread
    bytes_per_element: float


def kind_of(operation: Operation) -> str:
    """The operation's tag; a requantization with its scheme's."""
    tag = str(operation.__struct_config__.tag)
    if isinstance(operation, Requantize):
        return f"{tag} {operation.requantization.__struct_config__.tag}"
    return tag


class Watch:
    """Adds up seconds and elements by kind while a machine shows its tensors.

    Parameters
    ----------
    program
        Which the machine runs.
    clock
        Seconds, as `time.perf_counter`.
    """

    def __init__(self, program: Program, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._last = clock, 0.0
        self._program = program
        self._kinds: dict[str, tuple[str, bool, int]] = {}
        for _, operation in program.operations():
            names = written(operation)
            for name in names:
                reads = sum(hasattr(operation, field) for field in FULL_SIZE)
                self._kinds[name] = (kind_of(operation), name == names[-1], reads)
        self.seconds: dict[str, float] = {}
        self.elements: dict[str, int] = {}
        self.shapes: dict[str, list[int]] = {}
        self.bytes: dict[str, int] = {}

    def __call__(self, name: str, array: NDArray[Any]) -> None:
        now = self._clock()
        if name not in self._kinds:  # an input: an operation begins after it
            self._last = now
            return
        kind, last, reads = self._kinds[name]
        self.seconds[kind] = self.seconds.get(kind, 0.0) + now - self._last
        if last:
            self.elements[kind] = self.elements.get(kind, 0) + array.size
            if array.size > int(np.prod(self.shapes.get(kind, [0]))):
                self.shapes[kind] = list(array.shape)
            moved = (1 + reads) * array.size * array.itemsize
            self.bytes[kind] = self.bytes.get(kind, 0) + moved
        self._last = self._clock()

    def ns_per_element(self) -> dict[str, float]:
        return {kind: NANO * seconds / max(1, self.elements[kind]) for kind, seconds in self.seconds.items()}


def watched(machine: Machine, rows: Sequence[list[int]], steps: int) -> Watch:
    """What one batch takes: the encoder, and some steps of the decoder that repeat one token."""
    watch = Watch(machine.program)
    stepper = MachineStepper(machine, rows, watch)
    tokens, parents = np.full(len(rows), machine.program.manifest.bos_id), np.arange(len(rows))
    for _ in range(steps):
        stepper.step(tokens, parents)
    return watch


def measure(machines: Mapping[str, Machine], rows: Sequence[list[int]], *, repeats: int, steps: int) -> list[Row]:
    """Each kind where it first occurs; machines by the name of their target, in turns."""
    first = {name: watched(machine, rows, steps) for name, machine in machines.items()}
    found: dict[str, list[Watch]] = {name: [] for name in machines}
    for _ in range(repeats):
        for name, machine in machines.items():
            found[name].append(watched(machine, rows, steps))
    owner: dict[str, str] = {}
    for name, watch in first.items():
        for kind in watch.seconds:
            owner.setdefault(kind, name)
    kinds = sorted(kind for kind in owner if kind not in LEFT_OUT)
    return [_row(kind, owner[kind], found[owner[kind]]) for kind in kinds]


def _row(kind: str, target: str, watches: Iterable[Watch]) -> Row:
    watches = list(watches)
    one = watches[0]
    return Row(
        operator=kind,
        target=target,
        shape=one.shapes[kind],
        elements=one.elements[kind],
        ns_per_element=spread([watch.ns_per_element()[kind] for watch in watches]),
        bytes_per_element=one.bytes[kind] / max(1, one.elements[kind]),
    )
