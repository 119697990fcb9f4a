"""Runs A, and B or what was dumped of it, call by call on A's tokens, and compares every site on the way."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from analysis.proof.divergence import Index
from analysis.proof.explain.bench import Bench, Values
from analysis.proof.explain.dump import Call, Dump
from analysis.proof.explain.held import Held
from analysis.proof.explain.tally import Tally
from analysis.translation.steppers import MachineStepper
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.operations import Operation, written
from reference.decoding import greedy

Array = NDArray[Any]


class Equal(NamedTuple):
    """An operation in A and B on the same inputs: the inputs, and what each makes of them."""

    inputs: Mapping[str, Array]
    a: Values
    b: Values


class Other(Protocol):
    """B."""

    def call(self, call: Call, tokens: NDArray[np.int64] | None, parents: NDArray[np.int64] | None) -> None:
        """Make ready what B has of a call."""

    def codes(self, operation: Operation) -> Values:
        """B's tensors of those that A's operation makes."""

    def on_equal_inputs(self, operation: Operation, a: Values, equal: set[str]) -> Equal | None:
        """The operation on the same inputs in A and B; `equal` names tensors that do not differ; None if unknown."""

    def assumed(self, operation: Operation, site: str) -> list[str]:
        """What a site was made of that is only taken to be as in A."""

    def missing(self, site: str) -> str:
        """Why there are no codes of a site."""

    def misshapen(self, site: str, a: Array, b: Array) -> str:
        """Why a site of another shape is not compared."""


class ProgramB:
    """A program that runs on A's tokens; each of its operations also on A's tensors."""

    def __init__(self, program: Program, sources: Sequence[list[int]]) -> None:
        self.machine, self._bench, self._sources = Machine(program), Bench(program), sources
        self._maker = {name: operation for _, operation in program.operations() for name in written(operation)}
        self._stepper: MachineStepper | None = None
        self._values: Values = {}

    def _see(self, name: str, array: Array) -> None:
        self._values[name] = array

    def call(self, call: Call, tokens: NDArray[np.int64] | None, parents: NDArray[np.int64] | None) -> None:
        self._values = {}
        if self._stepper is None or tokens is None or parents is None:
            self._stepper = MachineStepper(self.machine, self._sources, self._see)
        else:
            self._stepper.step(tokens, parents)

    def codes(self, operation: Operation) -> Values:
        return {name: self._values[name] for name in written(operation) if name in self._values}

    def on_equal_inputs(self, operation: Operation, a: Values, equal: set[str]) -> Equal | None:
        """B's operations on A's tensors, as many as it needs for the same sites."""
        made: Values = {}
        for name in written(operation):
            if name in self._maker and name not in made and not self._make(name, a, made):
                return None
        return Equal(a, a, made)

    def _make(self, name: str, a: Values, made: Values) -> bool:
        """Make a tensor of A's, and before it those that A does not have."""
        maker = self._maker.get(name)
        if maker is None:
            return False
        for needed in self._bench.program.inputs_of(maker):
            if needed not in a and needed not in made and not self._make(needed, a, made):
                return False
        own = self._bench.run(maker, made | a)
        made |= own or {}
        return own is not None

    def assumed(self, operation: Operation, site: str) -> list[str]:
        return []  # its operations run on A's tensors

    def missing(self, site: str) -> str:
        return "B does not make it"

    def misshapen(self, site: str, a: Array, b: Array) -> str:
        return f"shape {a.shape} in A, {b.shape} in B"


class DumpB:
    """Codes that were written down. What an operation read is in the dump, or is what A has if that is not tainted."""

    def __init__(self, program: Program, dump: Dump) -> None:
        self._bench, self._dump, self._held = Bench(program), dump, Held(program, dump)
        self._call = Call("encode", 0)

    def call(self, call: Call, tokens: NDArray[np.int64] | None, parents: NDArray[np.int64] | None) -> None:
        self._call = call

    def codes(self, operation: Operation) -> Values:
        return {
            name: array
            for name, array in self._dump.outputs(self._call, operation).items()
            if name in written(operation)
        }

    def on_equal_inputs(self, operation: Operation, a: Values, equal: set[str]) -> Equal | None:
        """A's tensors if they explain the dump better: a bench may have fed every operation by itself."""
        b = self.codes(operation)
        dumped, names = self._dump.inputs(self._call, operation), self._bench.program.inputs_of(operation)
        if all(np.array_equal(dumped[name], a[name]) if name in dumped else name in equal for name in names):
            return Equal(a, a, b)
        if not all(name in dumped or name in equal for name in names):
            return None
        inputs = {name: np.asarray(dumped.get(name, a[name]), a[name].dtype) for name in names}
        own = self._bench.run(operation, inputs)
        if own is None:
            return None

        def differing(codes: Values) -> int:
            return sum(int((codes[name] != b[name]).sum()) for name in b if codes[name].shape == b[name].shape)

        # Parts that the dump lacks come from A's own rules, on those inputs.
        return Equal(a, a, b) if differing(a) <= differing(own) else Equal({**a, **inputs, **own}, own, b)

    def assumed(self, operation: Operation, site: str) -> list[str]:
        return self._held.assumed(self._call, operation, site)

    def missing(self, site: str) -> str:
        return "not in the dump"

    def misshapen(self, site: str, a: Array, b: Array) -> str:
        raise ValueError(
            f"{self._dump.name}: site {site}, {self._call} has shape {b.shape}; the program makes {a.shape}"
        )


class _Rows:
    """The parts that an operation makes of equal inputs; a later part reads only rows whose earlier parts are equal."""

    def __init__(self, alike: Equal | None) -> None:
        self._alike = alike
        self._equal: NDArray[np.bool_] | None = None

    def differ(self, site: str, tally: Tally) -> int:
        """Codes of a part that differ on equal inputs."""
        if self._alike is None or site not in self._alike.b:
            return 0
        inputs, a, b = self._alike.inputs, self._alike.a[site], self._alike.b[site]
        if a.shape != b.shape:
            return 0
        where = np.ones(a.shape, np.bool_) if self._equal is None else np.broadcast_to(self._equal, a.shape)
        row = (a == b).all(-1, keepdims=True)
        self._equal = row if self._equal is None else self._equal & row
        return tally.count_equal_inputs(inputs, a, b, where)


class First(NamedTuple):
    """The first code that differs."""

    call: Call
    site: str
    sentence: int
    at: Index
    a: int
    b: int
    values: Mapping[str, Array]


class Lockstep:
    """A stepper of A for `reference.decoding.greedy`, which compares every call with B.

    Attributes
    ----------
    batches
        Which sentences, from 1, each call had.
    fed
        Tokens and parents of every decode step.
    """

    def __init__(self, machine: Machine, other: Other, sources: Sequence[list[int]]) -> None:
        self.program, self._other = machine.program, other
        self.calls = 0
        self.first: First | None = None
        self.not_compared: dict[str, str] = {}
        self.tallies = {
            site: Tally(function, operation)
            for function, operation in self.program.operations()
            for site in written(operation)
        }
        self.batches: dict[Call, NDArray[np.int64]] = {}
        self.fed: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._taint: dict[str, frozenset[str]] = {}
        self._values: Values = {}
        self._sentences = np.arange(1, len(sources) + 1)
        self._a = MachineStepper(machine, sources, self._see)
        self.logit_scale = self._a.logit_scale
        other.call(Call("encode", 0), None, None)
        self._compare(Call("encode", 0))

    def _see(self, name: str, array: Array) -> None:
        self._values[name] = array

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[Any]:
        self._values = {}
        self._sentences = self._sentences[parents]
        self.fed.append((tokens, parents))
        call = Call("decode_step", self._a.position)
        logits = self._a.step(tokens, parents)
        self._other.call(call, tokens, parents)
        self._compare(call)
        return logits

    def _compare(self, call: Call) -> None:
        self.calls += 1
        self.batches[call] = self._sentences
        for operation in self.program.functions[call.function].operations:
            self._compare_operation(call, operation)
        for state in self.program.manifest.states:
            self._taint[state.past] = self._taint.get(state.present, frozenset())

    def _compare_operation(self, call: Call, operation: Operation) -> None:
        a, codes = self._values, self._other.codes(operation)
        inputs = self.program.inputs_of(operation)
        tainted = frozenset[str]().union(*(self._taint.get(name, frozenset()) for name in inputs))
        equal = {name for name in self._values if not self._taint.get(name)}
        alike = self._other.on_equal_inputs(operation, a, equal) if codes else None
        rows = _Rows(alike)
        for site in written(operation):
            b = codes.get(site)
            if b is None or b.shape != a[site].shape:
                why = self._other.missing(site) if b is None else self._other.misshapen(site, a[site], b)
                self.not_compared.setdefault(site, f"{call}: {why}")
                self._taint[site] = tainted
                continue
            different, mine = self.tallies[site].count(a[site], b), rows.differ(site, self.tallies[site])
            if different and self.first is None:
                self.first = self._locate(call, site, b)
            self.tallies[site].follows_from |= dict.fromkeys(tainted if different else ())
            self.tallies[site].assumed |= dict.fromkeys(self._other.assumed(operation, site) if mine else ())
            tainted |= frozenset([site] if mine else [])  # the next part of the operation reads this one
            self._taint[site] = tainted if different else frozenset()

    def _locate(self, call: Call, site: str, b: Array) -> First:
        a = self._values[site]
        at = tuple(int(i) for i in np.argwhere(a != b)[0])
        return First(call, site, int(self._sentences[at[0]]), at, int(a[at]), int(b[at]), self._values)


def run(machine: Machine, other: Other, sources: Sequence[list[int]], steps: int) -> Lockstep:
    """Translate greedily by A, at most `steps` decode steps, comparing every call."""
    lockstep = Lockstep(machine, other, sources)
    if steps:
        greedy(lockstep, [min(steps, machine.program.manifest.max_positions)] * len(sources))
    return lockstep
