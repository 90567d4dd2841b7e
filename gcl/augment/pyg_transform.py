"""PyG transforms as augmenters."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np
import torch
from torch import Generator, Tensor

from gcl.augment.arcs import NEW_ARC
from gcl.augment.augmenter import Augmenter
from gcl.augment.pyg_data import graph_of, is_pyg_data
from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.protocols import Augmenter as AugmenterProtocol
from gcl.core.resolve import Slot, resolve
from gcl.core.streams import draw_seed
from gcl.core.view import View
from gcl.ops.arc_search import find_pairs


class PyGTransform(Augmenter):
    """Applies a ``torch_geometric.transforms`` transform (or any function from ``Data`` to ``Data``) to a view.

    The transform sees dense features and kept edges. What it changes of ``x``, ``edge_index`` and ``edge_weight``
    becomes the view; edges that it keeps keep their ids. Given a generator, torch's, NumPy's and Python's global
    generators are seeded from it inside the call and restored after it.

    Args:
        transform: an object, or a specification such as ``torch_geometric.transforms:ToUndirected``.

    Raises:
        ConfigError: it cannot be called.
        DataError: it changed the number of nodes or of feature columns, or gave no ``Data`` with edges (when called).
    """

    def __init__(self, transform: Annotated[Any, Slot("augmenter")]):
        self.transform = transform
        self.function = resolve("augmenter", transform)
        if not callable(self.function):
            raise ConfigError(f"transform must be callable on PyG Data, got {type(self.function).__name__}")

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view that the transform makes."""
        from gcl.data.convert import to_pyg

        name = type(self.function).__name__
        data = to_pyg(view)
        with _seeded(generator):
            data = self.function(data)
        if not is_pyg_data(data):
            raise DataError(f"transform {name} gave {type(data).__name__} instead of PyG Data; leave it out")
        if data.num_nodes != view.num_nodes:
            raise DataError(
                f"transform {name} made {data.num_nodes} nodes of {view.num_nodes}, but rows of two views must pair; "
                f"leave it out or apply it to the data beforehand"
            )
        new = graph_of(data)
        return _with_features(_with_edges(view, new.adjacency), new, name)


def as_augmenter(part: Any) -> Any:
    """An augmenter as it is, anything else that is callable as a :class:`PyGTransform`."""
    return part if isinstance(part, AugmenterProtocol) else PyGTransform(part)


def _with_edges(view: View, new: Adjacency) -> View:
    """The view with other edges: a mask where some only went, else a new structure whose known arcs keep their ids."""
    ((name, old),) = view.adjacency.items()
    position, known = find_pairs(old, new.row.long(), new.col.long())
    if old.keep is not None and old.num_arcs:
        known = known & old.keep[position]
    if bool(known.all()) and _same(old.weight, new.weight, position):
        before = old.num_arcs if old.keep is None else int(old.keep.sum())
        keep = torch.zeros(old.num_arcs, dtype=torch.bool, device=old.device).index_fill_(0, position, True)
        return view if new.num_arcs == before else view.with_adjacency(name, old.masked(keep))
    whole = view.graph.relations[name]  # the view may have lost arcs that the transform brings back
    position, known = find_pairs(whole, new.row.long(), new.col.long())
    ids = torch.full_like(position, NEW_ARC)
    ids[known] = whole.arc_ids()[position[known]]
    return view.with_adjacency(name, dataclasses.replace(new, edge_id=ids))


def _with_features(view: View, new: Graph, transform: str) -> View:
    graph = view.graph
    kind, x = graph.target, new.features.get(new.target)
    if x is None and kind not in graph.features:
        return view
    columns = (graph.features[kind].shape[1] if kind in graph.features else 0, 0 if x is None else x.shape[1])
    if x is None or columns[0] != columns[1]:
        raise DataError(
            f"transform {transform} made {columns[1]} feature columns of {columns[0]}; encoders are built for the "
            f"graph's own, so apply the transform to the data beforehand"
        )
    if torch.equal(new.x, view.x):
        return view
    features = {**graph.features, kind: x}
    masks = {key: mask for key, mask in view.feature_mask.items() if key != kind}  # they are in x already
    values = {key: value for key, value in view.feature_values.items() if key != kind}
    return dataclasses.replace(
        view, graph=dataclasses.replace(graph, features=features), feature_mask=masks, feature_values=values
    )


def _same(old: Tensor | None, new: Tensor | None, position: Tensor) -> bool:
    if old is None or new is None:
        return old is new
    return torch.equal(old[position].to(new.dtype), new)


@contextmanager
def _seeded(generator: Generator | None) -> Iterator[None]:
    """Seeds every global generator that transforms draw from, and restores them; does nothing without a generator."""
    if generator is None:
        yield
        return
    seed = draw_seed(generator)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
