"""MEOW's encoder against its formulas, step by step in float64, and the parts that it shares with HeCo."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, NotFittedError
from gcl.core.graph_spec import GraphSpec
from gcl.core.resolve import describe, resolve
from gcl.encoders.activation import Activation
from gcl.encoders.metapath_context import MetaPathContextEncoder, MetaPathViews
from gcl.encoders.projection_head import LinearProjector
from gcl.encoders.type_projection import SemanticAttention, TypeProjection
from gcl.ops.metapath import MetaPath
from gcl.ops.metapath_context import context_slots
from gcl.ops.propagation import Propagation

SIZES = {"paper": 9, "author": 6, "subject": 3}
SPEC = GraphSpec(
    SIZES,
    in_channels={"paper": 5, "author": 4},
    relations={"paper_author": ("paper", "author"), "paper_subject": ("paper", "subject")},
    target="paper",
)
PATHS = [
    MetaPath.parse(path, SPEC)
    for path in ("paper-author-paper", "paper-author-paper-subject-paper", "paper-subject-paper")
]


def random_matrix(*shape, seed, density=0.5):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(*shape, generator=generator, dtype=torch.float64)
    return values * (torch.rand(*shape, generator=generator) < density)


def adjacency_of(dense):
    row, col = dense.nonzero().t()
    return Adjacency.from_edge_index(torch.stack([col, row]), tuple(dense.shape), dense[row, col])


def operator_of(dense):
    return Propagation(adjacency_of(dense), normalize="none")


@dataclasses.dataclass
class Dense:
    """Everything that the encoder works on as dense matrices; a type without features has the identity."""

    features: dict
    masked: torch.Tensor
    clean: list
    thinned: list
    contexts: dict


@pytest.fixture
def dense():
    features = {
        "paper": random_matrix(9, 5, seed=1),
        "author": random_matrix(6, 4, seed=2),
        "subject": torch.eye(3).double(),
    }
    contexts = {}
    for path in PATHS:
        for place, slot in enumerate(context_slots(path)):
            reached = random_matrix(9, SIZES[slot.kind], seed=10 + place) > 0
            reached[4] = False
            contexts[slot.steps] = reached.double() / reached.sum(1, keepdim=True).clamp(min=1)
    return Dense(
        features=features,
        masked=features["paper"] * (random_matrix(9, 5, seed=3) > 0),
        clean=[random_matrix(9, 9, seed=20 + p) for p in range(3)],
        thinned=[random_matrix(9, 9, seed=30 + p) for p in range(3)],
        contexts=contexts,
    )


def views_of(dense, *, sparse=False, spec=SPEC, kept=None):
    stored = {
        kind: (adjacency_of(x) if sparse else x) if kind in spec.in_channels else None
        for kind, x in dense.features.items()
    }
    masked = adjacency_of(dense.masked) if sparse else dense.masked
    return MetaPathViews(
        features=stored,
        masked=masked if "paper" in spec.in_channels else None,
        kept=kept,
        operators=[operator_of(a) for a in dense.clean],
        thinned=[operator_of(a) for a in dense.thinned],
        coarse=operator_of(sum(dense.clean) / len(dense.clean)),
        contexts={steps: operator_of(matrix) for steps, matrix in dense.contexts.items()},
    )


def built(spec=SPEC, paths=PATHS, seed=0, **options):
    torch.manual_seed(seed)
    options = {"hidden_channels": 7, "out_channels": 6, "dropout": 0.3, **options}
    encoder = MetaPathContextEncoder(**options).build(spec, paths).double().eval()
    for parameter in encoder.attention_.parameters():
        parameter.data.mul_(3)  # weights that differ
    return encoder


def reference(encoder, dense, *, drop=lambda x: x, shared=False, masked_drop=True):
    """Formulas (2) to (5), one after the other; ``drop`` in the order in which the program drops."""
    layers = {layer.kind: layer.layer for layer in encoder.projections_}
    lin = {kind: dense.features[kind] @ layers[kind].weight.t() + layers[kind].bias for kind in layers}
    h = {kind: F.elu(drop(x)) for kind, x in lin.items()}
    hidden = dense.masked @ layers["paper"].weight.t() + layers["paper"].bias
    masked = F.elu(drop(hidden) if masked_drop else hidden)
    w1, w2 = encoder.weights_
    slope = encoder.activation_.weight

    def enc(y, a):
        e1 = a @ drop(y @ w1)
        e1 = torch.where(e1 > 0, e1, slope * e1)
        e2 = a @ drop(e1 @ w2)
        return (e2 - e2.mean()) / ((e2 - e2.mean()).square().mean() + 1e-5).sqrt()

    encoded = []
    for p, path in enumerate(PATHS):

        def around(p=p, path=path):
            total = 0
            for slot, u in zip(context_slots(path), encoder.contexts_[p], strict=True):
                total = total + drop(dense.contexts[slot.steps] @ h[slot.kind] @ u.weight.t())
            return total

        r = around()
        z = enc(F.elu(h["paper"] + r), dense.clean[p])
        encoded.append(z / z.norm(dim=1, keepdim=True))
        r = r if shared else around()
        z = enc(F.elu(masked + r), dense.thinned[p])
        encoded.append(z / z.norm(dim=1, keepdim=True))
    u = drop(encoder.attention_.vector)[0]
    q = encoder.attention_.layer
    scores = torch.stack([u @ torch.tanh(z @ q.weight.t() + q.bias).mean(0) for z in encoded])
    beta = scores.exp() / scores.exp().sum()
    fine = sum(b * z for b, z in zip(beta, encoded, strict=True))
    return fine, enc(h["paper"], sum(dense.clean) / len(dense.clean)), beta


def assert_equal_with_gradients(found, expected, parameters):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    weights = [random_matrix(*part.shape, seed=50, density=1.0) for part in found]
    ours, theirs = (
        torch.autograd.grad(sum((w * part).sum() for w, part in zip(weights, parts, strict=True)), parameters)
        for parts in (found, expected)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


# -- the formulas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_equals_the_formulas_step_by_step(dense, sparse):
    encoder = built()
    found = encoder(views_of(dense, sparse=sparse))
    assert_equal_with_gradients(found, reference(encoder, dense), list(encoder.parameters()))


@pytest.mark.parametrize("context_dropout", ["apart", "shared"])
@pytest.mark.parametrize("masked_dropout", [True, False])
def test_dropout_is_drawn_where_the_program_draws_it(dense, context_dropout, masked_dropout):
    full = dataclasses.replace(SPEC, in_channels={**SPEC.in_channels, "subject": 3})
    encoder = built(full, context_dropout=context_dropout, masked_dropout=masked_dropout).train()
    torch.manual_seed(5)
    found = encoder(views_of(dense, spec=full))
    torch.manual_seed(5)
    expected = reference(
        encoder,
        dense,
        drop=lambda x: F.dropout(x, 0.3),
        shared=context_dropout == "shared",
        masked_drop=masked_dropout,
    )
    assert_equal_with_gradients(found, expected, list(encoder.parameters()))


def test_fine_rows_are_inside_the_unit_ball_and_attention_sums_to_one(dense):
    for seed in range(5):
        fine, _, beta = built(seed=seed)(views_of(dense))
        assert beta.shape == (6,)
        assert float(beta.sum().detach()) == pytest.approx(1)
        assert float(fine.norm(dim=1).max().detach()) <= 1 + 1e-12


@pytest.mark.parametrize("scale", [0.1, 1.0, 1e4])
def test_what_is_encoded_has_mean_0_and_variance_1_over_all_entries(dense, scale):
    encoder = built()
    with torch.no_grad():
        encoder.weights_[1].mul_(scale)
        z = encoder.encode(random_matrix(9, 7, seed=8), operator_of(10 * dense.clean[0]))
    assert z.shape == (9, 6)
    assert float(z.mean()) == pytest.approx(0, abs=1e-4)
    assert float(z.var(correction=0)) == pytest.approx(1, abs=1e-4)


def test_the_order_of_target_nodes_does_not_matter(dense):
    encoder, order = built(), torch.randperm(9, generator=torch.Generator().manual_seed(1))

    def moved(matrix, kind):
        return matrix[:, order] if kind == "paper" else matrix

    kinds = {slot.steps: slot.kind for path in PATHS for slot in context_slots(path)}
    permuted = Dense(
        features={**dense.features, "paper": dense.features["paper"][order]},
        masked=dense.masked[order],
        clean=[a[order][:, order] for a in dense.clean],
        thinned=[a[order][:, order] for a in dense.thinned],
        contexts={steps: moved(matrix[order], kinds[steps]) for steps, matrix in dense.contexts.items()},
    )
    fine, coarse, beta = encoder(views_of(dense))
    for ours, theirs in zip(encoder(views_of(permuted)), (fine[order], coarse[order], beta), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_an_augmentation_of_nothing_encodes_twice_the_same(dense):
    encoder = built()
    same = dataclasses.replace(dense, masked=dense.features["paper"], thinned=dense.clean)
    seen, attention = [], encoder.attention_.forward
    encoder.attention_.forward = lambda embeddings: seen.extend(embeddings) or attention(embeddings)
    _, _, beta = encoder(views_of(same))
    for clean, thinned in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(clean, thinned)
        torch.testing.assert_close(clean.norm(dim=1), torch.ones(9, dtype=torch.float64))
    assert torch.equal(beta[::2], beta[1::2])


def test_a_target_node_without_anything_stays_finite(dense):
    empty = Dense(
        features=dense.features,
        masked=torch.zeros_like(dense.masked),
        clean=[torch.zeros_like(a) for a in dense.clean],
        thinned=[torch.zeros_like(a) for a in dense.thinned],
        contexts={steps: torch.zeros_like(matrix) for steps, matrix in dense.contexts.items()},
    )
    encoder = built()
    fine, coarse, _ = encoder(views_of(empty))
    (fine.square().sum() + coarse.square().sum()).backward()
    assert bool(fine.isfinite().all())
    assert all(
        bool(parameter.grad.isfinite().all()) for parameter in encoder.parameters() if parameter.grad is not None
    )


def test_a_path_without_a_place_between_its_ends_has_no_context(dense):
    spec = dataclasses.replace(SPEC, relations={**SPEC.relations, "cites": ("paper", "paper")})
    encoder = built(spec, [MetaPath.parse("paper-paper", spec)])
    clean, thinned = operator_of(dense.clean[0]), operator_of(dense.thinned[0])
    views = dataclasses.replace(views_of(dense), operators=[clean], thinned=[thinned], contexts={})
    (layer,) = encoder.projections_
    fine, _, beta = encoder(views)
    first = encoder.encode(F.elu(layer(dense.features["paper"], num_nodes=9)), clean)
    second = encoder.encode(F.elu(layer(dense.masked, num_nodes=9)), thinned)
    torch.testing.assert_close(fine, beta[0] * F.normalize(first) + beta[1] * F.normalize(second))


# -- types without features -------------------------------------------------------------------------------------------------


def test_a_type_without_features_has_the_identity(dense):
    eyes = {kind: torch.eye(size, dtype=torch.float64) for kind, size in SIZES.items()}
    kept = torch.tensor([True, False, True, True, True, False, True, True, True])
    one_hot = dataclasses.replace(dense, features=eyes, masked=eyes["paper"] * kept.unsqueeze(1))
    bare, full = (dataclasses.replace(SPEC, in_channels=channels) for channels in ({}, SIZES))
    encoder, explicit = built(bare), built(full)
    explicit.load_state_dict(encoder.state_dict())
    found = encoder(views_of(one_hot, spec=bare, kept=kept))
    expected = explicit(views_of(one_hot, spec=full))
    torch.testing.assert_close(found, expected)
    ours, theirs = (
        torch.autograd.grad((parts[0] * dense.features["paper"][:, :1]).sum(), list(module.parameters()))
        for parts, module in ((found, encoder), (expected, explicit))
    )
    torch.testing.assert_close(ours, theirs)
    found = encoder(views_of(one_hot, spec=bare, kept=kept))
    assert_equal_with_gradients(found, reference(encoder, one_hot), list(encoder.parameters()))


def test_a_projection_is_linear_dropout_and_elu():
    torch.manual_seed(0)
    x = random_matrix(6, 4, seed=2)
    layer = TypeProjection(SPEC, "author", 3, dropout=0.4).double()
    torch.manual_seed(1)
    found = layer(x, num_nodes=6)
    torch.manual_seed(1)
    plain = x @ layer.layer.weight.t() + layer.layer.bias
    torch.testing.assert_close(found, F.elu(F.dropout(plain, 0.4)))
    torch.testing.assert_close(layer(x, num_nodes=6, dropout=False), F.elu(plain))
    torch.testing.assert_close(layer.eval()(x, num_nodes=6), F.elu(plain))
    torch.testing.assert_close(layer(adjacency_of(x), num_nodes=6), F.elu(plain))


def test_masked_rows_of_the_identity_leave_the_bias():
    layer = TypeProjection(SPEC, "subject", 4, dropout=0.0)
    keep = torch.tensor([True, False, True])
    found = layer(None, num_nodes=3, keep=keep)
    expected = F.elu((torch.eye(3) * keep.unsqueeze(1)) @ layer.layer.weight.t() + layer.layer.bias)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found[1], F.elu(layer.layer.bias))
    torch.testing.assert_close(layer(None, num_nodes=3), F.elu(layer.layer.weight.t() + layer.layer.bias))


def test_features_of_another_width_are_refused():
    author, subject = (TypeProjection(SPEC, kind, 4, dropout=0.0) for kind in ("author", "subject"))
    for layer, x, message in (
        (author, torch.ones(6, 3), "'author': the encoder was built for 4 columns and got 3 columns"),
        (author, None, "built for 4 columns and got none"),
        (subject, torch.ones(3, 3), "'subject': the encoder was built for none and got 3 columns"),
    ):
        with pytest.raises(DataError, match=message):
            layer(x, num_nodes=SIZES[layer.kind])
    with pytest.raises(
        DataError, match=r"'subject' have no features, .* the 3 of its own graph alone; this graph has 4"
    ):
        subject(None, num_nodes=4)


# -- attention and projector ---------------------------------------------------------------------------------------------------


def test_attention_weighs_whole_embeddings():
    torch.manual_seed(0)
    attention = SemanticAttention(5, dropout=0.5).double()
    embeddings = [random_matrix(8, 5, seed=seed, density=1.0) for seed in range(3)]
    for training in (False, True):
        attention.train(training)
        torch.manual_seed(4)
        total, beta = attention(embeddings)
        torch.manual_seed(4)
        u = F.dropout(attention.vector, 0.5, training)[0]
        score = [
            sum(u @ torch.tanh(attention.layer.weight @ row + attention.layer.bias) for row in z) / 8
            for z in embeddings
        ]
        torch.testing.assert_close(beta, torch.stack(score).softmax(0))
        torch.testing.assert_close(total, sum(b * z for b, z in zip(beta, embeddings, strict=True)))
    alone, beta = attention(embeddings[:1])
    assert beta.tolist() == [1.0]
    torch.testing.assert_close(alone, embeddings[0])


def test_the_linear_projector_is_one_layer_and_its_activation():
    torch.manual_seed(0)
    head = LinearProjector(out_channels=3).build(5)
    torch.manual_seed(0)
    plain = torch.nn.Linear(5, 3)
    z = torch.randn(4, 5)
    torch.testing.assert_close(head(z), torch.tanh(plain(z)))
    torch.testing.assert_close(LinearProjector(activation="none").build(5)(z).shape, z.shape)
    with pytest.raises(NotFittedError, match="build"):
        LinearProjector()(z)
    for options in ({"activation": "sine"}, {"out_channels": 0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            LinearProjector(**options)
    with pytest.raises(ConfigError, match="no slope"):
        _ = Activation("tanh").negative_slope
    record = describe(LinearProjector(out_channels=3))
    assert describe(resolve("projector", record)) == record


# -- construction -----------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_initial_parameters_lie_in_their_ranges():
    torch.manual_seed(0)
    encoder = MetaPathContextEncoder().build(
        dataclasses.replace(SPEC, in_channels={"paper": 100, "author": 400}), PATHS
    )

    def uniform(values, bound):
        assert float(values.abs().max()) <= bound
        assert float(values.std()) == pytest.approx(bound / 3**0.5, rel=0.1)

    for layer, width in zip(encoder.projections_, (100, 400, 3), strict=True):
        uniform(layer.layer.weight, width**-0.5)
        assert float(layer.layer.bias.abs().max()) <= width**-0.5
    for layers in encoder.contexts_:
        for layer in layers:
            assert layer.bias is None
            uniform(layer.weight, 1 / 8)
    for weight in encoder.weights_:
        assert weight.shape == (64, 64)
        uniform(weight, 1 / 8)
    assert encoder.activation_.weight.tolist() == [0.25]
    assert [len(layers) for layers in encoder.contexts_] == [1, 3, 1]
    assert float(encoder.attention_.layer.weight.std()) == pytest.approx(1.414 / 8, rel=0.1)
    assert float(encoder.attention_.vector.std()) == pytest.approx(1.414 * (2 / 65) ** 0.5, rel=0.3)


def test_what_does_not_fit_is_refused():
    for options in (
        {"hidden_channels": 0},
        {"out_channels": 2.5},
        {"dropout": 1.0},
        {"context_dropout": "both"},
    ):
        with pytest.raises(ConfigError, match=next(iter(options))):
            MetaPathContextEncoder(**options)
    for paths in (None, []):
        with pytest.raises(ConfigError, match="meow and adameow"):
            MetaPathContextEncoder().build(SPEC, paths)
    record = describe(MetaPathContextEncoder(dropout=0.1, context_dropout="shared"))
    assert describe(resolve("encoder", record)) == record
