"""Both surrogates of POT in a training step against a dense form: directed graphs, loops, masks, subsets, slopes."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F

from gcl.core.adjacency import Adjacency
from gcl.core.context import Batch, Clock
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.methods.grace import GRACE

NODES, SUBSET, DROP = 9, 5, (0.5, 0.2)


def random_graph(seed: int) -> tuple[Graph, torch.Tensor]:
    """Directed for even seeds; with stored loops, an isolated node for each third, and sparse features for some."""
    generator = torch.Generator().manual_seed(seed)
    arcs = torch.rand(NODES, NODES, generator=generator) < 0.35
    if seed % 2:
        arcs |= arcs.t().clone()
    if seed % 3 == 0:
        arcs[0], arcs[:, 0] = False, False
    arcs[[1, 4], [1, 4]] = True
    x = torch.randn(NODES, 4, generator=generator, dtype=torch.float64)
    x *= torch.rand(NODES, 4, generator=generator) < 0.6
    return Graph.homogeneous(sparse(x) if seed % 4 < 2 else x, sparse(arcs.double(), weighted=False)), x


def sparse(dense: torch.Tensor, *, weighted: bool = True) -> Adjacency:
    row, col = dense.nonzero(as_tuple=True)
    weight = dense[row, col] if weighted else None
    return Adjacency.from_edge_index(torch.stack([col, row]), tuple(dense.shape), weight)


def gcn_matrix(arcs: torch.Tensor) -> torch.Tensor:
    looped = arcs.clone().fill_diagonal_(1)
    root = looped.sum(1).rsqrt()
    return looped * root[:, None] * root


def phi(x: torch.Tensor, slope: float) -> torch.Tensor:
    return torch.where(x >= 0, x, slope * x)


def lines(x, bias, upper, lower, slope):
    """Slope and intercept of the lines around the activation, by the two ends of every interval."""
    low = upper @ x.clamp(max=0) + lower @ x.clamp(min=0) + bias
    high = upper @ x.clamp(min=0) + lower @ x.clamp(max=0) + bias
    stable = (low >= 0) | (high <= 0)
    chord = torch.where(low >= 0, 1.0, torch.where(high <= 0, slope, (high - slope * low) / (high - low)))
    return chord, torch.where(stable, 0.0, (slope - 1) * high * low / (high - low))


def dense_scores(method, graph, x, views, mode, scored, *, block, symmetric):
    """The scores of both views, ``[n]`` each."""
    slope = float(method.encoder_.layers_.activation.negative_slope.detach())
    (w1, w2), (b1, b2) = method.encoder_.layers_.weights, method.encoder_.layers_.biases
    clean = graph.adjacency.to_dense().fill_diagonal_(0)
    degree = clean.sum(1) + 1
    embeddings = [method.encoder_(view) for view in views]
    nodes = scored if block else torch.arange(NODES)
    inside = torch.meshgrid(nodes, nodes, indexing="ij")

    def lost(weights):
        return weights.clamp(max=0) if slope <= 1 else weights.clamp(min=0)

    found = []
    for index, view in enumerate(views):
        budget = method.regularizer_state_[f"budget{index + 1}"].double()
        kept, left = (degree - torch.minimum(budget, (degree - 2).clamp(min=0))).rsqrt(), (degree - budget).rsqrt()
        upper = clean * kept[:, None] * (kept if symmetric else left) + torch.diag(left.square())
        lower = torch.diag(1 / degree)
        product = (x * view.feature_mask["node"].double()) @ w1
        hidden = phi(gcn_matrix(clean) @ product + b1, slope) @ w2
        product, hidden, upper, lower = product[nodes], hidden[nodes], upper[inside], lower[inside]
        matrix = gcn_matrix(view.relation().to_dense().fill_diagonal_(0))
        other = F.normalize(embeddings[1 - index][nodes])
        w = other - (other.sum(0) - other) / (len(nodes) - 1)
        s1, t1 = lines(product, b1, upper, lower, slope)
        s2, t2 = lines(hidden, b2, upper, lower, slope)
        back = (s2 * w) @ w2.t()
        last = (s2 * w) @ b2 + (lost(w) * t2).sum(1)
        first = (s1 * back) @ b1 + (lost(back) * t1).sum(1)
        if mode == "reference":
            a = matrix.t()[inside]
            scores = a @ (a @ (product * s1 * back).sum(1) + first) + last
        else:
            a = matrix[inside]
            scores = (s1 * back * (a @ a @ product)).sum(1) + a.sum(1) * first + last
        found.append(scores if block else scores[scored])
    return found


@pytest.mark.parametrize("rows", ["full", "block"])
@pytest.mark.parametrize("mode", ["reference", "target"])
@pytest.mark.parametrize("seed", range(12))
def test_scores_of_a_step_are_those_of_the_dense_form(seed, mode, rows, monkeypatch):
    graph, x = random_graph(seed)
    symmetric = seed % 2 == 1 and seed % 3 == 1
    views = {
        f"view{index}": {
            "edge": {"name": "edge_drop", "drop_prob": edges, "symmetric": symmetric},
            "mask": {"name": "feature_mask", "drop_prob": columns},
        }
        for index, edges, columns in ((1, DROP[0], 0.4), (2, DROP[1], 0.1))
    }
    method = GRACE(
        encoder={"name": "gcn", "out_channels": 3, "activation": "prelu"},
        projector={"name": "mlp", "hidden_channels": 3},
        augment=views,
        subset=SUBSET,
        regularizer={"name": "pot", "mode": mode, "rows": rows, "weight": 1.0, "keep_neighbor": seed % 5 == 0},
    )
    streams, generator = Streams(seed), torch.Generator().manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of masks
        prepared = method.prepare(graph, streams)
        with streams.scope("init"):
            method.build(graph.spec, prepared).double()
    with torch.no_grad():
        method.encoder_.layers_.activation.slope_.fill_((0.25, -0.6, 1.7, 0.0)[seed % 4])
        for bias in method.encoder_.layers_.biases:
            bias.normal_(0, 0.4, generator=generator)
    scores, seen, forward = [], [], method.regularizer_.forward
    method.regularizer_.forward = lambda context: (seen.append((context.index, context.views)), forward(context))[1]
    softplus = F.softplus
    monkeypatch.setattr(F, "softplus", lambda t: (scores.append(-t), softplus(t))[1])
    method.training_step(Batch(graph), Clock(epoch=1), streams)
    scored, drawn = seen[0]
    assert scored.numel() == SUBSET
    expected = dense_scores(method, graph, x, drawn, mode, scored, block=rows == "block", symmetric=symmetric)
    for found, right in zip(scores, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-11)
