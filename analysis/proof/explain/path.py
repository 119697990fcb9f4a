"""The stages between a site that differs and the last tensors before it that were dumped."""

from collections.abc import Iterator
from typing import NamedTuple

from analysis.proof.explain.dump import Call
from analysis.proof.explain.held import Held, Node, reads
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
        In the order of execution: the stages that were not dumped, dumped tensors that are made of them, and last the
        site itself.
    undumped
        The tensors of these stages, but not the site's.
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
    program = held.program
    maker = {name: operation for _, operation in program.operations() for name in written(operation)}
    pending = [node for node in _earlier(site) if held.dump.codes(*node) is not None]
    undumped: set[Node] = set()
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
    steps = list(_steps(held, site, frozenset(undumped)))
    order = [name for function in program.manifest.functions for name in function.inputs] + list(maker)
    return Path(steps, frozenset(undumped), [name for name in order if name in ends], site)


def _earlier(site: Node) -> Iterator[Node]:
    """The site in all calls up to this one."""
    for step in range(site.call.step + 1):
        yield Node(site.call._replace(step=step), site.site)


def _steps(held: Held, site: Node, undumped: frozenset[Node]) -> Iterator[Step]:
    steps = range(site.call.step + 1) if site.call.function != "encode" else ()
    for call in (Call("encode", 0), *(site.call._replace(step=step) for step in steps)):
        for operation in held.program.functions[call.function].operations:
            names = written(operation)
            is_last = call == site.call and site.site in names
            if is_last:
                names = names[: names.index(site.site) + 1]
            sites = tuple(name for name in names if _is_on(held, Node(call, name), operation, undumped))
            if sites:
                yield Step(call, operation, sites)
            if is_last:
                return


def _is_on(held: Held, node: Node, operation: Operation, undumped: frozenset[Node]) -> bool:
    """Whether a tensor was not dumped, or was and is made of one that was not."""
    if node in undumped:
        return True
    if held.dump.codes(*node) is None:
        return False
    names = reads(held.program, operation, node.site)
    return any(
        held.origin(node.call, name) in undumped and held.own(node.call, operation, name) is None for name in names
    )
