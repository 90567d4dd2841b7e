"""Per-arc values of a fitted graph, and random draws of arcs."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.ops.arc_search import arc_keys, find_pairs, pair_keys

NEW_ARC = -1  # the id of an arc that the fitted graph does not have


def by_arc_id(values: Tensor, adjacency: Adjacency) -> Tensor:
    """Values of the stored arcs ``[E]`` as a vector indexed by arc id; NaN where the graph, a part, has no such arc."""
    if adjacency.edge_id is None:
        return values
    ids = adjacency.arc_ids()
    size = int(ids.max()) + 1 if ids.numel() else 0
    return values.new_full((size,), torch.nan).index_copy_(0, ids, values)


def of_arcs(values: Tensor, adjacency: Adjacency) -> Tensor:
    """The value of each stored arc, ``[E]``, from a fitted vector indexed by arc id; looked up once.

    Raises:
        DataError: an arc is not one of the fitted graph.
    """
    if adjacency.edge_id is None and adjacency.num_arcs == values.numel():
        return values
    key = ("of_arcs", id(values))
    if key in adjacency.memo:  # with the tensor itself beside, so that no other can have its id
        return adjacency.memo[key][1]
    ids = adjacency.arc_ids()
    known = adjacency.edge_id is not None
    if known and ids.numel():
        known = int(ids.min()) >= 0 and int(ids.max()) < values.numel()
    picked = values[ids] if known else values
    if not known or bool(picked.isnan().any()):
        raise DataError(
            f"this graph has arcs that the fitted one ({values.numel()} arcs) does not have; call fit on this "
            f"graph, or take parts with subgraph and views with augmenters, which keep the ids of arcs"
        )
    adjacency.memo[key] = (values, picked)
    return picked


def draw_uniform(adjacency: Adjacency, generator: Generator | None, *, symmetric: bool = False) -> Tensor:
    """A uniform number in [0, 1) for each stored arc, ``[E]``; with ``symmetric`` an arc and its reverse share one."""
    u = torch.rand(adjacency.num_arcs, generator=generator, device=adjacency.device)
    if not symmetric:
        return u
    if adjacency.symmetric:
        return torch.where(adjacency.row > adjacency.col, u.index_select(0, adjacency.t_perm), u)
    reverse, there = reverse_arcs(adjacency)
    lower = adjacency.row > adjacency.col
    return torch.where(lower & there, u[reverse], u)


def choose_arcs(adjacency: Adjacency, share: float, generator: Generator | None, *, symmetric: bool = False) -> Tensor:
    """A uniform set of exactly the floor of a share of the kept arcs, as a mask ``[E]``; of whole edges if symmetric.

    Args:
        adjacency: the structure and its mask.
        share: from 0 to 1.
        generator: on the adjacency's device; ``None`` = torch's global one.
        symmetric: an arc and its reverse are chosen together and count as one.
    """
    candidate = torch.ones_like(adjacency.col, dtype=torch.bool) if adjacency.keep is None else adjacency.keep
    if symmetric:
        reverse, there = reverse_arcs(adjacency)
        candidate = candidate & ((adjacency.row <= adjacency.col) | ~there)
    index = candidate.nonzero().squeeze(1)
    # 0.1 + 0.2 and the like must not cost an arc
    count = math.floor(round(share * index.numel(), 6))
    order = torch.randperm(index.numel(), generator=generator, device=adjacency.device)
    chosen = torch.zeros_like(candidate)
    chosen[index[order[:count]]] = True
    return chosen | (chosen[reverse] & there) if symmetric else chosen


def same_arcs(one: Adjacency, two: Adjacency) -> bool:
    """Whether two adjacencies keep the same arcs with the same weights."""
    if one is two:
        return True
    if one.shape != two.shape or (one.weight is None) != (two.weight is None):
        return False
    weights = [adjacency.edge_weight() for adjacency in (one, two)]
    same = weights[0] is None or weights[1] is None or torch.equal(weights[0], weights[1])
    return same and torch.equal(one.edge_index(), two.edge_index())


def add_arcs(adjacency: Adjacency, row: Tensor, col: Tensor, *, weight: float = 1.0) -> Adjacency:
    """The adjacency with arcs that it does not have, merged into its order; they have no id.

    Args:
        adjacency: the structure, its weights and mask.
        row, col: ends of the new arcs, int64 ``[n]`` in any order, none stored and none repeated.
        weight: of each new arc, where arcs have weights.
    """
    new, order = torch.sort(pair_keys(adjacency, row, col))
    place = torch.searchsorted(arc_keys(adjacency), new) + torch.arange(new.numel(), device=new.device)
    is_new = torch.zeros(adjacency.num_arcs + new.numel(), dtype=torch.bool, device=new.device)
    is_new[place] = True

    def merged(old: Tensor, added: Tensor) -> Tensor:
        both = torch.empty(is_new.numel(), dtype=old.dtype, device=old.device)
        both[is_new], both[~is_new] = added.to(old.dtype), old
        return both

    def constant(old: Tensor, value: float) -> Tensor:
        return merged(old, old.new_full((new.numel(),), value))

    return Adjacency.from_sorted(
        merged(adjacency.row, row[order]),
        merged(adjacency.col, col[order]),
        adjacency.shape,
        None if adjacency.weight is None else constant(adjacency.weight, weight),
        constant(adjacency.arc_ids(), NEW_ARC),
        None if adjacency.keep is None else constant(adjacency.keep, True),
    )


def reverse_arcs(adjacency: Adjacency) -> tuple[Tensor, Tensor]:
    """Position of the reverse of each stored arc ``[E]``, and whether there is one ``[E]``. Never sorts."""
    if adjacency.symmetric:
        return adjacency.t_perm.long(), torch.ones_like(adjacency.col, dtype=torch.bool)
    # A compacted view of a symmetric structure: look the reverse up among the sorted arcs.
    return find_pairs(adjacency, adjacency.col.long(), adjacency.row.long())


def check_symmetric(whole: Adjacency, view: Adjacency, owner: str) -> None:
    """Raises ``DataError`` where neither the graph's relation nor the view's has each arc with its reverse.

    A part of a graph may lack them, where neighbours were sampled; the whole was seen by ``fit``.
    """
    if not (whole.symmetric or view.symmetric or whole.edge_id is not None):
        raise DataError(
            f"{owner} with symmetric=True needs an undirected graph, every arc with its reverse; "
            f"add the reverse arcs or use symmetric=False"
        )
