"""Certificates of node compactness: what no admissible deletion of edges can bring about."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.core.view import View
from gcl.evaluate.deletion_attack import DeletionAttack, toward_the_value
from gcl.ops.budgeted_bounds import BudgetedBounds
from gcl.ops.certificate import certificate
from gcl.ops.compactness import BoundedLayer, affine_forward, contrast_direction
from gcl.ops.feature_product import feature_product
from gcl.ops.matmul import linear
from gcl.ops.propagation import Propagation
from gcl.ops.propagation_bounds import Deletion, check_boundable, covering_budget, deletion_budget
from gcl.ops.sparse_product import sparse_product
from gcl.ops.unit_rows import unit_rows
from gcl.regularizers.boundable import bounded_layers, check_encoder, check_same

# Paths of two arcs up to which they are followed, times the columns of the hidden layer.
MOST_PATHS = 2 * 10**10
# Share of the sum of all absolute products in a value that counts as rounding: the worst case of some 10,000 operations
# in float64, and more where a sum of features is longer.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Compactness:
    """Bounds of every node's compactness.

    Args:
        value: on the graph as it is, float64 ``[N]``.
        lower: proved: no admissible graph gives less, ``[N]``.
        upper: found: some admissible graph gives this, ``[N]``.
        margin: what rounding may have done to any of the three, ``[N]``. Within it of 0, nothing is claimed.
        budget: deletions allowed at each node, ``[N]``.
        degree: its arcs, self-loops left out, ``[N]``.
        protocol: what was asked: drop probability, deletion model, and so on.
    """

    value: Tensor
    lower: Tensor
    upper: Tensor
    margin: Tensor
    budget: Tensor
    degree: Tensor
    protocol: dict[str, Any]

    @property
    def certified(self) -> Tensor:
        """Whether the compactness is proved positive, by more than rounding, boolean ``[N]``."""
        return self.lower > self.margin

    @property
    def refuted(self) -> Tensor:
        """Whether an admissible graph was found where it is negative, by more than rounding, boolean ``[N]``."""
        return self.upper < -self.margin

    @property
    def unclear(self) -> Tensor:
        """Whether the value on the graph as it is cannot be told from 0: collapsed embeddings, boolean ``[N]``."""
        return self.value.abs() <= self.margin

    def summary(self, nodes: Tensor | None = None) -> dict[str, float]:
        """Shares and means over some nodes (boolean ``[N]``; ``None`` = all)."""
        pick = torch.ones_like(self.certified) if nodes is None else nodes
        count = int(pick.sum())
        if not count:
            return {"nodes": 0}
        certified, refuted = self.certified[pick], self.refuted[pick]
        return {
            "nodes": count,
            "budget": float(self.budget[pick].double().mean()),
            "positive": float((self.value > self.margin)[pick].double().mean()),
            "unclear": float(self.unclear[pick].double().mean()),
            "certified": float(certified.double().mean()),
            "open": float((~(certified | refuted)).double().mean()),
            "refuted": float(refuted.double().mean()),
            "value": float(self.value[pick].mean()),
            "lower": float(self.lower[pick].mean()),
            "upper": float(self.upper[pick].mean()),
        }

    def by_degree(self) -> dict[str, dict[str, float]]:
        """Summaries by degree, in classes that double: 0, 1, 2, 3 to 4, 5 to 8, ..."""
        groups, low, high = {}, 0, 0
        most = int(self.degree.max()) if self.degree.numel() else 0
        while low <= most:
            pick = (self.degree >= low) & (self.degree <= high)
            if bool(pick.any()):
                groups[str(low) if low == high else f"{low}-{high}"] = self.summary(pick)
            low, high = high + 1, max(1, 2 * high)
        return groups

    def by_class(self, y: Tensor) -> dict[str, dict[str, float]]:
        """Summaries by label, ``[N]``, -1 = unlabelled."""
        return {str(label): self.summary(y == label) for label in y[y >= 0].unique().tolist()}

    def to_json(self, y: Tensor | None = None) -> dict[str, Any]:
        """Protocol and summaries as plain values."""
        record: dict[str, Any] = {
            "task": "compactness",
            "n": self.value.numel(),
            "protocol": self.protocol,
            "all": self.summary(),
            "by_degree": self.by_degree(),
        }
        return record if y is None else {**record, "by_class": self.by_class(y)}


@torch.no_grad()
def compactness(
    encoder: nn.Module,
    graph: Graph,
    *,
    drop_prob: float = 0.3,
    deletion: Deletion = "arcs",
    keep_neighbor: bool | None = None,
    coverage: float | None = None,
    num_samples: int = 100,
    paths: bool | None = None,
    generator: Generator | None = None,
) -> Compactness:
    r"""Certifies the compactness of every node of a graph under a trained encoder.

    .. math:: \min_{G'}\ z_i(G') \cdot w_i, \qquad
        w_i = \hat z_i - \frac{1}{N-1} \sum_{j \ne i} \hat z_j \ \text{ on the graph as it is}

    over all graphs G' that arise by deleting at most :math:`q_i` edges at every node i. The lower bound is proved
    (:func:`gcl.ops.certificate.certificate`, in float64); the upper bound is the least value among sampled admissible
    graphs, among them one that takes from every node the neighbours that speak for it most. A node counts as certified
    or refuted where the bound is further from 0 than rounding can bring it.

    Yu, Wang, Zhang, Liu, Shi: *Provable Training for Graph Contrastive Learning*, NeurIPS 2023, arXiv 2309.13944,
    define compactness; the certificate is our own.

    Args:
        encoder: a trained GCN, or another with ``affine_layers()`` that propagates by the same matrix and ``embed()``.
        graph: of one node type and one relation, without edge weights.
        drop_prob: p of the budgets, from 0 and below 1: :math:`q_i = \mathrm{rint}(p\, d_i)`.
        deletion: ``arcs``: every arc goes by itself, the budget counts those into a node, as our augmenters draw them;
            ``edges``: both arcs of an edge go together, and the budget counts a node's edges.
        keep_neighbor: no node loses its last neighbour; ``None`` = so, but not with a coverage, which budgets that
            leave a neighbour do not reach at nodes of few edges.
        coverage: in place of the rounded expectation, the smallest budget that a node whose edges are dropped
            independently with probability p keeps with at least this probability, each node by itself.
        num_samples: graphs to try for the upper bound, 0 or more.
        paths: whether to follow paths of two arcs, which is tighter; ``None`` = where it takes no longer than minutes.
        generator: of the samples.

    Raises:
        ConfigError: an encoder that cannot be bounded, by name, or a value out of range.
        DataError: a graph with edge weights or several node types.
    """
    check_encoder(encoder, "a certificate", training=False)
    _check_arguments(drop_prob, coverage, num_samples)
    for name, flag in (("keep_neighbor", keep_neighbor), ("paths", paths)):
        if flag is not None and not isinstance(flag, bool):
            raise ConfigError(f"{name} must be true, false or null, got {flag!r}")
    keep_neighbor = coverage is None if keep_neighbor is None else keep_neighbor
    check_boundable(graph.adjacency)
    adjacency = graph.adjacency.without_self_loops()
    degree = adjacency.row_ptr.diff().long()
    if coverage is None:
        probability = torch.full((adjacency.num_arcs,), drop_prob, dtype=torch.float64, device=adjacency.device)
        budget = deletion_budget(probability, adjacency, keep_neighbor=keep_neighbor)
    else:
        budget = covering_budget(drop_prob, degree, coverage, keep_neighbor=keep_neighbor)
    layers = [
        BoundedLayer(layer.weight.detach().double(), layer.bias.detach().double(), layer.slope)
        for layer in bounded_layers(encoder)
    ]
    features = View.of(graph).features()
    product = feature_product(features, layers[0].weight.t())
    bounds = BudgetedBounds(adjacency, budget, deletion=deletion)
    hidden, z = affine_forward(_gcn(adjacency), product, layers)
    _check_same(encoder, graph, z)
    direction = contrast_direction(z)
    value = (z * direction).sum(1)
    longest = product.shape[0] + features.shape[1]  # no sum has more terms
    margin = max(ROUNDING, longest * torch.finfo(torch.float64).eps) * _magnitude(
        bounds.entrywise.looped.with_weight(bounds.entrywise.upper), features, layers, z
    )
    if paths is None:
        paths = _two_arc_paths(adjacency) * product.shape[1] <= MOST_PATHS
    lower = torch.minimum(certificate(bounds, product, layers, direction, paths=paths), value)
    attack = DeletionAttack(adjacency, bounds.budget, deletion)
    upper = value.clone()
    tried = 0
    for graph_now in attack.graphs(
        drop_prob, num_samples, toward_the_value(adjacency, hidden, z, direction, layers), generator
    ):
        tried += 1
        found = affine_forward(_gcn(graph_now), product, layers)[1]
        upper = torch.minimum(upper, (found * direction).sum(1))
    protocol = {
        "drop_prob": float(drop_prob),
        "deletion": deletion,
        "keep_neighbor": keep_neighbor,
        "coverage": coverage,
        "num_samples": tried,
        "paths": bool(paths and len(layers) == 2),
        "num_layers": len(layers),
    }
    value, lower, upper, margin, budget, degree = (t.cpu() for t in (value, lower, upper, margin, budget, degree))
    return Compactness(value, lower, upper, margin, budget, degree, protocol)


def _check_arguments(drop_prob: float, coverage: float | None, num_samples: int) -> None:
    def is_number(value: Any) -> bool:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)

    if not is_number(drop_prob) or not 0 <= drop_prob < 1:
        raise ConfigError(f"drop_prob must be from 0 and below 1, got {drop_prob!r}")
    if coverage is not None and (not is_number(coverage) or not 0 < coverage < 1):
        raise ConfigError(f"coverage must be a probability above 0 and below 1, got {coverage!r}")
    if isinstance(num_samples, bool) or not isinstance(num_samples, numbers.Integral) or num_samples < 0:
        raise ConfigError(f"num_samples must be a whole number of at least 0, got {num_samples!r}")


def _check_same(encoder: nn.Module, graph: Graph, z: Tensor) -> None:
    """Refuses an encoder whose own embeddings are not those of its affine layers under GCN's matrix.

    Raises:
        ConfigError: they differ by more than float32 does, or are not finite.
    """
    precision = next(encoder.parameters()).dtype
    features = graph.features[graph.target]
    if isinstance(features, Tensor):
        graph = dataclasses.replace(graph, features={**graph.features, graph.target: features.to(precision)})
    own = encoder.embed(graph).to(z.dtype)  # type: ignore[operator]
    if not bool(z.isfinite().all() & own.isfinite().all()):
        raise ConfigError(f"the encoder {type(encoder).__name__} gives embeddings that are not finite; train it again")
    check_same(encoder, own, z, "nothing can be certified", limit=1e-3)


def _magnitude(upper: Adjacency, features: Tensor | Adjacency, layers: Sequence[BoundedLayer], z: Tensor) -> Tensor:
    """The value of every node with all products taken as positive, ``[N]``: what rounding errors are relative to."""
    first = layers[0].weight.abs()
    if isinstance(features, Adjacency):
        absolute: Tensor | Adjacency = features.with_weight(features.values(first.dtype).abs())
    else:
        absolute = features.to(first.dtype).abs()
    size = feature_product(absolute, first.t())
    for index, layer in enumerate(layers):
        if index:
            size = linear(size, layer.weight.abs().t())
        size = (sparse_product(upper, size) + layer.bias.abs()) * max(1.0, abs(layer.slope))
    unit = unit_rows(z).abs()
    others = max(z.shape[0] - 1, 1)
    return (size * (unit * (z.shape[0] / others) + unit.sum(0) / others)).sum(1)


def _two_arc_paths(adjacency: Adjacency) -> float:
    """How many paths of two arcs, loops among them, end at some node."""
    into = adjacency.row_ptr.diff().double() + 1
    out = adjacency.t_row_ptr.diff().double() + 1
    return float((into * out).sum())


def _gcn(adjacency: Adjacency) -> Callable[[Tensor], Tensor]:
    return Propagation(adjacency, normalize="gcn").matmul
