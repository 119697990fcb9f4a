"""The stages between a site that differs and the last tensors before it that were dumped."""

from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from analysis.proof.explain.dump import Call
from analysis.proof.explain.held import Held, Node, reads
from hwsim.program import Function
from hwsim.program.operations import Operation, written


class Step(NamedTuple):
    """An operation of a call, and those of its parts that lie on a path or end it."""

    call: Call
    operation: Operation
    sites: tuple[str, ...]


class Path(NamedTuple):
    """What was not dumped on the way to a site.

    Attributes
    ----------
    steps
        In the order of execution: stages that were not dumped, what else is made of them and ends in dumped tensors,
        and last the site itself.
    undumped
        The tensors that were not dumped and that the site is made of.
    ends
        Names of the dumped tensors where the path begins; ids, where it goes back to the sentences.
    site
        The one that differs, of the last call.
    """

    steps: list[Step]
    undumped: frozenset[Node]
    ends: list[str]
    site: Node

    @property
    def calls(self) -> list[Call]:
        return list(dict.fromkeys(step.call for step in self.steps))


def trace(held: Held, site: Node) -> Path:
    """Go back from a site of a call, and of the calls before it, to dumped tensors."""
    run = list(_run(held, site))
    undumped, ends = _back(held, [node for node in _earlier(site) if held.dump.codes(*node) is not None])
    dumped = [
        Node(step.call, name) for step in run for name in step.sites if held.dump.codes(step.call, name) is not None
    ]
    behind, _ = _back(held, dumped)
    made = [name for function in held.program.manifest.functions for name in (*function.inputs, *_written(function))]
    steps = list(_ahead(held, run, undumped, behind | set(dumped)))
    return Path(steps, undumped, [name for name in dict.fromkeys(made) if name in ends], site)


def _written(function: Function) -> list[str]:
    return [name for operation in function.operations for name in written(operation)]


def _earlier(site: Node) -> Iterator[Node]:
    """The site in all calls up to this one."""
    for step in range(site.call.step + 1):
        yield Node(site.call._replace(step=step), site.site)


def _run(held: Held, site: Node) -> Iterator[Step]:
    """All that is run up to a site, and the site."""
    steps = range(site.call.step + 1) if site.call.function != "encode" else ()
    for call in (Call("encode", 0), *(site.call._replace(step=step) for step in steps)):
        for operation in held.program.functions[call.function].operations:
            names = written(operation)
            if call == site.call and site.site in names:
                yield Step(call, operation, tuple(names[: names.index(site.site) + 1]))
                return
            yield Step(call, operation, tuple(names))


def _back(held: Held, sites: Sequence[Node]) -> tuple[frozenset[Node], set[str]]:
    """What was not dumped of that which tensors are made of, and the names where that begins."""
    program = held.program
    maker = {name: operation for _, operation in program.operations() for name in written(operation)}
    pending, undumped = list(sites), set[Node]()
    ends: set[str] = set()
    while pending:
        call, name = pending.pop()
        names = reads(program, maker[name], name)
        origins = [held.origin(call, read) for read in names]
        if not any(origins):
            ends.add(names[0])
        for read, made in zip(names, origins, strict=True):
            if made is not None and held.has(call, maker[name], read):
                ends.add(made.site)
            elif made is not None and made not in undumped:
                undumped.add(made)
                pending.append(made)
    return frozenset(undumped), ends


def _ahead(held: Held, run: Sequence[Step], undumped: frozenset[Node], wanted: Container[Node]) -> Iterator[Step]:
    """Undumped stages, and what is made of them, as far as it ends in dumped tensors."""
    moving = set(undumped)
    for step in run:
        found = []
        for name in step.sites:
            node = Node(step.call, name)
            if node in undumped or (node in wanted and _is_made_of(held, step, name, moving)):
                found.append(name)
                if held.dump.codes(*node) is None:
                    moving.add(node)
        if found:
            yield step._replace(sites=tuple(found))


def _is_made_of(held: Held, step: Step, name: str, moving: Container[Node]) -> bool:
    """Whether a tensor reads one that another rule may change; not what the dump has itself."""
    return any(
        held.origin(step.call, read) in moving and held.own(step.call, step.operation, read) is None
        for read in reads(held.program, step.operation, name)
    )
