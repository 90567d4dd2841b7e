"""Communities and their strength."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal, get_args

import torch
from torch import Generator, Tensor

from gcl.augment.pyg_data import graph_of
from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, NotFittedError
from gcl.core.graph import Graph
from gcl.core.streams import draw_seed
from gcl.core.view import View
from gcl.ops.communities import CommunityMethod, community_counts, detect_communities, modularity

COMMUNITY = "community"  # node attribute: the community's number, int64
STRENGTH = "community_strength"  # node attribute: its strength, float32


class Communities:
    r"""Finds communities once, without labels, and says how strong each is.

    .. math:: \sigma_k = \frac{e_k}{M} - \Big(\frac{\mathrm{vol}_k}{2M}\Big)^2, \qquad s_v = \sigma_{\kappa(v)}

    The share of community k in the modularity. Chen et al., *CSGCL: Community-Strength-Enhanced Graph Contrastive
    Learning*, IJCAI 2023, arXiv 2305.04658; the authors' program leaves the search unseeded, here it follows the
    generator.

    Args:
        method: ``leiden``, ``louvain`` or ``louvain-networkx``, see :func:`gcl.ops.communities.detect_communities`.
        resolution: of the modularity that the search maximises, from 0. Strengths are of resolution 1.
        strength: ``modularity``, or ``doubled``, which counts inner edges from both ends (``2 e_k / M``) as the
            authors' program did when its table was published.
        runs: searches of which the best is kept.

    Attributes:
        labels_: community of each node, int64 ``[N]``, by node id; -1 where the fitted graph, a part, has no such node.
        strength_: strength of each community, float64 ``[K]``.
        node_strength_: strength of each node's community, float32 ``[N]``; 0 where there is no such node.
        modularity_: of the partition.

    Raises:
        ConfigError: an argument out of range.
    """

    def __init__(
        self,
        method: CommunityMethod = "leiden",
        resolution: float = 1.0,
        strength: Literal["modularity", "doubled"] = "modularity",
        runs: int = 1,
    ):
        if method not in get_args(CommunityMethod):
            raise ConfigError(f"method must be one of {', '.join(get_args(CommunityMethod))}, got {method!r}")
        number = isinstance(resolution, int | float) and not isinstance(resolution, bool)
        if not number or not math.isfinite(resolution) or resolution < 0:
            raise ConfigError(f"resolution must be a finite number from 0, got {resolution!r}")
        if strength not in ("modularity", "doubled"):
            raise ConfigError(f"strength must be modularity or doubled, got {strength!r}")
        if isinstance(runs, bool) or not isinstance(runs, int) or runs < 1:
            raise ConfigError(f"runs must be a whole number from 1, got {runs!r}")
        self.method = method
        self.resolution = resolution
        self.strength = strength
        self.runs = runs

    def fit(self, graph: Graph | View | Any, *, generator: Generator | None = None) -> Communities:
        """Finds the communities of the only relation of a graph, a view or PyG data."""
        graph = graph_of(graph)
        labels = detect_communities(
            graph.adjacency,
            method=self.method,
            resolution=self.resolution,
            seed=draw_seed(generator),
            runs=self.runs,
        )
        self.strength_ = community_strength(graph.adjacency, labels, doubled=self.strength == "doubled")
        self.modularity_ = modularity(graph.adjacency, labels)
        node_strength = self.strength_[labels].float()
        ids = None if graph.node_id is None else graph.node_id.get(graph.target)
        if ids is not None:
            size = int(ids.max()) + 1 if ids.numel() else 0
            labels = labels.new_full((size,), -1).index_copy_(0, ids, labels)
            node_strength = node_strength.new_zeros(size).index_copy_(0, ids, node_strength)
        self.labels_, self.node_strength_ = labels, node_strength
        return self

    def attach(self, graph: Graph) -> Graph:
        """The fitted graph, or a part of it, with node attributes ``community`` and ``community_strength``.

        Raises:
            NotFittedError: ``fit`` was not called.
            DataError: a node is not one of the fitted graph.
        """
        if not hasattr(self, "labels_"):
            raise NotFittedError("Communities is not fitted; call fit(graph) first")
        labels, strength = self.labels_.to(graph.device), self.node_strength_.to(graph.device)
        ids = None if graph.node_id is None else graph.node_id.get(graph.target)
        if ids is None:
            known = graph.num_nodes == labels.numel()
        else:
            known = not ids.numel() or int(ids.max()) < labels.numel()
            labels, strength = (labels[ids], strength[ids]) if known else (labels, strength)
        if not known or bool((labels < 0).any()):
            raise DataError("this graph has nodes that the fitted one does not have; call fit on this graph")
        return graph.with_node_attrs(graph.target, **{COMMUNITY: labels, STRENGTH: strength})

    def __repr__(self) -> str:
        return (
            f"Communities(method={self.method!r}, resolution={self.resolution!r}, strength={self.strength!r}, "
            f"runs={self.runs!r})"
        )


def community_strength(adjacency: Adjacency, labels: Tensor, *, doubled: bool = False) -> Tensor:
    r"""Strength of each community, :math:`\sigma_k = e_k / M - (\mathrm{vol}_k / 2M)^2`, float64 ``[K]``.

    The sum over communities is the modularity. The graph is taken as simple and undirected; a self-loop is one inner
    edge and counts twice in the volume. Without edges every strength is 0.

    Args:
        adjacency: square, ``[N, N]``; only kept arcs count.
        labels: community of each node, integer ``[N]``, from 0.
        doubled: ``2 e_k / M`` in place of ``e_k / M``.

    Raises:
        DataError: labels of another shape or out of range.
    """
    inner, volume, num_edges = community_counts(adjacency, labels)
    if num_edges == 0:
        return torch.zeros_like(volume)
    return (2 if doubled else 1) * inner / num_edges - (volume / (2 * num_edges)) ** 2


def node_communities(
    graph: Graph, communities: Communities | None, generator: Generator | None
) -> tuple[Tensor, Tensor]:
    """Community int64 ``[N]`` and strength float64 ``[N]`` of each node: the graph's attributes, else found here.

    Args:
        graph: with node attribute ``community``, and ``community_strength`` or not; or without.
        communities: how to find them where they are absent; ``None`` = Leiden with its defaults.
        generator: for the search.
    """
    labels, strength = graph.attr(COMMUNITY), graph.attr(STRENGTH)
    if labels is None:
        found = Communities() if communities is None else copy.copy(communities)  # the caller's stays unfitted
        graph = found.fit(graph, generator=generator).attach(graph)
        labels, strength = graph.attr(COMMUNITY), graph.attr(STRENGTH)
    assert labels is not None
    if strength is None:
        return labels.long(), community_strength(graph.adjacency, labels)[labels.long()]
    return labels.long(), strength.double()
