"""docs/performance.md is what its record says; a part that was not measured has no section."""

import json
from typing import Any

from analysis.pages.performance.page import FIGURES, PAGE, RECORD, page
from tests import ROOT

DOCS = ROOT / "docs"
RECORDED: dict[str, Any] = json.loads((DOCS / RECORD).read_text())


def test_the_page_is_what_the_generator_makes() -> None:
    assert (DOCS / PAGE).read_text() == page(RECORDED), "run python -m analysis.pages.performance"


def test_its_figures_are_there() -> None:
    text = (DOCS / PAGE).read_text()
    for part, name in (("gemm", "roofline"), ("operators", "operators"), ("growth", "growth")):
        assert bool(RECORDED[part]) == (f"{name}.png" in text) == (DOCS / FIGURES / f"{name}.png").exists()


def times(least: float, median: float, greatest: float) -> dict[str, float]:
    return {"min": least, "median": median, "max": greatest}


def test_a_page_of_all_parts_by_hand() -> None:
    model = {
        "name": "tiny",
        "sentences": 7,
        "batch": 4,
        "peak_rss_mb": 321.4,
        "setting": {"ctranslate2_int8": "2 x 1"},
        "tokens_per_s": {"integer": 1234.0, "float32": 500.0, "fake_quant": 250.0, "ctranslate2_int8": None},
        "ratio": {"float32": 2.468, "fake_quant": 4.936, "ctranslate2_int8": None},
        "agreement": {"integer": 0.875, "fake_quant": 1.0},
    }
    operator = {"operator": "add", "target": "ita", "shape": [2, 3], "ns_per_element": times(1.0, 2.0, 4.0)}
    under = RECORDED["roofline"] | {"products": [], "operators": [{"kernel": "add", "share": 0.456}]}
    axes = ("tokens", "batch", "layers", "d_model")
    points = [{"axis": axis, "value": x, "seconds": times(x, 2 * x, 3 * x)} for axis in axes for x in (1, 2)]
    growth = {"points": points, "exponent": dict.fromkeys(axes, 1.257)}
    parts = {"gemm": [], "model": [model], "operators": [operator], "roofline": under, "growth": growth}
    text = page(RECORDED | parts)
    assert "## Matrix products" not in text
    assert "| tiny | 7 | 4 | 1,234 | 500 | 2.47 | 250 | 4.94 | – | – | 2 x 1 | 321 |" in text
    assert "| tiny | 0.8750 | – | – | 1.0000 |" in text
    assert "| add | `ita` | 2 x 3 | 1.00 | 2.00 | 4.00 | 46% |" in text
    assert "| layers | 1, 2 | 2.00, 4.00 | 1.26 |" in text
