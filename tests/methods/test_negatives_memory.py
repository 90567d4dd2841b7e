"""Negatives from a memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from method_runs import interrupted
from torch import nn

import gcl
from gcl.core.context import Clock, LossContext, MoreKeys
from gcl.core.errors import ConfigError
from gcl.core.streams import Streams
from gcl.core.view import View
from gcl.data.load import load_dataset
from gcl.losses.infonce import InfoNCE
from gcl.losses.nt_xent import NTXent
from gcl.losses.team_up import TeamUp
from gcl.methods.cluster_means import ClusterMeans
from gcl.methods.grace import GRACE
from gcl.methods.recent_rows import RecentRows
from gcl.methods.slow_copy import SlowCopy
from gcl.train.neighbor_batches import NeighborBatches

N, M, D, TEMPERATURE = 7, 5, 4, 0.4


def rows(count, seed, dtype=torch.float64):
    return F.normalize(torch.randn(count, D, generator=torch.Generator().manual_seed(seed), dtype=dtype))


def dense(h1, h2, more, anchors, *, intra=True, bias=None, more_bias=None):
    """The textbook loss with one matrix of all pairs."""
    counts = torch.ones(M, dtype=h1.dtype) if more.counts is None else more.counts.to(h1.dtype)
    bias = torch.zeros(N, dtype=h1.dtype) if bias is None else bias
    more_bias = torch.zeros(M, dtype=h1.dtype) if more_bias is None else more_bias
    total = h1.new_zeros(())
    for own, other, far, near in ((h1, h2, more.rows[1], more.rows[0]), (h2, h1, more.rows[0], more.rows[1])):
        terms = [((own @ other.t() + bias) / TEMPERATURE).exp()]
        terms.append(counts * ((own @ far.t() + more_bias) / TEMPERATURE).exp())
        if intra:
            terms.append(((own @ own.t() + bias) / TEMPERATURE).exp() * (1 - torch.eye(N, dtype=h1.dtype)))
            terms.append(counts * ((own @ near.t() + more_bias) / TEMPERATURE).exp())
        positive = ((own * other).sum(1) + bias) / TEMPERATURE
        loss = torch.cat(terms, dim=1).sum(1).log() - positive
        total = total + (loss if anchors is None else loss[anchors]).mean() / 2
    return total


@pytest.mark.parametrize("anchors", [None, torch.tensor([1, 4, 6])])
@pytest.mark.parametrize("counts", [None, torch.tensor([1, 3, 2, 50, 7])])
@pytest.mark.parametrize("name", ["infonce", "nt_xent", "inter_view", "team_up"])
def test_further_keys_join_the_sum_as_often_as_they_count(name, counts, anchors):
    z1, z2 = (rows(N, seed).requires_grad_() for seed in (0, 1))
    strength, more_strength = rows(N, 4)[:, 0].abs(), rows(M, 5)[:, 0].abs()
    more = MoreKeys((rows(M, 2), rows(M, 3)), counts, more_strength)
    context = LossContext(epoch=150, anchors=anchors, more_keys=more, node_weight=strength)
    loss = {
        "infonce": InfoNCE(TEMPERATURE),
        "nt_xent": NTXent(TEMPERATURE),
        "inter_view": InfoNCE(TEMPERATURE, intra_view=False),
        "team_up": TeamUp(TEMPERATURE, ramp_start=100, ramp_length=100),
    }[name]
    options = {"bias": 0.5 * strength, "more_bias": 0.5 * more_strength} if name == "team_up" else {}
    expected = dense(F.normalize(z1), F.normalize(z2), more, anchors, intra=name != "inter_view", **options)
    value = loss(z1, z2, context=context)
    torch.testing.assert_close(value, expected)
    found, wanted = (torch.autograd.grad(number, (z1, z2)) for number in (value, expected))
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two)


def test_the_weight_of_further_keys_is_asked_for():
    more = MoreKeys((rows(M, 2), rows(M, 3)))
    context = LossContext(epoch=1, more_keys=more, node_weight=torch.ones(N))
    with pytest.raises(ConfigError, match="node_weight of further keys"):
        TeamUp()(rows(N, 0), rows(N, 1), context=context)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 9), st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True), max_size=8))
def test_the_latest_of_so_many_nodes_are_remembered_each_once(size, steps):
    memory = RecentRows(size=size).build(1, 10, None, torch.arange(10) * 10.0)
    met: dict[int, int] = {}  # the last step that each node was put in
    for step, nodes in enumerate(steps):
        values = torch.full((len(nodes), 1), float(step) + 1)
        memory.put(torch.tensor(nodes), (values, -values))
        kept = nodes if len(nodes) <= size else [nodes[at * len(nodes) // size] for at in range(size)]
        met |= dict.fromkeys(kept, step)
        for node in set(nodes) - set(kept):  # there was no room for it
            met.pop(node, None)
    found = memory.keys(torch.tensor([], dtype=torch.int64))
    held = [] if found is None else (found.node_weight / 10).long().tolist()
    assert len(set(held)) == len(held) == min(size, len(met))
    forgotten = [step for node, step in met.items() if node not in held]
    assert all(met[node] >= max(forgotten, default=-1) for node in held)
    for asked in ([0, 3, 5], list(range(10))):
        part = memory.keys(torch.tensor(asked))
        assert sorted([] if part is None else (part.node_weight / 10).long().tolist()) == sorted(set(held) - {*asked})


def test_rows_are_those_of_the_step_that_a_node_was_met_in_last():
    memory = RecentRows(size=4).build(2, 10, None, torch.arange(10.0))
    first, second = torch.tensor([1, 2, 3]), torch.tensor([3, 7])
    one, two = torch.tensor([[3.0, 4.0]] * 3), torch.tensor([[0.0, 2.0]] * 2)
    memory.put(first, (one, -one))
    memory.put(second, (two, -two))
    found = memory.keys(torch.tensor([9]))
    rows = dict(zip(found.node_weight.long().tolist(), found.rows[0].tolist(), strict=True))
    assert set(rows) == {1, 2, 3, 7}
    assert rows[1] == pytest.approx([0.6, 0.8])  # of length 1
    assert rows[3] == rows[7] == [0.0, 1.0]
    assert torch.equal(found.rows[1], -found.rows[0])
    memory.put(torch.tensor([0, 4]), (two, two))  # in place of 1 and 2
    assert sorted(memory.keys(torch.tensor([9])).node_weight.tolist()) == [0, 3, 4, 7]


def test_of_more_nodes_than_there_is_room_for_evenly_spaced_ones_are_kept():
    memory = RecentRows(size=5).build(1, 100, None, torch.arange(100.0))
    memory.put(torch.arange(100), (torch.ones(100, 1), torch.ones(100, 1)))
    assert memory.keys(torch.tensor([1])).node_weight.tolist() == [0, 20, 40, 60, 80]


def test_means_of_communities_are_those_of_the_last_pass_and_count_who_is_not_there():
    clusters = torch.tensor([0, 0, 1, 1, 1, 2, 0])
    memory = ClusterMeans().build(D, 7, clusters, torch.tensor([1.0, 3, 5, 5, 5, 2, 2]))
    assert memory.keys(torch.tensor([0])) is None  # nothing is known yet
    h = (rows(7, 0, torch.float32), rows(7, 1, torch.float32))
    for nodes in ([0, 2], [1, 3, 4], [6]):
        index = torch.tensor(nodes)
        memory.put(index, (h[0][index], h[1][index]))
    found = memory.keys(torch.tensor([0, 3]))
    assert found.counts.tolist() == [2, 2]  # cluster 2 was not met
    assert found.node_weight.tolist() == [2, 5]
    for view in (0, 1):
        for cluster in (0, 1):
            torch.testing.assert_close(found.rows[view][cluster], h[view][clusters == cluster].mean(0))
    whole = memory.keys(torch.tensor([0, 1, 6]))
    assert whole.counts.tolist() == [3]  # of cluster 0 all are there
    again = (h[0].flip(1), h[1])
    memory.put(torch.arange(7), again)  # a whole pass takes the place of what was
    for cluster in (0, 1, 2):
        torch.testing.assert_close(memory.means_[0, cluster], again[0][clusters == cluster].mean(0))


def test_means_bound_the_loss_over_all_nodes_from_below():
    h1, h2 = rows(N, 0), rows(N, 1)
    others, clusters = (rows(40, 2), rows(40, 3)), torch.arange(40) % 4
    exact = InfoNCE(TEMPERATURE)(h1, h2, context=LossContext(more_keys=MoreKeys(others)))
    memory = ClusterMeans().build(D, 40 + N, torch.cat([clusters, torch.full((N,), 4)]), None)
    memory.double().put(torch.arange(40), others)
    bound = InfoNCE(TEMPERATURE)(h1, h2, context=LossContext(more_keys=memory.keys(torch.arange(40, 40 + N))))
    without = InfoNCE(TEMPERATURE)(h1, h2)
    assert float(without) < float(bound) <= float(exact)
    one_each = ClusterMeans().build(D, 40 + N, torch.arange(40 + N), None).double()
    one_each.put(torch.arange(40), others)
    context = LossContext(more_keys=one_each.keys(torch.arange(40, 40 + N)))
    torch.testing.assert_close(InfoNCE(TEMPERATURE)(h1, h2, context=context), exact)


def test_a_slow_copy_follows_by_its_momentum():
    fast = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    slow = SlowCopy(fast)
    before = [parameter.clone() for parameter in fast.parameters()]
    with torch.no_grad():
        for parameter in fast.parameters():
            parameter += 1
        fast[1].running_mean.fill_(5)
    slow.follow(fast, momentum=0.75)
    for old, own in zip(before, slow.copies_.parameters(), strict=True):
        torch.testing.assert_close(own, old + 0.25)
        assert not own.requires_grad
    assert slow.copies_[0][1].running_mean.tolist() == [5, 5]


@pytest.mark.parametrize("memory", [{"name": "recent", "size": 12}, "clusters"])
@pytest.mark.parametrize("method", ["grace", "csgcl", "gca"])
def test_methods_train_with_a_memory_on_parts_and_on_subsets(method, memory):
    options = {"memory": memory, "floors": False, "evaluate": False}
    parts = gcl.pipeline(
        method, "karate", trainer={"epochs": 3, "batch": {"name": "neighbors", "batch_size": 10}}, **options
    )
    chosen = gcl.pipeline(method, "karate", trainer={"epochs": 3}, subset=10, **options)
    for result in (parts, chosen):
        assert bool(result.runs[0].outputs.main.isfinite().all())


def test_a_run_with_a_memory_resumes_bit_for_bit(tmp_path):
    trainer = {"epochs": 3, "batch": {"name": "neighbors", "batch_size": 10, "fanout": [3, 3]}}
    settings = {"memory": {"name": "recent", "size": 15}, "trainer": trainer, "floors": False, "evaluate": False}
    whole = gcl.pipeline("grace", "karate", out=tmp_path / "whole", **settings)
    with interrupted(GRACE, at=7):
        gcl.pipeline("grace", "karate", out=tmp_path / "broken", **settings)
    resumed = gcl.resume(tmp_path / "broken")
    assert torch.equal(resumed.runs[0].outputs.main, whole.runs[0].outputs.main)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("progcl", {"memory": "recent"}, "ProGCLLoss takes no negatives from a memory"),
        ("grace", {"memory": "recent", "loss": "block_infonce"}, "BlockInfoNCE takes no negatives from a memory"),
        ("costa", {"memory": "recent"}, "COSTA contrasts rows of a sketch"),
        ("grace", {"memory": "recent"}, "a memory is of nodes that are not in the step"),
        ("grace", {"memory": "recent", "anchors": 5}, "a memory is of nodes that are not in the step"),
        ("grace", {"memory": {"name": "recent", "size": 0}}, "size of the memory must be a whole number from 1"),
        ("grace", {"memory": {"name": "clusters", "momentum": 1.0}}, "momentum must be from 0 and below 1"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(method, options, message):
    parts = {} if "a memory is of" in message else {"batch": {"name": "neighbors", "batch_size": 10}}
    with pytest.raises(ConfigError, match=message):
        gcl.pipeline(method, "karate", trainer={"epochs": 1, **parts}, **options)


@pytest.mark.parametrize("memory", [{"name": "recent", "size": 9}, "clusters"])
def test_a_step_contrasts_with_the_slow_copy_and_with_what_is_remembered(memory):
    """Six steps against a dense loss in float64 from the method's own modules."""
    graph = load_dataset("karate").graph.for_training()
    small = {"encoder": {"name": "gcn", "out_channels": 8}, "projector": {"name": "mlp", "hidden_channels": 8}}
    method = GRACE(memory=memory, augment={"view1": {}, "view2": {}}, **small)
    streams = Streams(0)
    prepared = method.prepare(graph, streams)
    with streams.scope("init"):
        method.build(graph.spec, prepared)
    source, remembered = NeighborBatches(batch_size=10, fanout=[3, 2]), 0
    optimizer = torch.optim.SGD([parameter for parameter in method.parameters() if parameter.requires_grad], lr=0.5)
    for epoch in (1, 2):
        for number, batch in enumerate(source(graph, Clock("train", epoch), streams)):
            if number == 3:
                break
            nodes = batch.graph.node_id["node"][batch.index]
            view, slow = View.of(batch.graph), method.remembered_.slow_.copies_
            h = F.normalize(method.projector_(method.encoder_(view)[batch.index])).double()
            k = F.normalize(slow[1](slow[0](view)[batch.index])).double()
            more = method.remembered_.memory_.keys(nodes)
            far = [] if more is None else [part.double() for part in more.rows]
            counts = torch.ones(0) if more is None else torch.ones(far[0].shape[0])
            counts = counts if more is None or more.counts is None else more.counts
            remembered += counts.numel()
            expected = 0.0
            for first, second in ((h, k), (k, h)):  # the views are equal here: each side once by each copy
                rows = torch.cat([first, second])
                keys = torch.cat([rows, *far])
                weight = torch.cat([torch.ones(len(rows)), *[counts] * len(far)]).double()
                terms = weight * (rows @ keys.t() / 0.4).exp()
                own = torch.arange(len(rows))
                terms[own, own] = 0
                positive = (first * second).sum(1).repeat(2) / 0.4
                expected = expected + (terms.sum(1).log() - positive).mean() / 2
            before = [parameter.clone() for parameter in slow.parameters()]
            output = method.training_step(batch, Clock("train", epoch, number), streams)
            torch.testing.assert_close(output.loss.double(), expected, rtol=1e-5, atol=1e-6)
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()
            method.after_step(Clock("train", epoch, number))
            trained = [*method.encoder_.parameters(), *method.projector_.parameters()]
            for old, own_slow, fast in zip(before, slow.parameters(), trained, strict=True):
                torch.testing.assert_close(own_slow, 0.95 * old + 0.05 * fast)
            held = method.remembered_.memory_.keys(torch.tensor([], dtype=torch.int64))
            assert held is not None
    assert remembered > 0


def test_a_memory_changes_what_is_learned():
    trainer = {"epochs": 3, "batch": {"name": "neighbors", "batch_size": 10}}
    found = [
        gcl.pipeline("grace", "karate", trainer=trainer, memory=memory, floors=False, evaluate=False)
        .runs[0]
        .outputs.main
        for memory in (None, {"name": "recent", "size": 4}, {"name": "recent", "size": 12}, "clusters")
    ]
    for at, one in enumerate(found):
        for other in found[at + 1 :]:
            assert not torch.equal(one, other)
