"""What a report prints: summary and sensitivity fit the terminal."""

from dataclasses import replace

from analysis.accuracy.sensitivity import Row
from analysis.report import sensitivity_table, summary_table
from analysis.run import RunResult
from tests.unit.analysis.report.reading import broken, printed


def test_summary_fits_the_terminal(result: RunResult) -> None:
    text = printed(summary_table(result))
    assert "Every code equal" in text and "int8" in text and "own & <b>" in text
    assert "…" not in text.replace("own & <b>$x^$…", "")
    text.replace("…", "").translate(dict.fromkeys(map(ord, "─ "))).encode("ascii")
    text = printed(summary_table(broken(result)))
    assert "NOT EQUAL" in text and "encoder.embedding" in text


def test_summary_fits_large_numbers(result: RunResult) -> None:
    one = result.configurations[0]
    large = replace(one, equality=replace(one.equality, codes_compared=98_765_432_109, codes_different=1_234_567))
    text = printed(summary_table(replace(result, configurations=[large])))
    assert "98,765,432,109" in text and "1,234,567" in text and "…" not in text


def test_sensitivity_fits_the_terminal(rows: list[Row]) -> None:
    groups = [replace(row, bits=bits) for row in rows if row.kind == "group" for bits in (8, 6, 4, 3)]
    text = printed(sensitivity_table(groups))
    assert "SQNR" in text and text.index("feed_forward") < text.index("layernorm") and "…" not in text
    text = printed(sensitivity_table(rows))
    assert "group or layer or site" in text and "BLEU" in text and "3.5" in text
