"""Affine layers with an operator between them: the body of GCN and MLP."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcl.core.adjacency import Adjacency
from gcl.core.context import AffineLayer, LayerTrace
from gcl.core.errors import DataError
from gcl.core.operator import Operator
from gcl.core.view import View
from gcl.encoders.activation import Activation, ActivationName
from gcl.ops.feature_product import feature_product, masked_weight
from gcl.ops.matmul import linear


class AffineStack(nn.Module):
    r"""Layers :math:`H_{k+1} = \varphi(\hat A H_k W_k + b_k)`, the activation after every one, the last included.

    Weights are Glorot-uniform, biases zero, and one activation (with its slope, if it learns one) serves all layers.

    A layer whose input is dense and narrower than its output multiplies by :math:`\hat A` first, any other by W first:
    the product with :math:`\hat A` then has the fewer columns, and the result is the same up to rounding.

    Args:
        widths: columns of the input and of every layer's output.
        activation: its name.
        dropout: probability that an entry between two layers is zeroed in training; not applied to input and output.
    """

    def __init__(self, widths: Sequence[int], *, activation: ActivationName, dropout: float = 0.0):
        super().__init__()
        self.dropout = dropout
        self.activation = Activation(activation)
        pairs = itertools.pairwise(widths)
        self.weights = nn.ParameterList([nn.init.xavier_uniform_(torch.empty(pair)) for pair in pairs])
        self.biases = nn.ParameterList([torch.zeros(width) for width in widths[1:]])

    def forward(self, view: View, operator: Operator | None, trace: list[LayerTrace] | None = None) -> Tensor:
        """Runs the target nodes' features through the layers.

        Args:
            view: its column mask is folded into the first weight, so the features are never copied; they may be sparse.
            operator: :math:`\\hat A`, ``[N, N]``, or ``None`` for the identity.
            trace: gets one entry a layer. The first input is ``view.features()``, *without* the column mask.

        Returns:
            ``[N, widths[-1]]``.

        Raises:
            DataError: the view has another number of feature columns than the stack was built for.
        """
        features = view.features()  # [N, F]
        if features.shape[1] != self.weights[0].shape[0]:
            raise DataError(
                f"the encoder was built for {self.weights[0].shape[0]} feature columns and got {features.shape[1]}; "
                f"build it again with this graph's spec"
            )
        first = masked_weight(self.weights[0].t(), view.feature_mask.get(view.graph.target)).t()
        x = self._layer(0, features, first, operator, trace)
        for index in range(1, len(self.weights)):
            x = F.dropout(x, self.dropout, self.training)
            x = self._layer(index, x, self.weights[index], operator, trace)
        return x

    def affine_layers(self) -> list[AffineLayer]:
        """Weight, bias and slope of each layer, with gradient."""
        slope = self.activation.negative_slope
        return [
            AffineLayer(weight, bias, self.activation.name, slope)
            for weight, bias in zip(self.weights, self.biases, strict=True)
        ]

    def _layer(
        self,
        index: int,
        x: Tensor | Adjacency,
        weight: Tensor,
        operator: Operator | None,
        trace: list[LayerTrace] | None,
    ) -> Tensor:
        propagated, product = _propagate(operator, x, weight)
        if operator is None and trace is not None:
            preactivation = propagated + self.biases[index]  # the trace keeps the product
        else:
            preactivation = propagated.add_(self.biases[index])  # [N, out], a fresh tensor
        if trace is not None:
            trace.append(LayerTrace(x, preactivation, product))
        return self.activation(preactivation)


def _propagate(operator: Operator | None, x: Tensor | Adjacency, weight: Tensor) -> tuple[Tensor, Tensor | None]:
    """``operator @ x @ weight`` in the cheaper order, and ``x @ weight`` where that was made."""
    if isinstance(x, Tensor) and operator is not None and weight.shape[0] < weight.shape[1]:
        return linear(operator.matmul(x), weight.t()), None
    product = feature_product(x, weight.t())
    return product if operator is None else operator.matmul(product), product
