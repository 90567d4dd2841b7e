"""The encoder of MEOW: target nodes through meta-path graphs, with and without what lies on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, unknown
from gcl.core.graph_spec import GraphSpec
from gcl.core.operator import LinearMap
from gcl.encoders.encoder import check_count, check_dropout
from gcl.encoders.type_projection import SemanticAttention, TypeProjection
from gcl.ops.matmul import linear
from gcl.ops.metapath import MetaPath
from gcl.ops.metapath_context import Steps, context_slots
from gcl.ops.unit_rows import unit_rows

ContextDropout = Literal["apart", "shared"]


@dataclass(frozen=True, eq=False)
class MetaPathViews:
    """What the encoder works on, made once from a graph.

    Args:
        features: of every type on a meta-path, ``[n, F]``, or ``None`` where it has none.
        masked: those of the target type with some entries zeroed.
        kept: of a target type without features, which nodes keep their row of the identity, boolean ``[N]``.
        operators: of each meta-path, ``[N, N]``.
        thinned: the same after some arcs were dropped.
        coarse: the mean of ``operators``.
        contexts: the mean over the nodes of each slot, by its steps.
    """

    features: Mapping[str, Tensor | Adjacency | None]
    masked: Tensor | Adjacency | None
    kept: Tensor | None
    operators: Sequence[LinearMap]
    thinned: Sequence[LinearMap]
    coarse: LinearMap
    contexts: Mapping[Steps, LinearMap]


class MetaPathContextEncoder(nn.Module):
    r"""Two embeddings of the target nodes: one that knows through which nodes they are joined, and one that does not.

    With a linear layer and ELU for each node type (:math:`H_t`, and :math:`H'_*` of the masked target features), the
    context operators :math:`M_{p,r}` of a meta-path p and its operators :math:`A_p` and, thinned, :math:`A'_p`:

    .. math:: R_p &= \sum_r M_{p,r} H_{t(p,r)} U_{p,r} \qquad F_p = \mathrm{ELU}(H_* + R_p) \qquad
        F'_p = \mathrm{ELU}(H'_* + R_p) \\
        Z_{2p-1} &= \mathrm{rownorm}(\mathrm{enc}(F_p, A_p)) \qquad
        Z_{2p} = \mathrm{rownorm}(\mathrm{enc}(F'_p, A'_p)) \\
        z_f &= \textstyle\sum_v \beta_v Z_v \qquad z_c = \mathrm{enc}(H_*, \bar A)

    with the weights :math:`\beta` of :class:`~gcl.encoders.type_projection.SemanticAttention` and one graph encoder for
    everything, :math:`\mathrm{enc}(Y, A) = \mathrm{norm}(A\,\mathrm{PReLU}(A Y W_1) W_2)`, where norm takes one mean
    and one variance of *all* entries. Dropout before every product. No vector of a pair or of a path instance is made:
    a neighbour's message holds the mean of all that lies on its own way.

    Yu and Li: *Heterogeneous Graph Contrastive Learning with Meta-path Contexts and Weighted Negative Samples* (MEOW),
    SDM 2023, in the form of its program.

    Args:
        hidden_channels: h, of the projections.
        out_channels: e, of the embeddings.
        dropout: from 0 and below 1.
        context_dropout: ``apart`` draws the dropout of R anew for F', ``shared`` uses one (the program on DBLP).
        masked_dropout: whether H' has dropout (not so in the program on DBLP).

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        *,
        hidden_channels: int = 64,
        out_channels: int = 64,
        dropout: float = 0.2,
        context_dropout: ContextDropout = "apart",
        masked_dropout: bool = True,
    ):
        super().__init__()
        check_count("hidden_channels", hidden_channels)
        check_count("out_channels", out_channels)
        check_dropout(dropout)
        if context_dropout not in get_args(ContextDropout):
            raise ConfigError(unknown("context_dropout", str(context_dropout), get_args(ContextDropout)))
        self.hidden_channels = hidden_channels
        self.out_channels = out_channels
        self.dropout = dropout
        self.context_dropout = context_dropout
        self.masked_dropout = masked_dropout

    def build(self, spec: GraphSpec, paths: Sequence[MetaPath] | None = None) -> MetaPathContextEncoder:
        """Makes the parameters for the types on some meta-paths.

        Raises:
            ConfigError: no meta-paths, as from a method that has none.
        """
        if not paths:
            raise ConfigError("encoder metapath_context needs meta-paths; it belongs to the methods meow and adameow")
        self.slots = [context_slots(path) for path in paths]
        self.kinds = list(dict.fromkeys([spec.target, *(slot.kind for slots in self.slots for slot in slots)]))
        self.projections_ = nn.ModuleList(
            TypeProjection(spec, kind, self.hidden_channels, dropout=self.dropout) for kind in self.kinds
        )
        self.contexts_ = nn.ModuleList(
            nn.ModuleList(nn.Linear(self.hidden_channels, self.hidden_channels, bias=False) for _ in slots)
            for slots in self.slots
        )
        bound = self.out_channels**-0.5
        widths = (self.hidden_channels, self.out_channels)
        self.weights_ = nn.ParameterList(
            nn.init.uniform_(torch.empty(width, self.out_channels), -bound, bound) for width in widths
        )
        self.activation_ = nn.PReLU()
        self.attention_ = SemanticAttention(self.out_channels, dropout=self.dropout)
        return self

    def forward(self, views: MetaPathViews) -> tuple[Tensor, Tensor, Tensor]:
        """Fine and coarse embedding, ``[N, e]`` each, and the attention ``[2 m]``, clean and thinned in turn."""
        size = {slot.kind: views.contexts[slot.steps].shape[1] for slots in self.slots for slot in slots}
        size[self.kinds[0]] = views.coarse.shape[0]
        projected = {
            kind: layer(views.features[kind], num_nodes=size[kind])
            for kind, layer in zip(self.kinds, self.projections_, strict=True)
        }
        target = self.projections_[0]
        clean = projected[self.kinds[0]]
        masked = target(views.masked, num_nodes=len(clean), keep=views.kept, dropout=self.masked_dropout)
        means: dict[Steps, Tensor] = {}  # shared by paths that begin alike
        encoded = []
        for index, slots in enumerate(self.slots):
            for slot in slots:
                if slot.steps not in means:
                    means[slot.steps] = views.contexts[slot.steps].matmul(projected[slot.kind])
            parts = [
                linear(means[slot.steps], layer.weight)  # [N, h]
                for slot, layer in zip(slots, self.contexts_[index], strict=True)  # type: ignore[call-overload]
            ]
            around = self._around(parts, clean)
            encoded.append(unit_rows(self.encode(F.elu(clean + around), views.operators[index])))
            if self.context_dropout == "apart":
                around = self._around(parts, clean)
            encoded.append(unit_rows(self.encode(F.elu(masked + around), views.thinned[index])))
        fine, beta = self.attention_(encoded)
        return fine, self.encode(clean, views.coarse), beta

    def encode(self, y: Tensor, operator: LinearMap) -> Tensor:
        """The graph encoder, ``[N, e]``: mean 0 and variance 1 over all entries."""
        x = self.activation_(operator.matmul(self._dropped(y @ self.weights_[0])))
        x = operator.matmul(self._dropped(x @ self.weights_[1]))
        return (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()

    def _around(self, parts: list[Tensor], like: Tensor) -> Tensor:
        return torch.stack([self._dropped(part) for part in parts]).sum(dim=0) if parts else torch.zeros_like(like)

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)
