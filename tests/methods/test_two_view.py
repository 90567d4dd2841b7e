"""The two-view step, put together from its parts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_runs import ready
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.nn import GCNConv

from gcl.core.context import Batch, Clock, Prepared
from gcl.core.errors import CheckpointError, ConfigError
from gcl.core.streams import Streams
from gcl.data.load import load_dataset
from gcl.methods.csgcl import CSGCL
from gcl.methods.grace import GRACE
from gcl.methods.two_view import TwoView
from gcl.regularizers.regularizer import Regularizer

SMALL = {"encoder": {"name": "gcn", "out_channels": 8}, "projector": {"name": "mlp", "hidden_channels": 8}}


@pytest.fixture
def graph():
    return load_dataset("karate").graph.for_training()


def test_graces_loss_equals_a_dense_textbook_step(graph):
    method, streams = ready(GRACE(**SMALL), graph)
    first, second = GCNConv(34, 16), GCNConv(16, 8)
    weights, biases = method.encoder_.layers_.weights, method.encoder_.layers_.biases
    for layer, weight, bias in zip((first, second), weights, biases, strict=True):
        layer.lin.weight.data, layer.bias.data = weight.data.t().clone(), bias.data.clone()
    views = [
        augmenter(graph, generator=streams.generator("augment", 0, 3, 0, index))
        for index, augmenter in enumerate(method.augmenters_)
    ]
    h1, h2 = (
        F.normalize(method.projector_(F.relu(second(F.relu(first(view.x, view.edge_index)), view.edge_index))))
        for view in views
    )

    def one_way(a, b, temperature=0.4):
        intra, inter = torch.exp(a @ a.t() / temperature), torch.exp(a @ b.t() / temperature)
        return -torch.log(inter.diag() / (intra.sum(1) + inter.sum(1) - intra.diag()))

    expected = (0.5 * (one_way(h1, h2) + one_way(h2, h1))).mean()
    output = method.training_step(Batch(graph), Clock(epoch=3), streams)
    torch.testing.assert_close(output.loss, expected, rtol=1e-5, atol=1e-6)


def test_views_differ_by_epoch_and_side_and_repeat_by_seed(graph):
    method, streams = ready(GRACE(**SMALL), graph)
    losses = [method.training_step(Batch(graph), Clock(epoch=epoch), streams).loss.item() for epoch in (1, 2, 1)]
    assert losses[0] == losses[2] != losses[1]


def test_anchored_steps_average_to_the_full_loss(graph):
    full, streams = ready(GRACE(**SMALL), graph)
    few, _ = ready(GRACE(**SMALL, anchors=5), graph)
    few.load_state_dict(full.state_dict())
    h = [torch.randn(34, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    values = torch.stack(
        [few.loss_(*h, context=few.loss_context(Batch(graph), Clock(epoch=epoch), streams)) for epoch in range(2000)]
    )
    error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - full.loss_(*h)) < 4 * error
    anchors = few.loss_context(Batch(graph), Clock(epoch=1), streams).anchors
    assert anchors.unique().numel() == anchors.numel() == 5


def test_a_subset_is_anchors_and_keys_and_a_fresh_draw_in_every_step(graph):
    method, streams = ready(CSGCL(**SMALL, subset=7), graph)
    drawn = [method._subset(Batch(graph), Clock(epoch=epoch), streams) for epoch in (1, 2, 1)]
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    assert drawn[0].unique().numel() == 7
    z = tuple(torch.randn(34, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    rows = method.contrasted(z, drawn[0], Clock(epoch=1), streams)
    context = method.loss_context(Batch(graph), Clock(epoch=1), streams, drawn[0])
    expected = method.loss_(z[0][drawn[0]], z[1][drawn[0]], context=context)
    torch.testing.assert_close(method.loss_(*rows, context=context), expected)
    assert torch.equal(context.node_weight, method.node_weight_[drawn[0]])


def test_a_subset_as_large_as_the_graph_is_the_whole_loss(graph):
    whole, streams = ready(GRACE(**SMALL), graph)
    same, _ = ready(GRACE(**SMALL, subset=34), graph)
    losses = [method.training_step(Batch(graph), Clock(epoch=1), streams).loss for method in (whole, same)]
    assert torch.equal(*losses)
    with pytest.raises(ConfigError, match="give one"):
        GRACE(anchors=5, subset=5)


def test_csgcl_prepares_once_and_is_built_from_tensors_alone(graph):
    method, _ = ready(CSGCL(**SMALL), graph)
    prepared = method.prepare(graph, Streams(0))
    assert {"community", "community_strength", "view1.edge.score", "view1.feature.score"} <= set(prepared.tensors)
    again = CSGCL(**SMALL).build(graph.spec, prepared)
    again.load_state_dict(method.state_dict())
    first = method.training_step(Batch(graph), Clock(epoch=700), Streams(0)).loss
    second = again.training_step(Batch(graph), Clock(epoch=700), Streams(0)).loss
    assert first == second


def test_team_up_is_infonce_before_its_ramp_and_not_after(graph):
    team_up, _ = ready(CSGCL(**SMALL), graph)
    plain, _ = ready(CSGCL(**SMALL, loss={"name": "infonce", "temperature": 0.4}), graph)
    plain.load_state_dict(team_up.state_dict())
    for epoch, same in ((500, True), (600, False)):
        losses = [m.training_step(Batch(graph), Clock(epoch=epoch), Streams(0)).loss for m in (team_up, plain)]
        assert torch.isclose(*losses, rtol=1e-6) == same


def test_a_regulariser_sees_the_step_and_says_how_it_combines(graph):
    class Norms(Regularizer):
        def prepare(self, graph, augmenters):
            return {"scale": torch.tensor(2.0)}

        def forward(self, context):
            assert len(context.views) == len(context.embeddings) == len(context.traces) == 2
            assert [len(trace) for trace in context.traces] == [2, 2]
            return context.prepared["scale"] * sum(z.square().mean() for z in context.embeddings)

    plain, _ = ready(GRACE(**SMALL), graph)
    method, streams = ready(GRACE(**SMALL, regularizer=Norms(0.5)), graph)
    method.load_state_dict(plain.state_dict())
    with_term = method.training_step(Batch(graph), Clock(epoch=1), streams)
    without = plain.training_step(Batch(graph), Clock(epoch=1), streams)
    assert with_term.parts["contrast"] == without.loss
    torch.testing.assert_close(with_term.loss, without.loss + 0.5 * with_term.parts["regularizer"])

    class Refuses(Norms):
        def check(self, encoder, augmenters):
            raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        GRACE(**SMALL, regularizer=Refuses()).check(graph.spec)
    with pytest.raises(ConfigError, match="no"):
        ready(GRACE(**SMALL, regularizer=Refuses()), graph)


def test_wrong_views_are_refused():
    with pytest.raises(ConfigError, match="view1 and view2"):
        TwoView(augment={"view1": {}})
    with pytest.raises(CheckpointError, match="score"):
        CSGCL().build(load_dataset("karate").graph.spec, Prepared())


# -- the order of nodes in training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("method_class", [GRACE, CSGCL])
def test_training_by_community_is_the_same_problem_and_gives_rows_in_stored_order(method_class, sparse):
    data = load_dataset("karate", sparse=sparse)
    graph = data.graph.for_training()
    views = method_class().augment
    still = {
        view: {name: {**part, "drop_prob": 1.0 if name == "edge" else 0.0} for name, part in parts.items()}
        for view, parts in views.items()
    }
    plain, streams = ready(method_class(**SMALL, augment=still), graph)
    ordered, _ = ready(method_class(**SMALL, augment=still, node_order="community"), graph)
    ordered.load_state_dict(plain.state_dict())
    assert not torch.equal(ordered.node_order_, torch.arange(34))
    clock = Clock(epoch=900)
    losses = [method.training_step(Batch(graph), clock, streams).loss for method in (plain, ordered)]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    for loss in losses:
        loss.backward()
    for a, b in zip(plain.parameters(), ordered.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)
    assert torch.equal(plain.outputs(graph).main, ordered.outputs(graph).main)
    index = torch.tensor([3, 0, 30])
    losses = [method.training_step(Batch(graph, index=index), clock, streams).loss for method in (plain, ordered)]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)


def test_the_augmenters_of_csgcl_draw_with_the_probabilities_of_the_stored_graph(graph):
    method, _ = ready(CSGCL(**SMALL, node_order="community"), graph)
    ordered = method._in_order(Batch(graph)).graph
    assert method._in_order(Batch(graph)).graph is ordered  # made once
    ids = ordered.adjacency.arc_ids()
    for augmenter in method.augmenters_:
        whole = augmenter.edge_drop_prob(graph)
        assert torch.equal(augmenter.edge_drop_prob(ordered), whole[ids])
    order = method.node_order_
    dense = graph.adjacency.to_dense()
    assert torch.equal(ordered.adjacency.to_dense(), dense[order][:, order])
    assert torch.equal(ordered.x, graph.x[order])
    assert torch.equal(ordered.node_id["node"], order)


def test_an_unknown_order_is_refused():
    with pytest.raises(ConfigError, match="community"):
        GRACE(node_order="communiti")


# -- what a step does not do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("node_order", ["stored", "community"])
@pytest.mark.parametrize("method_class", [GRACE, CSGCL])
def test_a_step_after_the_first_neither_sorts_nor_converts_indices(method_class, node_order, sparse):
    graph = load_dataset("karate", sparse=sparse).graph.for_training()
    method, streams = ready(method_class(**SMALL, node_order=node_order), graph)
    method.training_step(Batch(graph), Clock(epoch=1), streams).loss.backward()
    with torch.profiler.profile() as profile, Conversions(graph.adjacency.num_arcs) as conversions:
        method.training_step(Batch(graph), Clock(epoch=600), streams).loss.backward()
    names = {event.key for event in profile.key_averages()}
    assert any("embedding_bag" in name for name in names)  # the products are there
    forbidden = ("sort", "unique", "to_sparse", "sparse_csr", "coalesce", "bincount", "repeat_interleave")
    assert not [name for name in names if any(word in name for word in forbidden)]
    assert not conversions.seen


class Conversions(TorchDispatchMode):
    """Notes every conversion of an integer tensor with an entry an arc or more."""

    def __init__(self, num_arcs):
        super().__init__()
        self.num_arcs, self.seen = num_arcs, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        integers = "_to_copy" in str(function) and args[0].dtype in (torch.int32, torch.int64)
        if integers and args[0].numel() >= self.num_arcs:
            self.seen.append((args[0].dtype, list(args[0].shape)))
        return function(*args, **(kwargs or {}))


def test_conversions_are_noticed():
    with Conversions(3) as conversions:
        torch.arange(5).int()
        torch.arange(2).int()
        torch.ones(5, dtype=torch.bool).int()
    assert conversions.seen == [(torch.int64, [5])]
