"""An explanation as tables for a terminal."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analysis.proof.explain.records import UNEXPLAINED, Events, Explanation, FirstDivergence, Histogram, SiteReport

ALTERNATIVES = 3
MOST, FOLLOWERS = 20, 12
"""Sites that are shown of those that differ on equal inputs, and of those that follow; all are in the JSON."""


def render(found: Explanation) -> list[RenderableType]:
    """Verdict, first divergence, sites that differ on equal inputs with their causes, and what follows from them."""
    parts: list[RenderableType] = [_verdict(found)]
    if found.first is not None:
        parts.append(_first(found.first))
    if found.origins:
        parts += [_origins(found.origins), _causes(found.origins)]
    followers = [site for site in found.sites if site.status == "follows"]
    if followers:
        parts.append(_followers(followers))
    if found.not_compared:
        parts.append(Text(f"not compared: {len(found.not_compared)} sites, for example {_example(found.not_compared)}"))
    return parts


def _example(reasons: dict[str, str]) -> str:
    site, why = next(iter(reasons.items()))
    return f"{site} ({why})"


def _verdict(found: Explanation) -> RenderableType:
    what = f"A = {found.a}, B = {found.b}: {found.sentences} sentences, {found.calls} calls"
    sites = f"{found.sites_compared:,} of {found.sites_made:,} sites compared"
    if found.equal:
        colour = "green" if found.sites_compared == found.sites_made else "yellow"
        return Text(f"{what}\nno difference: {sites}, {found.compared:,} codes", style=f"bold {colour}")
    unexplained = sum(site.cause == UNEXPLAINED for site in found.origins)
    text = f"{what}\n{found.different:,} of {found.compared:,} codes differ, {sites}"
    text += f"; sites that differ on equal inputs: {len(found.origins)}, unexplained: {unexplained}"
    return Text(text, style="bold red")


def _first(first: FirstDivergence) -> RenderableType:
    table = Table(title="First divergence", title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = [
        ("site", f"{first.site}, index {list(first.index)}"),
        ("where", f"sentence {first.sentence}, {first.call}"),
        ("codes", f"A {first.a}, B {first.b} ({first.b - first.a:+d} LSB)"),
    ]
    if first.accumulator is not None:
        rows.append(("accumulator", f"{first.accumulator:,}"))
    if first.before_rounding is not None and first.tie_distance is not None:
        tie = "a tie" if first.tie_distance == 0 else f"{first.tie_distance:.6f} LSB from a tie"
        rows.append(("before rounding", f"{first.before_rounding:.6f}, {tie}"))
    for name, value in (*rows, ("cause", first.cause)):
        table.add_row(name, Text(value))
    return Group("", table, "")


def _origins(sites: Sequence[SiteReport]) -> RenderableType:
    table = _table("Sites that differ on equal inputs", ["site"])
    for name in ("codes", "differ", "on equal\ninputs", "max\nLSB"):
        table.add_column(name, justify="right", no_wrap=True)
    for site in sites[:MOST]:
        numbers = (site.compared, site.different, site.different_on_equal_inputs, site.max_lsb)
        table.add_row(Text(site.site), *(f"{n:,}" for n in numbers))
    return table


def _events(site: SiteReport) -> str:
    """Counters of the operation in A and B."""

    def count(name: str, events: Events | None) -> str:
        if events is None:
            return f"{name} not counted"
        counts = [(events.ties, "tie"), (events.saturations, "saturation"), (events.overflows, "overflow")]
        return f"{name} " + ", ".join(f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in counts)

    return f"{count('A:', site.events_a)}; {count('B:', site.events_b)}"


def _causes(sites: Sequence[SiteReport]) -> RenderableType:
    """A paragraph for every site."""
    parts: list[RenderableType] = [Text("Why: what makes B's codes of A's inputs", style="italic"), ""]
    for site in sites[:MOST]:
        parts.append(Text.assemble((site.site, "bold"), f"  B - A in LSB: {lsb(site.histogram_on_equal_inputs, ', ')}"))
        parts += [Padding(Text(line), (0, 0, 0, 4)) for line in _lines(site)]
    if len(sites) > MOST:
        parts.append(Text(f"... and {len(sites) - MOST} more"))
    return Group(*parts, "")


def lsb(histogram: Histogram, between: str = "\n", most: int = 6) -> str:
    """The most frequent differences with their codes, least first."""
    unequal = {difference: count for difference, count in histogram.codes.items() if difference}
    shown = sorted(sorted(unequal, key=lambda difference: -unequal[difference])[:most])
    rest = sum(unequal.values()) - sum(unequal[d] for d in shown) + histogram.below + histogram.above
    return between.join([*(f"{d:+d}: {unequal[d]:,}" for d in shown), *([f"others: {rest:,}"] if rest else [])])


def _lines(site: SiteReport) -> Iterable[str]:
    exact = [cause for cause in site.causes if cause.exact]
    if not exact:
        yield UNEXPLAINED
        for cause in site.causes:
            yield f"only partly: {cause.text} ({cause.reproduced:,} of {cause.checked:,} codes)"
    most = sum(cause.declared for cause in exact) + 1 if exact and exact[0].declared else ALTERNATIVES
    own = [cause for cause in exact if not cause.stages]
    for number, cause in enumerate([*own[:most], *(cause for cause in exact if cause.stages)]):
        yield f"{'or: ' if number else ''}{cause.text} ({cause.reproduced:,} of {cause.checked:,} codes)"
    if len(own) > most and not exact[0].declared:
        yield f"or {len(own) - most} more that these codes do not tell apart"
    yield from site.observations
    yield _events(site)


def _followers(sites: Sequence[SiteReport]) -> RenderableType:
    table = _table(f"Sites that differ because an input does ({len(sites)})", ["site", "follows from"])
    for name in ("different", "compared"):
        table.add_column(name, justify="right", no_wrap=True)
    for site in sites[:FOLLOWERS]:
        origins = site.follows_from
        more = f" and {len(origins) - 1} more" if len(origins) > 1 else ""
        table.add_row(
            Text(site.site), Text(f"{origins[0]}{more}" if origins else ""), f"{site.different:,}", f"{site.compared:,}"
        )
    if len(sites) > FOLLOWERS:
        table.add_row(Text(f"... and {len(sites) - FOLLOWERS} more"), "", "", "")
    return table


def _table(title: str, left: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in left:
        table.add_column(name, overflow="fold")
    return table
