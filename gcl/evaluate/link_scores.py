"""Scores of pairs of nodes: decoders of embeddings, and heuristics that need no training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from threadpoolctl import threadpool_limits
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.evaluate.held_links import LabelledPairs, SelectionLinks
from gcl.ops.scipy_matrix import binary_matrix

LinkDecoder = Literal["inner_product", "cosine", "logistic"]
STRENGTHS = tuple(10.0**power for power in range(-3, 4))  # of the logistic decoder, where validation chooses
MOST_PRODUCTS = 2**22  # numbers of the products of columns at a time
BLOCK = 2**16  # pairs at a time, of scores that take no embeddings

PairScores = Callable[[Tensor], Tensor]


def link_metrics(scores: Tensor, labelled: LabelledPairs) -> dict[str, float]:
    """How well scores tell links from other pairs.

    Args:
        scores: float ``[n]``, higher = more likely a link.
        labelled: the pairs.

    Returns:
        ``auc``, the area under the ROC curve (ties count half), and ``ap``, the average precision.

    Raises:
        DataError: a score that is not finite.
    """
    if not bool(torch.isfinite(scores).all()):
        raise DataError("scores of pairs are not finite; scale the embeddings down, or take the decoder 'cosine'")
    truth, given = labelled.is_link.numpy(), scores.double().numpy()
    return {"auc": float(roc_auc_score(truth, given)), "ap": float(average_precision_score(truth, given))}


def decoder(kind: LinkDecoder, z: Tensor, seen: SelectionLinks) -> tuple[PairScores, dict[str, float]]:
    r"""Scores of pairs by embeddings, and what was chosen on the way.

    ``inner_product`` is :math:`z_u \cdot z_v`, ``cosine`` that of rows of unit length. ``logistic`` is a logistic
    regression on the products :math:`z_{uk} z_{vk}` of columns that are scaled to unit variance over the pairs it is
    fitted to (Grover and Leskovec, *node2vec*, KDD 2016, table 1); its strength C is that of the best validation AUC,
    or 1 where there is no validation part.

    Args:
        kind: by name.
        z: ``[N, d]``.
        seen: pairs to fit to and to choose by.
    """
    if kind != "logistic":
        return pair_scores(kind, z), {}
    z = _scaled(z, z.abs().max())  # columns of products are scaled to unit variance anyway
    features = _all_products(z, seen.train.pairs)
    mean, scale = features.mean(0), features.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    fitted_to = ((features - mean) / scale).numpy()

    def scores_of(model: LogisticRegression) -> PairScores:
        weight, bias = torch.from_numpy(model.coef_[0]).to(z.dtype) / scale, float(model.intercept_[0])
        # the scaling goes into the weights, so that pairs need one product each
        return lambda pairs: _products(z, pairs) @ weight + (bias - float(mean @ weight))

    best: tuple[float, float, PairScores] | None = None
    with threadpool_limits(1):
        for strength in (1.0,) if seen.valid is None else STRENGTHS:
            model = LogisticRegression(C=strength, max_iter=1000).fit(fitted_to, seen.train.is_link.numpy())
            score = scores_of(model)
            auc = 0.0 if seen.valid is None else link_metrics(by_blocks(score, seen.valid.pairs, z), seen.valid)["auc"]
            if best is None or auc > best[0]:
                best = (auc, strength, score)
    assert best is not None
    return best[2], {"strength": best[1]}


def pair_scores(kind: str, z: Tensor) -> PairScores:
    """Scores of pairs that nothing is fitted for: ``inner_product`` or ``cosine``."""
    rows = _unit(z) if kind == "cosine" else z
    return lambda pairs: _products(rows, pairs).double().sum(1)


def _unit(z: Tensor) -> Tensor:
    """Rows of length 1, or 0."""
    return F.normalize(_scaled(z, z.abs().amax(1, keepdim=True)), dim=1)


def _scaled(z: Tensor, largest: Tensor) -> Tensor:
    """Divided by a power of 2, which rounds nothing: squares of large or small numbers would overflow or vanish."""
    return torch.ldexp(z, -torch.frexp(largest).exponent)


def by_blocks(score: PairScores, pairs: Tensor, z: Tensor | None = None) -> Tensor:
    """Scores of many pairs ``[2, n]``, so many at a time that their products fit; float64 ``[n]``."""
    size = BLOCK if z is None else max(1, MOST_PRODUCTS // z.shape[1])
    return torch.cat([score(block).double() for block in pairs.split(size, dim=1)])


def heuristics(adjacency: Adjacency) -> dict[str, PairScores]:
    r"""Scores that need no training and no features, by name, on the graph without direction, weights and loops.

    With neighbours :math:`\Gamma_u`: common neighbours :math:`|\Gamma_u \cap \Gamma_v|`, Adamic-Adar
    :math:`\sum_{w \in \Gamma_u \cap \Gamma_v} 1 / \ln |\Gamma_w|`, and preferential attachment
    :math:`|\Gamma_u| |\Gamma_v|`: Liben-Nowell and Kleinberg, *The Link Prediction Problem for Social Networks*, 2007.
    """
    arcs = binary_matrix(adjacency)
    arcs = arcs - sp.diags(arcs.diagonal())
    near = sp.csr_matrix(((arcs + arcs.T) > 0).astype(np.float64))
    near.eliminate_zeros()
    degree = np.asarray(near.sum(1)).ravel()
    # a common neighbour has two neighbours or more
    share = np.divide(1.0, np.log(np.maximum(degree, 2)))
    weighted = sp.csr_matrix(near @ sp.diags(share))

    def common(left: sp.csr_matrix) -> PairScores:
        def score(pairs: Tensor) -> Tensor:
            u, v = pairs.numpy()
            return torch.from_numpy(np.asarray(left[u].multiply(near[v]).sum(1)).ravel())

        return score

    def attachment(pairs: Tensor) -> Tensor:
        u, v = pairs.numpy()
        return torch.from_numpy(degree[u] * degree[v])

    return {
        "common neighbours": common(near),
        "Adamic-Adar": common(weighted),
        "preferential attachment": attachment,
    }


def _products(z: Tensor, pairs: Tensor) -> Tensor:
    return z[pairs[0]] * z[pairs[1]]


def _all_products(z: Tensor, pairs: Tensor) -> Tensor:
    """``[n, d]``, some pairs at a time."""
    return torch.cat([_products(z, block) for block in pairs.split(max(1, MOST_PRODUCTS // z.shape[1]), dim=1)])
