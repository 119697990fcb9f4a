"""What all figures share: colours that the colour-blind can tell apart, sizes, labels, the bytes of a PNG."""

import io
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hwsim.files import write_whole

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6A3D9A", "#F0E442")
"""Okabe and Ito (2008), in an order that keeps neighbours apart; purple stands for black, which is kept for text."""

MARKERS = "osD^vPX*"
GREY, EMPTY = "#666666", "#DDDDDD"
DOTS_PER_INCH = 150
SMALL, NORMAL = 8.5, 10.0


def save(figure: Figure, path: Path) -> None:
    """Write a PNG file whole or not at all."""
    write_whole(path, png(figure))


def png(figure: Figure) -> bytes:
    """A figure as a PNG, the same bytes for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return stream.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=NORMAL + 1, loc="left")
    axes.set_xlabel(x, fontsize=NORMAL)
    axes.set_ylabel(y, fontsize=NORMAL)
    axes.spines[["top", "right"]].set_visible(False)


def require(values: Any, what: str) -> None:
    if not len(values):
        raise ValueError(f"nothing to plot: {what}")


def plain(name: str) -> str:
    """A name as a reader would write it."""
    return " ".join(word.upper() if word in ("mac", "sram", "dram") else word for word in name.split("_"))
