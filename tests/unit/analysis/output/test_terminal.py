"""What commands print, as a terminal shows it: columns, folds and colours, at a narrow and at a wide width.

`python -m tests.unit.analysis.output.test_terminal` writes tests/golden/terminal anew; read it before it is committed.
"""

import io
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
from rich.console import RenderableType

from analysis.accuracy.accumulators import width_table
from analysis.estimates.compare import comparison_tables
from analysis.estimates.gemm import untiled_tables
from analysis.estimates.tables import tables
from analysis.inspect import target_tables
from analysis.inspect.show import describe, render
from analysis.output.terminal import Terminal
from analysis.proof.explain.schemes import Encoded, SchemeComparison, SchemeSite
from analysis.proof.explain.show import render as explained
from analysis.report.console import sensitivity_table, summary_table
from analysis.report.kernel_table import table as kernel_table
from reference.quantize.scheme import preset
from tests import GOLDEN
from tests.small.programs import tiny_program
from tests.unit.analysis.estimates.estimates_by_hand import estimated
from tests.unit.analysis.estimates.test_estimate_compared_tables import other
from tests.unit.analysis.estimates.test_estimate_gemm import estimate as untiled
from tests.unit.analysis.inspect.test_printed_programs import kernel, width
from tests.unit.analysis.proof.test_printed_explanations import OFF, cause, explanation, report
from tests.unit.analysis.report.reports_by_hand import configuration, different, rows, run

TERMINAL = GOLDEN / "terminal"
WIDTHS = (64, 120)


def _explanation() -> list[RenderableType]:
    told = report("x", causes=[cause("B rounds half up"), cause("B truncates", 100)])
    follows = report("encoder.0.feed_forward.output", "follows", follows_from=["x", "y"])
    return list(explained(explanation(told, report("y"), follows, report("z", "equal"))))


def _schemes() -> list[RenderableType]:
    one, two = Encoded(ratio_error=0.000123, ties=1000, saturations=2), Encoded(ratio_error=0.0, ties=3, saturations=0)
    site = SchemeSite(
        site="encoder.0.self_attention.scores", codes=12_345, different=7, max_lsb=2, histogram=OFF, one=one, other=two
    )
    return [SchemeComparison(one="half_even", other="tosa", sites=[site]).table()]


def _untiled() -> list[RenderableType]:
    with tempfile.TemporaryDirectory() as folder:
        return untiled_tables(untiled(Path(folder)), "energy", None)


PRINTED: dict[str, Callable[[], Sequence[RenderableType]]] = {
    "run": lambda: [
        summary_table(run(configuration("int8"), different(configuration("a-long-name-of-mine", "ita", factor=2)))),
        sensitivity_table(rows()),
    ],
    "kernels": lambda: [kernel_table([kernel("add"), kernel("relu", codes_different=2, bits=4)])],
    "show": lambda: render(describe(tiny_program(preset("native", "ita")), "encoder.0.self_attention.*")),
    "widths": lambda: [
        width_table([width("a"), width("b", function="decode_step", observed=(-3, 4), observed_bits=4)])
    ],
    "targets": lambda: target_tables.overview(),
    "target": lambda: target_tables.details("pulp"),
    "target-of-two": lambda: target_tables.details("tflm"),
    "catalogue": lambda: target_tables.schemes(),
    "estimate": lambda: tables(estimated()),
    "compared": lambda: comparison_tables(("one", "other"), estimated(), other(), "energy", None),
    "gemm": _untiled,
    "explain": _explanation,
    "schemes": _schemes,
}


def shown(parts: Sequence[RenderableType], columns: int) -> str:
    """As a terminal of so many columns gets it; an escape is written as a sign that can be read."""
    written = io.StringIO()
    with patch.dict(os.environ, COLUMNS=str(columns)):
        console = Terminal(
            written,
            force_terminal=True,
            color_system="standard",
            no_color=False,
            legacy_windows=False,
            _environ={},  # not the reader's TERM or NO_COLOR
        )
        for part in parts:
            console.print(part)
    return written.getvalue().replace("\x1b", "\N{SYMBOL FOR ESCAPE}")


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("name", PRINTED)
def test_the_terminal_shows_what_was_read_before(name: str, columns: int) -> None:
    expected = (TERMINAL / f"{name}-{columns}.txt").read_text()
    assert shown(PRINTED[name](), columns) == expected, "python -m tests.unit.analysis.output.test_terminal"


def test_nothing_else_is_kept() -> None:
    assert {path.stem for path in TERMINAL.iterdir()} == {f"{name}-{columns}" for name in PRINTED for columns in WIDTHS}


if __name__ == "__main__":
    TERMINAL.mkdir(exist_ok=True)
    for one, make in PRINTED.items():
        for size in WIDTHS:
            (TERMINAL / f"{one}-{size}.txt").write_text(shown(make(), size))
