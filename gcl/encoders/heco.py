"""The two encoders of HeCo: the network schema, and the meta-paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcl.core.operator import LinearMap
from gcl.encoders.type_projection import SemanticAttention

LEAKY_SLOPE = 0.01


class MetaPathEncoder(nn.Module):
    r"""One graph convolution for each meta-path, and an attention over them; nodes in between are hidden.

    .. math:: Y_p = \mathrm{PReLU}(A_p H_* W_p + b_p), \qquad z = \sum_p \beta_p Y_p

    Wang et al., HeCo (KDD 2021, arXiv 2105.09111).

    Args:
        channels: of the input and the output.
        num_paths: meta-paths, from 1.
        attention_dropout: of the attention's vector.
    """

    def __init__(self, channels: int, num_paths: int, *, attention_dropout: float):
        super().__init__()
        layers = [nn.Linear(channels, channels, bias=False) for _ in range(num_paths)]
        self.layers_ = nn.ModuleList(layers)
        self.biases_ = nn.ParameterList(torch.zeros(channels) for _ in range(num_paths))
        self.activations_ = nn.ModuleList(nn.PReLU() for _ in range(num_paths))
        self.attention_ = SemanticAttention(channels, dropout=attention_dropout)
        for layer in layers:
            nn.init.xavier_normal_(layer.weight, gain=1.414)

    def forward(self, h: Tensor, operators: Sequence[LinearMap]) -> tuple[Tensor, Tensor]:
        """The embedding ``[N, d]`` and the attention ``[P]`` of projected target nodes ``[N, d]``."""
        parts = zip(self.layers_, self.biases_, self.activations_, operators, strict=True)
        return self.attention_([act(operator.matmul(layer(h)) + bias) for layer, bias, act, operator in parts])


class SchemaEncoder(nn.Module):
    r"""A node by what is around it: an attention over sampled neighbours of each type, and one over the types.

    .. math:: \alpha_{ij} = \mathrm{softmax}_j\, \mathrm{LeakyReLU}\big(\langle k_t, [h_i \| h_j] \rangle\big), \qquad
        Y_t = \mathrm{ELU}\Big(\sum_j \alpha_{ij} h_j\Big), \qquad z = \sum_t \beta_t Y_t

    The node itself enters the attention alone. Wang et al., HeCo (KDD 2021, arXiv 2105.09111).

    Args:
        channels: of the input and the output.
        kinds: the neighbouring types.
        attention_dropout: of the vectors of both attentions.
    """

    def __init__(self, channels: int, kinds: Sequence[str], *, attention_dropout: float):
        super().__init__()
        self.kinds = tuple(kinds)
        self.attention_dropout = attention_dropout
        self.vectors_ = nn.ParameterList(
            nn.init.xavier_normal_(torch.empty(1, 2 * channels), gain=1.414) for _ in self.kinds
        )
        self.attention_ = SemanticAttention(channels, dropout=attention_dropout)

    def forward(
        self, h: Tensor, others: Mapping[str, Tensor], neighbors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The embedding and the attention over the types.

        Args:
            h: projected target nodes, ``[N, d]``.
            others: projected nodes of each type, ``[n, d]``.
            neighbors: sampled nodes of each type, ``[N, s]``, -1 for none.

        Returns:
            ``[N, d]`` and ``[types]``.
        """
        parts = []
        for kind, vector in zip(self.kinds, self.vectors_, strict=True):
            index = neighbors[kind]
            own, other = F.dropout(vector, self.attention_dropout, self.training)[0].chunk(2)
            x = others[kind]
            # the products with the vector are per node, and not per pair
            logits = (h @ own).unsqueeze(1) + (x @ other)[index.clamp_min(0)]  # [N, s]
            share = F.leaky_relu(logits, LEAKY_SLOPE).softmax(dim=1) * (index >= 0)
            gathered = F.embedding(index.clamp_min(0), x)  # [N, s, d]
            parts.append(F.elu(torch.bmm(share.unsqueeze(1), gathered).squeeze(1)))
        return self.attention_(parts)
