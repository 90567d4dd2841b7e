"""The shares of a step that several processes take add up to the step of one, for every method that takes shares."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from gcl.core.adjacency import Adjacency
from gcl.core.classes import find_class, names
from gcl.core.context import Clock, LossContext
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.core.resolve import resolve
from gcl.core.streams import Streams
from gcl.losses.infonce import InfoNCE
from gcl.methods.contrastive_recommender import ContrastiveRecommender
from gcl.methods.grace import GRACE
from gcl.methods.metapath_contrast import MetaPathContrast
from gcl.methods.method import own_anchors
from gcl.methods.two_view import TwoView
from gcl.ops.rank_rows import own_rows
from gcl.train.neighbor_batches import NeighborBatches
from gcl.train.random_state import scope

N, FEATURES = 23, 6
CLOCK = Clock(epoch=1)
SMALL = {"encoder": {"name": "gcn", "out_channels": 8}, "projector": {"name": "mlp", "hidden_channels": 8}}
RECOMMENDER = {"embedding_dim": 4, "batch_size": 16}
METAPATH = {
    "metapaths": ["paper-author-paper"],
    "top": 6,
    "encoder": {"name": "metapath_context", "hidden_channels": 7, "out_channels": 5},
}
LOSSES = {  # of two views; what is left out takes no shares
    "infonce": {},
    "nt_xent": {},
    "team_up": {},
    "adaptive_infonce": {},
    "one_way_infonce": {},
    "weighted_infonce": {"num_clusters": [3]},
    "block_infonce": {"num_clusters": 4},
}
CASES = {
    **{f"grace, {name}": ("grace", {**SMALL, "loss": {"name": name, **more}}) for name, more in LOSSES.items()},
    "grace, PamC's proxy": ("grace", {**SMALL, "loss": {"name": "block_infonce", "proxy": "meta_nodes"}}),
    "grace, blocks of clusters": ("grace", {**SMALL, "loss": {"name": "block_infonce", "rows": "clusters"}}),
    "grace, anchors": ("grace", {**SMALL, "anchors": 7}),
    "grace, subset": ("grace", {**SMALL, "subset": 9}),
    "grace, memory": ("grace", {**SMALL, "subset": 9, "memory": {"name": "recent", "size": 12}}),
    "grace, POT": ("grace", {**SMALL, "regularizer": {"name": "pot", "batch_size": 10}}),
    "grace, in community order": ("grace", {**SMALL, "node_order": "community"}),
    "two_view": ("two_view", SMALL),
    "csgcl": ("csgcl", SMALL),
    "csgcl, anchors": ("csgcl", {**SMALL, "anchors": 10}),
    "gca": ("gca", SMALL),
    "costa": ("costa", SMALL),
    "progcl": ("progcl", {**SMALL, "epoch_start": 1, "loss": "progcl"}),
    "progcl, mix": ("progcl", {**SMALL, "epoch_start": 1, "loss": {"name": "progcl", "mode": "mix", "num_mixed": 5}}),
    "lightgcl": ("lightgcl", {**RECOMMENDER, "rank": 3}),
    "lightgcl, batch": ("lightgcl", {**RECOMMENDER, "rank": 3, "negatives": "batch"}),
    "lightgcl, sampled": ("lightgcl", {**RECOMMENDER, "rank": 3, "negatives": "sampled", "num_sampled": 5}),
    "lightgcl, anchors": ("lightgcl", {**RECOMMENDER, "rank": 3, "anchors": 4}),
    "lightgcl, team-up": ("lightgcl", {**RECOMMENDER, "rank": 3, "contrast": "team_up"}),
    "sgl": ("sgl", RECOMMENDER),
    "simgcl": ("simgcl", RECOMMENDER),
    "xsimgcl": ("xsimgcl", RECOMMENDER),
    "meow": ("meow", {**METAPATH, "loss": {"name": "weighted_infonce", "num_clusters": [3, 5]}}),
    "meow, warm": ("meow", {**METAPATH, "loss": {"name": "weighted_infonce", "num_clusters": [3], "warm_start": True}}),
    "adameow": ("adameow", METAPATH),
    "adameow, anchors": ("adameow", {**METAPATH, "anchors": 5}),
}
REFUSED = {"bpr_mf", "heco", "lightgcl_paper", "lightgcn", "sdcn"}
GATHER = {"pamc", "scgc", "scgc_star"}  # in real processes: see tests/train/test_ranks.py


def random_edges(num_rows, num_cols, share, seed=0):
    index = (torch.rand(num_rows, num_cols, generator=torch.Generator().manual_seed(seed)) < share).nonzero().t()
    return Adjacency.from_edge_index(index.flip(0), (num_rows, num_cols))


def graph_for(method):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(N, FEATURES, generator=generator, dtype=torch.float64)
    if isinstance(method, ContrastiveRecommender):
        return Graph(
            relations={"interaction": random_edges(14, 11, 0.35)},
            relation_types={"interaction": ("item", "user")},
            num_nodes_by_type={"user": 14, "item": 11},
            target="user",
        )
    if isinstance(method, MetaPathContrast):
        return Graph(
            features={"paper": x.abs()},
            relations={"writes": random_edges(N, 9, 0.3)},
            relation_types={"writes": ("author", "paper")},
            num_nodes_by_type={"paper": N, "author": 9},
            target="paper",
        )
    dense = torch.rand(N, N, generator=generator) < 0.2
    return Graph.homogeneous(
        x, Adjacency.from_edge_index((dense | dense.t()).fill_diagonal_(False).nonzero().t(), (N, N))
    )


def built(name, settings):
    method = resolve("method", {"name": name, **settings})
    graph, streams = graph_for(method), Streams(0)
    method.check(graph.spec)
    method.check_shares()
    with streams.scope("init"):
        method.build(graph.spec, method.prepare(graph, streams))
    method.double().train()
    method.on_epoch_start(graph, CLOCK, streams)
    return method, graph, streams


def one_step(method, batch, streams, rank, world):
    method = copy.deepcopy(method)  # each process has its own
    clock = dataclasses.replace(CLOCK, rank=rank, world=world)
    with scope(streams, "step", 0, 1, 0):
        output = method.training_step(batch, clock, streams)
        output.loss.backward()
        method.after_step(clock)
    buffers = dict(method.named_buffers())
    gradients = {name: value.grad for name, value in method.named_parameters() if value.grad is not None}
    return {"loss": output.loss.detach(), **output.parts}, gradients, (output.weight, buffers)


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def assert_shares_add_up(method, batch, streams, world):
    numbers, gradients, (weight, buffers) = one_step(method, batch, streams, 0, 1)
    shares = [one_step(method, batch, streams, rank, world) for rank in range(world)]
    for _, _, (own_weight, own_buffers) in shares:
        assert own_weight == weight
        for name, value in buffers.items():
            assert torch.equal(own_buffers[name], value), name
    for name, value in numbers.items():
        total = sum(float(share[0][name]) for share in shares)
        assert total == pytest.approx(float(value), rel=1e-9, abs=1e-12), name
    assert gradients
    for name, value in gradients.items():
        total = sum(share[1][name] for share in shares if name in share[1])
        torch.testing.assert_close(total, value, rtol=1e-7, atol=1e-10 * (1 + float(value.abs().max())), msg=name)
    assert len({float(share[0]["loss"]) for share in shares}) > 1  # there is something to share


@pytest.mark.filterwarnings("ignore:features are masked")
@pytest.mark.parametrize("world", [2, 3, 30])  # the last one leaves some without any
@pytest.mark.parametrize("case", CASES)
def test_shares_add_up_to_the_step_of_one_process(case, world):
    method, graph, streams = built(*CASES[case])
    assert_shares_add_up(method, next(iter(method.batches(graph, CLOCK, streams))), streams, world)


@pytest.mark.parametrize("name", ["grace", "csgcl"])
def test_shares_of_a_sampled_part_add_up(name):
    method, graph, streams = built(name, SMALL)
    batch = next(iter(NeighborBatches(batch_size=7, fanout=[3, 3])(graph, CLOCK, streams)))
    assert_shares_add_up(method, batch, streams, 3)


def test_more_processes_than_anchors():
    method, graph, streams = built("grace", {**SMALL, "anchors": 2})
    assert_shares_add_up(method, next(iter(method.batches(graph, CLOCK, streams))), streams, 4)


def test_every_method_takes_shares_or_refuses():
    taken = {name for name, _ in CASES.values()}
    assert taken | REFUSED | GATHER == set(names("method"))
    for name in REFUSED:
        with pytest.raises(ConfigError, match=r"leave out trainer\.devices"):
            find_class("method", name)().check_shares()
    with pytest.raises(ConfigError, match="does every step whole"):
        find_class("method", "simgcl")(contrast_weight=0.0).check_shares()


def test_a_loss_that_does_not_say_so_is_refused():
    class Changed(InfoNCE):
        def forward(self, z1, z2=None, *, context=None):
            return (z1 - z2).square().mean()

    class Harder(InfoNCE):
        takes_shares = True

        def negative_term(self, h1, h2, context):
            return 2 * super().negative_term(h1, h2, context)

    class Warmer(InfoNCE):
        @property
        def temperature(self):
            return 2.0

        @temperature.setter
        def temperature(self, value):
            pass

    for changed in (Changed, Warmer):
        with pytest.raises(ConfigError, match=f"{changed.__name__} of GRACE does not say takes_shares"):
            GRACE(loss=changed()).check_shares()
    GRACE(loss=Harder()).check_shares()

    class Own(torch.nn.Module):
        def forward(self, z1, z2=None, *, context=None):
            return (z1 - z2).square().mean()

    with pytest.raises(ConfigError, match="Own of GRACE does not say takes_shares"):
        GRACE(loss=Own()).check_shares()
    with pytest.raises(ConfigError, match="MultiPositive of TwoView"):
        TwoView(loss="multi_positive").check_shares()


@pytest.mark.parametrize(("rows", "world"), [(7, 1), (7, 2), (7, 3), (2, 5), (0, 2)])
def test_own_rows_share_rows_out_evenly(rows, world):
    whole = torch.arange(rows)
    parts = [own_rows(whole, Clock(rank=rank, world=world)) for rank in range(world)]
    assert torch.equal(torch.cat(parts), whole)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_counts_are_shared_out_with_their_anchors():
    context = LossContext(anchors=torch.tensor([4, 1, 0]), counts=torch.tensor([1, 5, 2]))
    shares = [own_anchors(context, torch.zeros(6, 2), Clock(rank=rank, world=2)) for rank in range(2)]
    assert [share.anchors.tolist() for share in shares] == [[4, 1], [0]]
    assert [share.counts.tolist() for share in shares] == [[1, 5], [2]]
    assert [share.num_anchors for share in shares] == [8, 8]
