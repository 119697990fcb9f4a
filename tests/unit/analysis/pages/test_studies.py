"""Every study of an operator's errors gives again, draw for draw, what its page has."""

import json
from dataclasses import asdict
from importlib import import_module
from typing import Any

import pytest

from analysis.pages.operators.pages import ERRORS
from tests import ROOT

RECORD = json.loads((ROOT / "docs" / ERRORS).read_text())["studies"]
PAGES = ("requantization", "softmax", "layernorm", "activation", "accumulator")


def nearly(finding: dict[str, Any]) -> dict[str, Any]:
    """Counts and words as they are, measured numbers to nine digits: sums of floats may end otherwise elsewhere."""
    return {
        name: pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
        for name, value in finding.items()
    }


@pytest.mark.parametrize("page", PAGES)
def test_the_studies_of_a_page_give_what_is_recorded(page: str) -> None:
    recorded = [one for one in RECORD if one["page"] == page]
    studies = list(import_module(f"analysis.pages.operators.{page}").studies())
    assert [study.name for study in studies] == [one["name"] for one in recorded]
    for study, one in zip(studies, recorded, strict=True):
        assert [asdict(finding) for finding in study.findings] == [nearly(finding) for finding in one["findings"]]


def test_every_recorded_study_has_a_page() -> None:
    assert {one["page"] for one in RECORD} == set(PAGES)
