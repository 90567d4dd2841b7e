"""Training on parts of a graph."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_runs import interrupted, ready

import gcl
from gcl.core.adjacency import Adjacency
from gcl.core.context import Batch, Clock
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.resolve import describe, resolve
from gcl.core.streams import Streams
from gcl.core.view import View
from gcl.data.load import load_dataset
from gcl.encoders.gcn import GCN
from gcl.methods.costa import COSTA
from gcl.methods.csgcl import CSGCL
from gcl.methods.grace import GRACE
from gcl.regularizers.regularizer import Regularizer
from gcl.train.community_batches import CommunityBatches
from gcl.train.neighbor_batches import NeighborBatches
from gcl.train.walk_batches import WalkBatches

SMALL = {"encoder": {"name": "gcn", "out_channels": 8}, "projector": {"name": "mlp", "hidden_channels": 8}}
STILL = {"view1": {}, "view2": {}}  # nothing is dropped
SOURCES = [
    {"name": "neighbors", "batch_size": 10, "fanout": [3, 2]},
    {"name": "communities", "batch_size": 10},
    {"name": "walks", "batch_size": 12, "walk_length": 2},
]
TWO_VIEW = ["grace", "csgcl", "gca", "progcl", "costa", "two_view"]


@pytest.fixture
def graph():
    return load_dataset("karate").graph.for_training()


def epoch(source, graph, number=1, seed=0):
    return list(source(graph, Clock("train", number), Streams(seed)))


def same_arcs(part, graph):
    """Whether a part's arcs are those of the graph that their ids name."""
    adjacency, whole = part.adjacency, graph.adjacency
    nodes, arcs = part.node_id["node"], adjacency.arc_ids()
    return torch.equal(nodes[adjacency.row.long()], whole.row.long()[arcs]) and torch.equal(
        nodes[adjacency.col.long()], whole.col.long()[arcs]
    )


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["name"])
def test_parts_follow_the_counters_alone_and_lead_back_to_the_graph(source, graph):
    graph = graph.with_node_attrs(number=torch.arange(34) * 10)
    first, again = resolve("batch", source), resolve("batch", source)
    epoch(again, graph, 2)  # what was drawn before does not matter
    batches, same, other = epoch(first, graph), epoch(again, graph), epoch(first, graph, 2)
    assert len(batches) > 1
    for one, two in zip(batches, same, strict=True):
        assert torch.equal(one.graph.node_id["node"], two.graph.node_id["node"])
        assert torch.equal(one.graph.adjacency.arc_ids(), two.graph.adjacency.arc_ids())
    assert any(
        one.graph.node_id["node"].tolist() != two.graph.node_id["node"].tolist()
        for one, two in zip(batches, other, strict=False)
    )
    for batch in batches:
        nodes = batch.graph.node_id["node"]
        assert nodes.unique().numel() == nodes.numel() == batch.graph.num_nodes
        assert torch.equal(batch.graph.x, graph.x[nodes])
        assert torch.equal(batch.graph.attr("number"), nodes * 10)
        assert same_arcs(batch.graph, graph)
    assert describe(first) == describe(resolve("batch", describe(first)))


def test_every_node_is_a_seed_once_an_epoch(graph):
    batches = epoch(NeighborBatches(batch_size=10, fanout=[2]), graph)
    assert [batch.index.numel() for batch in batches] == [9, 9, 8, 8]
    seeds = torch.cat([batch.graph.node_id["node"][batch.index] for batch in batches])
    assert sorted(seeds.tolist()) == list(range(34))


def test_every_node_is_in_one_part_with_all_edges_among_its_own(graph):
    batches = epoch(CommunityBatches(batch_size=10), graph)
    nodes = [batch.graph.node_id["node"] for batch in batches]
    assert sorted(torch.cat(nodes).tolist()) == list(range(34))
    for batch, own in zip(batches, nodes, strict=True):
        assert batch.index is None
        inside = torch.isin(graph.adjacency.row.long(), own) & torch.isin(graph.adjacency.col.long(), own)
        assert sorted(batch.graph.adjacency.arc_ids().tolist()) == inside.nonzero().squeeze(1).tolist()


def test_a_community_larger_than_a_batch_is_cut(graph):
    assert max(batch.graph.num_nodes for batch in epoch(CommunityBatches(batch_size=4), graph)) <= 8


def test_walks_stay_on_edges_and_an_epoch_has_as_many_steps_as_nodes(graph):
    batches = epoch(WalkBatches(batch_size=12, walk_length=2), graph)
    assert len(batches) == 3
    for batch in batches:
        assert 4 <= batch.graph.num_nodes <= 12
        assert bool((batch.graph.adjacency.row_ptr.diff() > 0).all())  # nobody is there who was not walked to


def test_with_all_neighbours_a_node_is_encoded_as_in_the_whole_graph():
    ring = torch.arange(40)
    edges = torch.stack([torch.cat([ring, ring]), torch.cat([(ring + 1) % 40, (ring + 7) % 40])])
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    graph = Graph.homogeneous(x, Adjacency.from_edge_index(edges, (40, 40)))
    encoder = GCN(out_channels=8)
    torch.manual_seed(0)
    encoder.build(graph.spec)
    whole = encoder(View.of(graph))
    batches = epoch(NeighborBatches(batch_size=5, fanout=[-1, -1, -1]), graph)
    assert all(batch.graph.num_nodes < 40 for batch in batches)
    for batch in batches:
        part = encoder(View.of(batch.graph))[batch.index]
        torch.testing.assert_close(part, whole[batch.graph.node_id["node"][batch.index]])


def test_the_loss_is_that_of_the_seeds_alone(graph):
    """Without augmentation and with all neighbours it is GRACE's loss of the rows of the whole graph's embeddings."""
    method, streams = ready(GRACE(augment=STILL, **SMALL), graph)
    for batch in epoch(NeighborBatches(batch_size=9, fanout=[-1, -1, -1]), graph):
        seeds = batch.graph.node_id["node"][batch.index]
        h = F.normalize(method.projector_(method.encoder_(View.of(graph))[seeds]).double())
        similar = torch.exp(h @ h.t() / 0.4)
        expected = -torch.log(similar.diag() / (2 * similar.sum(1) - similar.diag())).mean()
        output = method.training_step(batch, Clock("train", 1), streams)
        torch.testing.assert_close(output.loss.double(), expected, rtol=1e-5, atol=1e-6)
        assert output.weight == seeds.numel()
        output.loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


def test_anchors_are_chosen_among_the_seeds(graph):
    method, streams = ready(GRACE(augment=STILL, anchors=3, **SMALL), graph)
    (batch, *_) = epoch(NeighborBatches(batch_size=12, fanout=[-1, -1, -1]), graph)
    clock = Clock("train", 1)
    context = method.loss_context(batch, clock, streams, method._subset(batch, clock, streams))
    assert context.anchors.numel() == 3
    assert int(context.anchors.max()) < batch.index.numel()
    all_anchors, _ = ready(GRACE(augment=STILL, **SMALL), graph)
    losses = [
        float(method.training_step(batch, Clock("train", number), streams).loss.detach()) for number in range(1, 400)
    ]
    whole = float(all_anchors.training_step(batch, clock, streams).loss.detach())
    assert sum(losses) / len(losses) == pytest.approx(whole, rel=0.02)


def test_strengths_and_clusters_are_those_of_the_seeds(graph):
    method, streams = ready(CSGCL(**SMALL), graph)
    for source in SOURCES:
        for batch in epoch(resolve("batch", source), graph):
            clock = Clock("train", 1)
            context = method.loss_context(batch, clock, streams, method._subset(batch, clock, streams))
            nodes = batch.graph.node_id["node"]
            rows = nodes if batch.index is None else nodes[batch.index]
            assert torch.equal(context.node_weight, method.node_weight_[rows])
            assert torch.equal(context.clusters, method.clusters_[rows])


@pytest.mark.parametrize("method", TWO_VIEW)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["name"])
def test_every_method_of_two_views_trains_on_parts(method, source):
    options = {"epoch_start": 2} if method == "progcl" else {}
    trainer = {"epochs": 3, "batch": source}
    runs = [gcl.pipeline(method, "karate", trainer=trainer, floors=False, evaluate=False, **options) for _ in range(2)]
    first, second = (run.runs[0] for run in runs)
    assert first.fit["steps"] > 3
    assert torch.equal(first.outputs.main, second.outputs.main)  # one seed, one result
    assert first.outputs.main.shape[0] == 34


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["name"])
@pytest.mark.parametrize("loss", ["block_infonce", {"name": "block_infonce", "num_clusters": 4}, "nt_xent"])
def test_other_negatives_work_on_parts(source, loss):
    gcl.pipeline("grace", "karate", trainer={"epochs": 2, "batch": source}, loss=loss, floors=False, evaluate=False)


class Seen(Regularizer):
    """Keeps the contexts that it got."""

    takes_parts = True

    def __init__(self):
        super().__init__()
        self.contexts = []

    def forward(self, context):
        self.contexts.append(context)
        return context.projections[0].sum() * 0


def test_a_regulariser_gets_the_rows_that_the_loss_ran_on(graph):
    seen = Seen()
    method, streams = ready(GRACE(regularizer=seen, anchors=3, **SMALL), graph)
    for batch in epoch(NeighborBatches(batch_size=12, fanout=[2, 2]), graph):
        clock = Clock("train", 1)
        method.training_step(batch, clock, streams)
        context = method.loss_context(batch, clock, streams, batch.index)
        assert torch.equal(method.regularizer_.contexts[-1].index, batch.index[context.anchors])
        assert method.regularizer_.contexts[-1].graph is batch.graph
    whole, _ = ready(GRACE(regularizer=Seen(), **SMALL), graph)
    whole.training_step(batch, clock, streams)
    assert torch.equal(whole.regularizer_.contexts[-1].index, batch.index)


def test_costa_sketches_the_seeds_alone(graph):
    method, streams = ready(COSTA(sketch_ratio=1.0, **SMALL), graph)
    for batch in epoch(NeighborBatches(batch_size=9, fanout=[3, 3]), graph):
        clock = Clock("train", 1)
        assert torch.equal(method._subset(batch, clock, streams), batch.index)
        z = tuple(method.encoder_(View.of(batch.graph)) for _ in range(2))
        rows = method.contrasted(z, batch.index, clock, streams)
        assert rows[0].shape == (batch.index.numel(), 8)
        output = method.training_step(batch, clock, streams)
        assert output.weight == batch.index.numel()


@pytest.mark.parametrize("name", ["edge_drop", "adaptive_edge_drop", "communal_edge_drop"])
def test_an_edge_and_its_reverse_go_together_in_a_sampled_part_too(graph, name):
    edge = {"name": name, "drop_prob": 0.5, "symmetric": True}
    method, streams = ready(GRACE(augment={"view1": {"edge": edge}, "view2": {"edge": edge}}, **SMALL), graph)
    pairs = 0
    for batch in epoch(NeighborBatches(batch_size=10, fanout=[4, 4]), graph):
        method.training_step(batch, Clock("train", 1), streams)
        view = method.augmenters_[0](batch.graph, generator=streams.generator("augment", 0, 1, 0, 0))
        adjacency = view.relation()
        kept = dict(
            zip(zip(adjacency.row.tolist(), adjacency.col.tolist(), strict=True), adjacency.keep.tolist(), strict=True)
        )
        both = [(i, j) for i, j in kept if (j, i) in kept and i < j]
        pairs += len(both)
        assert all(kept[i, j] == kept[j, i] for i, j in both)
        assert 0 < sum(kept.values()) < len(kept)
    assert pairs > 5
    one_way = Graph.homogeneous(graph.x, Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 2]]), (34, 34)))
    with pytest.raises(DataError, match="needs an undirected graph"):
        ready(GRACE(augment={"view1": {"edge": edge}, "view2": {"edge": edge}}, **SMALL), one_way)


def test_an_object_of_ones_own_is_fresh_for_every_seed():
    class Counting:
        """Every call gives smaller parts."""

        def __init__(self):
            self.calls = 1

        def __call__(self, graph, clock, streams):
            self.calls += 1
            yield from NeighborBatches(batch_size=40 // self.calls)(graph, clock, streams)

    options = {"floors": False, "evaluate": False}
    both = gcl.pipeline("grace", "karate", seeds=[0, 5], trainer={"epochs": 2, "batch": Counting()}, **options)
    alone = gcl.pipeline("grace", "karate", seeds=[5], trainer={"epochs": 2, "batch": Counting()}, **options)
    assert torch.equal(both.runs[1].outputs.main, alone.runs[0].outputs.main)


def test_communities_follow_the_seed(graph):
    source = CommunityBatches(batch_size=10)
    epoch(source, graph, seed=0)
    again, fresh = epoch(source, graph, seed=1), epoch(CommunityBatches(batch_size=10), graph, seed=1)
    for one, two in zip(again, fresh, strict=True):
        assert torch.equal(one.graph.node_id["node"], two.graph.node_id["node"])


def test_sparse_features_go_along():
    graph = load_dataset("karate").graph.for_training()
    assert isinstance(graph.features["node"], Adjacency)
    for source in SOURCES:
        for batch in epoch(resolve("batch", source), graph):
            part = batch.graph.features["node"]
            assert isinstance(part, Adjacency)
            assert torch.equal(part.to_dense(), graph.features["node"].to_dense()[batch.graph.node_id["node"]])
            assert torch.equal(part.t().to_dense(), part.to_dense().t())


def test_a_run_stopped_inside_an_epoch_resumes_bit_for_bit(tmp_path):
    settings = {"trainer": {"epochs": 3, "batch": SOURCES[0]}, "floors": False, "evaluate": False}
    whole = gcl.pipeline("csgcl", "karate", out=tmp_path / "whole", **settings)
    with interrupted(CSGCL, at=6) as seen:
        gcl.pipeline("csgcl", "karate", out=tmp_path / "broken", **settings)
    assert (seen[-1].epoch, seen[-1].batch) == (2, 1)
    resumed = gcl.resume(tmp_path / "broken")
    assert torch.equal(resumed.runs[0].outputs.main, whole.runs[0].outputs.main)
    assert resumed.runs[0].fit["steps"] == whole.runs[0].fit["steps"] == 12


@pytest.mark.parametrize(
    ("method", "batch", "message"),
    [
        ("pamc", "neighbors", "PamC makes its own batches"),
        ("grace", object(), "trainer.batch is called with a graph, a clock and streams"),
        ("grace", {"name": "neighbors", "batch_size": 1}, "batch_size must be a whole number from 2"),
        ("grace", {"name": "neighbors", "fanout": [0]}, "fanout must list"),
        ("grace", {"name": "walks", "walk_length": 0}, "walk_length must be a whole number from 1"),
        ("grace", {"name": "walks", "batch_size": 3, "walk_length": 3}, "for a walk of 3 steps"),
        ("grace", {"name": "communities", "batch_size": 2.5}, "batch_size must be a whole number"),
        ("grace", "neighbours", "did you mean 'neighbors'"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(method, batch, message, tmp_path):
    options = {"num_clusters": 2} if method == "pamc" else {}
    with pytest.raises(ConfigError, match=message):
        gcl.pipeline(method, "karate", trainer={"batch": batch}, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regularizer": "pot"}, "POT is made for the whole graph"),
        ({"node_order": "community"}, "node_order is of the whole graph"),
        ({"loss": {"name": "weighted_infonce", "num_clusters": [20]}}, "20 clusters cannot be made of 10 nodes"),
    ],
)
def test_what_says_nothing_of_parts_is_refused(options, message, tmp_path):
    trainer = {"batch": {"name": "neighbors", "batch_size": 10}}
    with pytest.raises(ConfigError, match=message):
        gcl.pipeline("grace", "karate", trainer=trainer, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_an_argument_of_a_part_is_looked_for_in_the_parts():
    for key, trainer in (("batch_size", {}), ("fanout", {"batch": "neighbors"})):
        with pytest.raises(ConfigError, match=rf"did you mean 'trainer\.batch\.{key}'"):
            gcl.pipeline("grace", "karate", trainer=trainer, **{key: 3})
    with pytest.raises(ConfigError, match="unknown key 'num_clusters'; known"):
        gcl.pipeline("grace", "karate", loss={"temperature": 0.3}, num_clusters=5)
    with pytest.raises(ConfigError, match=r"did you mean 'trainer\.batch\.fanout'"):
        gcl.pipeline("grace", "karate", trainer={"batch": "neighbors", "fanout": [3]})
    with pytest.raises(ConfigError, match=r"did you mean 'loss\.temperature'"):
        gcl.pipeline("grace", "karate", temperature=0.2)


def test_a_graph_with_a_batch_by_hand():
    graph = load_dataset("karate").graph.for_training()
    method, streams = ready(GRACE(**SMALL), graph)
    index = torch.tensor([3, 5, 8])
    anchored = method.training_step(Batch(graph, index), Clock("train", 1), streams)
    alone = method.training_step(Batch(graph, index, index_only=True), Clock("train", 1), streams)
    assert float(alone.loss.detach()) < float(anchored.loss.detach())  # three keys in place of 34
