"""Deep clustering: PamC, SCGC, SCGC* and SDCN."""

from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch

import gcl
from gcl.core.adjacency import Adjacency
from gcl.core.context import Batch, Clock, LossContext
from gcl.core.errors import ConfigError
from gcl.core.streams import Streams
from gcl.data.load import load_dataset
from gcl.evaluate.clustering import cluster_scores
from gcl.losses.neighbor_contrast import NeighborContrast
from gcl.losses.pamc import PamCLoss
from gcl.methods.deep_clustering import center_silhouette
from gcl.methods.pamc import PamC
from gcl.methods.scgc import SCGC
from gcl.methods.scgc_star import SCGCStar
from gcl.methods.sdcn import SDCN
from gcl.ops.soft_assignment import assignment_divergence, target_distribution
from gcl.ops.transition_weights import transition_weights

SMALL = {
    "num_clusters": 3,
    "embedding_dim": 4,
    "hidden_channels": (8, 6),
    "pretrain_epochs": 2,
    "pretrain_batch_size": 16,
    "history": 5,
}
METHODS = [PamC, SCGC, SCGCStar, SDCN]


@pytest.fixture(scope="module")
def graph():
    return load_dataset("node/karate").graph.for_training()


def ready(cls, graph, **options):
    method, streams = cls(**{**SMALL, **options}), Streams(0)
    torch.manual_seed(0)
    method.build(graph.spec, method.prepare(graph, streams))
    method.place_centers(graph, Clock("cluster", stage_index=1), streams)
    return method, streams


def joint(method, graph, streams, epoch=1):
    return method.training_step(Batch(graph), Clock("cluster", epoch=epoch, stage_index=1), streams)


def by_hand(method, graph):
    """Embeddings, soft assignment and target from plain formulas."""
    x = graph.features["node"]
    x = x if isinstance(x, torch.Tensor) else x.to_dense(torch.float32)
    z = x
    for index, layer in enumerate(method.encoder_.encoder_):
        z = layer(z) if index == len(method.encoder_.encoder_) - 1 else layer(z).relu()
    kernel = 1 / (1 + torch.cdist(z, method.centers_).square())
    q = kernel / kernel.sum(dim=1, keepdim=True)
    return x, z, q, target_distribution(q)


@pytest.mark.parametrize("cls", [PamC, SCGC, SCGCStar])
def test_the_joint_loss_is_the_sum_of_its_terms(cls, graph):
    method, streams = ready(cls, graph, contrast_weight=0.7, cluster_weight=1.3)
    x, z, q, p = by_hand(method, graph)
    hops = "power" if cls is SCGC else "cumulative"
    context = LossContext(positives=transition_weights(graph.adjacency, 4, hops=hops), clusters=q.argmax(dim=1))
    loss = PamCLoss(0.5) if cls is PamC else NeighborContrast(0.5 if cls is SCGC else 0.25)
    expected = 1.3 * assignment_divergence(p, q) + 0.7 * loss(z, context=context)
    if cls is SCGC:
        expected = expected + ((method.encoder_.decode(z) - x) ** 2).mean()
    found = joint(method, graph, streams)
    torch.testing.assert_close(found.loss, expected, rtol=1e-4, atol=1e-5)
    trained = {id(parameter) for parameter in method.joint_parameters()}
    assert (id(method.encoder_.decoder_[0].weight) in trained) == (cls is SCGC)
    assert id(method.centers_) in trained


def test_one_pass_an_epoch_is_the_program_that_makes_two(graph):
    method, streams = ready(PamC, graph, contrast_weight=0.7, cluster_weight=1.3)
    method.double()
    twin, _ = ready(PamC, graph)
    twin.double().load_state_dict(method.state_dict())
    optimizer = torch.optim.Adam(method.joint_parameters(), lr=1e-2)
    made = []
    for epoch in range(1, 6):
        optimizer.zero_grad()
        output = joint(method, graph, streams, epoch)
        output.loss.backward()
        optimizer.step()
        made.append((float(output.loss.detach()), method.history_[epoch - 1].long()))

    x = graph.features["node"]
    x = (x if isinstance(x, torch.Tensor) else x.to_dense(torch.float64)).double()
    gamma = transition_weights(graph.adjacency, twin.order).to_dense(torch.float64)
    k = len(twin.centers_)

    def assigned():
        z = x
        for index, layer in enumerate(twin.encoder_.encoder_):
            z = layer(z) if index == len(twin.encoder_.encoder_) - 1 else layer(z).relu()
        kernel = 1 / (1 + (z[:, None] - twin.centers_[None]).square().sum(dim=2))
        return z, kernel / kernel.sum(dim=1, keepdim=True)

    optimizer = torch.optim.Adam([*twin.encoder_.encoder_.parameters(), twin.centers_], lr=1e-2)
    for loss, labels in made:
        with torch.no_grad():  # the first pass: target and assignment
            _, q = assigned()
            p = q.square() / q.sum(dim=0)
            p = p / p.sum(dim=1, keepdim=True)
            own = q.argmax(dim=1)
        assert torch.equal(labels, own)
        z, q = assigned()  # the second
        unit = z / z.norm(dim=1, keepdim=True)
        similar = (unit @ unit.t()) * (1 - torch.eye(len(z)))
        positive = -(gamma * (0.5 * similar).exp()).sum(dim=1).log().mean()
        sums = torch.stack([z[own == c].sum(dim=0) for c in range(k) if bool((own == c).any())])
        sums = sums / sums.norm(dim=1, keepdim=True)
        between = (sums @ sums.t()) * (1 - torch.eye(len(sums)))
        negative = (0.5 * between).exp().sum(dim=1).log().mean()
        total = 1.3 * (p * (p / q).log()).sum() / len(z) + 0.7 * (positive + negative)
        assert loss == pytest.approx(float(total.detach()), rel=1e-9)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    for name, value in twin.named_parameters():
        torch.testing.assert_close(dict(method.named_parameters())[name], value, rtol=1e-6, atol=1e-9)


def test_sdcn_is_the_formula(graph):
    method, streams = ready(SDCN, graph)
    x, z, q, p = by_hand(method, graph)
    transition = transition_weights(graph.adjacency, 1).to_dense(torch.float32)
    hidden, state = method.encoder_.hidden(x), x
    for index, weight in enumerate(method.graph_weights_):
        state = transition @ (state if index == 0 else (state + hidden[index - 1]) / 2) @ weight.t()
        state = state if index == len(method.graph_weights_) - 1 else state.relu()
    assigned = state.softmax(dim=1)
    expected = (
        ((method.encoder_.decode(z) - x) ** 2).mean()
        + 0.1 * assignment_divergence(p, q)
        + 0.01 * assignment_divergence(p, assigned)
    )
    torch.testing.assert_close(joint(method, graph, streams).loss, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(method.outputs(graph).assignment, assigned, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", METHODS)
def test_training_is_reproducible_resumes_bit_for_bit_and_gives_an_assignment(cls, tmp_path, monkeypatch):
    name = {PamC: "pamc", SCGC: "scgc", SCGCStar: "scgc_star", SDCN: "sdcn"}[cls]

    def run(out=None, **options):
        return gcl.pipeline(name, "node/karate", seeds=[3], floors=False, trainer=TRAINER, out=out, **SMALL, **options)

    TRAINER = {"epochs": 4, "learning_rate": 1e-3, "checkpoint_every": 1}
    whole = run().runs[0].outputs
    assert whole.assignment.shape == (whole.main.shape[0], 3)
    torch.testing.assert_close(whole.assignment.sum(dim=1), torch.ones(len(whole.main)))
    assert whole.extras["epoch_assignments"].shape == (4, len(whole.main))

    step = cls.training_step

    def interrupted(self, batch, clock, streams):
        if clock.stage == "cluster" and clock.epoch == 3:
            raise KeyboardInterrupt
        return step(self, batch, clock, streams)

    with monkeypatch.context() as patch:
        patch.setattr(cls, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run")
    again = gcl.resume(tmp_path / "run").runs[0].outputs
    for ours, theirs in ((again.main, whole.main), (again.assignment, whole.assignment)):
        assert torch.equal(ours, theirs)
    assert torch.equal(again.extras["epoch_assignments"], whole.extras["epoch_assignments"])


def test_the_result_is_the_last_epoch_and_the_oracle_is_named_so():
    result = gcl.pipeline(
        "pamc", "node/karate", seeds=[0, 1], floors=False, trainer={"epochs": 3}, **{**SMALL, "history": 3}
    )
    report = result.scores["assignment"]["trained"]
    assert report.protocol == "assignment"
    for run, value in zip(result.runs, report.values["accuracy"], strict=True):  # of the weights after the last epoch
        y = load_dataset("node/karate").y
        assert value == cluster_scores(run.outputs.assignment.argmax(dim=1), y)["accuracy"]
        again = run.method.outputs(load_dataset("node/karate").graph.for_training()).assignment
        torch.testing.assert_close(again, run.outputs.assignment)
    for details, value in zip(report.details["by_seed"], report.values["accuracy"], strict=True):
        assert set(details) == {"clusters", "start", "by_silhouette", "by_modularity", "oracle"}
        assert 0 < value <= 1


def test_history_is_kept_before_the_update_and_only_as_far_as_asked(graph):
    method, streams = ready(PamC, graph, history=2)
    _, z, q, _ = by_hand(method, graph)
    joint(method, graph, streams)
    assert torch.equal(method.history_[0].long(), q.argmax(dim=1))
    squared = torch.cdist(z, method.centers_).square()
    assert float(method.label_free_[0, 0]) == pytest.approx(center_silhouette(squared, q.argmax(dim=1)), abs=1e-4)
    joint(method, graph, streams, epoch=3)
    assert int((~method.label_free_[:, 0].isnan()).sum()) == 1
    assert method.outputs(graph).extras["epoch_assignments"].shape == (1, graph.num_nodes)
    method, streams = ready(PamC, graph, history=0)
    joint(method, graph, streams)
    assert "epoch_assignments" not in method.outputs(graph).extras


def test_before_training_there_is_no_assignment(graph):
    method = PamC(**SMALL)
    method.build(graph.spec, method.prepare(graph, Streams(0)))
    assert method.outputs(graph).assignment is None


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
@pytest.mark.parametrize("name", ["pamc", "scgc", "scgc_star", "sdcn"])
def test_every_precision_takes_sparse_features(name, precision):
    trainer = {"epochs": 2, "precision": precision}
    result = gcl.pipeline(name, "node/karate", seeds=[0], floors=False, evaluate=False, trainer=trainer, **SMALL)
    assert result.outputs.main.isfinite().all()


def test_sdcn_follows_the_edges_of_another_graph(graph):
    method, _ = ready(SDCN, graph)
    before = method.outputs(graph).assignment
    edges = graph.adjacency.edge_index()
    fewer = Adjacency.from_edge_index(edges[:, (edges % 2 == 0).all(dim=0)], graph.adjacency.shape)
    other = dataclasses.replace(graph, relations={"edge": fewer})
    assert not torch.equal(method.outputs(other).assignment, before)
    assert torch.equal(method.outputs(graph).assignment, before)
    part = graph.subgraph(torch.arange(20))
    assert method.outputs(part).assignment.shape == (20, 3)


def test_sdcn_runs_its_graph_half_once_a_step_and_counts_its_own_clusters(graph, monkeypatch):
    method, streams = ready(SDCN, graph)
    calls, real = [], SDCN._graph_assignment
    monkeypatch.setattr(SDCN, "_graph_assignment", lambda self, *given: (calls.append(1), real(self, *given))[1])
    with torch.no_grad():
        method.graph_weights_[-1].zero_()
    output = joint(method, graph, streams)
    assert len(calls) == 1
    assert int(output.parts["clusters"]) == 1
    assert int(output.parts["largest_cluster"]) == graph.num_nodes


def test_the_silhouette_by_centres():
    squared = torch.tensor([[1.0, 4.0, 9.0], [16.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    expected = ((2 - 1) / 2 + (2 - 0) / 2 + 0) / 3
    assert center_silhouette(squared, torch.tensor([0, 2, 1])) == pytest.approx(expected)
    assert center_silhouette(squared[:, :1], torch.tensor([0, 0, 0])) == 0


def test_an_empty_cluster_does_no_harm(graph):
    method, streams = ready(PamC, graph)
    with torch.no_grad():
        method.centers_[1] = 1e6
    output = joint(method, graph, streams)
    assert int(output.parts["clusters"]) == 2
    output.loss.backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in method.parameters())


def test_clusters_are_counted_by_the_eigengap_where_no_number_is_given(graph):
    method = PamC(**{**SMALL, "num_clusters": None})
    with pytest.warns(UserWarning, match=r"the eigengap of the graph says \d+"):
        prepared = method.prepare(graph, Streams(0))
    assert len(method.build(graph.spec, prepared).centers_) == int(prepared.tensors["num_clusters"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ready(PamC, graph)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_clusters": 0}, "num_clusters"),
        ({"embedding_dim": 0}, "out_channels"),
        ({"pretrain_epochs": -1}, "pretrain_epochs"),
        ({"pretrain_learning_rate": 0.0}, "pretrain_learning_rate"),
        ({"history": -1}, "history"),
        ({"cluster_weight": -1.0}, "cluster_weight"),
        ({"contrast_weight": float("inf")}, "contrast_weight"),
        ({"pretrain_learning_rate": float("inf")}, "pretrain_learning_rate"),
        ({"order": 0}, "order"),
        ({"top": 0}, "top"),
        ({"hops": "all"}, "hops"),
        ({"num_walks": 0}, "num_walks"),
        ({"num_walks": 5, "top": 5}, "give one of them"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        PamC(**options)


def test_what_does_not_fit_the_graph_or_the_loss_is_refused_before_work(graph):
    with pytest.raises(ConfigError, match="cannot be made of"):
        PamC(num_clusters=10**6).check(graph.spec)
    with pytest.raises(ConfigError, match="takes no positives"):
        PamC(contrast="infonce").check(graph.spec)
    with pytest.raises(ConfigError, match="needs epoch, node_weight"):
        PamC(contrast="team_up").check(graph.spec)
    with pytest.raises(
        ConfigError,
        match="MultiPositive does not say views = 1 and so contrasts two; PamC contrasts neighbours on one view",
    ):
        PamC(contrast="multi_positive").check(graph.spec)


@pytest.mark.parametrize("cls", [PamC, SCGC, SCGCStar])
def test_positives_by_random_walks_are_few_and_come_from_the_seed(cls, graph):
    method = cls(**SMALL, num_walks=3, order=2)
    first, again, other = (method.prepare(graph, Streams(seed)).tensors for seed in (0, 0, 1))
    assert torch.equal(first["positives"], again["positives"])
    assert not torch.equal(first["positives"], other["positives"])
    assert int(first["positives"][1].bincount().max()) <= 3  # of each receiving node
    mass = torch.zeros(graph.num_nodes).index_add_(0, first["positives"][1], first["positives_weight"])
    torch.testing.assert_close(mass, torch.full_like(mass, 1.0 if cls is SCGC else 2.0))
    method, streams = ready(cls, graph, num_walks=3)
    assert bool(joint(method, graph, streams).loss.isfinite())


def test_what_is_not_contrasted_needs_no_positives(graph, monkeypatch):
    def refuse(*given, **options):
        raise AssertionError("too dense")

    monkeypatch.setattr("gcl.methods.contrastive_clustering.transition_weights", refuse)
    method, streams = ready(PamC, graph, contrast_weight=0.0)
    assert set(method.prepare(graph, streams).tensors) == {"num_clusters"}
    _, _, q, p = by_hand(method, graph)
    output = joint(method, graph, streams)
    assert "contrast" not in output.parts
    torch.testing.assert_close(output.loss, 2.0 * assignment_divergence(p, q), rtol=1e-4, atol=1e-5)
