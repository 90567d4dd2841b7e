"""HeCo's two encoders against their formulas, node by node in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gcl.core.adjacency import Adjacency
from gcl.core.graph_spec import GraphSpec
from gcl.encoders.heco import MetaPathEncoder, SchemaEncoder
from gcl.encoders.type_projection import TypeProjection
from gcl.ops.propagation import Propagation

N, D = 8, 5


def random_matrix(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fused(module, parts, u):
    """The attention of the two fusions, and its sum."""
    scores = []
    for part in parts:
        rows = [u @ torch.tanh(module.layer.weight @ row + module.layer.bias) for row in part]
        scores.append(sum(rows) / len(rows))
    beta = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
    return sum(b * part for b, part in zip(beta, parts, strict=True)), beta


def assert_equal_with_gradients(found, expected, inputs):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    weight = random_matrix(*found[0].shape, seed=9)
    ours, theirs = (torch.autograd.grad((weight * parts[0]).sum(), inputs) for parts in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


# -- the meta-path view -------------------------------------------------------------------------------------------------------


def operators():
    """Symmetrically normalised graphs with loops."""
    found = []
    for seed in range(3):
        a = (random_matrix(N, N, seed=seed) > 0.5).double()
        a = ((a + a.t() + torch.eye(N)) > 0).double()
        d = a.sum(1)
        found.append((a, a / (d[:, None] * d[None]).sqrt()))
    return found


def propagation(dense):
    row, col = dense.nonzero().t()
    return Propagation(Adjacency.from_edge_index(torch.stack([col, row]), (N, N)), normalize="symmetric")


def metapath_encoder(seed=0, **options):
    torch.manual_seed(seed)
    encoder = MetaPathEncoder(D, 3, **{"attention_dropout": 0.5, **options}).double().eval()
    with torch.no_grad():
        for p, bias in enumerate(encoder.biases_):
            bias.copy_(random_matrix(D, seed=20 + p))
            encoder.activations_[p].weight.fill_(0.1 * p)
    return encoder


@pytest.mark.parametrize("training", [False, True])
def test_the_meta_path_view_equals_its_formula(training):
    encoder, h = metapath_encoder().train(training), random_matrix(N, D).requires_grad_()
    binary, normalized = zip(*operators(), strict=True)
    torch.manual_seed(3)
    found = encoder(h, [propagation(a) for a in binary])
    torch.manual_seed(3)
    u = F.dropout(encoder.attention_.vector, 0.5, training)[0]
    parts = []
    for p, a in enumerate(normalized):
        y = a @ (h @ encoder.layers_[p].weight.t()) + encoder.biases_[p]
        parts.append(torch.where(y > 0, y, encoder.activations_[p].weight * y))
    assert_equal_with_gradients(found, fused(encoder.attention_, parts, u), [h, *encoder.parameters()])
    assert found[1].sum().item() == pytest.approx(1)


def test_degrees_roots_are_kept_by_the_normalised_graphs():
    for binary, normalized in operators():
        root = binary.sum(1, keepdim=True).sqrt()
        torch.testing.assert_close(propagation(binary).matmul(root), root)
        torch.testing.assert_close(propagation(binary).matmul(torch.eye(N).double()), normalized)


def test_every_meta_path_has_parameters_of_its_own():
    torch.manual_seed(0)
    encoder = MetaPathEncoder(64, 3, attention_dropout=0.0)
    assert all(not bias.any() for bias in encoder.biases_)
    assert [act.weight.item() for act in encoder.activations_] == [0.25] * 3
    for layer in encoder.layers_:
        assert layer.bias is None
        assert layer.weight.std().item() == pytest.approx(1.414 * math.sqrt(2 / 128), rel=0.1)
    assert not torch.equal(encoder.layers_[0].weight, encoder.layers_[1].weight)


# -- the schema view ----------------------------------------------------------------------------------------------------------

KINDS = {"author": 6, "subject": 3}


def schema_encoder(seed=0):
    torch.manual_seed(seed)
    encoder = SchemaEncoder(D, list(KINDS), attention_dropout=0.4).double().eval()
    for vector in encoder.vectors_:
        vector.data.mul_(2)
    return encoder


def schema_input(seed=0):
    generator = torch.Generator().manual_seed(seed)
    h = random_matrix(N, D, seed=1).requires_grad_()
    others = {kind: random_matrix(size, D, seed=2).requires_grad_() for kind, size in KINDS.items()}
    drawn = {
        kind: torch.randint(size, (N, rate), generator=generator)
        for (kind, size), rate in zip(KINDS.items(), (4, 1), strict=True)
    }
    drawn["author"][2] = -1
    drawn["subject"][2] = -1
    drawn["subject"][5] = -1
    return h, others, drawn


def slow_schema(encoder, h, others, drawn, vectors, u):
    parts = []
    for kind, k in zip(KINDS, vectors, strict=True):
        rows = []
        for i in range(N):
            index = [j for j in drawn[kind][i].tolist() if j >= 0]
            total = torch.zeros(D, dtype=torch.float64)
            if index:
                logits = [F.leaky_relu(k @ torch.cat([h[i], others[kind][j]]), 0.01) for j in index]
                share = torch.stack(logits).exp() / torch.stack(logits).exp().sum()
                total = sum(a * others[kind][j] for a, j in zip(share, index, strict=True))
            rows.append(torch.where(total > 0, total, total.exp() - 1))
        parts.append(torch.stack(rows))
    return fused(encoder.attention_, parts, u)


@pytest.mark.parametrize("training", [False, True])
def test_the_schema_view_equals_its_formula(training):
    encoder = schema_encoder().train(training)
    h, others, drawn = schema_input()
    torch.manual_seed(3)
    found = encoder(h, others, drawn)
    torch.manual_seed(3)
    vectors = [F.dropout(vector, 0.4, training)[0] for vector in encoder.vectors_]
    u = F.dropout(encoder.attention_.vector, 0.4, training)[0]
    expected = slow_schema(encoder, h, others, drawn, vectors, u)
    assert_equal_with_gradients(found, expected, [h, *others.values(), *encoder.parameters()])
    assert found[1].shape == (2,)
    assert found[1].sum().item() == pytest.approx(1)


def test_a_node_without_neighbours_has_a_row_of_zeros_and_no_gradient():
    encoder = schema_encoder()
    h, others, drawn = schema_input()
    z, _ = encoder(h, others, drawn)
    assert not z[2].any()
    assert z[5].any()
    (grad,) = torch.autograd.grad(z.sum(), h)
    assert not grad[2].any()
    nobody = {kind: torch.full_like(index, -1) for kind, index in drawn.items()}
    assert not encoder(h, others, nobody)[0].any()


def test_the_order_of_what_was_drawn_does_not_matter_and_one_neighbour_is_taken_whole():
    encoder = schema_encoder()
    h, others, drawn = schema_input()
    z, beta = encoder(h, others, drawn)
    turned, again = encoder(h, others, {kind: index.flip(1) for kind, index in drawn.items()})
    torch.testing.assert_close(turned, z)
    torch.testing.assert_close(again, beta)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    moved, _ = encoder(h[order], others, {kind: index[order] for kind, index in drawn.items()})
    torch.testing.assert_close(moved, z[order])
    single = SchemaEncoder(D, ["subject"], attention_dropout=0.0).double()
    alone, weight = single(h, others, {"subject": torch.arange(N).unsqueeze(1) % 3})
    torch.testing.assert_close(alone, F.elu(others["subject"][torch.arange(N) % 3]))
    assert weight.tolist() == [1.0]


def test_initial_vectors_and_projections_are_normal_with_their_gain():
    torch.manual_seed(0)
    encoder = SchemaEncoder(64, list(KINDS), attention_dropout=0.0)
    for vector in encoder.vectors_:
        assert vector.shape == (1, 128)
        assert vector.std().item() == pytest.approx(1.414 * math.sqrt(2 / 129), rel=0.2)
    assert encoder.attention_.layer.weight.std().item() == pytest.approx(1.414 * math.sqrt(2 / 128), rel=0.1)
    spec = GraphSpec({"paper": 300}, in_channels={"paper": 200}, relations={}, target="paper")
    layer = TypeProjection(spec, "paper", 64, dropout=0.0, initial="xavier").layer
    assert layer.weight.std().item() == pytest.approx(1.414 * math.sqrt(2 / 264), rel=0.1)
    assert layer.bias.abs().max().item() <= 200**-0.5
