"""POT: provable training by node compactness."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gcl.core.context import StepContext
from gcl.core.errors import ConfigError, unknown
from gcl.core.graph import Graph
from gcl.core.view import View
from gcl.ops.compactness import (
    BoundedLayer,
    affine_forward,
    certified_score,
    contrast_direction,
    reference_score,
    relaxed_score,
    target_score,
)
from gcl.ops.feature_product import feature_product, masked_weight
from gcl.ops.matmul import linear
from gcl.ops.propagation import Propagation
from gcl.ops.propagation_bounds import Deletion, PropagationBounds, check_boundable, deletion_budget
from gcl.regularizers.boundable import (
    bounded_layers,
    check_encoder,
    check_part,
    check_same,
    checked_probability,
    deletion_of,
    masks_features,
    named_parts,
)
from gcl.regularizers.regularizer import Regularizer

Mode = Literal["reference", "target", "relaxed", "certified"]
Rows = Literal["full", "block"]
SURROGATES = ("reference", "target")
RECOMPUTED = 2**23  # entries of the hidden layer from which a view's scores are computed again in the backward pass


class POT(Regularizer):
    r"""Raises the worst case, over edge deletions, of how close each node stays to its other view.

    .. math::
        \mathcal{L} = (1 - \kappa)\, \mathcal{L}_{\text{contrast}} + \kappa\, \mathcal{L}_{\text{POT}}, \qquad
        \mathcal{L}_{\text{POT}} = \tfrac12 \sum_{v = 1, 2} \operatorname*{mean}_i\ \mathrm{softplus}(-c^v_i)

    with a score :math:`c^v_i` of the compactness :math:`\min_G z_i(G) \cdot w_i` of node i in view v, where
    :math:`w_i` is :math:`\hat z_i` minus the mean of the others' :math:`\hat z_j` in the other view. Yu, Wang, Zhang,
    Liu, Shi: *Provable Training for Graph Contrastive Learning*, NeurIPS 2023, arXiv 2309.13944.

    =============  ================================================================================================
    ``mode``       what the score is
    =============  ================================================================================================
    ``reference``  the authors' program: a surrogate, **no bound**. It lets the second layer's bounds ignore that the
                   hidden layer changes, weighs two-hop sums by the neighbour, and uses the transpose of a directed view
    ``target``     the same with the weights of the scored node, in the encoder's orientation: no bound either
    ``relaxed``    a lower bound of :math:`z_i \cdot w_i` at any view inside the budgets
    ``certified``  a lower bound of the compactness itself, for any number of layers
    =============  ================================================================================================

    Admissible are all graphs with at most :math:`q_i` deletions at node i; :math:`q_i` is the expected number of
    deletions that the view's augmenters make, rounded, and leaves a neighbour unless ``keep_neighbor=False``. Where an
    augmenter draws both arcs of an edge together (``symmetric=True``), deletions are of edges; else of single arcs, and
    :math:`q_i` counts those into i. A sampled view can exceed the budgets: they are no quantile.

    Args:
        weight: :math:`\kappa`, from 0 to 1.
        mode: see the table.
        rows: ``full`` scores nodes with all their neighbours; ``block`` cuts everything to the scored nodes, as the
            authors' program does where the loss runs on a subset. No difference where all nodes are scored.
        batch_size: how many nodes to score in a step, drawn afresh from those that the loss runs on; ``None`` = all.
            It saves work except with ``reference`` and ``rows="full"``, whose two-hop sums need every node's weights.
        keep_neighbor: whether every node keeps a neighbour, in the budgets.
        tight: let an arc that no budget reaches stay for certain, in ``relaxed`` and ``certified``.

    Raises:
        ConfigError: a value out of range; in training, an encoder or augmenter that it cannot bound, by name.
        DataError: a graph with edge weights, with arcs that a mask hides, or of several node types.
    """

    def __init__(
        self,
        weight: float = 0.5,
        *,
        mode: Mode = "reference",
        rows: Rows = "full",
        batch_size: int | None = None,
        keep_neighbor: bool = True,
        tight: bool = True,
    ):
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise ConfigError(
                f"weight of POT mixes (1 - weight) * loss + weight * POT and must be from 0 to 1, got {weight!r}"
            )
        super().__init__(weight)
        for name, value, allowed in (("mode", mode, get_args(Mode)), ("rows", rows, get_args(Rows))):
            if value not in allowed:
                raise ConfigError(unknown(name, str(value), allowed))
        if batch_size is not None and (type(batch_size) is not int or batch_size < 2):
            raise ConfigError(f"batch_size must be a whole number from 2 or null for all nodes, got {batch_size!r}")
        for name, flag in (("keep_neighbor", keep_neighbor), ("tight", tight)):
            if not isinstance(flag, bool):
                raise ConfigError(f"{name} must be true or false, got {flag!r}")
        if rows == "block" and mode not in SURROGATES:
            raise ConfigError(
                f"rows='block' leaves neighbours out, so mode={mode!r} would be no bound; use rows='full'"
            )
        self.mode = mode
        self.rows = rows
        self.batch_size = batch_size
        self.keep_neighbor = keep_neighbor
        self.tight = tight
        self._known: int | None = None  # the encoder that was found to be what its layers say

    # -- before training ---------------------------------------------------------------------------------------------

    def check(self, encoder: nn.Module, augmenters: Sequence[Any]) -> None:
        """Refuses what cannot be bounded.

        Raises:
            ConfigError: an encoder without affine layers, with ``elu``, with dropout, or of a depth that the mode does
                not do; an augmenter whose deletions are unknown, or that deletes everything.
        """
        layers = check_encoder(encoder, "POT")
        if self.mode != "certified" and len(layers) != 2:
            raise ConfigError(
                f"POT with mode={self.mode!r} needs an encoder of 2 layers, got {len(layers)}; use mode='certified'"
            )
        for where, part in _parts(augmenters):
            check_part(part, where, "POT")

    def caveats(self, augmenters: Sequence[Any]) -> list[str]:
        """That masks are not covered, where there are some; that nothing is bounded, where no edge is dropped."""
        said, parts = [], _parts(augmenters)
        masking = [where for where, part in parts if masks_features(part)]
        if masking:
            said.append(
                f"features are masked ({', '.join(masking)}), and POT looks at deletions of edges only: its "
                f"{'score' if self.mode in SURROGATES else 'bound'} of a step is of the features that the view kept, "
                "and says nothing of other masks"
            )
        if all(getattr(part, "keeps_edges", False) or getattr(part, "drop_prob", 1) == 0 for _, part in parts):
            exact = self.mode not in SURROGATES and self.tight
            then = " and its bounds are the values themselves" if exact else ""
            said.append(f"no view drops edges, so the budgets of POT are 0{then}")
        return said

    def prepare(self, graph: Graph, augmenters: Sequence[Any]) -> Mapping[str, Tensor]:
        """The budget of every node in each view, ``[N]`` int64, and whether edges go as a whole (0 or 1)."""
        check_boundable(graph.adjacency)
        tensors = {}
        for index, augmenter in enumerate(augmenters, start=1):
            probability = checked_probability(augmenter, graph, f"view{index}", "POT")
            budget = deletion_budget(probability, graph.adjacency, keep_neighbor=self.keep_neighbor)
            tensors[f"budget{index}"] = budget
            tensors[f"edges{index}"] = torch.tensor(int(deletion_of(augmenter) == "edges"))
        return tensors

    # -- in training -------------------------------------------------------------------------------------------------

    def forward(self, context: StepContext) -> Tensor:
        """The mean of softplus(-score) over the scored nodes and both views, a scalar; never in half precision."""
        half = torch.is_autocast_enabled(context.graph.device.type)
        with torch.autocast(context.graph.device.type, enabled=False):
            return self._penalty(context, half)

    def _penalty(self, context: StepContext, half: bool) -> Tensor:
        layers, rows = bounded_layers(context.encoder), self._scored(context)
        precision = layers[0].weight.dtype  # autocast may have made embeddings and products in half
        context = dataclasses.replace(context, embeddings=tuple(z.to(precision) for z in context.embeddings))
        products = [product.to(precision) for product in _products(context, layers[0].weight)]
        if self._known != id(context.encoder):
            _check_same(context, layers, products, limit=0.1 if half else 1e-3)
            self._known = id(context.encoder)
        seen = []
        if self.mode == "relaxed":
            seen = [self._preactivation(context, view, layers[0], products[-view]) for view in range(2)]
        for trace in context.traces:
            trace.clear()  # on a large graph what is not needed any more is a third of the memory
        hidden: list[Tensor] = []
        if self.mode in SURROGATES:
            block = rows if self.rows == "block" else None
            hidden = [_hidden_product(context.graph, product, layers, block) for product in products]

        def score(view: int) -> Tensor:
            if self.mode in SURROGATES:
                return self._surrogate(context, view, layers, products[-view], hidden[-view], rows)
            return self._bound(context, view, layers, products[-view], seen[view] if seen else None, rows)

        total = []
        for view in range(2):
            if torch.is_grad_enabled() and products[0].numel() > RECOMPUTED:
                scores = checkpoint(score, view, use_reentrant=False, preserve_rng_state=False)
            else:
                scores = score(view)
            total.append(F.softplus(-scores).mean())
        return (total[0] + total[1]) / 2

    def combine(self, loss: Tensor, value: Tensor) -> Tensor:
        """The convex mixture ``(1 - weight) * loss + weight * value``."""
        return (1 - self.weight) * loss + self.weight * value

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"weight={self.weight}, mode={self.mode!r}, rows={self.rows!r}, batch_size={self.batch_size}, "
            f"keep_neighbor={self.keep_neighbor}, tight={self.tight}"
        )

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _scored(self, context: StepContext) -> Tensor | None:
        """The nodes to score, int64 ``[n]``; ``None`` = all."""
        index, size = context.index, self.batch_size
        candidates = context.graph.num_nodes if index is None else index.numel()
        if size is None or size >= candidates:
            return index
        clock, device = context.clock, context.graph.device
        counters = (clock.stage_index, clock.epoch, clock.batch)
        generator = None if context.streams is None else context.streams.generator("pot", *counters)
        chosen = torch.randperm(candidates, generator=generator)[:size].sort().values.to(device)
        return chosen if index is None else index[chosen]

    def _bounds(self, context: StepContext, view: int, tight: bool) -> PropagationBounds:
        """Bounds of the clean graph's matrix; made once for a graph."""
        graph, budget = context.graph, context.prepared[f"budget{view + 1}"]
        memo, key = graph.adjacency.memo, ("pot", view, tight)
        if key not in memo or memo[key][0] is not budget:
            own = budget if graph.node_id is None else budget[graph.node_id[graph.target]]
            deletion: Deletion = "edges" if int(context.prepared[f"edges{view + 1}"]) else "arcs"
            bounds = PropagationBounds.of(graph.adjacency, own, deletion=deletion, tight=tight)
            memo[key] = (budget, bounds)
        found: PropagationBounds = memo[key][1]
        return found

    @staticmethod
    def _preactivation(context: StepContext, view: int, layer: BoundedLayer, product: Tensor) -> Tensor:
        """Of a view's first layer, ``[N, h]``: what the encoder made on its way, if it kept that."""
        trace = context.traces[view]
        if trace:
            return trace[0].preactivation.to(product.dtype)
        return Propagation(context.views[view].relation(), normalize="gcn").matmul(product) + layer.bias

    def _surrogate(
        self,
        context: StepContext,
        view: int,
        layers: list[BoundedLayer],
        product: Tensor,
        hidden_product: Tensor,
        rows: Tensor | None,
    ) -> Tensor:
        """Scores of ``reference`` and ``target``."""
        bounds, other = self._bounds(context, view, tight=False), context.embeddings[1 - view]
        operator = Propagation(context.views[view].relation(), normalize="gcn")
        if self.rows == "block" and rows is not None:
            bounds, product, other = bounds.block(rows, rows), product[rows], other[rows]
            every = torch.arange(rows.numel(), device=rows.device)
            operator = Propagation(operator.rows(rows).adjacency.subgraph(every, rows), normalize="none")
            rows = None
        if self.mode == "target":
            outer, wanted = (bounds, operator) if rows is None else (bounds.block(rows), operator.rows(rows))
            direction = contrast_direction(other, rows)
            return target_score(outer, operator.matmul, wanted.matmul, product, hidden_product, layers, direction)
        direction = contrast_direction(other)
        scores = reference_score(bounds, operator.t().matmul, product, hidden_product, layers, direction)
        return scores if rows is None else scores[rows]

    def _bound(
        self,
        context: StepContext,
        view: int,
        layers: list[BoundedLayer],
        product: Tensor,
        seen: Tensor | None,
        rows: Tensor | None,
    ) -> Tensor:
        """Scores of ``relaxed`` and ``certified``."""
        bounds = self._bounds(context, view, tight=self.tight)
        outer = bounds if rows is None else bounds.block(rows)
        direction = contrast_direction(context.embeddings[1 - view], rows)
        if seen is None:
            return certified_score(bounds, outer, product, layers, direction)
        operator = Propagation(context.views[view].relation(), normalize="gcn")
        if rows is not None:
            operator = operator.rows(rows)
        return relaxed_score(bounds, outer, operator.matmul, product, seen, layers, direction)


def _parts(augmenters: Sequence[Any]) -> list[tuple[str, Any]]:
    return [entry for index, augmenter in enumerate(augmenters, 1) for entry in named_parts(augmenter, f"view{index}")]


@torch.no_grad()
def _check_same(
    context: StepContext, layers: Sequence[BoundedLayer], products: Sequence[Tensor], *, limit: float
) -> None:
    """Refuses an encoder that does not multiply by GCN's matrix, of which nothing would be bounded.

    Raises:
        ConfigError: embeddings that are not what its affine layers give.
    """
    for index, (view, own) in enumerate(zip(context.views, context.embeddings, strict=True)):
        operator = Propagation(view.relation(), normalize="gcn")
        _, z = affine_forward(operator.matmul, products[-index], layers)
        # NaN is left to the trainer, which names the parameter
        check_same(context.encoder, own, z, "POT cannot bound it", limit=limit)


# -- products of features ----------------------------------------------------------------------------------------------


def _products(context: StepContext, weight: Tensor) -> list[Tensor]:
    r""":math:`X W_1` for each view's features, ``[N, h]``; a single one where no view changed them.

    Those that the encoder made on its way are taken.
    """
    views = context.views
    made = [trace[0].product if trace else None for trace in context.traces]
    if not any(view.feature_mask or view.feature_values or view.node_mask is not None for view in views):
        return [_product(views[0], weight) if made[0] is None else made[0]]
    return [_product(view, weight) if own is None else own for view, own in zip(views, made, strict=True)]


def _product(view: View, weight: Tensor) -> Tensor:
    return feature_product(view.features(), masked_weight(weight.t(), view.feature_mask.get(view.graph.target)))


def _hidden_product(graph: Graph, product: Tensor, layers: Sequence[BoundedLayer], rows: Tensor | None) -> Tensor:
    r""":math:`H W_2` with the hidden layer H of the unperturbed graph, ``[n, d]``; for some rows, or ``None`` = all."""
    operator = Propagation(graph.adjacency, normalize="gcn")
    if rows is not None:
        operator = operator.rows(rows)
    hidden = F.leaky_relu(operator.matmul(product) + layers[0].bias, layers[0].slope)
    return linear(hidden, layers[1].weight.t())
