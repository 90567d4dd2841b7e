"""ProGCL as a method: when it fits, what it keeps, and that weights follow their nodes."""

from __future__ import annotations

import pytest
import torch
from method_runs import ready

import gcl
from gcl.core.context import Batch, Clock
from gcl.core.errors import ConfigError
from gcl.data.load import load_dataset
from gcl.methods.progcl import POINTS, ProGCL
from gcl.ops.beta_mixture import BetaMixture
from gcl.ops.node_order import reorder_nodes
from gcl.run.pipeline import resume

SMALL = {"encoder": {"name": "gcn", "out_channels": 8}, "projector": {"name": "mlp", "hidden_channels": 8}}


@pytest.fixture
def graph():
    return load_dataset("karate").graph.for_training()


def fitted(method, graph):
    method, streams = ready(method, graph)
    method.train()
    method.on_epoch_start(graph, Clock(epoch=method.epoch_start), streams)
    return method, streams


def test_it_is_gca_with_infonce_until_it_fits_once(graph):
    method, streams = ready(ProGCL(**SMALL, epoch_start=3), graph)
    plain, _ = ready(ProGCL(**SMALL, loss={"name": "infonce", "temperature": 0.2}, epoch_start=3), graph)
    for epoch in (1, 2):
        method.on_epoch_start(graph, Clock(epoch=epoch), streams)
        assert not bool(method.fitted_)
        losses = [m.training_step(Batch(graph), Clock(epoch=epoch), streams).loss for m in (method, plain)]
        assert torch.equal(*losses)
    method.on_epoch_start(graph, Clock(epoch=3), streams)
    kept = method.frozen_.clone()
    loss = method.training_step(Batch(graph), Clock(epoch=3), streams).loss
    assert not torch.equal(loss, plain.training_step(Batch(graph), Clock(epoch=3), streams).loss)
    with torch.no_grad():
        method.encoder_.layers_.weights[0].mul_(2)
    method.on_epoch_start(graph, Clock(epoch=4), streams)
    assert torch.equal(method.frozen_, kept)
    assert method.training


def test_weights_are_the_posterior_times_the_similarity(graph):
    method, streams = fitted(ProGCL(**SMALL, epoch_start=2), graph)
    f1, f2 = method.frozen_.double()
    columns = torch.randperm(34, generator=streams.generator("columns", 0, 2))
    for side, (row, col) in enumerate(((f1, f2), (f2, f1))):
        x = ((method.frozen_[side] @ method.frozen_[1 - side][columns].t() + 1) / 2).clamp(0, 1)
        mixture = BetaMixture.fit(x)
        a = row @ col.t()
        b = mixture.posterior((a + 1) / 2) * (a + 1) / 2
        position = (a + 1) / 2 * (POINTS - 1)
        cell = position.long().clamp(max=POINTS - 2)
        table = method.table_[side].double()
        found = table[cell] + (position - cell) * (table[cell + 1] - table[cell])
        torch.testing.assert_close(found, b, rtol=0, atol=5e-3)  # the density is steep near 1, where these all lie
        away = ~torch.eye(34, dtype=torch.bool)
        mean = torch.stack([found[i][away[i]].mean() for i in range(34)])
        torch.testing.assert_close(method.log_mean_[side].double(), mean.log(), rtol=0, atol=1e-3)


def test_a_subset_gets_the_weights_of_its_own_pairs(graph):
    method, streams = fitted(ProGCL(**SMALL, epoch_start=1, subset=6), graph)
    clock = Clock(epoch=5)
    subset = method._subset(Batch(graph), clock, streams)
    weights = method.loss_context(Batch(graph), clock, streams, subset).negative_weights
    assert torch.equal(weights.directions[0].row, method.frozen_[0][subset])
    assert torch.equal(weights.directions[1].col, method.frozen_[0][subset])
    assert torch.equal(weights.directions[1].log_mean, method.log_mean_[1][subset])
    method.training_step(Batch(graph), clock, streams).loss.backward()


def test_weights_follow_their_nodes_through_another_order(graph):
    method, streams = fitted(ProGCL(**SMALL, epoch_start=1), graph)
    order = torch.randperm(34, generator=torch.Generator().manual_seed(3))
    moved = reorder_nodes(graph, order)
    weights = method.loss_context(Batch(moved), Clock(epoch=2), streams).negative_weights
    assert torch.equal(weights.directions[0].row, method.frozen_[0][order])
    same = ProGCL(**SMALL, epoch_start=1, compat="pot-gcl")
    same, streams = fitted(same, graph)
    first, second = same.loss_context(Batch(graph), Clock(epoch=2), streams).negative_weights.directions
    assert first is second
    assert torch.equal(first.row, same.frozen_[1])


@pytest.mark.parametrize("mode", ["weight", "mix"])
@pytest.mark.parametrize("order", ["stored", "community"])
def test_a_run_interrupted_after_the_fit_ends_bit_for_bit_as_an_unbroken_one(tmp_path, monkeypatch, mode, order):
    settings = {
        **SMALL, "epoch_start": 2, "loss": {"name": "progcl", "mode": mode, "num_mixed": 5}, "node_order": order,
        "regularizer": {"name": "pot", "mode": "certified", "weight": 0.2},
        "augment": {"view1": {"feature": None}, "view2": {"feature": None}},
        "trainer": {"epochs": 5, "checkpoint_every": 1}, "evaluate": False, "floors": False,
    }  # fmt: skip
    whole = gcl.pipeline("progcl", "karate", out=tmp_path / "whole", **settings)
    step = ProGCL.training_step

    def interrupted(self, batch, clock, streams):
        if clock.epoch == 4:
            raise KeyboardInterrupt
        return step(self, batch, clock, streams)

    monkeypatch.setattr(ProGCL, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gcl.pipeline("progcl", "karate", out=tmp_path / "broken", **settings)
    monkeypatch.setattr(ProGCL, "training_step", step)
    fits = []
    fit = BetaMixture.fit
    monkeypatch.setattr(BetaMixture, "fit", lambda *args, **kwargs: fits.append(1) or fit(*args, **kwargs))
    again = resume(tmp_path / "broken")
    assert not fits
    assert torch.equal(again.outputs.main, whole.outputs.main)


def test_wrong_arguments_are_refused():
    for arguments in ({"epoch_start": 0}, {"initial_weight": 1.0}, {"em_steps": 0}, {"compat": "x"}):
        with pytest.raises(ConfigError, match=next(iter(arguments))):
            ProGCL(**arguments)
