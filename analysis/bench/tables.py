"""What `hwsim bench` prints."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table

from analysis.bench import gemm, growth, model, operators, roofline
from analysis.bench.job import Result
from analysis.output.numbers import NONE, count, fixed, si, significant

GIGA, MILLI, NANO = 1e9, 1e3, 1e-9


def table(title: str, left: Sequence[str], right: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Names to the left, numbers to the right."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in left:
        made.add_column(name, overflow="fold")
    for name in right:
        made.add_column(name, justify="right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def results(result: Result) -> list[Table | str]:
    """A table for each part that ran, then a line for each thing that did not."""
    made: list[Table | str] = []
    if result.gemm:
        made.append(products(result.gemm))
    if result.operators:
        made.append(operator_rows(result.operators, result.roofline))
    if result.roofline is not None:
        made.append(roof(result.roofline))
    if result.model:
        made.append(models(result.model))
        made.append(agreements(result.model))
    if result.growth is not None:
        made.append(grown(result.growth))
    return [*made, *(f"{row.name}: {note}" for row in result.model for note in row.notes), *result.missing]


def products(rows: Sequence[gemm.Row]) -> Table:
    """Gop/s, and how many times as fast as each peer."""
    return table(
        f"Matrix products, {rows[0].threads} threads: Gop/s, and how many times as fast as others (medians)",
        ["(m, k, n) and codes", "engine"],
        ["Gop/s", *(name.replace("_", " ") for name in gemm.PEERS)],
        (
            [roofline.title(row), row.engine, significant(row.gops), *(_ratio(row, peer) for peer in gemm.PEERS)]
            for row in rows
        ),
    )


def _ratio(row: gemm.Row, peer: str) -> str:
    return "not equal" if row.exact.get(peer) is False else fixed(row.ratio[peer])


def models(rows: Sequence[model.Row]) -> Table:
    names = ["sentences", "batch", "integer", "float32", "fake-quant", "CTranslate2 int8", "setting", "peak MB"]
    return table(
        f"Translation, {rows[0].threads} threads: tokens/s, and how many times as fast the integers are (medians)",
        ["model"],
        names,
        (
            [
                row.name,
                count(row.sentences),
                count(row.batch),
                count(row.tokens_per_s[model.OURS]),
                *(f"{count(row.tokens_per_s[peer])} ({fixed(row.ratio[peer])})" for peer in model.PEERS),
                row.setting.get("ctranslate2_int8", NONE),
                count(row.peak_rss_mb),
            ]
            for row in rows
        ),
    )


def agreements(rows: Sequence[model.Row]) -> Table:
    """What speed is nothing without."""
    columns = (model.OURS, "ctranslate2_int8", model.ALSO, "fake_quant")
    names = ["integer", "CTranslate2 int8", "CTranslate2 float32", "fake-quant to integer"]
    return table(
        "Share of tokens equal to the float model's, and of fake-quant's to the integers'",
        ["model"],
        names,
        ([row.name, *(fixed(row.agreement.get(name), 4) for name in columns)] for row in rows),
    )


def operator_rows(rows: Sequence[operators.Row], under: roofline.Roofline | None) -> Table:
    """Nanoseconds an element, and the share of a copy's speed."""
    shares = {} if under is None else {point.kernel: point.share for point in under.operators}
    return table(
        "Operators: ns an element (least, median, greatest), and share of the speed of a copy",
        ["operator", "target", "largest"],
        ["elements", "least", "median", "greatest", "of a copy"],
        (
            [
                row.operator,
                row.target,
                " x ".join(map(str, row.shape)),
                count(row.elements),
                *(significant(getattr(row.ns_per_element, end)) for end in ("min", "median", "max")),
                percent(shares.get(row.operator)),
            ]
            for row in rows
        ),
    )


def roof(found: roofline.Roofline) -> Table:
    return table(
        f"Roofline: {significant(found.peak_gops)} Gop/s by {found.by} on {found.on}; a copy in cache "
        f"{significant(found.cache_gb_per_s)} GB/s, in memory {significant(found.memory_gb_per_s)} GB/s",
        ["product", "engine"],
        ["op/byte", "Gop/s", "roof", "share"],
        (
            [
                point.kernel,
                point.engine,
                *(significant(x) for x in (point.per_byte, point.rate, point.roof)),
                percent(point.share),
            ]
            for point in found.products
        ),
    )


def grown(found: growth.Growth) -> Table:
    """Times along every axis."""
    return table(
        "Growth: time to encode and decode along an axis; exponent of the last step",
        ["axis"],
        ["value", "median", "exponent"],
        (
            [row.axis, str(row.value), si(row.seconds.median, "s"), fixed(found.exponent[row.axis])]
            for row in found.points
        ),
    )


def percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.0f}%"
