"""Why two integer runs differ: the whole command, but for the names on its line."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from analysis.proof.divergence import stages, tie_distance
from analysis.proof.explain.causes import find_causes
from analysis.proof.explain.dump import Dump
from analysis.proof.explain.lockstep import DumpB, First, Lockstep, ProgramB, run
from analysis.proof.explain.lookback import look_back
from analysis.proof.explain.records import ASSUMED, UNEXPLAINED, Events, Explanation, FirstDivergence, SiteReport
from analysis.proof.explain.rules import rank
from analysis.proof.explain.search import LookBack
from analysis.proof.explain.tally import Tally, histogram
from hwsim.formats import Counter
from hwsim.machine import Machine, operation_of
from hwsim.program import Program
from hwsim.program.operations import AnyProduct, written

DEFAULT_STEPS = 16


def explain(
    a: Program,
    b: Program | Dump,
    sources: Sequence[list[int]] | None = None,
    *,
    steps: int | None = None,
    names: tuple[str, str] = ("A", "B"),
) -> Explanation:
    """Compare a program with another, or with dumped codes, on the same inputs, and say why they differ.

    Both run on A's greedy choice of tokens. Every site that both make is compared; where the operation differs on
    equal inputs, every rule that would make B's codes of A's inputs is looked for.

    Parameters
    ----------
    b
        A program, or a dump of `read_dump`.
    sources
        Ids of each sentence, ended by EOS: one batch, padded. A dump of `hwsim vectors` brings its own.
    steps
        Decode steps at most; for a dump by default as many as it has, else 16.
    names
        Of A and B, for the reader.

    Raises
    ------
    ValueError
        If there is no sentence, the programs are of different vocabularies, nothing can be compared, or a dump has
        calls that are not run or arrays of another shape than the run.
    """
    if isinstance(b, Dump):
        own = b.sources
        if sources is not None and own is not None and list(sources) != own:
            raise ValueError(f"{b.name} says which sentences it was made of; leave yours out")
        sources = own if own is not None else sources
    if not sources:
        raise ValueError("no sentence to run; at least one is needed")
    machine, other = Machine(a), _other(a, b, sources)
    lockstep = run(machine, other, sources, _steps(b, steps))
    _check(lockstep, b, machine)
    back = look_back(a, b, lockstep, sources) if isinstance(b, Dump) else None
    return _explanation(lockstep, machine, other, names, len(sources), back)


def _other(a: Program, b: Program | Dump, sources: Sequence[list[int]]) -> ProgramB | DumpB:
    if isinstance(b, Dump):
        return DumpB(a, b)
    mine, theirs = a.manifest, b.manifest
    if mine.tokenizer_sha256 != theirs.tokenizer_sha256:
        raise ValueError("the programs expect different vocabularies, so they have no inputs in common")
    return ProgramB(b, sources)


def _steps(b: Program | Dump, steps: int | None) -> int:
    if steps is not None:
        return steps
    if isinstance(b, Dump):
        return max((call.step + 1 for call in b.calls if call.function != "encode"), default=0)
    return DEFAULT_STEPS


def _check(lockstep: Lockstep, b: Program | Dump, machine: Machine) -> None:
    """Refuse to pass on nothing."""
    if isinstance(b, Dump):
        late = [call for call in b.calls if call.function != "encode" and call.step >= lockstep.calls - 1]
        if late:
            raise ValueError(f"{b.name} has {late[0]}, but only {lockstep.calls - 1} decode steps are run")
    if not any(tally.compared for tally in lockstep.tallies.values()):
        raise ValueError("no site could be compared: A and B make no site of the same name and shape")


def _explanation(
    lockstep: Lockstep,
    machine: Machine,
    other: ProgramB | DumpB,
    names: tuple[str, str],
    sentences: int,
    back: LookBack | None,
) -> Explanation:
    program = other.machine.program if isinstance(other, ProgramB) else None
    counters = other.machine.counters if isinstance(other, ProgramB) else {}
    compared = {site: tally for site, tally in lockstep.tallies.items() if tally.compared}
    sites = [_report(machine, program, site, compared, counters) for site in compared]
    if back is not None and lockstep.first is not None:
        sites = [_with(report, back) if report.site == lockstep.first.site else report for report in sites]
    return Explanation(
        a=names[0],
        b=names[1],
        sentences=sentences,
        calls=lockstep.calls,
        sites_compared=len(sites),
        sites_made=len(lockstep.tallies),
        equal=lockstep.first is None and not any(site.different_on_equal_inputs for site in sites),
        first=None if lockstep.first is None else _first(machine.program, lockstep.first, sites),
        sites=sites,
        not_compared=lockstep.not_compared | _not_run(lockstep),
    )


def _with(report: SiteReport, back: LookBack) -> SiteReport:
    """A report with what was found upstream."""
    causes, observations = rank([*report.causes, *back.causes]), [*report.observations, back.said]
    return msgspec.structs.replace(report, causes=causes, observations=observations)


def _not_run(lockstep: Lockstep) -> dict[str, str]:
    return {
        site: f"{tally.function} is not run"
        for site, tally in lockstep.tallies.items()
        if not tally.compared and site not in lockstep.not_compared
    }


def _report(
    machine: Machine, b: Program | None, site: str, tallies: dict[str, Tally], counters: dict[str, NDArray[np.int64]]
) -> SiteReport:
    tally = tallies[site]
    origin = tally.on_equal_inputs > 0
    causes, observations = find_causes(machine.program, b, site, tally, tallies.__contains__) if origin else ([], [])
    if tally.assumed:
        observations = [*observations, f"{ASSUMED} ({', '.join(tally.assumed)})"]
    other = None if b is None else next((op for _, op in b.operations() if site in written(op)), None)
    return SiteReport(
        site=site,
        function=tally.function,
        operation=str(type(tally.operation).__struct_config__.tag),
        status="origin" if origin else "follows" if tally.different else "equal",
        compared=tally.compared,
        different=tally.different,
        different_on_equal_inputs=tally.on_equal_inputs,
        max_lsb=tally.max_lsb,
        histogram=histogram(tally.lsb),
        histogram_on_equal_inputs=histogram(tally.lsb_on_equal_inputs),
        events_a=_events(machine.counters, tally.operation.output),
        events_b=None if other is None else _events(counters, other.output),
        follows_from=[name for name in tally.follows_from if name != site],
        causes=causes,
        observations=observations,
    )


def _events(counters: dict[str, NDArray[np.int64]], output: str) -> Events:
    """Of an operation; those that count nothing have no counters."""
    counts = counters.get(output, np.zeros(len(Counter), np.int64))
    return Events(
        overflows=int(counts[Counter.OVERFLOW]),
        saturations=int(counts[Counter.SATURATION]),
        positive_ties=int(counts[Counter.POSITIVE_TIE]),
        negative_ties=int(counts[Counter.NEGATIVE_TIE]),
        denominator_clamps=int(counts[Counter.DENOMINATOR_CLAMP]),
    )


def _first(program: Program, first: First, sites: Sequence[SiteReport]) -> FirstDivergence:
    (stage,) = stages(program, first.site, [first.at], first.values)
    report = next(site for site in sites if site.site == first.site)
    maker = operation_of(program, first.site)
    return FirstDivergence(
        call=str(first.call),
        site=first.site,
        sentence=first.sentence,
        index=first.at,
        a=first.a,
        b=first.b,
        accumulator=first.a
        if isinstance(maker, AnyProduct) and stage is None
        else None
        if stage is None
        else stage.integer,
        before_rounding=None if stage is None else float(stage.value),
        before_rounding_exact=None if stage is None else str(stage.value),
        tie_distance=None if stage is None else float(tie_distance(stage.value)),
        cause=report.cause if report.status == "origin" else UNEXPLAINED,
    )
