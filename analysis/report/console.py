"""The tables of a run for the terminal, within 100 columns."""

from collections.abc import Sequence
from itertools import product

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from analysis.accuracy.parts import Row
from analysis.inspect.provenance import scheme_provenance
from analysis.output.numbers import count, energy, finite, fixed, si, signed
from analysis.report.page import pivot
from analysis.report.records import (
    Record,
    accelerators,
    configuration_names,
    configuration_record,
    forced_on,
    sensitivity_record,
    verdict,
)
from analysis.run import RunResult

LONGEST_NAME = 18
EMPTY = "; an empty cell: its operators have no constants at that width, or it was not measured"
FORCED_ON_OWN = "losses are teacher-forced on the float model's own translations"
HALVES = "+/-: half of the 95% bootstrap interval over sentences; parts that lie within each other's are no order"
_TO_ASCII = str.maketrans({"\N{MINUS SIGN}": "-", "\N{MICRO SIGN}": "u", "\N{NO-BREAK SPACE}": " ", "\N{EN DASH}": "-"})


def summary_table(result: RunResult) -> Table:
    """One row a configuration: equality, BLEU, loss and cost; below it the verdict."""
    table = _table(f"{len(result.source)} sentences, beam width {result.beam_width}")
    table.caption = _caption(result)
    table.add_column("\nconfiguration", max_width=LONGEST_NAME, overflow="ellipsis", no_wrap=True)
    floating = result.bleu_float
    scored = [] if floating is None else ["BLEU\n[95% interval]"]
    headers = ("codes\ncompared", "codes\ndifferent", *scored, "loss\nincrease", "weights\non disk")
    for header in (*headers, "DRAM per\nsentence", "energy per\nsentence"):
        table.add_column(header, justify="right", no_wrap=True)
    if floating is not None:
        table.add_row("float", "", "", _with_interval(floating.score, floating.low, floating.high))
    for name, one in zip(configuration_names(result), result.configurations, strict=True):
        table.add_row(_plain(name), *_cells(configuration_record(result, one, name)))
    return table


def _cells(one: Record) -> list[Text]:
    different, interval = one["codes_different"], one["bleu_integer_95_percent"]
    return [
        _plain(count(one["codes_compared"])),
        Text(count(different), style="bold red" if different or one["tokens_different"] else "green"),
        *([] if interval is None else [_with_interval(one["bleu_integer"], *interval)]),
        _plain(signed(one["loss_increase"], 4)),
        _plain(si(one["weight_bytes"], "B")),
        _plain(si(one["dram_bytes_per_sentence"], "B")),
        _plain(f"{energy(one['energy_pj_per_sentence'])}\n({energy(one['own_length_energy_pj_per_sentence'])})"),
    ]


def _with_interval(score: float, low: float, high: float) -> Text:
    return _plain(f"{fixed(finite(score), 1)} [{fixed(finite(low), 1)}, {fixed(finite(high), 1)}]")


def _plain(text: str) -> Text:
    """Text that is no markup, with signs that every terminal has."""
    return Text(text.translate(_TO_ASCII))


def _caption(result: RunResult) -> Text:
    """Whose arithmetic each configuration is, then the verdict."""
    origins: dict[str, list[str]] = {}
    for name, one in zip(configuration_names(result), result.configurations, strict=True):
        plan = one.configuration.plan
        origins.setdefault(str(scheme_provenance(plan.scheme, plan.sites)), []).append(name)
    lines = Text("".join(f"{', '.join(names)}: {origin}\n" for origin, names in origins.items()))
    lines.append("".join(f"{line}\n" for line in _how_measured(result)))
    return lines.append_text(_verdict(result))


def _how_measured(result: RunResult) -> list[str]:
    """Whose lengths are priced and how they are decoded; what stands in for references that are missing."""
    lines = [f"DRAM and energy at the lengths of the {forced_on(result)}s; in brackets: energy of its own translations"]
    if result.beam_width > 1:
        lines.append(f"priced as greedy decoding: {result.beam_width} hypotheses cost more")
    if result.references is None:
        lines.append(f"no reference: no BLEU; {FORCED_ON_OWN}")
    return lines


def _verdict(result: RunResult) -> Text:
    """The verdict, and of every configuration the first divergence and overflows that differ."""
    total = verdict(result)
    compared, different = count(total["codes_compared"]), count(total["codes_different"])
    if total["equal"]:
        return Text(f"Every code equal to fake-quant: {compared} codes compared, 0 different", style="bold green")
    lines = [f"NOT EQUAL to fake-quant: {compared} codes compared, {different} different"]
    lines[0] += f", {count(total['tokens_different'])} tokens different"
    for name, one in zip(configuration_names(result), result.configurations, strict=True):
        if one.equality.first is not None:
            lines.append(f"first divergence of {name}: {one.equality.first}")
        ours, theirs = one.equality.overflows, one.equality.overflows_fake_quant
        if ours != theirs:
            lines.append(f"overflows of {name}: machine {count(ours)}, fake-quant {count(theirs)}")
    return Text("\n".join(lines), style="bold red")


def sensitivity_table(rows: Sequence[Row]) -> Table:
    """Loss increase of every target by width, then BLEU where it was measured, else SQNR; a section for each kind."""
    kinds, names = list(dict.fromkeys(row.kind for row in rows)), accelerators(rows)
    widths = sorted({row.bits for row in rows}, reverse=True)
    has_bleu = any(row.bleu is not None for row in rows)
    second, unit = ("bleu", "BLEU") if has_bleu else ("sqnr_db", "SQNR, dB")
    table = _table(f"One part at fewer bits, the rest at 8; loss increase in nat/token, {unit}")
    caption = f"target{'s' if len(names) > 1 else ''} {', '.join(names)}"
    table.add_column("\n" + " or ".join(kinds), no_wrap=True)
    for title in ("loss", unit.partition(",")[0]):
        for bits in widths:
            table.add_column(f"{title}\n{bits} bits", justify="right", no_wrap=True)
    for kind, name in product(kinds, names):
        records = [sensitivity_record(row) for row in rows if (row.kind, row.accelerator) == (kind, name)]
        for part, cells in pivot(records, kind, widths)["rows"].items():
            caption += "" if all(cells) or EMPTY in caption else EMPTY
            losses = [_loss(cell) if cell else "" for cell in cells]
            seconds = [fixed(cell[second], 1) if cell else "" for cell in cells]
            table.add_row(_plain(part if len(names) == 1 else f"{name} {part}"), *map(_plain, (*losses, *seconds)))
        table.add_section()
    table.caption = Text(f"{HALVES}\n{caption}" if any(row.interval for row in rows) else caption)
    return table


def _loss(cell: Record) -> str:
    """The increase; below it half of its interval."""
    low, high = cell["loss_increase_95_percent"] or (None, None)
    shown = signed(cell["loss_increase"], 4)
    return shown if low is None or high is None else f"{shown}\n+/-{fixed((high - low) / 2, 4)}"


def _table(title: str) -> Table:
    """Two spaces between columns, nothing at the edges."""
    table = Table(title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.show_edge = table.pad_edge = False
    return table
