"""Recommenders against dense float64 formulas, and what they all promise."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gcl.core.adjacency import Adjacency
from gcl.core.context import Batch, Clock, Prepared
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.resolve import resolve
from gcl.core.streams import Streams
from gcl.methods.bpr_mf import BPRMF
from gcl.methods.contrastive_recommender import ContrastiveRecommender
from gcl.methods.lightgcl import LightGCL
from gcl.methods.lightgcl_paper import LightGCLPaper
from gcl.methods.lightgcn import LightGCN
from gcl.methods.recommender import Recommender
from gcl.methods.sgl import SGL
from gcl.methods.simgcl import SimGCL, random_noise
from gcl.methods.xsimgcl import XSimGCL

M, N = 14, 11
CLOCK = Clock(epoch=1)
CLASSES = (BPRMF, LightGCN, LightGCL, LightGCLPaper, SGL, SimGCL, XSimGCL)
SMALL = {"embedding_dim": 4, "batch_size": 16}


def interactions(dense):
    index = torch.as_tensor(dense).nonzero().t()
    return Graph(
        relations={"interaction": Adjacency.from_edge_index(index.flip(0), tuple(dense.shape))},
        relation_types={"interaction": ("item", "user")},
        num_nodes_by_type={"user": dense.shape[0], "item": dense.shape[1]},
        target="user",
    )


def random_interactions(m=M, n=N, share=0.35, seed=0):
    """With a user who took nothing, an item nobody took, and a user who took every other item."""
    dense = torch.rand(m, n, generator=torch.Generator().manual_seed(seed)) < share
    dense[1], dense[:, 2] = False, False
    dense[3] = torch.arange(n) != 2
    return dense


def ready(method, graph, *, seed=0):
    """Prepared, built, and in double precision."""
    streams = Streams(seed)
    with streams.scope("init"):
        method.build(graph.spec, method.prepare(graph, streams))
    return method.double()


def first_batch(method, graph, streams=None):
    return next(iter(method.batches(graph, CLOCK, streams or Streams(0))))


def dense_operator(dense):
    """The block matrix of N_ui = 1 / sqrt(d_u d_i)."""
    r = dense.double()
    scale = [torch.where(d > 0, d, 1.0).rsqrt() for d in (r.sum(1), r.sum(0))]
    normalised = scale[0][:, None] * r * scale[1]
    m, n = r.shape
    block = torch.zeros(m + n, m + n, dtype=torch.float64)
    block[:m, m:], block[m:, :m] = normalised, normalised.t()
    return block


def dense_layers(operator, table, num_layers):
    layers = [table]
    for _ in range(num_layers):
        layers.append(operator @ layers[-1])
    return layers


def dense_bpr(z, batch):
    u, p, n = batch.index, batch.positives + M, batch.negatives + M
    return -torch.log(torch.sigmoid((z[u] * z[p]).sum(1) - (z[u] * z[n]).sum(1))).mean()


def gradient_of(loss, method):
    (slope,) = torch.autograd.grad(loss, method.embedding_, retain_graph=True)
    return slope


@pytest.fixture(scope="module")
def dense():
    return random_interactions()


@pytest.fixture(scope="module")
def graph(dense):
    return interactions(dense)


# -- all of them -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", CLASSES)
class TestEveryRecommender:
    def test_same_seed_same_step_and_the_global_generator_is_left_alone(self, cls, graph):
        before, losses = torch.random.get_rng_state(), []
        for _ in range(2):
            method = ready(cls(**SMALL), graph)
            losses.append(method.training_step(first_batch(method, graph), CLOCK, Streams(0)).loss)
        assert torch.equal(*losses)
        assert torch.equal(before, torch.random.get_rng_state())

    def test_a_step_has_gradients_and_finite_parts(self, cls, graph):
        method = ready(cls(**SMALL), graph)
        output = method.training_step(first_batch(method, graph), CLOCK, Streams(0))
        output.loss.backward()
        assert bool(method.embedding_.grad.isfinite().all())
        assert float(method.embedding_.grad.norm()) > 0
        assert all(math.isfinite(float(value)) for value in output.parts.values())

    def test_outputs_are_one_row_a_user_and_item_and_the_whole_epoch_goes_down(self, cls, graph):
        # the published weights are for large graphs, and drown the ranking here
        weight = {"contrast_weight": 0.01} if issubclass(cls, ContrastiveRecommender) else {}
        method = ready(cls(**weight, **SMALL), graph)
        optimizer = torch.optim.Adam(method.parameters(), 0.05)
        losses = []
        for epoch in range(1, 16):
            clock, total = Clock(epoch=epoch), 0.0
            for batch in method.batches(graph, clock, Streams(0)):
                optimizer.zero_grad()
                output = method.training_step(batch, clock, Streams(0))
                output.loss.backward()
                optimizer.step()
                total += float(output.parts["ranking"]) * output.weight
            losses.append(total)
        assert losses[-1] < 0.7 * losses[0]
        outputs = method.outputs(graph)
        assert {name: z.shape for name, z in outputs.embeddings.items()} == {"user": (M, 4), "item": (N, 4)}
        assert outputs.main is outputs.embeddings["user"]
        scores = outputs.embeddings["user"] @ outputs.embeddings["item"].t()
        taken = random_interactions()
        assert float(scores[taken].mean()) > float(scores[~taken].mean())

    def test_relabelling_users_and_items_relabels_the_embeddings(self, cls, dense):
        users, items = (torch.randperm(size, generator=torch.Generator().manual_seed(size)) for size in (M, N))
        one, two = interactions(dense), interactions(dense[users][:, items])
        first, second = ready(cls(**SMALL), one), ready(cls(**SMALL), two)
        rows = torch.cat([users, items + M])
        second.embedding_.data.copy_(first.embedding_.data[rows])
        z1, z2 = (method.outputs(graph).embeddings for method, graph in ((first, one), (second, two)))
        torch.testing.assert_close(z2["user"], z1["user"][users])
        torch.testing.assert_close(z2["item"], z1["item"][items])

    def test_refuses_what_is_no_interactions(self, cls):
        plain = Graph.homogeneous(torch.ones(3, 2), Adjacency.from_edge_index(torch.tensor([[0], [1]]), (3, 3)))
        with pytest.raises(DataError, match="users, items"):
            cls().check(plain.spec)

    def test_refuses_sizes_out_of_range(self, cls):
        for name in ("embedding_dim", "batch_size"):
            for value in (0, -1, True):
                with pytest.raises(ConfigError, match=name):
                    cls(**{name: value})


# -- triples -----------------------------------------------------------------------------------------------------------


def test_edge_sampling_uses_every_interaction_once_an_epoch(dense, graph):
    method = ready(LightGCL(**SMALL), graph)
    seen = []
    for batch in method.batches(graph, CLOCK, Streams(0)):
        assert batch.index.numel() <= 16
        assert not bool(dense[batch.index, batch.negatives].any())
        seen += list(zip(batch.index.tolist(), batch.positives.tolist(), strict=True))
    assert sorted(seen) == [tuple(pair) for pair in dense.nonzero().tolist()]


def test_a_user_who_took_everything_is_left_out(dense):
    full = dense.clone()
    full[3] = True
    graph = interactions(full)
    for cls in (LightGCL, LightGCN, LightGCLPaper):
        method = ready(cls(**SMALL), graph)
        users = torch.cat([batch.index for batch in method.batches(graph, CLOCK, Streams(0))])
        assert users.numel() > 0
        assert 3 not in users.tolist()


def test_user_sampling_is_uniform_over_users_who_took_something(dense, graph):
    method = ready(LightGCN(embedding_dim=2), graph)
    users, pairs = [], set()
    for epoch in range(1, 200):
        for batch in method.batches(graph, Clock(epoch=epoch), Streams(0)):
            users.append(batch.index)
            pairs |= set(zip(batch.index.tolist(), batch.positives.tolist(), strict=True))
    share = torch.bincount(torch.cat(users), minlength=M) / torch.cat(users).numel()
    active = dense.any(1)
    assert bool((share[~active] == 0).all())
    torch.testing.assert_close(
        share[active], torch.full((int(active.sum()),), 1 / int(active.sum())), atol=0.01, rtol=0
    )
    assert pairs == set(map(tuple, dense.nonzero().tolist()))


def test_epochs_and_seeds_draw_afresh_and_a_resumed_one_the_same(graph):
    method = ready(SGL(**SMALL), graph)

    def draw(epoch, seed):
        return torch.cat([b.negatives for b in method.batches(graph, Clock(epoch=epoch), Streams(seed))])

    assert torch.equal(draw(1, 0), draw(1, 0))
    assert not torch.equal(draw(1, 0), draw(2, 0))
    assert not torch.equal(draw(1, 0), draw(1, 1))


# -- LightGCN and BPR-MF -----------------------------------------------------------------------------------------------


def test_lightgcn_is_the_mean_of_its_layers_and_its_penalty_that_of_the_batch(dense, graph):
    method = ready(LightGCN(num_layers=2, l2=0.3, **SMALL), graph)
    batch = first_batch(method, graph)
    table = method.embedding_
    z = sum(dense_layers(dense_operator(dense), table, 2)) / 3
    rows = torch.cat([batch.index, batch.positives + M, batch.negatives + M])
    expected = dense_bpr(z, batch) + 0.3 * 0.5 * (table[rows] ** 2).sum() / batch.index.numel()
    loss = method.training_step(batch, CLOCK, Streams(0)).loss
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient_of(loss, method), gradient_of(expected, method))


def test_without_layers_lightgcn_is_matrix_factorisation(graph):
    one, two = ready(LightGCN(num_layers=0, **SMALL), graph), ready(BPRMF(**SMALL), graph)
    batch = first_batch(one, graph)
    losses = [method.training_step(batch, CLOCK, Streams(0)).loss for method in (one, two)]
    torch.testing.assert_close(*losses)


def test_initial_scales(graph):
    normal, xavier = ready(LightGCN(embedding_dim=400), graph), ready(LightGCL(embedding_dim=400, rank=2), graph)
    assert float(normal.embedding_.detach().std()) == pytest.approx(0.1, rel=0.05)
    for rows, size in ((xavier.embedding_.detach()[:M], M), (xavier.embedding_.detach()[M:], N)):
        bound = math.sqrt(6 / (size + 400))
        assert 0.98 * bound < float(rows.abs().max()) <= bound


# -- LightGCL ----------------------------------------------------------------------------------------------------------


def dense_lightgcl(method, dense, batch, *, temperature=0.2, view="svd"):
    """The released program's loss, by its formulas."""
    table, operator = method.embedding_, dense_operator(dense)
    layers = dense_layers(operator, table, method.num_layers)
    z = sum(layers)
    low = (method.svd_u_ * method.svd_s_) @ method.svd_v_.t()
    block = torch.zeros_like(operator)
    block[:M, M:], block[M:, :M] = low, low.t()
    second = table + block @ sum(layers[:-1]) if method.num_layers else table
    second = z if view == "self" else second
    total = dense_bpr(z, batch) + method.l2 * (table**2).sum()
    for rows, nodes in ((slice(0, M), batch.index), (slice(M, None), torch.cat([batch.positives, batch.negatives]))):
        logits = second[rows][nodes] @ z[rows].t() / temperature
        own = logits.gather(1, nodes[:, None]).squeeze(1)
        total = total + method.contrast_weight * ((logits.exp().sum(1) + 1e-8).log().mean() - own.clamp(-5, 5).mean())
    return total


@pytest.mark.parametrize("num_layers", [0, 1, 3])
@pytest.mark.parametrize("view", ["svd", "self"])
def test_lightgcl_equals_the_formulas(dense, graph, num_layers, view):
    method = ready(LightGCL(num_layers=num_layers, l2=0.01, rank=3, view=view, **SMALL), graph)
    if view == "self":
        method.svd_u_, method.svd_s_, method.svd_v_ = torch.zeros(M, 1), torch.zeros(1), torch.zeros(N, 1)
    method.embedding_.data.mul_(3)  # so that some positives are clipped
    batch = first_batch(method, graph)
    loss = method.training_step(batch, CLOCK, Streams(0)).loss
    expected = dense_lightgcl(method, dense, batch, view=view)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient_of(loss, method), gradient_of(expected, method))


def test_with_the_whole_svd_the_second_view_is_the_first(dense, graph):
    method = ready(LightGCL(num_layers=2, rank=N, **SMALL), graph)
    earlier, z = method.encode(graph, CLOCK, Streams(0))
    users = method.second_view(0, earlier[M:], torch.arange(M))
    items = method.second_view(1, earlier[:M], torch.arange(N))
    torch.testing.assert_close(torch.cat([users, items]), z, atol=1e-6, rtol=0)


def test_without_contrast_lightgcl_is_lightgcn_with_sums(graph):
    one = ready(LightGCL(num_layers=2, contrast_weight=0.0, l2=0.0, **SMALL), graph)
    two = ready(LightGCN(num_layers=2, l2=0.0, **SMALL), graph)
    two.embedding_.data.copy_(one.embedding_.data * 3)  # the mean of three layers
    batch = first_batch(one, graph)
    torch.testing.assert_close(*(m.training_step(batch, CLOCK, Streams(0)).loss for m in (one, two)))


def test_loss_at_the_start():
    """ln 2 for the ranking, slightly below ln m + ln n for the contrast; on a graph whose size makes logits small."""
    pairs = torch.randint(0, 3000, (2, 15_000), generator=torch.Generator().manual_seed(0)).unique(dim=1)
    relation = Adjacency.from_edge_index(pairs, (3000, 3000))
    types = {"relation_types": {"interaction": ("item", "user")}, "num_nodes_by_type": {"user": 3000, "item": 3000}}
    graph = Graph(relations={"interaction": relation}, target="user", **types)
    method = ready(LightGCL(l2=0.0), graph)
    parts = method.training_step(first_batch(method, graph), CLOCK, Streams(0)).parts
    assert float(parts["ranking"]) == pytest.approx(math.log(2), abs=0.02)
    for side in ("contrast_user", "contrast_item"):
        assert 0 < math.log(3000) - float(parts[side]) < 0.6


def test_dropout_keeps_the_mean_and_draws_the_two_directions_apart(dense, graph):
    method = ready(LightGCL(edge_dropout=0.4, num_layers=1, **SMALL), graph)
    operator = method.operator(graph)
    eye = torch.eye(M + N, dtype=torch.float64)
    draws = [operator.thinned(0.4, torch.Generator().manual_seed(seed)).matmul(eye) for seed in range(400)]
    torch.testing.assert_close(torch.stack(draws).mean(0), dense_operator(dense), atol=0.1, rtol=0)
    assert not torch.equal(draws[0] != 0, (draws[0] != 0).t())
    losses = [
        method.training_step(first_batch(method, graph), Clock(epoch=1, batch=b), Streams(0)).loss for b in (0, 1)
    ]
    assert not torch.equal(*losses)


def test_a_rank_above_the_graph_is_refused_before_any_work(graph):
    with pytest.raises(ConfigError, match="rank 12"):
        LightGCL(rank=12).check(graph.spec)


# -- the paper's LightGCL ----------------------------------------------------------------------------------------------


def test_paper_profile_equals_the_formulas_without_dropout(dense, graph):
    method = ready(
        LightGCLPaper(contrast_weight=0.2, edge_dropout=0.0, anchor_dropout=0.0, svd="exact", rank=3, **SMALL), graph
    )
    method.embedding_.data.mul_(4)
    batch = first_batch(method, graph)
    table, operator = method.embedding_, dense_operator(dense)
    low = (method.svd_u_ * method.svd_s_) @ method.svd_v_.t()
    torch.testing.assert_close(low, _best(dense.double(), 3), atol=1e-5, rtol=0)  # of the raw interactions
    block = torch.zeros_like(operator)
    block[:M, M:], block[M:, :M] = low, low.t()
    before, z, contrast = table, table, 0.0
    nodes = batch.index.unique(), torch.cat([batch.positives, batch.negatives]).unique() + M
    for layer in range(2):
        message, low_rank = (F.leaky_relu(matrix @ before, 0.5) for matrix in (operator, block))
        for rows in nodes:
            g, h = (
                F.normalize(message[rows], dim=1),
                F.normalize(low_rank[rows], dim=1) @ method.contrast_matrix_[layer],
            )
            logits = g @ h.t() / 0.5
            contrast = contrast - torch.log_softmax(logits, 1).diagonal().sum()
        before = message + before
        z = z + before
    u, p, n = batch.index, batch.positives + M, batch.negatives + M
    hinge = (1 - (z[u] * z[p]).sum(1) + (z[u] * z[n]).sum(1)).clamp(min=0).sum() / 16
    loss = method.training_step(batch, CLOCK, Streams(0)).loss
    torch.testing.assert_close(loss, hinge + 0.2 * contrast)
    torch.testing.assert_close(gradient_of(loss, method), gradient_of(hinge + 0.2 * contrast, method))
    torch.testing.assert_close(torch.cat(list(method.outputs(graph).embeddings.values())), z.detach())


def _best(matrix, rank):
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


def test_paper_profile_draws_each_user_once_and_at_most_so_many_pairs(dense, graph):
    method = ready(LightGCLPaper(embedding_dim=2, batch_size=4, pairs_per_user=3, users_per_epoch=9, rank=2), graph)
    batches = list(method.batches(graph, CLOCK, Streams(0)))
    users = torch.cat([batch.index for batch in batches])
    assert [batch.index.unique().numel() for batch in batches] == [4, 4, 1]
    assert users.unique().numel() == 9
    degree = dense.sum(1)
    for user in users.unique().tolist():
        mine = torch.cat([batch.positives[batch.index == user] for batch in batches])
        assert mine.numel() == min(3, int(degree[user])) == mine.unique().numel()
    for batch in batches:
        assert bool(dense[batch.index, batch.positives].all())
        assert not bool(dense[batch.index, batch.negatives].any())


# -- SGL ---------------------------------------------------------------------------------------------------------------


def dense_info_nce(a, b, nodes, temperature):
    logits = F.normalize(a, dim=1)[nodes] @ F.normalize(b, dim=1).t() / temperature
    return -torch.log_softmax(logits, 1).gather(1, nodes[:, None]).mean()


def dense_of(operators):
    return [operator.matmul(torch.eye(M + N, dtype=torch.float64)) for operator in operators]


WAYS = {
    "ED": {},
    "ND": {"augment": {f"view{k}": {"node": {"name": "node_drop", "drop_prob": 0.2, "exact": True}} for k in (1, 2)}},
    "RW": {"fresh_layers": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_sgl_equals_the_formulas_on_the_views_that_it_drew(dense, graph, way):
    method = ready(SGL(num_layers=2, contrast_weight=0.4, l2=0.0, **WAYS[way], **SMALL), graph)
    batch = first_batch(method, graph)
    loss = method.training_step(batch, CLOCK, Streams(0)).loss
    views = [dense_of(layers) for layers in method._views(graph, CLOCK, Streams(0))]
    table = method.embedding_
    encoded = []
    for layers in views:
        layers = layers if way == "RW" else layers * 2
        first = layers[0] @ table
        encoded.append((table + first + layers[1] @ first) / 3)
    z = sum(dense_layers(dense_operator(dense), table, 2)) / 3
    expected = dense_bpr(z, batch)
    for rows, nodes in ((slice(0, M), batch.index), (slice(M, None), batch.positives)):
        expected = expected + 0.4 * dense_info_nce(encoded[0][rows], encoded[1][rows], nodes, 0.2)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient_of(loss, method), gradient_of(expected, method))


def test_sgl_views_keep_a_fixed_number_of_edges_and_count_degrees_anew(dense, graph):
    edges = int(dense.sum())
    method = ready(SGL(**{**SMALL, "augment": {k: _drop(0.3) for k in ("view1", "view2")}}), graph)
    for (operator,) in method._views(graph, CLOCK, Streams(0)):
        matrix = dense_of([operator])[0]
        torch.testing.assert_close(matrix, matrix.t())
        kept = matrix[:M, M:] != 0
        assert int(kept.sum()) == math.floor(0.7 * edges)
        assert not bool((kept & ~dense).any())
        torch.testing.assert_close(matrix, dense_operator(kept))


def test_sgl_drops_users_and_items_with_all_their_edges(dense, graph):
    method = ready(SGL(**SMALL, **WAYS["ND"]), graph)
    for (operator,) in method._views(graph, CLOCK, Streams(0)):
        kept = dense_of([operator])[0][:M, M:] != 0
        assert 0 < int(kept.sum()) < int(dense.sum())
        whole = kept.any(1)[:, None] & kept.any(0)
        assert torch.equal(kept, dense & whole)  # an edge goes with one of its ends only


def test_sgl_views_are_the_same_all_epoch_and_new_in_the_next(graph):
    method = ready(SGL(**SMALL), graph)

    def drawn(clock):
        return dense_of([layers[0] for layers in method._views(graph, clock, Streams(0))])

    first, later, following = (
        drawn(clock) for clock in (CLOCK, Clock(epoch=1, batch=3, step=3), Clock(epoch=2, step=9))
    )
    assert all(torch.equal(one, two) for one, two in zip(first, later, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], following[0])


def _drop(prob):
    return {"edge": {"name": "edge_drop", "drop_prob": prob, "symmetric": True, "exact": True}}


# -- SimGCL and XSimGCL ------------------------------------------------------------------------------------------------


def test_noise_has_one_length_and_the_signs_of_its_row():
    rows = torch.randn(50, 8, dtype=torch.float64)
    noise = random_noise(rows, 0.3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(noise.norm(dim=1), torch.full((50,), 0.3, dtype=torch.float64))
    assert bool((noise * rows >= 0).all())
    assert torch.equal(random_noise(torch.zeros(2, 3), 0.3, torch.Generator()), torch.zeros(2, 3))


def test_simgcl_without_noise_equals_the_formulas(dense, graph):
    method = ready(SimGCL(num_layers=2, noise=0.0, l2=0.0, contrast_weight=0.3, **SMALL), graph)
    batch = first_batch(method, graph)
    table = method.embedding_
    z = sum(dense_layers(dense_operator(dense), table, 2)[1:]) / 2  # layer 0 is left out
    expected = dense_bpr(z, batch)
    for rows, nodes in ((z[:M], batch.index.unique()), (z[M:], batch.positives.unique())):
        h = F.normalize(rows[nodes], dim=1)
        expected = expected - 0.3 * torch.log_softmax(h @ h.t() / 0.2, 1).diagonal().mean()
    loss = method.training_step(batch, CLOCK, Streams(0)).loss
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient_of(loss, method), gradient_of(expected, method))
    torch.testing.assert_close(torch.cat(list(method.outputs(graph).embeddings.values())), z.detach())


def test_xsimgcl_without_noise_equals_the_formulas(dense, graph):
    method = ready(XSimGCL(num_layers=3, contrast_layer=2, noise=0.0, l2=0.0, contrast_weight=0.3, **SMALL), graph)
    batch = first_batch(method, graph)
    layers = dense_layers(dense_operator(dense), method.embedding_, 3)
    z, other = sum(layers[1:]) / 3, layers[2]
    expected = dense_bpr(z, batch)
    for rows, nodes in ((slice(0, M), batch.index.unique()), (slice(M, None), batch.positives.unique())):
        a, b = (F.normalize(view[rows][nodes], dim=1) for view in (z, other))
        expected = expected - 0.3 * torch.log_softmax(a @ b.t() / 0.15, 1).diagonal().mean()
    loss = method.training_step(batch, CLOCK, Streams(0)).loss
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient_of(loss, method), gradient_of(expected, method))


def regenerated_layers(dense, table, num_layers, noise, view, clock=CLOCK):
    """Layers 1 to L with the noise of their counters, each fed to the next."""
    operator, layers, layer = dense_operator(dense), [], table
    for index in range(num_layers):
        layer = operator @ layer
        generator = Streams(0).generator("noise", clock.stage_index, clock.epoch, clock.batch, view, index)
        layer = layer + random_noise(layer.detach(), noise, generator)
        layers.append(layer)
    return layers


def test_noisy_encodings_feed_every_layer_to_the_next_and_differ_by_view(dense, graph):
    simgcl = ready(SimGCL(num_layers=3, noise=0.3, l2=0.0, contrast_weight=0.3, **SMALL), graph)
    batch, table = first_batch(simgcl, graph), simgcl.embedding_
    clean = sum(dense_layers(dense_operator(dense), table, 3)[1:]) / 3
    first, second = (sum(regenerated_layers(dense, table, 3, 0.3, view)) / 3 for view in (0, 1))
    expected = dense_bpr(clean, batch)
    for rows, nodes in ((slice(0, M), batch.index.unique()), (slice(M, None), batch.positives.unique())):
        a, b = (F.normalize(z[rows][nodes], dim=1) for z in (first, second))
        expected = expected - 0.3 * torch.log_softmax(a @ b.t() / 0.2, 1).diagonal().mean()
    loss = simgcl.training_step(batch, CLOCK, Streams(0)).loss
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient_of(loss, simgcl), gradient_of(expected, simgcl))

    xsimgcl = ready(XSimGCL(num_layers=3, noise=0.3, l2=0.0, contrast_weight=0.0, **SMALL), graph)
    layers = regenerated_layers(dense, xsimgcl.embedding_, 3, 0.3, 0)
    loss = xsimgcl.training_step(batch, CLOCK, Streams(0)).loss
    torch.testing.assert_close(loss, dense_bpr(sum(layers) / 3, batch))


def test_dropout_in_every_layer_by_the_formulas(dense, graph):
    method = ready(LightGCL(num_layers=3, edge_dropout=0.4, contrast_weight=0.0, l2=0.0, **SMALL), graph)
    batch, eye = first_batch(method, graph), torch.eye(M + N, dtype=torch.float64)
    layer = total = method.embedding_
    for index in range(3):
        generator = Streams(0).generator("dropout", 0, 1, 0, index)
        layer = method.operator(graph).thinned(0.4, generator).matmul(eye) @ layer
        total = total + layer
    loss = method.training_step(batch, CLOCK, Streams(0)).loss
    torch.testing.assert_close(loss, dense_bpr(total, batch))
    torch.testing.assert_close(gradient_of(loss, method), gradient_of(dense_bpr(total, batch), method))


def test_the_paper_profiles_dropouts_by_the_formulas(dense, graph):
    options = {"contrast_weight": 0.2, "edge_dropout": 0.3, "anchor_dropout": 0.5, "svd": "exact", "rank": 3}
    method = ready(LightGCLPaper(**options, **SMALL), graph)
    method.embedding_.data.mul_(4)
    batch, eye = first_batch(method, graph), torch.eye(M + N, dtype=torch.float64)
    low = (method.svd_u_ * method.svd_s_) @ method.svd_v_.t()
    block = torch.zeros(M + N, M + N, dtype=torch.float64)
    block[:M, M:], block[M:, :M] = low, low.t()
    nodes = batch.index.unique(), torch.cat([batch.positives, batch.negatives]).unique() + M
    before, z, contrast = method.embedding_, method.embedding_, 0.0
    for layer in range(2):
        thinned = method.operator(graph).thinned(0.3, Streams(0).generator("dropout", 0, 1, 0, layer)).matmul(eye)
        message, low_rank = (F.leaky_relu(matrix @ before, 0.5) for matrix in (thinned, block))
        for side, rows in enumerate(nodes):
            keep = torch.rand(rows.numel(), generator=Streams(0).generator("anchors", 0, 1, 0, layer, side)) >= 0.5
            g = F.normalize(message[rows], dim=1)
            h = F.normalize(low_rank[rows], dim=1) @ method.contrast_matrix_[layer]
            contrast = contrast - torch.log_softmax(g @ h.t() / 0.5, 1).diagonal()[keep].sum()
        before = message + before
        z = z + before
    u, p, n = batch.index, batch.positives + M, batch.negatives + M
    hinge = (1 - (z[u] * z[p]).sum(1) + (z[u] * z[n]).sum(1)).clamp(min=0).sum() / 16
    loss = method.training_step(batch, CLOCK, Streams(0)).loss
    torch.testing.assert_close(loss, hinge + 0.2 * contrast)


@pytest.mark.parametrize("cls", [SimGCL, XSimGCL])
def test_noise_is_fresh_in_every_step_and_absent_from_the_outputs(cls, graph):
    method = ready(cls(noise=0.5, **SMALL), graph)
    batch = first_batch(method, graph)
    losses = [method.training_step(batch, Clock(epoch=1, batch=index), Streams(0)).loss for index in (0, 1)]
    assert not torch.equal(*losses)
    quiet = ready(cls(noise=0.0, **SMALL), graph)
    for name, value in method.outputs(graph).embeddings.items():
        torch.testing.assert_close(value, quiet.outputs(graph).embeddings[name])
    with pytest.raises(ConfigError, match="num_layers"):
        cls(num_layers=0)


# -- keys, anchors and other losses ------------------------------------------------------------------------------------


def test_a_subset_of_anchors_is_unbiased(graph):
    batch = first_batch(ready(LightGCL(**SMALL), graph), graph)
    losses = {}
    for anchors in (None, 5):
        method = ready(LightGCL(anchors=anchors, **SMALL), graph)
        steps = [method.training_step(batch, Clock(epoch=1, batch=k), Streams(0)).loss.detach() for k in range(300)]
        losses[anchors] = torch.stack(steps)
    error = float(losses[5].std()) / math.sqrt(300)
    assert abs(float(losses[5].mean()) - float(losses[None].mean())) < 4 * error


def test_sampled_keys_of_everything_are_all_keys_and_batch_keys_are_the_batch(dense, graph):
    methods = {
        name: ready(LightGCL(rank=3, **options, **SMALL), graph)
        for name, options in {
            "all": {},
            "every": {"negatives": "sampled", "num_sampled": max(M, N)},
            "few": {"negatives": "sampled", "num_sampled": 6},
            "batch": {"negatives": "batch"},
        }.items()
    }
    batch = first_batch(methods["all"], graph)
    losses = {name: method.training_step(batch, CLOCK, Streams(0)).loss for name, method in methods.items()}
    torch.testing.assert_close(losses["every"], losses["all"])
    assert not torch.equal(losses["few"], losses["all"])
    method, expected = methods["batch"], 0.0
    earlier, z = method.encode(graph, CLOCK, Streams(0))
    for side, nodes in enumerate((batch.index, torch.cat([batch.positives, batch.negatives]))):
        unique, counts = nodes.unique(return_counts=True)
        keys = (z[:M], z[M:])[side][unique]
        logits = method.second_view(side, (earlier[M:], earlier[:M])[side], unique) @ keys.t() / 0.2
        rows = logits.logsumexp(1) - logits.diagonal().clamp(-5, 5)
        expected = expected + (rows * counts).sum() / counts.sum()
    ranking = dense_bpr(z, batch) + method.l2 * (method.embedding_**2).sum()
    torch.testing.assert_close(losses["batch"], ranking + 0.2 * expected)


@pytest.mark.parametrize("contrast", ["infonce", "nt_xent", {"name": "team_up", "ramp_start": 0, "ramp_length": 1}])
@pytest.mark.parametrize("negatives", ["all", "batch"])
@pytest.mark.parametrize("cls", [LightGCL, SGL, SimGCL, XSimGCL])
def test_losses_of_the_package_serve_here(graph, cls, contrast, negatives):
    method = ready(cls(contrast=contrast, negatives=negatives, **SMALL), graph)
    loss = method.training_step(first_batch(method, graph), CLOCK, Streams(0)).loss
    assert bool(gradient_of(loss, method).isfinite().all())
    plain = ready(cls(negatives=negatives, **SMALL), graph)
    assert not torch.equal(loss, plain.training_step(first_batch(plain, graph), CLOCK, Streams(0)).loss)


def test_augmenters_of_the_package_serve_here(graph):
    part = {"edge": {"name": "communal_edge_drop", "drop_prob": 0.4, "symmetric": True}}
    method = SGL(augment={"view1": part, "view2": part}, **SMALL)
    method = ready(method, graph)
    first, second = dense_of([layers[0] for layers in method._views(graph, CLOCK, Streams(0))])
    whole = dense_operator(random_interactions())
    assert 0 < int((first != 0).sum()) < int((whole != 0).sum())
    assert not torch.equal(first, second)
    torch.testing.assert_close(first, first.t())


def test_what_does_not_fit_is_refused_before_training(graph):
    for method, text in (
        (LightGCL(contrast={"name": "infonce"}, negatives="sampled"), "sampled keys"),
        (
            LightGCL(contrast={"name": "one_way_infonce", "num_clusters": 3}, negatives="sampled"),
            "num_clusters=3 makes clusters of all keys and negatives=sampled",
        ),
        (SGL(contrast={"name": "weighted_infonce", "num_clusters": [99]}), "num_clusters=99 clusters cannot be made"),
        (LightGCL(contrast={"name": "progcl"}), "negative_weights"),
    ):
        with pytest.raises(ConfigError, match=text):
            method.check(graph.spec)
    for options, text in (
        ({"negatives": "some"}, "negatives"),
        ({"anchors": 0}, "anchors"),
        ({"contrast_weight": -1.0}, "contrast_weight"),
        ({"edge_dropout": 1.0}, "edge_dropout"),
        ({"view": "svq"}, "svd"),
        ({"rank": 0}, "rank"),
    ):
        with pytest.raises(ConfigError, match=text):
            LightGCL(**options)
    with pytest.raises(ConfigError, match="contrast_layer"):
        XSimGCL(contrast_layer=4)
    with pytest.raises(ConfigError, match="view1"):
        SGL(augment={"one": {}})


def test_registered_by_name():
    for name in ("bpr_mf", "lightgcn", "lightgcl", "lightgcl_paper", "sgl", "simgcl", "xsimgcl"):
        method = resolve("method", name)
        assert isinstance(method, Recommender)
        assert method.kind == "rec"
        assert not method.needs_features
    assert isinstance(BPRMF().prepare(interactions(random_interactions()), Streams(0)), Prepared)
    assert Batch.__dataclass_fields__.keys() >= {"index", "positives", "negatives"}


def test_losses_with_parameters_of_their_own_get_them_for_each_side(graph):
    method = ready(SGL(**SMALL, contrast="adaptive_infonce"), graph)
    streams = Streams(0)
    method.training_step(first_batch(method, graph), CLOCK, streams).loss.backward()
    assert method.contrast_[0] is not method.contrast_[1]
    for loss in method.contrast_:
        assert all(bool(parameter.grad.any()) for parameter in loss.parameters() if parameter.grad is not None)
        assert any(parameter.grad is not None for parameter in loss.parameters())


def test_a_contrast_without_a_lower_bound_makes_the_loss_one():
    adaptive = {"name": "adaptive_infonce", "normalize_weights": False}
    assert SGL(**SMALL).bounded_loss
    assert not SGL(**SMALL, contrast=adaptive).bounded_loss
    assert SGL(**SMALL, contrast=adaptive, contrast_weight=0.0).bounded_loss
