"""What a reader of a figure reads: titles, axes, ticks, legend and notes, as they are drawn."""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure


class Words(NamedTuple):
    """Of one panel; `above` is the title of the whole figure."""

    above: str
    title: str
    x: str
    y: str
    x_ticks: list[str]
    y_ticks: list[str]
    legend: list[str]
    notes: list[str]


def words(figure: Figure, panel: int = 0) -> Words:
    figure.canvas.draw()
    axes: Axes = figure.axes[panel]
    legend = axes.get_legend()
    return Words(
        above=figure.get_suptitle(),
        title=axes.get_title(loc="left"),
        x=axes.get_xlabel(),
        y=axes.get_ylabel(),
        x_ticks=[text.get_text() for text in axes.get_xticklabels()],
        y_ticks=[text.get_text() for text in axes.get_yticklabels()],
        legend=[] if legend is None else [text.get_text() for text in legend.get_texts()],
        notes=[text.get_text() for text in axes.texts],
    )
