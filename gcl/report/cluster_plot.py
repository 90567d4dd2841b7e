"""A picture of clusters."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gcl.core.files import atomic_write
from gcl.report.pictures import check_plot

SAMPLE = 20_000  # points that are drawn


def plot_clusters(z: Tensor, labels: Tensor, path: str | Path, *, normalize: bool = True, title: str = "") -> Path:
    """Draws rows by their first two principal components, coloured by cluster, and the sizes of the clusters.

    Args:
        z: ``[N, d]``; of more than 20,000 rows a sample is drawn, the same every time.
        labels: cluster of each row, ``[N]``.
        path: a new file, ``.png``, ``.svg`` or ``.pdf``.
        normalize: draw unit rows.
        title: over the picture.

    Raises:
        OutputError: the file exists.
        ConfigError, MissingDependencyError: see :func:`gcl.report.pictures.check_plot`.
    """
    target = Path(path)
    check_plot(target)
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes = labels.bincount()
    if z.shape[0] > SAMPLE:
        chosen = torch.randperm(z.shape[0], generator=torch.Generator().manual_seed(0))[:SAMPLE]
        z, labels = z[chosen], labels[chosen]
    points = (F.normalize(z, dim=1) if normalize else z).double()
    points = points - points.mean(dim=0)
    values, vectors = torch.linalg.eigh(points.t() @ points)  # ascending
    axes = vectors[:, -2:].flip(1)
    axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()  # one sign, whatever LAPACK gives
    share = (values.flip(0)[:2] / values.sum().clamp(min=1e-300)).tolist()
    flat = points @ axes

    colors = matplotlib.colormaps["tab10" if len(sizes) <= 10 else "nipy_spectral"]
    scale = [colors(place if len(sizes) <= 10 else (place + 0.5) / len(sizes)) for place in range(len(sizes))]
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    y = flat[:, 1] if flat.shape[1] > 1 else torch.zeros(len(flat))
    left.scatter(flat[:, 0].tolist(), y.tolist(), s=4, lw=0, c=[scale[label] for label in labels.tolist()])
    names = [f"component {place + 1} ({part:.0%} of the variance)" for place, part in enumerate([*share, 0.0][:2])]
    left.set(xlabel=names[0], ylabel=names[1], xticks=[], yticks=[])
    right.barh(range(len(sizes)), sizes.tolist(), color=scale)
    right.set(xlabel="rows", ylabel="cluster")
    right.invert_yaxis()
    if len(sizes) <= 30:
        right.set_yticks(range(len(sizes)))
    figure.suptitle(title)
    with atomic_write(target, overwrite=False) as temporary:
        figure.savefig(temporary, dpi=150)
    return target
