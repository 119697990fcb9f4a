"""How a figure looks, as plain data: sizes, colours, lines, markers, ticks, legends; nothing that layout decides.

`python -m tests.unit.analysis.plots.looks` writes the table of all figures anew: look at the change before committing.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis, Tick
from matplotlib.collections import Collection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox

from tests import GOLDEN
from tests.unit.analysis.plots.small_figures import FIGURES

TABLE = GOLDEN / "figures.json"
COMMAND = "python -m tests.unit.analysis.plots.looks"


def looks(figure: Figure) -> dict[str, Any]:
    """Of a figure that was not drawn yet. What looks as by default and is not there is left out."""
    return _present(
        inches=_numbers(figure.get_size_inches()),
        colour=_colour(figure.get_facecolor()),
        layout=type(figure.get_layout_engine()).__name__,
        texts=[_text(text) for text in figure.texts],
        legends=[_legend(legend, figure.transSubfigure) for legend in figure.legends],
        axes=[_axes(axes) for axes in figure.axes],
    )


def difference(before: Any, now: Any, path: str = "") -> str | None:
    """Path of the first difference with what stands there, or nothing."""
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = [(f"{path}.{key}".lstrip("."), before.get(key), now.get(key)) for key in {**before, **now}]
    elif isinstance(before, list) and isinstance(now, list):
        longest = range(max(len(before), len(now)))
        pairs = [(f"{path}[{i}]", *(one[i] if i < len(one) else None for one in (before, now))) for i in longest]
    else:
        return None if before == now else f"{path}:\n  was {before!r}\n  is  {now!r}"
    return next((found for where, a, b in pairs if (found := difference(a, b, where)) is not None), None)


def main() -> None:
    table = {name: looks(draw()) for name, draw in FIGURES.items()}
    TABLE.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# --- axes -------------------------------------------------------------------------------------------------------------


def _axes(axes: Axes) -> dict[str, Any]:
    if not axes.get_visible():
        return {"visible": False}
    legend = axes.get_legend()
    return _present(
        place=_place(axes),
        colour=_colour(axes.get_facecolor()),
        below=str(axes.get_axisbelow()),
        spines=[name for name, spine in axes.spines.items() if spine.get_visible()],
        titles=[f"{_text(title)}, pad {_title_pad(axes)}" for title in _titles(axes) if title.get_text()],
        x=_axis(axes.xaxis, axes.get_xscale(), axes.get_xlim()),
        y=_axis(axes.yaxis, axes.get_yscale(), axes.get_ylim()),
        lines=[_line(line) for line in axes.lines],
        patches=[_patch(patch) for patch in axes.patches],
        collections=[_collection(one) for one in axes.collections],
        texts=[_text(text) for text in axes.texts],
        legend=None if legend is None else _legend(legend, axes.transAxes),
    )


def _place(axes: Axes) -> str:
    """Fractions of the figure if they were given; the place in the grid if a layout decides on them."""
    spec = axes.get_subplotspec()
    if spec is None or axes.figure.get_layout_engine() is None:
        return _numbers(axes.get_position().bounds, "{:.3f}")
    rows, columns, first, _ = spec.get_geometry()
    return f"{first + 1} of {rows} by {columns}"


def _titles(axes: Axes) -> list[Text]:
    """The left one has no public name."""
    return [one for one in axes.get_children() if isinstance(one, Text) and one not in axes.texts]


def _title_pad(axes: Axes) -> str:
    """Points above the axes."""
    return _number(axes.titleOffsetTrans.transform((0, 0))[1] * 72 / axes.figure.dpi)


def _axis(axis: Axis, scale: str, limits: tuple[float, float]) -> dict[str, Any]:
    """`limits` fall on an inverted axis."""
    label = f"{_text(axis.label)}, pad {_number(axis.labelpad)}" if axis.label.get_text() else None
    return _present(
        scale=scale if scale != "symlog" else f"symlog, linear below {axis.get_transform().linthresh:g}",
        limits=_numbers(limits),
        inverted=True if axis.get_inverted() else None,
        label=label,
        ticks=_ticks(axis, axis.get_major_locator(), axis.get_major_ticks, axis.get_ticklabels()),
        minor=_minor(axis),
    )


def _ticks(axis: Axis, locator: Any, ticks: Callable[..., list[Tick]], labels: Iterable[Text]) -> dict[str, Any]:
    """Labels only where they were given: how many there are else is a matter of room."""
    fixed = isinstance(locator, FixedLocator)
    found = dict.fromkeys(_tick(tick) for tick in (ticks() if fixed else ticks(1)))
    if not fixed:
        return {"by": f"{_locator(locator)}, {_formatter(axis)}", "look": list(found)}
    named = [f"{_number(at)} {text.get_text()!r}" for at, text in zip(locator.locs, labels, strict=True)]
    return _present(at=named, look=list(found))


def _minor(axis: Axis) -> list[str] | str | None:
    locator = axis.get_minor_locator()
    if not isinstance(locator, FixedLocator):
        name = type(locator).__name__
        return None if name == "NullLocator" else f"{name}, {type(axis.get_minor_formatter()).__name__}"
    axis.get_ticklabels(minor=True)
    return [_numbers(locator.locs), *dict.fromkeys(_tick(tick) for tick in axis.get_minor_ticks())]


def _locator(locator: Any) -> str:
    """With what it makes of 0 to 3, if its number of ticks was given."""
    name = type(locator).__name__
    return f"{name} ({_numbers(locator.tick_values(0, 3))})" if type(locator) is MaxNLocator else name


def _formatter(axis: Axis) -> str:
    formatter = axis.get_major_formatter()
    shown = f" ({formatter(1234.5)}, {formatter(0.25)})" if isinstance(formatter, FuncFormatter) else ""
    return f"{type(formatter).__name__}{shown}"


def _tick(tick: Tick) -> str:
    label, mark, grid = tick.label1, tick.tick1line, tick.gridline
    return _said(
        mark=f"{_number(mark.get_markersize())} x {_number(mark.get_markeredgewidth())}"
        if mark.get_visible()
        else "no",
        label=_font(label) if label.get_visible() else "no",
        grid=_line(grid) if grid.get_visible() else "no",
    )


# --- what stands in axes ----------------------------------------------------------------------------------------------


def _text(text: Text) -> str:
    place = {}
    if isinstance(text, Annotation):
        place = {"at": _numbers(text.xy), "off": _numbers(text.xyann), "in": str(text.anncoords)}
    elif text in text.figure.texts:
        place = {"at": _numbers(text.get_position())}
    return ", ".join(filter(None, (repr(text.get_text()), _font(text), _said(**place))))


def _font(text: Text) -> str:
    """What turns is turned about its anchor or as a box."""
    turned = text.get_rotation()
    mode = text.get_rotation_mode() or "default"
    return _said(
        size=_number(text.get_fontsize()),
        colour=_colour(text.get_color()),
        align=f"{text.get_ha()} {text.get_va()}",
        weight=_unless(text.get_fontweight(), "normal"),
        style=_unless(text.get_fontstyle(), "normal"),
        turned=f"{_number(turned)} {mode}" if turned else "",
        alpha=_alpha(text),
    )


def _line(line: Line2D) -> str:
    has_marker = line.get_marker() not in ("None", "none", "", " ", None)
    return _said(
        colour=_colour(line.get_color()),
        width=_number(line.get_linewidth()),
        style=f"{line.get_linestyle()}{_dashes(line)}",
        marker=_marker(line) if has_marker else "",
        alpha=_alpha(line),
        zorder=_number(line.get_zorder()),
        clipped="" if line.get_clip_on() else "no",
    )


def _dashes(line: Line2D) -> str:
    """All dashes of one's own are called `--`."""
    offset, dashes = line._unscaled_dash_pattern
    return f" from {_number(offset)} by {_numbers(dashes)}" if dashes else ""


def _marker(line: Line2D) -> str:
    edge = f"edge {_number(line.get_markeredgewidth())} {_colour(line.get_markeredgecolor())}"
    return f"{line.get_marker()} {_number(line.get_markersize())} {_colour(line.get_markerfacecolor())} {edge}"


def _patch(patch: Patch) -> str:
    box = patch.get_bbox().bounds if isinstance(patch, Rectangle) else patch.get_extents().bounds
    edged = patch.get_linewidth() and to_rgba(patch.get_edgecolor())[3]
    return _said(
        box=_numbers(box),
        colour=_colour(patch.get_facecolor()),
        edge=f"{_number(patch.get_linewidth())} {_colour(patch.get_edgecolor())}" if edged else "none",
        hatch=patch.get_hatch() or "",
        alpha=_alpha(patch),
        zorder=_number(patch.get_zorder()),
    )


def _collection(one: Collection) -> str:
    mapped = one.get_array() is not None
    return _said(
        kind=type(one).__name__,
        colours="" if mapped else _colours(one.get_facecolor()),
        edges=_colours(one.get_edgecolor()),
        widths=_numbers(dict.fromkeys(np.atleast_1d(one.get_linewidth()))),
        sizes=_numbers(one.get_sizes()) if hasattr(one, "get_sizes") else "",
        marker=_outline(one) if hasattr(one, "get_sizes") else "",
        map=_map(one) if mapped else "",
        alpha=_alpha(one),
        zorder=_number(one.get_zorder()),
    )


def _outline(one: Collection) -> str:
    """Of a marker: how many corners, and where the first is."""
    path = one.get_paths()[0]
    return f"{len(path.vertices)} from {_numbers(path.vertices[0])}"


def _map(one: Collection) -> str:
    norm, bar = one.norm, one.colorbar
    extend = "" if bar is None else f", bar extended {bar.extend}"
    return f"{one.get_cmap().name} {type(norm).__name__} {_numbers((norm.vmin, norm.vmax))}{extend}"


def _legend(legend: Legend, within: Any) -> dict[str, Any]:
    place = legend.get_bbox_to_anchor().transformed(within.inverted())
    frame = legend.get_frame()
    framed = f"{_colour(frame.get_facecolor())} edge {_colour(frame.get_edgecolor())} alpha {frame.get_alpha():g}"
    codes, outside = {code: name for name, code in Legend.codes.items()}, legend._outside_loc
    return _present(
        loc=f"outside {outside}" if outside else codes.get(legend._loc, str(legend._loc)),
        at=_anchor(place),
        columns=legend._ncols,
        frame=framed if legend.get_frame_on() else "no",
        texts=[_text(text) for text in legend.get_texts()],
        handles=[_handle(handle) for handle in legend.legend_handles],
    )


def _anchor(box: Bbox) -> str:
    """A point, or the whole axes."""
    return _numbers(box.bounds if box.width else box.min)


def _handle(handle: Artist) -> str:
    if isinstance(handle, Line2D):
        return _line(handle)
    assert isinstance(handle, (Patch, Collection))
    return f"{type(handle).__name__} {_colours(handle.get_facecolor())}"


# --- words ------------------------------------------------------------------------------------------------------------


def _number(value: float) -> str:
    """Four significant digits; no negative zero."""
    return f"{float(value) + 0.0:.4g}"


def _numbers(values: Iterable[float], form: str = "{:.4g}") -> str:
    return " ".join(form.format(float(value) + 0.0) for value in values)


def _colour(colour: Any) -> str:
    alpha = to_rgba(colour)[3]
    return "none" if alpha == 0 else to_hex(colour, keep_alpha=alpha < 1)


def _colours(colours: Any) -> str:
    every = [colours] if np.ndim(colours) == 1 else list(colours)
    return " ".join(dict.fromkeys(map(_colour, every)))


def _alpha(artist: Artist) -> str:
    alpha = artist.get_alpha()
    return "" if alpha is None else f"{alpha:g}"


def _unless(value: Any, usual: str) -> str:
    return "" if value in (usual, 400) else str(value)


def _said(**values: str) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value != "")


def _present(**values: Any) -> Mapping[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value != []}


if __name__ == "__main__":
    main()
