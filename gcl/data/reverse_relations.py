"""Relations that are stored in both directions."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from gcl.core.adjacency import Adjacency


def without_reversed(
    relations: Mapping[str, Adjacency], types: Mapping[str, tuple[str, str]]
) -> tuple[dict[str, Adjacency], dict[str, tuple[str, str]]]:
    """Leaves out every relation between two node types that is an earlier one turned round, weights included.

    PyG's ``ToUndirected`` adds such relations. Here either direction can be walked, and one of them says all.

    Args:
        relations: by name, receivers by sources.
        types: ``(source, receiver)`` of each.
    """
    kept: dict[str, Adjacency] = {}
    for name, adjacency in relations.items():
        source, receiver = types[name]
        twins = (other for other in kept if source != receiver and types[other] == (receiver, source))
        if not any(_is_transpose(adjacency, kept[other]) for other in twins):
            kept[name] = adjacency
    return kept, {name: types[name] for name in kept}


def _is_transpose(a: Adjacency, b: Adjacency) -> bool:
    if a.num_arcs != b.num_arcs or not (torch.equal(a.row_ptr, b.t_row_ptr) and torch.equal(a.col, b.t_col)):
        return False
    if a.weight is None or b.weight is None:
        return a.weight is None and b.weight is None
    return torch.equal(a.weight, b.weight[b.t_perm.long()])
