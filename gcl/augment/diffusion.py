"""Views of a diffused graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Generator, Tensor

from gcl.augment.arcs import NEW_ARC, same_arcs
from gcl.augment.augmenter import Augmenter
from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.core.last_result import LastResult
from gcl.core.view import View
from gcl.ops.arc_search import find_pairs
from gcl.ops.diffusion import DiffusionNormalization, check_diffusion, diffusion_weights


class Diffusion(Augmenter):
    r"""Puts a diffusion of the graph in its place: the largest entries of weighted powers of its transition matrix.

    .. math:: S = \sum_{k=0}^{K} \theta_k T^k

    Gasteiger, Weißenberger, Günnemann: *Diffusion Improves Graph Learning*, NeurIPS 2019, arXiv 1911.05485; as the
    second view of two: Hassani, Khasahmadi, ICML 2020, arXiv 2006.05582. It is computed once, in ``fit``, and nothing
    is drawn: what is to be random comes after it, such as ``edge_drop``. Encoders normalise the view as they do every
    weighted graph; GCN takes its own self-loops in place of S's diagonal.

    It is a diffusion of the graph that it was fitted on, so it is refused behind a part that may change edges.
    Masks of nodes and features stay.

    Args:
        coefficients: :math:`\theta_0, \dots, \theta_K`, each 0 or more.
        normalize: ``symmetric`` or ``row``, the transition matrix, see :func:`gcl.ops.diffusion.diffusion_weights`.
        top: entries kept of each row; ``None`` = all.
        threshold: smaller entries are left out.
        tolerance: how small a mass is no longer passed on, from 0 = exact.

    Attributes:
        row_ptr_, col_, weight_: S by rows, of nodes of the fitted graph.
        arc_: the arc of the graph that each entry is, or -1.
        num_arcs_: how many arcs the graph has.

    Raises:
        ConfigError: a value out of range.
        DataError: several relations, or a part of a graph (in ``fit``); changed edges, or another graph than the
            fitted one (when called).
    """

    row_ptr_: Tensor
    col_: Tensor
    weight_: Tensor
    arc_: Tensor
    num_arcs_: Tensor

    fitted: ClassVar[tuple[str, ...]] = ("row_ptr_", "col_", "weight_", "arc_", "num_arcs_")
    adds_edges = True
    replaces_edges = True

    def __init__(
        self,
        coefficients: Sequence[float] = (0.0, 0.5, 0.5),
        *,
        normalize: DiffusionNormalization = "symmetric",
        top: int | None = 64,
        threshold: float = 0.0,
        tolerance: float = 1e-5,
    ):
        self.coefficients = coefficients
        self.normalize: DiffusionNormalization = normalize
        self.top = top
        self.threshold = threshold
        self.tolerance = tolerance
        self._whole = LastResult[Adjacency]()
        check_diffusion(self.series(), self.normalize, self.tolerance, self.top, self.threshold)

    def series(self) -> Sequence[float]:
        r"""The coefficients :math:`\theta_0, \dots, \theta_K`."""
        return self.coefficients

    def fit_graph(self, graph: Graph, generator: Generator | None) -> None:
        """Diffuses the only relation."""
        if graph.node_id is not None:
            raise DataError(f"{type(self).__name__} is fitted on a whole graph; fit it there, then call it on parts")
        adjacency = graph.adjacency
        diffused, _ = diffusion_weights(
            adjacency,
            self.series(),
            normalize=self.normalize,
            tolerance=self.tolerance,
            top=self.top,
            threshold=self.threshold,
        )
        diffused = diffused.to(adjacency.device)
        position, known = find_pairs(adjacency, diffused.row.long(), diffused.col.long())
        ids = torch.full_like(position, NEW_ARC)
        ids[known] = adjacency.arc_ids()[position[known]]
        assert diffused.weight is not None
        self.row_ptr_, self.col_, self.weight_, self.arc_ = diffused.row_ptr, diffused.col, diffused.weight, ids
        self.num_arcs_ = torch.tensor(adjacency.num_arcs)

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view with the diffused relation."""
        adjacency = view.graph.adjacency
        (name,) = view.adjacency
        if not same_arcs(view.adjacency[name], adjacency):
            raise DataError(
                f"{type(self).__name__} brings back the edges of the graph that it was fitted on, but an earlier part "
                "of this view has changed edges; put it first"
            )
        tensors = [self.fitted_on(name, view.device) for name in self.fitted]
        key = ("diffusion", id(tensors[0]))
        if key not in adjacency.memo:  # with the tensor itself beside, so that no other can have its id
            adjacency.memo[key] = (tensors[0], self._diffused(view.graph, tensors))
        return view.with_adjacency(name, adjacency.memo[key][1])

    def _diffused(self, graph: Graph, tensors: Sequence[Tensor]) -> Adjacency:
        """S among the nodes of a graph or its part."""
        pointer, col, weight, arc, num_arcs = tensors
        size = pointer.numel() - 1
        nodes = None if graph.node_id is None else graph.node_id[graph.target]
        if nodes is None:
            unknown = graph.num_nodes != size or graph.adjacency.num_arcs != int(num_arcs)
        else:
            unknown = bool(nodes.numel()) and int(nodes.max()) >= size
        if unknown:
            raise DataError("this graph is not the fitted one, nor a part of it; call fit on this graph")

        def made() -> Adjacency:
            return dataclasses.replace(Adjacency.from_csr(pointer, col, (size, size), weight), edge_id=arc)

        whole = self._whole.of(pointer, made)
        return whole if nodes is None else whole.subgraph(nodes)
