"""What narrow accumulators do to sums: how many come out wrong, and by how much."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.pages.operators import pictures
from analysis.pages.operators.study import (
    SEED,
    Codes,
    Errors,
    Finding,
    Integers,
    Reals,
    Study,
    finding,
    no_events,
    signed,
)
from analysis.plots.style import MARKERS, NORMAL, OKABE_ITO, SMALL
from hwsim.formats import Accumulator, Granularity, Overflow
from hwsim.operators.gemm import matmul, partial_extremes
from hwsim.program.proofs import Interval, centred, weight_product

PAGE = "accumulator"
ROWS, K, COLUMNS, TILE = 128, 512, 128, 16


class Rule(NamedTuple):
    """An overflow rule with its granularity."""

    name: str
    overflow: Overflow
    granularity: Granularity


RULES = (
    Rule("saturate, `mac`", Overflow.SATURATE, Granularity.MAC),
    Rule(f"saturate, `tile` of {TILE}", Overflow.SATURATE, Granularity.TILE),
    Rule("saturate, `end`", Overflow.SATURATE, Granularity.END),
    Rule("wrap", Overflow.WRAP, Granularity.MAC),
)


def operands() -> tuple[Codes, Codes]:
    """Activations (rows, k) and weights (columns, k), normal, int8."""
    rng = np.random.default_rng(SEED)
    drawn = rng.normal(0.0, 40.0, (ROWS, K)), rng.normal(0.0, 30.0, (COLUMNS, K))
    a, b = (x.round().clip(-128, 127).astype(np.int32) for x in drawn)
    return a, b


class Widths(NamedTuple):
    """Bits that suffice: of these very sums, by (10a), and by (A4)."""

    data: int
    interval: int
    norm: int


def safe_widths(a: Codes, b: Codes) -> Widths:
    """What the data needed, and what two proofs from the weights ask for."""
    l1 = int(np.abs(b.astype(np.int64)).sum(-1).max())
    norm = next(p for p in range(8, 64) if l1 << 7 <= (1 << (p - 1)) - 1)
    data, proven = Interval(*partial_extremes(a, b, None)), weight_product(centred(signed(8), 0), b, None)
    return Widths(data.bits, proven.bits, norm)


def sums(a: Codes, b: Codes, bits: int, rule: Rule) -> Integers:
    """All sums in an accumulator."""
    accumulator = Accumulator(bits=bits, overflow=rule.overflow, granularity=rule.granularity, tile=TILE)
    return matmul(a, b, None, accumulator=accumulator, counters=no_events()).astype(np.int64).reshape(-1)


def studies() -> Iterator[Study]:
    """Every rule at every width from 12 bits to what these sums need."""
    a, b = operands()
    widths, exact = safe_widths(a, b), (a.astype(np.int64) @ b.astype(np.int64).T).reshape(-1)
    step = float(np.abs(exact).max()) / 127
    errors = {
        (rule.name, bits): (sums(a, b, bits, rule) - exact) / step
        for bits in range(12, widths.data + 1)
        for rule in RULES
    }
    shown = {key: error for key, error in errors.items() if key[1] >= widths.data - 3}
    findings = [_finding(f"{bits} bits, {name}", error, exact) for (name, bits), error in shown.items()]
    yield Study(page=PAGE, name="accumulator", findings=findings, figure=_figure(errors, widths))


def _finding(name: str, error: Reals, exact: Integers) -> Finding:
    domain, everywhere = f"{exact.size:,} sums of {K} products of int8 codes", Errors(error, np.arange(error.size))
    return finding(name, domain, "greatest sum/127", everywhere, lambda place: f"exact sum {exact[place]:,}")


def _figure(errors: Mapping[tuple[str, int], Reals], widths: Widths) -> Figure:
    """Share of wrong sums, and mean error, over the width."""
    proven = f"(10a) proves {widths.interval}, (A4) {widths.norm}"
    title = f"Sums of {K} int8 products: they need {widths.data} bits; {proven}"
    figure, (wrong, mean) = pictures.grid(title, ["Wrong sums", "Error"], "accumulator width (bits)", "", 2)
    figure.set_size_inches(8.5, 3.6)
    bits = sorted({width for _, width in errors})
    for index, rule in enumerate(RULES):
        line = "--" if rule.name == "wrap" else "-"
        style: dict[str, Any] = {"color": OKABE_ITO[index], "marker": MARKERS[index], "linestyle": line}
        at = [errors[rule.name, width] for width in bits]
        wrong.plot(bits, [100 * float((error != 0).mean()) for error in at], label=rule.name.replace("`", ""), **style)
        mean.plot(bits, [float(np.abs(error).mean()) for error in at], **style)
    wrong.set_ylabel("sums that come out wrong (%)", fontsize=NORMAL)
    mean.set_ylabel("mean |error| (LSB of int8 results)", fontsize=NORMAL)
    for axes in (wrong, mean):
        axes.set_xticks(bits)
    wrong.legend(fontsize=SMALL, frameon=False, loc="lower left")
    return figure
