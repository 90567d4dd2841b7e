"""A validation part for interactions that have none."""

from __future__ import annotations

import dataclasses

import torch

from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.streams import Streams


def carve_validation(graph: Graph, fraction: float, *, seed: int) -> Graph:
    """A graph in which a share of each user's interactions is held for validation, and absent from the relation.

    A user with d interactions gives ``fraction * d`` of them, rounded to the nearest whole number (a half upwards), but
    keeps at least one; which, is drawn evenly. With 0.1, users of fewer than 5 interactions give none.

    Args:
        graph: with one relation, rows users and columns items, and no validation part.
        fraction: above 0, below 1.
        seed: the same seed carves the same pairs.

    Returns:
        The graph with ``held["valid"]``, int64 ``[2, n]``, user above item, sorted. Other held pairs stay; nodes stay,
        also where they lose all interactions (items can).

    Raises:
        ConfigError: ``fraction`` out of range.
        DataError: the graph has several relations or a validation part, or no user has enough interactions.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise ConfigError(f"the share of validation pairs must be above 0 and below 1, got {fraction!r}")
    relation = graph.adjacency
    if relation.keep is not None:
        raise DataError("validation pairs are taken from a relation without dropped arcs; compact it first")
    if "valid" in graph.held and graph.held["valid"].numel():
        raise DataError("the graph has validation pairs already; carve them from a graph that has none")
    name = next(iter(graph.relations))
    generator = Streams(seed).generator("carve_validation")
    row = relation.row.long().cpu()
    start = relation.row_ptr.long().cpu()
    degree = start.diff()
    count = torch.minimum((fraction * degree.double() + 0.5).floor().long(), degree - 1).clamp_(min=0)  # [users]
    order = torch.rand(row.numel(), dtype=torch.float64, generator=generator).argsort(stable=True)
    order = order[row[order].argsort(stable=True)]  # arcs by user, in a random order inside each
    place = torch.arange(row.numel()) - start[row]  # position inside the user
    held = torch.zeros(row.numel(), dtype=torch.bool)
    held[order] = place < count[row]
    if not bool(held.any()):
        raise DataError(
            f"a validation share of {fraction} takes no interaction from users of at most {int(degree.max())}; "
            "give a larger share, or 0 for no validation part"
        )
    held = held.to(relation.device)
    pairs = torch.stack([relation.row[held].long(), relation.col[held].long()])
    rest = dataclasses.replace(relation.masked(~held, compact=True), edge_id=None)
    attrs = {key: value[~held] for key, value in graph.edge_attrs.get(name, {}).items()}
    return dataclasses.replace(
        graph,
        relations={name: rest},
        edge_attrs={name: attrs} if attrs else {},
        held={**graph.held, "valid": pairs},
    )
