"""A linear layer for the nodes of one type."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph_spec import GraphSpec
from gcl.ops.feature_product import feature_product, masked_weight
from gcl.ops.matmul import linear

Initial = Literal["linear", "xavier"]


class TypeProjection(nn.Module):
    r""":math:`H_t = \mathrm{ELU}(\mathrm{dropout}(X_t W_t + b_t))`, which brings every node type to one width.

    A type without features has the identity as X: then W is a table of its nodes, and no identity is made.

    Args:
        spec: of the graph.
        kind: the node type.
        out_channels: h, columns of the result.
        dropout: before the activation, from 0 and below 1.
        initial: ``linear`` as :class:`torch.nn.Linear` (MEOW), or ``xavier``: normal with gain 1.414 (HeCo).
    """

    def __init__(self, spec: GraphSpec, kind: str, out_channels: int, *, dropout: float, initial: Initial = "linear"):
        super().__init__()
        self.kind = kind
        self.dropout = dropout
        self.has_features = kind in spec.in_channels
        self.layer = nn.Linear(spec.in_channels.get(kind, spec.num_nodes[kind]), out_channels)
        if initial == "xavier":
            nn.init.xavier_normal_(self.layer.weight, gain=1.414)

    def forward(
        self, x: Tensor | Adjacency | None, *, num_nodes: int, keep: Tensor | None = None, dropout: bool = True
    ) -> Tensor:
        """The projected nodes, ``[n, h]``.

        Args:
            x: features ``[n, F]``, dense or sparse; ``None`` for a type without.
            num_nodes: n.
            keep: of a type without features, boolean ``[n]``: ``False`` = the node's row of the identity is 0.
            dropout: whether there is dropout in training.

        Raises:
            DataError: features of another width, or of a type that had none, or other nodes of a type without.
        """
        width = self.layer.in_features
        if (x is not None) != self.has_features or (x is not None and x.shape[1] != width):
            found = "none" if x is None else f"{x.shape[1]} columns"
            wanted = f"{width} columns" if self.has_features else "none"
            raise DataError(f"features of {self.kind!r}: the encoder was built for {wanted} and got {found}")
        if x is None and num_nodes != width:
            raise DataError(
                f"nodes of type {self.kind!r} have no features, so the encoder knows the {width} of its own graph "
                f"alone; this graph has {num_nodes}"
            )
        if x is None:
            projected = masked_weight(self.layer.weight, keep).t() + self.layer.bias
        else:
            projected = feature_product(x, self.layer.weight, self.layer.bias)
        return F.elu(F.dropout(projected, self.dropout, self.training and dropout))


class SemanticAttention(nn.Module):
    r"""One weight for each of several embeddings of the same nodes, and their weighted sum.

    .. math:: b_v = \Big\langle u,\; \frac1N \sum_i \tanh(Q z^v_i + r) \Big\rangle, \qquad
        \beta = \mathrm{softmax}(b), \qquad z = \sum_v \beta_v z^v

    The attention of HAN (Wang et al., WWW 2019, arXiv 1903.07293) in the form of HeCo and MEOW.

    Args:
        channels: columns of the embeddings.
        dropout: of u, in training.
    """

    def __init__(self, channels: int, *, dropout: float = 0.0):
        super().__init__()
        self.dropout = dropout
        self.layer = nn.Linear(channels, channels)
        self.vector = nn.Parameter(torch.empty(1, channels))
        nn.init.xavier_normal_(self.layer.weight, gain=1.414)
        nn.init.xavier_normal_(self.vector, gain=1.414)

    def forward(self, embeddings: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The sum ``[N, d]`` and the weights ``[V]`` of V embeddings ``[N, d]``."""
        vector = F.dropout(self.vector, self.dropout, self.training)[0]
        scores = [torch.tanh(linear(z, self.layer.weight, self.layer.bias)).mean(dim=0) @ vector for z in embeddings]
        beta = torch.stack(scores).softmax(dim=0)
        total = beta[0] * embeddings[0]
        for weight, z in zip(beta[1:], embeddings[1:], strict=True):
            total = torch.addcmul(total, weight, z)
        return total, beta
