"""Pictures for a page that may be light or dark: SVG whose ink is the page's, and points on no ground."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"  # stands for the page's own colour until the picture is written
NO_GROUP = "#9a9a94"
RUN_COLORS = ("#2b7a78", "#c8673f", "#6f5aa8", "#9a8a2d", "#3f7fc8", "#a8476f")
CLASS_COLORS = (
    *("#4878a8", "#d98b3a", "#5a9e5f", "#c2524f", "#8a6bb0", "#8c6d54"),
    *("#cf7fb3", "#7f7f7f", "#b3ae38", "#45afb9", "#a3b8d9", "#e5b98a"),
)
Curve = Mapping[str, Sequence[float]]


def color_of(place: int, colors: Sequence[str] = CLASS_COLORS) -> str:
    """The colour of a class or a run; after the last they begin again."""
    return colors[place % len(colors)]


def draw_curves(runs: Sequence[Sequence[tuple[Sequence[float], Sequence[float]]]], *, name: str) -> str:
    """An SVG of curves over epochs.

    Args:
        runs: of each run the curves of its seeds, each a pair of epochs and values.
        name: of the picture; equal names must not be on one page twice.
    """
    figure = _figure(4.2, 2.7)
    axes = figure.subplots()
    for place, curves in enumerate(runs):
        for epochs, values in curves:
            marker = "o" if len(epochs) == 1 else None
            axes.plot(epochs, values, lw=1.2, alpha=0.9, color=color_of(place, RUN_COLORS), marker=marker, ms=3)
    axes.set(xlabel="epoch")
    axes.margins(x=0.01)
    return _svg(figure, axes, name)


def draw_bars(values: Sequence[float], *, name: str, xlabel: str, ylabel: str) -> str:
    """An SVG of values, one bar each in their order."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(4.2, 2.7)
    axes = figure.subplots()
    axes.bar(range(len(values)), values, width=0.85, color=RUN_COLORS[0])
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _svg(figure, axes, name)


def draw_points(points: np.ndarray, group: np.ndarray) -> str:
    """Points of the plane by group, as a PNG without ground, base64.

    Args:
        points: ``[n, 2]``.
        group: whole numbers ``[n]``; those below 0 are grey.
    """
    figure = _figure(4.2, 4.2)
    axes = figure.subplots()
    axes.set_axis_off()
    colors = np.array([color_of(place) if place >= 0 else NO_GROUP for place in group.tolist()])
    size = float(np.clip(4000 / max(len(points), 1), 1.5, 30))
    axes.scatter(points[:, 0], points[:, 1], s=size, lw=0, c=colors, alpha=0.85)
    axes.set_aspect("equal", adjustable="datalim")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=160, transparent=True, metadata={"Software": None})
    return base64.b64encode(stream.getvalue()).decode()


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _svg(figure: Figure, axes: Any, name: str) -> str:
    import matplotlib

    axes.spines[["top", "right"]].set_visible(False)
    for part in (*axes.spines.values(), *axes.xaxis.get_ticklines(), *axes.yaxis.get_ticklines()):
        part.set_color(INK)
    axes.tick_params(colors=INK, labelsize=8)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, size=8)
    stream = io.StringIO()
    # texts stay texts, in the page's font; ids follow from the name, so that a page is the same every time
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img" fill="currentColor">', text, count=1
    )
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    # groups are numbered anew in every picture, and nothing refers to them: a page has an id once
    text = re.sub(r'<g id="[a-zA-Z0-9.]+_\d+">', "<g>", text)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
