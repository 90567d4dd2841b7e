"""The pictures of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcl.augment.communities import community_strength
from gcl.evaluate.clustering import hard_assignment
from gcl.ops.communities import detect_communities, modularity
from gcl.report.figures import NO_GROUP, color_of, draw_bars, draw_curves, draw_points
from gcl.report.projection import ProjectionName, project
from gcl.run.run_directory import kind_of
from gcl.run.shown_run import Shown

MOST_BARS = 200
MOST_GROUPS = 24  # that have a name in a picture
COMMUNITY_ARCS = 5_000_000  # up to which communities are looked for


def curves_of(shown: Sequence[Shown]) -> list[tuple[str, str]]:
    """Loss, its parts and the validation score over the epochs of each stage."""
    skipped = ("stage", "epoch", "step", "timing", "lr")
    lines = [line for each in shown for seed in each.curves.values() for line in seed]
    found = []
    for stage in dict.fromkeys(line["stage"] for line in lines):
        names = dict.fromkeys(
            key for line in lines if line["stage"] == stage for key, value in line.items()
            if key not in skipped and isinstance(value, int | float) and not isinstance(value, bool)
        )  # fmt: skip
        for name in names:
            runs = []
            for each in shown:
                curves = []
                for seed in each.curves.values():
                    points = [
                        (line["epoch"], line[name])
                        for line in seed
                        if line["stage"] == stage and isinstance(line.get(name), int | float)
                    ]
                    if points:
                        epochs, values = zip(*points, strict=True)
                        curves.append((epochs, values))
                runs.append(curves)
            title = name.replace("_", " ") if stage == "train" else f"{name.replace('_', ' ')} ({stage})"
            found.append((title, draw_curves(runs, name=f"{stage} {name}")))
    return found


def communities_of(shown: Sequence[Shown]) -> tuple[list[dict[str, Any]], list[Tensor | None]]:
    """Pictures of the strengths of the communities of each graph, and the community of each node, strongest first."""
    pictures: list[dict[str, Any]] = []
    found: dict[str, Tensor | None] = {}
    for each in shown:
        if each.fingerprint in found:
            continue
        graph, labels = each.graph, None
        plain = graph is not None and len(graph.num_nodes_by_type) == 1 and len(graph.relations) == 1
        if graph is not None and plain and 0 < graph.adjacency.num_arcs <= COMMUNITY_ARCS:
            given = graph.attr("community")
            labels = detect_communities(graph.adjacency, seed=0) if given is None else given.long()
            strength = community_strength(graph.adjacency, labels)
            order = strength.argsort(descending=True, stable=True)
            quality, labels = modularity(graph.adjacency, labels), order.argsort()[labels]
            sizes = labels.bincount()
            whose = "found for this page by Leiden" if given is None else "that came with the graph"
            first = f"; the strongest {MOST_BARS} are drawn" if len(sizes) > MOST_BARS else ""
            number = f"{each.record['dataset']} of {each.name}" if len(shown) > 1 else each.record["dataset"]
            pictures.append(
                {
                    "name": f"strength of the communities of {number}",
                    "svg": draw_bars(
                        strength[order][:MOST_BARS].tolist(),
                        name=f"strength {each.fingerprint}",
                        xlabel="community, strongest first",
                        ylabel="share of the modularity",
                    ),
                    "caption": f"{len(sizes)} communities {whose}, of {int(sizes.min())} to {int(sizes.max())} nodes; "
                    f"modularity {quality:.3f}{first}",
                }
            )
        found[each.fingerprint] = labels
    return pictures, [found[each.fingerprint] for each in shown]


def pictures_of(
    shown: Sequence[Shown], communities: Sequence[Tensor | None], projection: ProjectionName, max_nodes: int
) -> list[dict[str, Any]]:
    """Embeddings in the plane, one picture for each way to colour them."""
    pictures = []
    for each, community in zip(shown, communities, strict=True):
        z, groups = _rows_and_groups(each, community)
        chosen = _sample(z.shape[0], max_nodes)
        flat = project(z[chosen], projection)
        prefix = f"{each.name}, " if len(shown) > 1 else ""
        for name, group in groups.items():
            labels = np.asarray(group)[chosen.numpy()]
            pictures.append(
                {
                    "name": f"{prefix}{name}",
                    "png": draw_points(flat, labels),
                    "key": _group_key(labels, each, name),
                }
            )
    return pictures


def _rows_and_groups(each: Shown, community: Tensor | None) -> tuple[Tensor, dict[str, np.ndarray]]:
    """The rows that are drawn, and what they are coloured by."""
    embeddings = each.outputs.embeddings
    if kind_of(each.run.settings) == "rec":
        users, items = embeddings["user"], embeddings["item"]
        kind = np.repeat([0, 1], [len(users), len(items)])
        return torch.cat([users, items]), {"users and items": kind}
    z = each.outputs.main
    groups: dict[str, np.ndarray] = {}
    y = None if each.graph is None else each.graph.attr("y")
    if y is not None and y.numel() == z.shape[0]:
        groups["by label"] = y.numpy()
    if community is not None and community.numel() == z.shape[0]:
        groups["by community"] = community.numpy()  # numbered as in the picture of their strengths
    if each.outputs.assignment is not None:
        groups["by the method's clusters"] = hard_assignment(each.outputs.assignment).numpy()
    return z, groups or {"embeddings": np.zeros(z.shape[0], dtype=np.int64)}


def _group_key(labels: np.ndarray, each: Shown, name: str) -> list[dict[str, str]]:
    found = [int(label) for label in np.unique(labels) if label >= 0]
    if name == "users and items":
        return [{"name": word, "color": color_of(place)} for place, word in enumerate(("users", "items"))]
    if len(found) < 2 or len(found) > MOST_GROUPS:
        return []
    names = each.class_names if name == "by label" and len(each.class_names) > max(found) else None
    key = [{"name": str(label) if names is None else names[label], "color": color_of(label)} for label in found]
    return [*key, {"name": "none", "color": NO_GROUP}] if (labels < 0).any() else key


def _sample(size: int, most: int) -> Tensor:
    if size <= most:
        return torch.arange(size)
    return torch.randperm(size, generator=torch.Generator().manual_seed(0))[:most].sort().values


def projection_words(shown: Sequence[Shown], projection: str, max_nodes: int) -> str:
    """What a picture of embeddings shows."""
    how = {"tsne": "t-SNE", "pca": "Two principal components"}.get(projection, "")
    sizes = [
        sum(len(rows) for rows in each.outputs.embeddings.values())
        if kind_of(each.run.settings) == "rec"
        else each.outputs.main.shape[0]
        for each in shown
    ]
    sample = f", {max_nodes:,} of {max(sizes):,} drawn" if max(sizes) > max_nodes else ""
    return f"{how} of the unit rows of the first seed's embeddings{sample}; after twelve groups colours come again."


def color_key(names: Sequence[str], colors: Sequence[str]) -> list[dict[str, str]]:
    """Names with their colours."""
    return [{"name": name, "color": color_of(place, colors)} for place, name in enumerate(names)]
