"""A picture of compactness certificates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gcl.core.errors import ConfigError, MissingDependencyError
from gcl.core.files import atomic_write

if TYPE_CHECKING:
    from gcl.evaluate.compactness import Compactness

SUFFIXES = (".png", ".svg", ".pdf")
COLORS = {"certified": "#2b7a78", "open": "#d9d4c5", "refuted": "#b5523b"}


def check_plot(path: Path) -> None:
    """Refuses a name that no picture can have, and says what is missing, before any work.

    Raises:
        ConfigError: another suffix than ``.png``, ``.svg`` or ``.pdf``.
        MissingDependencyError: matplotlib is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path} must end in one of {', '.join(SUFFIXES)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib; pip install 'torch-gcl[plot]'") from error


def plot_compactness(result: Compactness, path: str | Path, *, title: str = "") -> Path:
    """Draws the bounds of all nodes, sorted, and the shares of certified, open and refuted nodes by degree.

    Args:
        result: the bounds.
        path: a new file, ``.png``, ``.svg`` or ``.pdf``.
        title: over the picture.

    Raises:
        OutputError: the file exists.
        ConfigError, MissingDependencyError: see :func:`check_plot`.
    """
    target = Path(path)
    check_plot(target)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
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
    groups = result.by_degree()
    bottom = [0.0] * len(groups)
    for state, color in COLORS.items():
        heights = [group[state] for group in groups.values()]
        right.bar(list(groups), heights, bottom=bottom, color=color, label=state, width=0.8)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    for place, group in enumerate(groups.values()):
        right.text(place, 1.01, f"{int(group['nodes']):,}", ha="center", va="bottom", fontsize=7)
    right.set(xlabel="degree (number of nodes above)", ylabel="share of nodes", ylim=(0, 1.08))
    right.tick_params("x", labelrotation=45)
    right.legend(frameon=False, fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.suptitle(title)
    with atomic_write(target, overwrite=False) as temporary:
        figure.savefig(temporary, dpi=150)
    return target
