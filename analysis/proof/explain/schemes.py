"""Two requantization schemes on the same accumulators: where would their codes differ."""

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table
from rich.text import Text

from analysis.proof.explain.records import Histogram
from analysis.proof.explain.show import lsb
from analysis.proof.explain.tally import Array, differences, histogram
from analysis.translation.steppers import MachineStepper
from hwsim.files import readable_json
from hwsim.formats import Counter, IntFormat, Rounding, Scaling
from hwsim.machine import Machine
from hwsim.operators.requantize import requantize
from hwsim.program import Program
from hwsim.program.catalogue import CATALOGUE, Limits, scheme_type
from hwsim.program.operations import Requantize
from reference.decoding import greedy

Int = NDArray[np.int64]
ROUNDINGS = [rounding.value for rounding in Rounding]

DEFINITIONS = {
    "one, other": "codes by the first and the second scheme, of the accumulators of the program",
    "ratio_error": "greatest |m/2^e / r - 1| over the channels: r is the program's ratio, m/2^e the nearest encodable",
    "histogram": "other - one in LSB -> codes",
    "ties": "last roundings that met a value halfway between two codes",
    "saturations": "codes that the clamp changed",
}


class Encoded(msgspec.Struct, frozen=True, kw_only=True):
    """One scheme at one site; see DEFINITIONS."""

    ratio_error: float
    ties: int
    saturations: int


class SchemeSite(msgspec.Struct, frozen=True, kw_only=True):
    """Two schemes at one site."""

    site: str
    codes: int
    different: int
    max_lsb: int
    histogram: Histogram
    one: Encoded
    other: Encoded


class SchemeComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two schemes on the accumulators of a program."""

    definitions: dict[str, str] = msgspec.field(default_factory=DEFINITIONS.copy)
    one: str
    other: str
    sites: list[SchemeSite]

    @property
    def equal(self) -> bool:
        return not any(site.different for site in self.sites)

    @property
    def exit_code(self) -> int:
        """0 equal, 1 different."""
        return int(not self.equal)

    def json(self) -> bytes:
        return readable_json(self)

    def table(self) -> Table:
        """For a terminal."""
        title = f"one = {self.one}, other = {self.other}, on the same accumulators (one / other)"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("site", no_wrap=True)
        for name in ("codes", "different", "ties", "saturations", "ratio error", "other - one\nin LSB: codes"):
            table.add_column(name, justify="right", overflow="fold")
        for site in self.sites:
            one, other = site.one, site.other
            table.add_row(
                Text(site.site),
                f"{site.codes:,}",
                f"{site.different:,}",
                f"{one.ties:,} / {other.ties:,}",
                f"{one.saturations:,} / {other.saturations:,}",
                f"{one.ratio_error:.1e} / {other.ratio_error:.1e}",
                Text(lsb(site.histogram)),
            )
        return table


class _Ratio(NamedTuple):
    """A scheme's multipliers and shifts, one for all channels or one for each."""

    multiplier: Int
    shift: Int
    scaling: Scaling
    error: float


def compare_schemes(
    program: Program,
    pattern: str,
    one: str,
    other: str,
    sources: Sequence[list[int]],
    *,
    steps: int = 4,
) -> SchemeComparison:
    """Requantize the accumulators of a program by two schemes.

    Parameters
    ----------
    pattern
        Shell style, of sites that a requantization makes.
    one, other
        Names of the catalogue (`hwsim.program.catalogue.CATALOGUE`): multiplier and shift are then the nearest to the
        program's that the scheme encodes. Or one of the five roundings: the program's own multiplier and shift by it.
    sources
        Ids of each sentence, ended by EOS: one batch, padded.
    steps
        Decode steps at most, chosen greedily by the program.

    Raises
    ------
    ValueError
        If no site matches, a scheme is unknown, or cannot encode a ratio or take an accumulator; names the site.
    """
    if not sources:
        raise ValueError("no sentence to run; at least one is needed")
    operations = _matching(program, pattern)
    names = (one, other)
    ratios = {op.output: [_encode(program, op, name) for name in names] for op in operations}
    seen = _accumulators(program, {op.input for op in operations}, sources, steps)
    sites = [_site(program, op, ratios[op.output], names, seen[op.input]) for op in operations if seen.get(op.input)]
    if not sites:
        raise ValueError(f"pattern {pattern!r} matches only sites that are not made in {steps} decode steps")
    return SchemeComparison(one=one, other=other, sites=sites)


def _matching(program: Program, pattern: str) -> list[Requantize]:
    requantized = [op for _, op in program.operations() if isinstance(op, Requantize)]
    operations = [op for op in requantized if fnmatchcase(op.output, pattern)]
    if not operations:
        names = [op.output for op in requantized]
        near = get_close_matches(pattern.replace("*", ""), names, n=4, cutoff=0.3) or names[:4]
        raise ValueError(f"pattern {pattern!r} matches no requantized site; similar: {', '.join(near)}")
    return operations


def _accumulators(
    program: Program, names: set[str], sources: Sequence[list[int]], steps: int
) -> dict[str, list[Array]]:
    """The inputs of the requantizations, of all calls."""
    seen: dict[str, list[Array]] = {name: [] for name in names}

    def keep(name: str, array: Array) -> None:
        if name in names:
            seen[name].append(array)

    stepper = MachineStepper(Machine(program), sources, keep)
    if steps:
        greedy(stepper, [min(steps, program.manifest.max_positions)] * len(sources))
    return seen


def _encode(program: Program, operation: Requantize, name: str) -> _Ratio:
    """The program's ratios as a scheme encodes them."""
    own = operation.requantization
    multiplier, shift = (
        program.constants[field].astype(np.int64) if isinstance(field, str) else np.array([field], np.int64)
        for field in (own.multiplier, own.shift)
    )
    if name in ROUNDINGS:
        return _Ratio(multiplier, shift, Scaling[name.upper()], 0.0)
    if name not in CATALOGUE:
        raise ValueError(f"unknown scheme {name!r}; known: {', '.join((*CATALOGUE, *ROUNDINGS))}")
    limits = CATALOGUE[name].limits
    channels = np.broadcast_arrays(multiplier, shift)
    ratios = [Fraction(int(m), 1 << int(e)) for m, e in zip(*channels, strict=True)]
    try:
        pairs = [nearest(ratio, limits) for ratio in ratios]
    except ValueError as error:
        raise ValueError(f"{operation.output}: {name} cannot encode {error}") from error
    worst = max(abs(float(Fraction(m, 1 << e) / ratio - 1)) for (m, e), ratio in zip(pairs, ratios, strict=True))
    found = np.array(pairs, np.int64).T.copy()
    scheme = scheme_type(name)(multiplier=int(found[0, 0]), shift=int(found[1, 0]))
    return _Ratio(found[0], found[1], scheme.scaling, worst)


def nearest(ratio: Fraction, limits: Limits) -> tuple[int, int]:
    """The multiplier and shift nearest to a ratio; of equals the smallest shift."""
    best: tuple[Fraction, int, int] | None = None
    for shift in range(limits.least_shift, limits.greatest_shift + 1):
        multiplier = min(max(round(ratio * (1 << shift)), limits.low), limits.high)
        error = abs(Fraction(multiplier, 1 << shift) - ratio)
        if best is None or error < best[0]:
            best = error, multiplier, shift
    assert best is not None
    if best[0] > ratio / 2:
        raise ValueError(f"the ratio {float(ratio):g}; its multipliers are {limits.low} to {limits.high}")
    return best[1], best[2]


def _site(
    program: Program, operation: Requantize, ratios: Sequence[_Ratio], names: Sequence[str], calls: Sequence[Array]
) -> SchemeSite:
    info = program.tensors[operation.output]
    results, encoded = [], []
    for ratio, name in zip(ratios, names, strict=True):
        counters = np.zeros(len(Counter), np.int64)
        try:
            results.append([_codes(array, ratio, info.zero_point, info.format, counters) for array in calls])
        except ValueError as error:
            raise ValueError(f"{operation.output}, {name}: {error}") from error
        ties = int(counters[Counter.POSITIVE_TIE] + counters[Counter.NEGATIVE_TIE])
        encoded.append(Encoded(ratio_error=ratio.error, ties=ties, saturations=int(counters[Counter.SATURATION])))
    one, other = (np.concatenate([codes.reshape(-1) for codes in made]) for made in results)
    found = differences(one, other)
    return SchemeSite(
        site=operation.output,
        codes=one.size,
        different=one.size - found[0],
        max_lsb=max(map(abs, found), default=0),
        histogram=histogram(found),
        one=encoded[0],
        other=encoded[1],
    )


def _codes(acc: Array, ratio: _Ratio, zero_point: int, output: IntFormat, counters: Int) -> Array:
    return requantize(acc, ratio.multiplier, ratio.shift, zero_point, output, counters, ratio.scaling)
