"""Every table that a command prints, at any width: no figure is cut, and no cell is folded to single letters."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analysis.accuracy.accumulators import FirstOverflow, Overflowing, overflow_table
from analysis.bench import doctor, gemm, growth, model, operators, roofline
from analysis.bench import tables as bench
from analysis.bench.machine import Cache, Engine, Machine
from analysis.bench.timing import Spread
from analysis.output.fitting import Fitting
from analysis.output.terminal import Terminal
from tests import ROOT
from tests.unit.analysis.output.test_terminal import PRINTED

WIDTHS = (20, 33, 40, 55, 60, 64, 71, 72, 80, 100, 120)
SHORTENED = {"a-long-name-of-mi…"}
"""The configuration of a run, in its table alone: never more than so many letters."""
LEAST = 8
"""Letters a line at least, of what has as many."""
TIMES = Spread(min=0.001234, median=0.002345, max=0.1)


def _bench() -> list[RenderableType]:
    product = gemm.Row(
        engine="avx512_vnni", operands="s8 x s8", batch=1, m=4096, k=1024, n=1024, threads=2, gops=1234.5,
        seconds={}, exact=dict.fromkeys(gemm.PEERS, True), ratio=dict.fromkeys(gemm.PEERS, 12.34),
    )  # fmt: skip
    translated = model.Row(
        name="onnxruntime-native", batch=32, sentences=1280, threads=2, repeats=7, tokens={}, seconds={},
        tokens_per_s=dict.fromkeys((model.OURS, *model.PEERS), 123456.0), ratio=dict.fromkeys(model.PEERS, 12.3),
        agreement={model.OURS: 0.98765}, setting={"ctranslate2_int8": "inter_threads=1"}, peak_rss_mb=12345.0, notes=[],
    )  # fmt: skip
    row = operators.Row(
        operator="requantize_interpolated", target="onnxruntime", shape=[128, 8, 64, 64], elements=1_234_567,
        ns_per_element=TIMES, bytes_per_element=3.0,
    )  # fmt: skip
    point = roofline.Point(
        kernel="4096 x 1024 x 1024, s8 x s8", engine="avx512_vnni", per_byte=123.4, rate=1234.0, roof=2345.0, share=0.5
    )
    found = roofline.Roofline(
        peak_gops=1.0, by="x", on="y", cache_gb_per_s=2.0, memory_gb_per_s=3.0, products=[point], operators=[]
    )
    rows = growth.Growth(
        points=[growth.Row(axis="source length", value=64, seconds=TIMES)], exponent={"source length": 1.2}
    )
    return [
        bench.products([product]), bench.models([translated]), bench.agreements([translated]),
        bench.operator_rows([row], found), bench.roof(found), bench.grown(rows),
    ]  # fmt: skip


def _doctor() -> list[RenderableType]:
    found = Machine(
        processor="Processor of 8275CL at 3.00GHz", features={"avx512_vnni": True, "amx_int8": False}, cores=2,
        threads={"torch": 2, "numba": 2}, caches={"L1d": 32768, "L3": 37486592},
        engine=Engine(chosen="avx512_vnni", available=["avx512_vnni", "portable"], why="the fastest that there is"),
        python="3.12.1", hwsim="0.2.0", versions={"sentencepiece": "0.2.0", "numpy": None},
        numba_cache=Cache(folder="/home/somebody/.cache/hwsim/kernels", files=123, bytes=12_345_678, writable=False),
    )  # fmt: skip
    return [doctor.table(found)]


def _overflows() -> list[RenderableType]:
    first = FirstOverflow(sentence=3, call="decode step 2", batch=[0, 5], row=1, column=4, k=17)
    name = "decoder.0.cross_attention.scores.accumulator"
    return [overflow_table([Overflowing(operation=name, function="decode_step", events=1_234_567, first=first)])]


ALL: dict[str, Callable[[], Sequence[RenderableType]]] = {
    **PRINTED,
    "bench": _bench,
    "doctor": _doctor,
    "overflows": _overflows,
}
MAKERS = {
    "accuracy/accumulators", "bench/doctor", "bench/tables", "estimates/compare", "estimates/gemm", "estimates/tables",
    "inspect/show", "inspect/target_tables", "output/fitting", "output/terminal", "proof/explain/schemes",
    "proof/explain/show", "report/console", "report/kernel_table",
}  # fmt: skip
"""Files that know tables: a table of another has to be among `ALL`, too."""


def test_every_file_that_makes_tables_is_known() -> None:
    found = {
        str(path.relative_to(ROOT / "analysis").with_suffix(""))
        for path in (ROOT / "analysis").rglob("*.py")
        if re.search(r"rich\.table|import .*\b(Fitting|make_table|add_columns)\b|tables\.add_columns", path.read_text())
    }
    assert found == MAKERS


def said(part: Any) -> Iterator[str]:
    """Every piece of text in what is printed."""
    if isinstance(part, Fitting):
        yield from (part.title, *part.left, *part.right)
        for row in part.rows:
            yield from (row.name, *row.name.split(".", 3)[3:], ".".join(row.name.split(".")[:3]), *row.cells)
    elif isinstance(part, Group):
        for one in part.renderables:
            yield from said(one)
    elif isinstance(part, Padding):
        yield from said(part.renderable)
    elif isinstance(part, Table):
        yield from (str(one) for one in (part.title, part.caption) if one)
        for column in part.columns:
            yield str(column.header)
            yield from (str(cell) for cell in column.cells)
    else:
        yield str(part)


def printed(parts: Sequence[RenderableType]) -> str:
    stream = io.StringIO()
    terminal = Terminal(stream, color_system=None)
    for part in parts:
        terminal.print(part)
    return stream.getvalue()


def torn(shown: str, words: set[str]) -> list[str]:
    """What stands on a line and is neither a word, nor so many letters of one, nor its last."""
    pieces = {piece for piece in re.sub("[─━┏┓┡┩└┘│┃┴┬┳╇]", " ", shown).split() if piece.strip(":,") not in words}
    ends = {word[at:] for word in words for at in range(len(word))}
    whole = "\n".join(words)
    return [piece for piece in pieces if not (piece in whole and len(piece) >= LEAST) and piece.strip(":,") not in ends]


def words_of(parts: Sequence[RenderableType]) -> set[str]:
    return {word.strip(":,") for part in parts for text in said(part) for word in text.split()} | {""}


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("name", ALL)
def test_no_cell_is_cut_or_folded_to_letters(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    parts = ALL[name]()
    words = words_of(parts) | SHORTENED
    shown = printed(parts)
    assert torn(shown, words) == []
    assert max(map(len, shown.splitlines())) <= columns


def test_letters_under_each_other_are_found() -> None:
    folded = "encoder.\n0.self_a\nttention"
    assert torn(folded, {"encoder.0.self_attention"}) == []
    assert set(torn("scores\ns\nc\no\nr\ne\ns", {"scores"})) == {"c", "o", "r", "e"}
    assert torn("12,3…", {"12,345"}) == ["12,3…"]


def test_a_column_without_a_name_goes_on_in_the_line_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    table = Table(box=SIMPLE_HEAD)
    for name in ("layer", "cycles", "", ""):
        table.add_column(name, no_wrap=True)
    table.add_row("query", "1,234,567", Text("2,469,134"), "2.00")
    assert printed([table]).split() == ["query", "cycles:", "1,234,567,", "2,469,134,", "2.00"]
