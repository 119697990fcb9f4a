"""Every figure looks as the table says that it does: a size, a colour, a line or a tick that is lost is found."""

import json

import pytest
from matplotlib.figure import Figure

from tests.unit.analysis.plots.looks import COMMAND, TABLE, difference, looks
from tests.unit.analysis.plots.small_figures import FIGURES


@pytest.fixture(scope="module")
def table():
    return json.loads(TABLE.read_text(encoding="utf-8"))


def test_the_table_has_every_figure_and_no_other(table):
    assert list(table) == list(FIGURES), f"`{COMMAND}` writes the table anew"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_looks_as_it_did(table, name):
    found = difference(table[name], looks(FIGURES[name]()))
    if found is not None:
        pytest.fail(f"{name} looks otherwise at {found}\nif that is meant, `{COMMAND}` writes the table anew", False)


def test_looks_are_data_that_a_file_can_hold():
    for draw in FIGURES.values():
        found = looks(draw())
        assert json.loads(json.dumps(found)) == found


def test_the_first_difference_is_named():
    before, now = Figure(figsize=(3, 2)), Figure(figsize=(3, 2))
    for figure, width in ((before, 1.5), (now, 2.5)):
        axes = figure.subplots(1, 2)[1]
        axes.plot([0, 1], [0, 1])
        axes.plot([0, 1], [1, 0], linewidth=width)
    assert difference(looks(before), looks(before)) is None
    found = difference(looks(before), looks(now))
    assert found.startswith("axes[1].lines[1]:") and "width 1.5" in found and "width 2.5" in found
    assert difference({"a": [1]}, {"a": [1, 2]}) == "a[1]:\n  was None\n  is  2"
    assert difference({"a": 1, "b": 2}, {"a": 1}) == "b:\n  was 2\n  is  None"
