"""Translated sentences as a workload: one `encode` a sentence, one `decode_step` a target token, batch 1, greedy."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from hwsim.accelerator.layers import Layer, Phase, Workload
from hwsim.accelerator.lowered.grouping import groups
from hwsim.accelerator.lowered.layers import layer
from hwsim.accelerator.lowered.residence import Call, Residence, find_function
from hwsim.accelerator.zeros import ZeroCounts
from hwsim.program import Program

ENCODE, DECODE = "encode", "decode_step"


class Calls(NamedTuple):
    """Like calls of a function: sizes of `source` and `past`, and how often there is one."""

    source: int
    past: int
    times: int


def program_workload(program: Program, lengths: Iterable[tuple[int, int]], zeros: ZeroCounts | None = None) -> Workload:
    """Sentences one by one, batch 1, greedy, at their actual lengths, without padding.

    A layer that occurs more than once with the same sizes is there once, repeated. Layers that follow each other and
    depend on the same sizes stay together, so that the three of an attention do; whole such stretches come in the order
    of the program, each for all its sizes in ascending order. The order of the sentences does not matter.

    Parameters
    ----------
    program
        A validated program with functions `encode` (dimensions batch, source) and `decode_step` (batch, source,
        target = 1, past).
    lengths
        (source, target) tokens of each sentence, EOS included. The target length is the number of decode steps: step t
        has t - 1 earlier positions.
    zeros
        What a run counted; its rate of zero MACs goes to every layer of a product, to the nearest MAC.

    Returns
    -------
    Workload
        Phases `encode` (tokens of the sources) and `decode` (tokens of the targets).

    Raises
    ------
    ValueError
        If there is no sentence, a length is outside what the program allows, the program has no such functions or
        dimensions, or `zeros` lacks a product.
    """
    counts = Counter(lengths)
    encode, decode = (Residence(program, find_function(program, name)) for name in (ENCODE, DECODE))
    _check(program, counts)
    sources, targets = ({pair[i] for pair in counts} for i in (0, 1))
    calls = [Calls(source, 0, count) for (source, _), count in counts.items()]
    steps = [Calls(source, past, count) for (source, target), count in counts.items() for past in range(target)]
    return Workload(
        name=program.manifest.name,
        scheme=program.manifest.scheme,
        source=_in_words(sources),
        target=_in_words(targets),
        sentences=counts.total(),
        phases=(
            Phase(name="encode", tokens=_tokens(counts, 0), layers=tuple(_layers(encode, calls, zeros))),
            Phase(name="decode", tokens=_tokens(counts, 1), layers=tuple(_layers(decode, steps, zeros))),
        ),
    )


def _check(program: Program, counts: Mapping[tuple[int, int], int]) -> None:
    if not counts:
        raise ValueError("a workload of no sentences; at least one is needed")
    for dimension in ("batch", "source", "target", "past"):
        if dimension not in program.dimensions:
            raise ValueError(f"the program has no dimension {dimension!r}; it has {', '.join(program.dimensions)}")
    limits = (
        ("source", program.dimensions["source"].maximum),
        ("target", min(program.dimensions["past"].maximum + 1, program.manifest.max_positions)),
    )
    for pair in counts:
        for (what, greatest), length in zip(limits, pair, strict=True):
            if not 1 <= length <= greatest:
                raise ValueError(f"a {what} length of {length} tokens; allowed are 1 to {greatest}")


def _tokens(counts: Mapping[tuple[int, int], int], which: int) -> int:
    return sum(pair[which] * count for pair, count in counts.items())


def _in_words(lengths: set[int]) -> str:
    """`1 token`, `20 tokens`, `3 to 61 tokens`."""
    least, greatest = min(lengths), max(lengths)
    if least < greatest:
        return f"{least} to {greatest} tokens"
    return f"{least} token" if least == 1 else f"{least} tokens"


def _layers(residence: Residence, calls: list[Calls], zeros: ZeroCounts | None) -> Iterator[Layer]:
    """The layers of many calls; a stretch of layers that depend on the same sizes once for each of these."""
    growing = {"source", "past"}
    for dimensions, stretch in groupby(groups(residence), key=lambda group: group.dimensions & growing):
        members = list(stretch)
        repeats: Counter[tuple[int, int]] = Counter()
        for source, past, times in calls:  # a size on which nothing here depends is 1
            repeats[source if "source" in dimensions else 1, past if "past" in dimensions else 1] += times
        for (source, past), repeat in sorted(repeats.items()):
            call = Call(residence, {"batch": 1, "source": source, "target": 1, "past": past})
            for group in members:
                yield layer(group, call, repeat=repeat, zeros=zeros)
