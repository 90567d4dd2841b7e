"""A picture of compactness certificates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gcl.core.files import atomic_write
from gcl.report.pictures import check_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from gcl.evaluate.compactness import Compactness

COLORS = {"certified": "#2b7a78", "open": "#d9d4c5", "refuted": "#b5523b"}


def plot_compactness(result: Compactness, path: str | Path, *, y: Tensor | None = None, title: str = "") -> Path:
    """Draws the bounds of all nodes, sorted, and the shares of certified, open and refuted nodes by degree and class.

    Args:
        result: the bounds.
        path: a new file, ``.png``, ``.svg`` or ``.pdf``.
        y: labels, int64 ``[N]``, -1 = unlabelled; ``None`` leaves the classes out.
        title: over the picture.

    Raises:
        OutputError: the file exists.
        ConfigError, MissingDependencyError: see :func:`gcl.report.pictures.check_plot`.
    """
    target = Path(path)
    check_plot(target)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {"degree": result.by_degree()} | ({} if y is None else {"class": result.by_class(y)})
    panels = {name: groups for name, groups in panels.items() if groups}
    figure = Figure(figsize=(5 + 5 * len(panels), 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, *others = figure.subplots(1, 1 + len(panels), squeeze=False)[0]
    order = result.lower.argsort()
    rank = range(order.numel())
    left.fill_between(
        rank,
        result.lower[order].tolist(),
        result.upper[order].tolist(),
        color=COLORS["open"],
        label="between the bounds",
    )
    left.scatter(rank, result.upper[order].tolist(), s=1, lw=0, color=COLORS["refuted"], label="worst graph found")
    left.plot(rank, result.lower[order].tolist(), lw=1.6, color=COLORS["certified"], label="certified lower bound")
    left.axhline(0, lw=0.8, color="black")
    left.set(xlabel="nodes, by lower bound", ylabel="compactness")
    left.legend(
        frameon=False,
        fontsize="small",
        ncols=3,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        markerscale=4,
        columnspacing=1,
    )
    for axes, (name, groups) in zip(others, panels.items(), strict=True):
        _draw_shares(axes, name, groups)
    figure.suptitle(title)
    with atomic_write(target, overwrite=False) as temporary:
        figure.savefig(temporary, dpi=150)
    return target


def _draw_shares(axes: Axes, name: str, groups: Mapping[str, Mapping[str, float]]) -> None:
    """One bar a group: its shares of certified, open and refuted nodes."""
    bottom = [0.0] * len(groups)
    for state, color in COLORS.items():
        heights = [group[state] for group in groups.values()]
        axes.bar(list(groups), heights, bottom=bottom, color=color, label=state, width=0.8)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    for place, group in enumerate(groups.values()):
        axes.text(place, 1.01, f"{int(group['nodes']):,}", ha="center", va="bottom", fontsize=7)
    axes.set(xlabel=f"{name} (number of nodes above)", ylabel="share of nodes", ylim=(0, 1.08))
    axes.tick_params("x", labelrotation=45)
    axes.legend(frameon=False, fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
