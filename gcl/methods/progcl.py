"""ProGCL."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from gcl.core.context import Batch, Clock, LossContext, Prepared
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.resolve import Slot
from gcl.core.streams import Streams
from gcl.losses.progcl import Direction, NegativeWeights, mean_weight
from gcl.methods.gca import adaptive_views
from gcl.methods.two_view import NodeOrder, Parts, TwoView
from gcl.ops.beta_mixture import BetaMixture
from gcl.ops.unit_rows import unit_rows

POINTS = 2**14 + 1  # of the table of weights, which is linear in between
COLUMNS = 100  # whose similarities the mixture is fitted to

VIEWS = adaptive_views((0.6, 0.3), (0.2, 0.3), "eigenvector")
RRELU_GCN = {"name": "gcn", "out_channels": 128, "activation": "rrelu"}
PROJECTOR = {"name": "mlp", "hidden_channels": 128}
LOSS = {"name": "progcl", "temperature": 0.2}


class ProGCL(TwoView):
    r"""GCA that from some epoch on weighs its negatives by how likely they are true ones.

    At the start of ``epoch_start`` two views are drawn and embedded, and a mixture of two Beta distributions is fitted
    to :math:`x = (a + 1) / 2` of the similarities a between them, in each direction. From then on a pair of nodes has
    the fixed weight :math:`b_{ij} = P(\text{low component} \mid x_{ij})\, x_{ij}`. Weights belong to pairs of nodes,
    also where the loss runs on a subset. Xia, Wu, Wang, Li: *ProGCL: Rethinking Hard Negative Mining in Graph
    Contrastive Learning*, ICML 2022, arXiv 2110.02027. The defaults are the paper's for Amazon-Photo.

    Args:
        epoch_start: the epoch, from 1, from which weights are used.
        initial_weight: :math:`\omega_0`, the share of the second component that EM starts from.
        em_steps: steps of EM.
        compat: ``pot-gcl`` uses the fit of the second direction for both, as the program of the POT study does.
        augment, encoder, projector, loss, regularizer, communities, anchors, subset, memory, node_order: see
            :class:`~gcl.methods.two_view.TwoView`.

    Raises:
        ConfigError: a value out of range.
    """

    takes_own_parts: ClassVar[bool] = False

    provides: ClassVar[tuple[str, ...]] = (*TwoView.provides, "negative_weights")

    frozen_: Tensor
    table_: Tensor
    log_mean_: Tensor
    fitted_: Tensor

    def __init__(
        self,
        *,
        epoch_start: int = 400,
        initial_weight: float = 0.05,
        em_steps: int = 10,
        compat: Literal["pot-gcl"] | None = None,
        augment: Mapping[str, Parts] = VIEWS,
        encoder: Annotated[Any, Slot("encoder")] = RRELU_GCN,
        projector: Annotated[Any, Slot("projector")] = PROJECTOR,
        loss: Annotated[Any, Slot("loss")] = LOSS,
        regularizer: Annotated[Any, Slot("regularizer")] | None = None,
        communities: Annotated[Any, Slot("communities")] = "communities",
        anchors: int | None = None,
        subset: int | None = None,
        memory: Annotated[Any, Slot("memory")] | None = None,
        node_order: NodeOrder = "stored",
    ):
        super().__init__(
            augment=augment,
            encoder=encoder,
            projector=projector,
            loss=loss,
            regularizer=regularizer,
            communities=communities,
            anchors=anchors,
            subset=subset,
            memory=memory,
            node_order=node_order,
        )
        for name, value in (("epoch_start", epoch_start), ("em_steps", em_steps)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a whole number from 1, got {value!r}")
        if not 0 < initial_weight < 1:
            raise ConfigError(f"initial_weight must be above 0 and below 1, got {initial_weight!r}")
        if compat not in (None, "pot-gcl"):
            raise ConfigError(f"compat must be 'pot-gcl' or None, got {compat!r}")
        self.store(epoch_start=epoch_start, initial_weight=initial_weight, em_steps=em_steps, compat=compat)
        self._known: NegativeWeights | None = None

    epoch_start: int
    initial_weight: float
    em_steps: int
    compat: str | None

    def build(self, spec: GraphSpec, prepared: Prepared) -> ProGCL:
        """Makes the modules, and room for what the fit leaves: it is saved with the weights."""
        super().build(spec, prepared)
        num_nodes, width = spec.num_nodes[spec.target], self.encoder_.out_channels
        self.register_buffer("frozen_", torch.zeros(2, num_nodes, width))
        self.register_buffer("table_", torch.ones(2, POINTS))
        self.register_buffer("log_mean_", torch.zeros(2, num_nodes))
        self.register_buffer("fitted_", torch.zeros((), dtype=torch.bool))
        self._known = None
        return self

    @torch.no_grad()
    def on_epoch_start(self, graph: Graph, clock: Clock, streams: Streams) -> None:
        """Fits the mixtures, once."""
        if clock.epoch < self.epoch_start or bool(self.fitted_):
            return
        modes = {module: module.training for module in self.modules()}
        self.eval()
        views = self._views(graph, streams, "mixture", clock.stage_index, clock.epoch)
        for side, view in enumerate(views):
            self.frozen_[side] = unit_rows(self.projector_(self.encoder_(view)))
        for module, mode in modes.items():
            module.training = mode
        size = min(COLUMNS, graph.num_nodes)
        generator = streams.generator("columns", clock.stage_index, clock.epoch)
        columns = torch.randperm(graph.num_nodes, generator=generator)[:size].to(graph.device)
        grid = torch.linspace(0, 1, POINTS, dtype=torch.float64, device=graph.device)
        for side in range(2):
            row, col = self.frozen_[side], self.frozen_[1 - side]
            values = ((row @ col[columns].t() + 1) / 2).clamp(0, 1)  # [N, 100]
            mixture = BetaMixture.fit(values, second_weight=self.initial_weight, num_steps=self.em_steps)
            self.table_[side] = mixture.posterior(grid) * grid.clamp(1e-12, 1 - 1e-12)
            self.log_mean_[side] = mean_weight(row, col, self.table_[side])
        self.fitted_.fill_(True)
        self._known = None

    def loss_context(self, batch: Batch, clock: Clock, streams: Streams, subset: Tensor | None = None) -> LossContext:
        """As of every two-view method, with the weights of this step's nodes once they are fitted."""
        context = super().loss_context(batch, clock, streams, subset)
        if not bool(self.fitted_):
            return context
        node_id = None if batch.graph.node_id is None else batch.graph.node_id[batch.graph.target]
        if subset is not None:
            node_id = subset if node_id is None else node_id[subset]
        generator = streams.generator("partners", clock.stage_index, clock.epoch, clock.batch)
        if node_id is None:
            if self._known is None or self._known.directions[0].table.device != self.table_.device:
                self._known = NegativeWeights(self._directions(None))
            weights = dataclasses.replace(self._known, generator=generator)
        else:
            weights = NegativeWeights(self._directions(node_id), generator)
        return dataclasses.replace(context, negative_weights=weights)

    def _directions(self, nodes: Tensor | None) -> tuple[Direction, Direction]:
        """Both directions for some nodes; ``None`` = all."""
        frozen, log_mean = self.frozen_, self.log_mean_
        if nodes is not None:
            frozen, log_mean = frozen[:, nodes], log_mean[:, nodes]
        first, second = (
            Direction(frozen[side], frozen[1 - side], self.table_[side], log_mean[side]) for side in range(2)
        )
        return (second, second) if self.compat == "pot-gcl" else (first, second)
