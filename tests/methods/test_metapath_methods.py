"""MEOW, AdaMEOW and HeCo as methods: what they prepare, one step against its formula, and their runs."""

from __future__ import annotations

import dataclasses
import math
import warnings

import pytest
import torch
import torch.nn.functional as F

import gcl
from gcl.core.adjacency import Adjacency
from gcl.core.classes import find_class
from gcl.core.context import Batch, Clock, LossContext
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.resolve import describe, resolve
from gcl.core.streams import Streams
from gcl.data.transforms import normalized_features
from gcl.evaluate.clustering import Clustering
from gcl.losses.adaptive_infonce import AdaptiveInfoNCE
from gcl.losses.multi_positive import MultiPositive
from gcl.losses.weighted_infonce import WeightedInfoNCE
from gcl.methods.adameow import AdaMEOW
from gcl.methods.heco import HeCo
from gcl.methods.meow import MEOW
from gcl.methods.metapath_contrast import MetaPathContrast
from gcl.ops.common_metapaths import metapath_positives
from gcl.ops.metapath import MetaPath
from gcl.ops.neighbor_sample import sample_neighbors

PATHS = ["paper-author-paper", "paper-subject-paper"]
N, AUTHORS, SUBJECTS = 18, 9, 3
SMALL = {
    "metapaths": PATHS,
    "top": [4, 6],
    "encoder": {"name": "metapath_context", "hidden_channels": 7, "out_channels": 5},
}
LOSS = {"name": "weighted_infonce", "temperature": 0.4, "num_clusters": [3, 5]}
SETTINGS = {
    "meow": {**SMALL, "loss": LOSS},
    "adameow": SMALL,
    "heco": {"metapaths": PATHS, "hidden_channels": 6, "neighbors": {"author": 3, "subject": 1}},
}
QUICK = {"evaluate": False, "floors": False}
NAMES = list(SETTINGS)


def adjacency_of(dense):
    row, col = dense.nonzero().t()
    return Adjacency.from_edge_index(torch.stack([col, row]), tuple(dense.shape))


def make_graph(num_papers=N, *, seed=0, features=("paper", "author"), sparse=False, num_subjects=SUBJECTS, **relations):
    """Papers with authors (of which one joins nobody) and a subject each, with labels that training may not see."""
    generator = torch.Generator().manual_seed(seed)
    writes = torch.rand(num_papers, AUTHORS, generator=generator) < 0.25
    writes[torch.arange(num_papers), torch.randint(AUTHORS - 1, (num_papers,), generator=generator)] = True
    writes[:, -1] = False
    topic = F.one_hot(torch.randint(num_subjects, (num_papers,), generator=generator), num_subjects)
    x = {}
    for kind, shape in (("paper", (num_papers, 6)), ("author", (AUTHORS, 4))):
        values = torch.rand(*shape, generator=generator) * (torch.rand(*shape, generator=generator) < 0.6)
        values[2] = 0.0
        x[kind] = values
    if sparse:
        row, col = x["paper"].nonzero().t()
        x["paper"] = Adjacency.from_edge_index(torch.stack([col, row]), (num_papers, 6), x["paper"][row, col])
    return Graph(
        features={kind: x[kind] for kind in features},
        relations={"author_paper": adjacency_of(writes), "paper_subject": adjacency_of(topic.t()), **relations},
        relation_types={
            "author_paper": ("author", "paper"),
            "paper_subject": ("paper", "subject"),
            **dict.fromkeys(relations, ("paper", "paper")),
        },
        num_nodes_by_type={"paper": num_papers, "author": AUTHORS, "subject": num_subjects},
        node_attrs={"paper": {"y": torch.arange(num_papers) % 3}},
        target="paper",
    )


@pytest.fixture
def graph():
    return make_graph().for_training()


def ready(method, graph, seed=0):
    streams = Streams(seed)
    prepared = method.prepare(graph, streams)
    with streams.scope("init"):
        method.build(graph.spec, prepared)
    return method, prepared, streams


def make(name, **options):
    return find_class("method", name)(**{**SETTINGS[name], **options})


def incidences(graph):
    return [
        graph.relations["author_paper"].to_dense().double(),
        graph.relations["paper_subject"].to_dense().double().t(),
    ]


def dense_of(operator):
    return operator.matmul(torch.eye(operator.shape[1], dtype=torch.float64))


def normalized(x):
    return x / x.sum(1, keepdim=True).clamp(min=1e-30)


def step(method, graph, streams, epoch=1):
    return method.training_step(Batch(graph), Clock(epoch=epoch), streams)


# -- what MEOW prepares -------------------------------------------------------------------------------------------------------


def slow_neighbours(b, top):
    """PathSim's nearest, row by row, with the number of instances: the definition."""
    count, kept = b @ b.t(), {}
    for i in range(len(count)):
        near = [j for j in range(len(count)) if count[i, j] > 0]
        near.sort(key=lambda j: (-2 * float(count[i, j]) / float(count[i, i] + count[j, j]), j))
        for j in near[:top]:
            kept[i, j] = float(count[i, j])
    matrix = torch.zeros_like(count)
    for (i, j), value in kept.items():
        matrix[i, j] = value
    return matrix


def slow_operator(kept, *, transpose=True):
    degree = kept.sum(1)
    factor = torch.where(degree > 0, degree, 1.0) ** -0.5 * (degree > 0)
    return factor[:, None] * (kept.t() if transpose else kept) * factor[None]


@pytest.mark.parametrize("orientation", ["reference", "row"])
@pytest.mark.parametrize("name", ["meow", "adameow"])
def test_views_are_the_formulas(graph, name, orientation):
    method, prepared, _ = ready(make(name, edge_drop=[0.3, 0.7], feature_mask=0.4, orientation=orientation), graph)
    views = method.views(graph)
    transpose = orientation == "reference"
    clean = []
    for index, (b, top, share) in enumerate(zip(incidences(graph), (4, 6), (0.3, 0.7), strict=True)):
        kept = slow_neighbours(b, top)
        clean.append(slow_operator(kept, transpose=transpose))
        torch.testing.assert_close(dense_of(views.operators[index]), clean[-1], rtol=1e-5, atol=1e-7)
        row, col = prepared.tensors[f"path{index}.arcs"].long()
        assert kept[row, col].tolist() == prepared.tensors[f"path{index}.count"].tolist()
        assert len(row) == int((kept > 0).sum())
        keep = prepared.tensors[f"path{index}.keep"]
        proper = row != col
        assert int((~keep).sum()) == math.floor(share * int(proper.sum()))
        assert bool(keep[~proper].all())
        thinned = torch.eye(N, dtype=torch.float64)
        thinned[row[keep & proper], col[keep & proper]] = 1.0
        torch.testing.assert_close(
            dense_of(views.thinned[index]), slow_operator(thinned, transpose=transpose), rtol=1e-5, atol=1e-7
        )
    torch.testing.assert_close(dense_of(views.coarse), sum(clean) / 2, rtol=1e-5, atol=1e-7)
    x, keep = normalized(graph.features["paper"]), prepared.tensors["features.keep"]
    torch.testing.assert_close(views.features["paper"], x)
    torch.testing.assert_close(views.features["author"], normalized(graph.features["author"]))
    assert views.features["subject"] is None
    torch.testing.assert_close(views.masked, x * keep)
    assert int((~keep).sum()) == math.floor(0.4 * int((x != 0).sum()))
    assert bool(x[~keep].all())
    for operator, b in zip(views.contexts.values(), incidences(graph), strict=True):
        torch.testing.assert_close(dense_of(operator), normalized(b), rtol=1e-6, atol=1e-8)


def test_values_of_sparse_features_are_masked_where_they_are_stored():
    graph = make_graph(sparse=True).for_training()
    method, prepared, _ = ready(make("meow", feature_mask=0.4), graph)
    views, keep = method.views(graph), prepared.tensors["features.keep"]
    x = views.features["paper"].to_dense(torch.float32)
    torch.testing.assert_close(x, normalized(make_graph().features["paper"]))
    row, col = graph.features["paper"].row.long(), graph.features["paper"].col.long()
    expected = x.clone()
    expected[row[~keep], col[~keep]] = 0
    torch.testing.assert_close(views.masked.to_dense(torch.float32), expected)
    assert int((~keep).sum()) == math.floor(0.4 * len(row))
    sparse, dense = (ready(make("meow", feature_mask=0.0), g)[0] for g in (graph, make_graph().for_training()))
    torch.testing.assert_close(sparse.outputs(graph).main, dense.outputs(make_graph().for_training()).main)


def test_a_target_without_features_loses_whole_rows_of_the_identity():
    graph = make_graph(features=()).for_training()
    method, prepared, streams = ready(make("meow", feature_mask=0.3), graph)
    keep = prepared.tensors["features.keep"]
    assert keep.shape == (N,)
    assert int((~keep).sum()) == math.floor(0.3 * N)
    views = method.views(graph)
    assert views.masked is None
    assert torch.equal(views.kept, keep)
    assert step(method, graph, streams).loss.isfinite()


def test_the_augmentation_is_drawn_once_and_read_from_the_prepared_tensors(graph):
    method, prepared, streams = ready(make("meow"), graph)
    again = make("meow").build(graph.spec, prepared)
    again.load_state_dict(method.state_dict())
    other = make("meow").prepare(graph, Streams(1)).tensors
    repeated = make("meow").prepare(graph, Streams(0)).tensors
    for name, tensor in prepared.tensors.items():
        assert torch.equal(repeated[name], tensor)
    assert not torch.equal(other["path0.keep"], prepared.tensors["path0.keep"])
    assert not torch.equal(other["features.keep"], prepared.tensors["features.keep"])
    assert torch.equal(other["path0.arcs"], prepared.tensors["path0.arcs"])
    views = method.views(graph)
    step(method, graph, streams)
    assert method.views(graph) is views
    for ours, theirs in zip(
        (*views.operators, *views.thinned), (*again.views(graph).operators, *again.views(graph).thinned), strict=True
    ):
        assert torch.equal(dense_of(ours), dense_of(theirs))
    assert torch.equal(views.masked, again.views(graph).masked)
    assert torch.equal(method.outputs(graph).main, again.outputs(graph).main)


def test_counts_may_be_left_out_and_the_node_itself_protected(graph):
    method, prepared, _ = ready(make("meow", counts=False, top=1, keep_self=True), graph)
    assert "path0.count" not in prepared.tensors
    row, col = prepared.tensors["path1.arcs"]
    assert torch.equal(row, col)
    torch.testing.assert_close(dense_of(method.views(graph).operators[1]), torch.eye(N, dtype=torch.float64))


def test_ties_and_the_node_itself_matter_for_the_meta_paths_that_are_cut(graph):
    _, prepared, _ = ready(make("meow", top=[None, 1], keep_self=True), graph)
    count = incidences(graph)[0] @ incidences(graph)[0].t()
    assert prepared.tensors["path0.arcs"].shape[1] == int((count > 0).sum())
    assert torch.equal(*prepared.tensors["path1.arcs"])


@pytest.mark.parametrize("sparse", [False, True])
def test_features_are_normalised_unless_told_or_where_it_says_nothing(sparse):
    graph = make_graph(sparse=sparse).for_training()
    x = make_graph().features["paper"]
    for name in ("meow", "heco"):
        for flag, expected in ((True, normalized(x)), (False, x)):
            method = ready(make(name, normalize_features=flag), graph)[0]
            found = (method.views(graph).features if name == "meow" else method._structures(graph)[1])["paper"]
            torch.testing.assert_close(found.to_dense(torch.float32) if sparse else found, expected)
    column = x[:, :1] + 2
    assert normalized_features(column) is column  # it would be 1 everywhere
    assert normalized_features(x - 1).equal(x - 1)
    torch.testing.assert_close(normalized_features(x), normalized(x))


def test_meow_is_what_meta_path_contrast_is_by_default():
    assert MEOW.__init__ is MetaPathContrast.__init__
    method = resolve("method", "meow")
    assert (method.top, method.edge_drop, method.feature_mask, method.anchor_view) == (100, 0.3, 0.3, "coarse")
    assert (method.loss["name"], method.loss["num_clusters"]) == ("weighted_infonce", [100, 300])
    assert (AdaMEOW().edge_drop, AdaMEOW().anchor_view) == (0.2, "fine")


def test_without_augmentation_binary_graphs_are_encoded_twice_alike(graph):
    method, _, _ = ready(make("meow", counts=False, top=None, edge_drop=0.0, feature_mask=0), graph)
    beta = method.outputs(graph).extras["attention"]
    torch.testing.assert_close(beta[::2], beta[1::2])
    assert beta.shape == (4,)
    assert float(beta.sum()) == pytest.approx(1)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_target_nodes_permutes_the_embedding(graph, name):
    still = {} if name == "heco" else {"top": None, "edge_drop": 0.0, "feature_mask": 0.0}
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    author, subject = (dense.bool() for dense in incidences(graph))
    moved = dataclasses.replace(
        graph,
        features={**graph.features, "paper": graph.features["paper"][order]},
        relations={"author_paper": adjacency_of(author[order]), "paper_subject": adjacency_of(subject[order].t())},
    )
    first, second = ready(make(name, **still), graph)[0], ready(make(name, **still), moved)[0]
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second.outputs(moved).main, first.outputs(graph).main[order], rtol=1e-4, atol=1e-5)


# -- a step of MEOW and AdaMEOW -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "anchor_view"), [("meow", "coarse"), ("meow", "fine"), ("adameow", "fine"), ("adameow", "coarse")]
)
def test_a_step_is_the_loss_of_both_projections(graph, name, anchor_view):
    options = {} if (name, anchor_view) in (("meow", "coarse"), ("adameow", "fine")) else {"anchor_view": anchor_view}
    method, _, streams = ready(make(name, **options), graph)
    method.eval()
    output = step(method, graph, streams)
    fine, coarse, beta = method.encoder_(method.views(graph))
    views = {"fine": method.projector_(fine), "coarse": method.projector_(coarse)}
    pair = views.pop(anchor_view), *views.values()
    if name == "meow":
        loss = WeightedInfoNCE(0.4, num_clusters=[3, 5])
        parts = loss.terms(*pair)
        assert {"contrast", "prototypes"} <= set(output.parts)
        torch.testing.assert_close(output.parts["prototypes"], parts["prototypes"])
    else:
        loss = AdaptiveInfoNCE(1.0).build(5)
        loss.load_state_dict(method.loss_.state_dict())
    torch.testing.assert_close(output.loss, loss(*pair))
    for index, path in enumerate(PATHS):
        torch.testing.assert_close(output.parts[f"attention.{path}"], beta[2 * index : 2 * index + 2].sum())
    torch.testing.assert_close(method.outputs(graph).main, fine)
    assert not any(part.requires_grad for part in output.parts.values())


def test_another_width_of_the_projections_reaches_the_network_of_the_loss(graph):
    method, _, streams = ready(make("adameow", projector={"name": "linear", "out_channels": 3}), graph)
    assert method.loss_.first_.weight.shape == (16, 3)
    step(method, graph, streams).loss.backward()
    assert all(
        parameter.grad is not None and bool(parameter.grad.isfinite().all()) for parameter in method.parameters()
    )


def test_fewer_anchors_are_a_fresh_draw_in_every_step(graph):
    method, _, streams = ready(make("meow", anchors=5), graph)
    full, _, _ = ready(make("meow"), graph)
    drawn = [method._anchors(graph, Clock(epoch=epoch), streams) for epoch in (1, 2, 1)]
    assert drawn[0].unique().numel() == 5
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    for each in (method, full):
        each.eval()
    fine, coarse, _ = full.encoder_(full.views(graph))
    context = LossContext(anchors=drawn[0])
    expected = full.loss_(full.projector_(coarse), full.projector_(fine), context=context)
    torch.testing.assert_close(step(method, graph, streams).loss, expected)
    whole, _, _ = ready(make("meow", anchors=N), graph)
    assert torch.equal(step(whole.eval(), graph, streams).loss, step(full, graph, streams).loss)


def test_the_last_pass_is_the_fine_embedding_of_the_last_step(graph):
    method, _, streams = ready(make("meow"), graph)
    assert "last_pass" not in method.outputs(graph).embeddings
    seen, encoder = [], method.encoder_.forward
    method.encoder_.forward = lambda views: seen.append(encoder(views)) or seen[-1]
    method.train()
    for epoch in (1, 2):
        step(method, graph, streams, epoch)
    outputs = method.outputs(graph)
    assert list(outputs.embeddings) == ["embedding", "last_pass"]
    assert torch.equal(outputs.embeddings["last_pass"], seen[1][0].detach())
    assert not torch.equal(outputs.embeddings["last_pass"], outputs.main)
    assert method.training
    assert list(method.outputs(make_graph(seed=3).for_training()).embeddings) == ["embedding"]
    assert "last_pass" in method.outputs(graph).embeddings


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_the_last_pass_of_a_trained_run_has_its_precision(precision):
    result = gcl.pipeline(
        "meow", make_graph(), **SETTINGS["meow"], trainer={"epochs": 2, "precision": precision}, **QUICK
    )
    assert list(result.outputs.embeddings) == ["embedding", "last_pass"]
    dtype = torch.float64 if precision == "64-true" else torch.float32
    assert {z.dtype for z in result.outputs.embeddings.values()} == {dtype}


def test_without_training_the_embedding_stands_for_that_of_a_last_pass():
    evaluate = {"of_last_pass": {"name": "clustering", "embedding": "last_pass"}}
    options = {**QUICK, "evaluate": evaluate}
    result = gcl.pipeline("meow", make_graph(), **SETTINGS["meow"], trainer={"epochs": 0}, **options)
    rows = result.scores["of_last_pass"]
    assert list(result.outputs.embeddings) == ["embedding"]
    assert rows["trained"].mean("nmi") >= 0


# -- HeCo -------------------------------------------------------------------------------------------------------------------------


def test_hecos_step_is_the_loss_of_both_views(graph):
    method, prepared, streams = ready(make("heco"), graph)
    method.eval()
    output = step(method, graph, streams, epoch=3)
    x = {"paper": normalized(graph.features["paper"]), "author": torch.eye(AUTHORS), "subject": torch.eye(SUBJECTS)}
    h = {layer.kind: F.elu(x[layer.kind] @ layer.layer.weight.t() + layer.layer.bias) for layer in method.projections_}
    drawn = {}
    for index, (kind, b, size) in enumerate(zip(("author", "subject"), incidences(graph), (3, 1), strict=True)):
        generator = streams.generator("neighbors", 0, 3, index)
        drawn[kind] = sample_neighbors(adjacency_of(b), size, generator=generator)
    parts = []
    for p, b in enumerate(incidences(graph)):
        a = (b @ b.t() > 0).float()
        a = a / (a.sum(1, keepdim=True) * a.sum(1)).sqrt()
        encoder = method.metapath_encoder_
        parts.append(F.prelu(a @ encoder.layers_[p](h["paper"]) + encoder.biases_[p], encoder.activations_[p].weight))
    metapath, beta = method.metapath_encoder_.attention_(parts)
    schema, shares = method.schema_encoder_(h["paper"], h, drawn)
    positives = metapath_positives(graph, [MetaPath.parse(path, graph.spec) for path in PATHS], 5)
    assert torch.equal(prepared.tensors["positives"], torch.stack([positives.row, positives.col]).int())
    context = LossContext(positives=positives)
    expected = MultiPositive(0.8)(method.projector_(metapath), method.projector_(schema), context=context)
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(method.outputs(graph).main, metapath)
    names = [f"attention.{name}" for name in (*PATHS, "author", "subject")]
    assert list(output.parts) == names
    torch.testing.assert_close(torch.stack(list(output.parts.values())), torch.cat([beta, shares]).detach())


def test_heco_draws_neighbours_anew_in_every_epoch(graph):
    method, _, streams = ready(make("heco"), graph)
    method.eval()
    losses = [step(method, graph, streams, epoch).loss.item() for epoch in (1, 2, 1)]
    assert losses[0] == losses[2] != losses[1]


def test_hecos_initial_weights_are_normal_with_their_gain():
    graph = make_graph().for_training()
    method, _, _ = ready(make("heco", hidden_channels=64), graph)
    first, last = (layer for layer in method.projector_.modules() if isinstance(layer, torch.nn.Linear))
    for layer in (first, last):
        assert layer.weight.std().item() == pytest.approx(1.414 * math.sqrt(2 / 128), rel=0.1)
    assert method.projections_[0].layer.weight.std().item() == pytest.approx(1.414 * math.sqrt(2 / 70), rel=0.15)


def test_hecos_positives_are_those_of_the_data_where_it_has_some():
    own = torch.eye(N, dtype=torch.bool)
    own[3, 7] = True
    graph = make_graph(positive=adjacency_of(own)).for_training()
    stored, computed = (
        make("heco", positives=word).prepare(graph, Streams(0)).tensors["positives"] for word in ("stored", "metapaths")
    )
    assert stored.tolist() == [list(row) for row in own.nonzero().t().tolist()]
    without = make("heco").prepare(make_graph().for_training(), Streams(0)).tensors["positives"]
    assert torch.equal(computed, without)
    for method in (make("heco", num_positives=2), make("heco", num_positives=2, positives="metapaths")):
        positives = method.prepare(make_graph().for_training(), Streams(0)).tensors["positives"]
        assert positives[0].bincount().tolist() == [2] * N
    fewer = make("heco", num_positives=2, positives="metapaths").prepare(graph, Streams(0)).tensors["positives"]
    assert fewer[0].bincount().tolist() == [2] * N
    method, _, streams = ready(make("heco"), graph)
    assert step(method, graph, streams).loss.isfinite()
    assert [layer.kind for layer in method.projections_] == ["paper", "author", "subject"]


def test_heco_takes_other_types_by_the_identity_or_by_their_features(graph):
    target, everything = (ready(make("heco", features=word), graph)[0] for word in ("target", "all"))
    assert [layer.layer.in_features for layer in target.projections_] == [6, AUTHORS, SUBJECTS]
    assert [layer.layer.in_features for layer in everything.projections_] == [6, 4, SUBJECTS]
    for method in (target, everything):
        step(method, graph, Streams(0)).loss.backward()
        assert all(bool(parameter.grad.isfinite().all()) for parameter in method.parameters())


def test_heco_draws_five_of_every_type_unless_told(graph):
    method, _, _ = ready(make("heco", neighbors=None), graph)
    assert {kind: size for kind, (size, _) in method._around(graph).items()} == {"author": 5, "subject": 5}
    method, _, _ = ready(make("heco", neighbors={"subject": 2}), graph)
    ((kind, (size, adjacency)),) = method._around(graph).items()
    assert (kind, size) == ("subject", 2)
    assert torch.equal(adjacency.to_dense().double(), incidences(graph)[1])


# -- other graphs -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_another_graph_gets_neighbours_of_its_own(graph, name):
    method, _, streams = ready(make(name), graph)
    step(method, graph, streams)
    before = method.outputs(graph).main
    other = make_graph(12, seed=5).for_training()
    found = method.outputs(other)
    fresh, _, _ = ready(make(name), other)
    state = {key: value for key, value in method.state_dict().items() if key not in ("last_pass_", "trained_")}
    fresh.load_state_dict(state, strict=False)
    assert found.main.shape == fresh.outputs(other).main.shape
    torch.testing.assert_close(found.main, fresh.outputs(other).main)
    assert torch.equal(method.outputs(graph).main, before)


@pytest.mark.parametrize("name", ["meow", "heco"])
def test_a_table_of_nodes_serves_its_own_number_of_nodes_alone(name):
    graph = make_graph(features=()).for_training()
    method, _, _ = ready(make(name), graph)
    with pytest.raises(
        DataError, match=f"'paper' have no features, .* the {N} of its own graph alone; this graph has 12"
    ):
        method.outputs(make_graph(12, features=()).for_training())
    method, _, _ = ready(make("meow"), make_graph().for_training())
    with pytest.raises(DataError, match="'subject' have no features"):
        method.outputs(make_graph(12, num_subjects=5).for_training())


# -- runs ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_reproducible_and_reopens_with_the_same_embeddings(name, tmp_path):
    graph = make_graph()
    settings = {**SETTINGS[name], "trainer": {"epochs": 3}, **QUICK}
    first = gcl.pipeline(name, graph, seeds=[4], out=tmp_path / "run", **settings)
    second = gcl.pipeline(name, graph, seeds=[4], **settings)
    other = gcl.pipeline(name, graph, seeds=[5], **settings)
    assert torch.equal(first.outputs.main, second.outputs.main)
    assert not torch.equal(first.outputs.main, other.outputs.main)
    run = gcl.open_run(tmp_path / "run")
    again = run.embed(graph)
    expected = ["embedding"] if name == "heco" else ["embedding", "last_pass"]
    for outputs in (first.outputs, run.outputs, again):
        assert list(outputs.embeddings) == expected
        for key in expected:
            assert torch.equal(outputs.embeddings[key], second.outputs.embeddings[key])
        assert torch.equal(outputs.extras["attention"], second.outputs.extras["attention"])
    part = run.embed(make_graph(12, seed=5))
    assert list(part.embeddings) == ["embedding"]
    assert part.main.shape == (12, first.outputs.main.shape[1])


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_run_ends_bit_for_bit_as_an_unbroken_one(name, tmp_path, monkeypatch):
    graph, method = make_graph(), find_class("method", name)
    settings = {**SETTINGS[name], "trainer": {"epochs": 5, "checkpoint_every": 1}, **QUICK}
    if name == "meow":
        settings["loss"] = {**LOSS, "warm_start": True, "iterations": 2}
    whole = gcl.pipeline(name, graph, out=tmp_path / "whole", **settings)
    original = method.training_step

    def interrupted(self, batch, clock, streams):
        if clock.epoch == 4:
            raise KeyboardInterrupt
        return original(self, batch, clock, streams)

    with monkeypatch.context() as patch:
        patch.setattr(method, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gcl.pipeline(name, graph, out=tmp_path / "broken", **settings)
    again = gcl.resume(tmp_path / "broken", dataset=graph)
    assert again.runs[0].fit["epochs"] == 5
    for key, expected in whole.outputs.embeddings.items():
        assert torch.equal(again.outputs.embeddings[key], expected)


@pytest.mark.parametrize("name", NAMES)
def test_training_lowers_the_loss_and_scores_are_given_beside_floors(name):
    graph = make_graph()
    trainer = {"epochs": 40, "learning_rate": 0.01}
    result = gcl.pipeline(name, graph, trainer=trainer, **SETTINGS[name], evaluate={"classification": None})
    assert {"untrained", "trained"} <= set(result.scores["clustering"])
    method, streams = result.runs[0].method.eval(), Streams(0)
    untrained, _, _ = ready(make(name), graph.for_training())
    before = step(untrained.eval(), graph.for_training(), streams).loss
    assert step(method, graph.for_training(), streams).loss < before - 0.05


@pytest.mark.parametrize("name", NAMES)
def test_labels_never_reach_training(name):
    graph = make_graph()
    other = graph.with_node_attrs(y=(graph.attr("y") + 1) % 3)
    first, second = (gcl.pipeline(name, g, trainer={"epochs": 2}, **SETTINGS[name], **QUICK) for g in (graph, other))
    assert torch.equal(first.outputs.main, second.outputs.main)


@pytest.mark.parametrize("name", NAMES)
def test_default_meta_paths_go_there_and_back_and_are_said(graph, name):
    method = make(name, metapaths=None)
    with pytest.warns(UserWarning, match="taking paper-author-paper, paper-subject-paper"):
        prepared = method.prepare(graph, Streams(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = make(name).prepare(graph, Streams(0))
    for key, tensor in prepared.tensors.items():
        assert torch.equal(tensor, named.tensors[key])


@pytest.mark.parametrize("name", NAMES)
def test_a_description_makes_an_equal_method(name):
    record = describe(resolve("method", {"name": name, **SETTINGS[name]}))
    assert describe(resolve("method", record)) == record


# -- refusals -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("meow", {"top": [4]}, "top has 1 entries for 2 meta-paths"),
        ("meow", {"edge_drop": [0.1, 0.2, 0.3]}, "edge_drop has 3 entries for 2 meta-paths"),
        ("meow", {"loss": {"num_clusters": [3, N + 1]}}, f"num_clusters={N + 1} clusters cannot be made of {N} nodes"),
        ("meow", {"loss": {"num_clusters": None}}, "WeightedInfoNCE needs clusters, which MEOW does not provide"),
        ("meow", {"loss": "multi_positive"}, "MultiPositive needs positives, which MEOW does not provide"),
        ("adameow", {"loss": "team_up"}, "TeamUp needs node_weight, which AdaMEOW does not provide"),
        ("heco", {"loss": "team_up"}, "TeamUp needs node_weight, which HeCo does not provide"),
        ("meow", {"encoder": "gcn"}, "encoder GCN takes no meta-paths; use metapath_context"),
        (
            "meow",
            {"metapaths": ["paper-author-subject-paper"]},
            "does not compose: no relation joins author and subject",
        ),
        (
            "heco",
            {"metapaths": ["paper-author-subject-paper"]},
            "does not compose: no relation joins author and subject",
        ),
        ("adameow", {"metapaths": ["author-paper-author"]}, "must begin and end with the target type 'paper'"),
        ("heco", {"neighbors": {"venue": 3}}, "unknown type joined with paper 'venue'"),
        ("heco", {"neighbors": {"paper": 3}}, "unknown type joined with paper 'paper'"),
        ("meow", {"loss": "adaptive_infonce", "trainer": {"patience": 3}}, "no lower bound"),
        ("adameow", {"trainer": {"patience": 3}}, "no lower bound"),
        ("adameow", {"trainer": {"select": "loss"}}, "no lower bound"),
    ],
)
def test_what_does_not_fit_is_refused(name, options, message, tmp_path):
    settings = {**SETTINGS[name], "trainer": {"epochs": 1}, **options}
    if isinstance(options.get("loss"), dict):
        settings["loss"] = {**(LOSS if "name" not in options["loss"] else {}), **options["loss"]}
    with pytest.raises(ConfigError, match=message):
        gcl.pipeline(name, make_graph(), **QUICK, **settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("loss", ["infonce", {"name": "adaptive_infonce", "normalize_weights": True}])
def test_patience_waits_for_a_loss_that_has_a_lower_bound(loss, monkeypatch):
    fall = iter([3.0, 2.0, 2.5, 1.0, 1.5, 1.2, 0.5])  # two in a row without a lower one at the sixth
    original = AdaMEOW.training_step

    def step_of(self, *given):
        output = original(self, *given)
        return dataclasses.replace(output, loss=output.loss - output.loss.detach() + next(fall))

    monkeypatch.setattr(AdaMEOW, "training_step", step_of)
    settings = {**SETTINGS["adameow"], "loss": loss, "trainer": {"epochs": 7, "patience": 2}}
    fit = gcl.pipeline("adameow", make_graph(), **QUICK, **settings).runs[0].fit
    assert (fit["epochs"], fit["stopped_early"]) == (6, True)


def test_too_many_clusters_are_refused_by_methods_of_two_views_before_any_work(tmp_path):
    loss = {"name": "weighted_infonce"}
    with pytest.raises(ConfigError, match="num_clusters=300 clusters cannot be made of 34 nodes"):
        gcl.pipeline("grace", "karate", **QUICK, loss=loss, out=tmp_path / "run")
    with pytest.raises(ConfigError, match="num_clusters=12 clusters cannot be made of 10 nodes"):
        gcl.pipeline("grace", "karate", **QUICK, loss={**loss, "num_clusters": [12]}, subset=10)
    assert not (tmp_path / "run").exists()


def test_heco_draws_from_all_relations_between_the_target_and_a_type():
    graph = make_graph()
    name = next(name for name, ends in graph.relation_types.items() if "author" in ends)
    first = graph.relations[name]
    half = torch.arange(first.num_arcs) % 2 == 0
    parts = {"early": first.masked(half, compact=True), "late": first.masked(~half, compact=True)}
    relations = {**{key: value for key, value in graph.relations.items() if key != name}, **parts}
    types = {key: graph.relation_types.get(key, graph.relation_types[name]) for key in relations}
    split = dataclasses.replace(graph, relations=relations, relation_types=types)
    settings = {**SETTINGS["heco"], "metapaths": ["paper-[early]-author-paper"]}
    with pytest.raises(ConfigError, match="2 relations join author and paper"):
        gcl.pipeline("heco", split, **QUICK, **settings, trainer={"epochs": 1})
    settings["metapaths"] = ["paper-[early]-author-[late]-paper", "paper-[late]-author-[late]-paper"]
    result = gcl.pipeline("heco", split, **QUICK, **settings, trainer={"epochs": 1})
    method = ready(make("heco", metapaths=settings["metapaths"]), split)[0]
    drawn = method._around(split)["author"][1]
    assert sorted(drawn.edge_index().t().tolist()) == sorted(
        (first if first.shape[0] == graph.num_nodes else first.t()).edge_index().t().tolist()
    )
    assert "attention of paper-[early]-author-[late]-paper" in result.runs[0].diagnostics


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (MEOW, {"metapaths": "paper-author-paper"}, "metapaths must be a list"),
        (MEOW, {"metapaths": []}, "metapaths must be a list"),
        (MEOW, {"top": 0}, "top"),
        (MEOW, {"top": [3, True]}, "top"),
        (MEOW, {"edge_drop": 1.5}, "edge_drop"),
        (MEOW, {"edge_drop": [0.1, -0.1]}, "edge_drop"),
        (AdaMEOW, {"feature_mask": True}, "feature_mask"),
        (AdaMEOW, {"ties": "first"}, "ties"),
        (AdaMEOW, {"orientation": "column"}, "orientation"),
        (AdaMEOW, {"anchor_view": "middle"}, "anchor_view"),
        (AdaMEOW, {"anchors": 0}, "anchors"),
        (HeCo, {"metapaths": []}, "metapaths must be a list"),
        (MEOW, {"top": None, "ties": "random"}, "ties=random decides which neighbours top keeps, and all are kept"),
        (AdaMEOW, {"top": [None, None], "keep_self": True}, "keep_self=True decides which neighbours top keeps"),
        (HeCo, {"neighbors": {}}, "neighbors must name a type at least"),
        (HeCo, {"neighbors": {"author": 0}}, "neighbors.author"),
        (HeCo, {"num_positives": 0}, "num_positives"),
        (HeCo, {"positives": "all"}, "positives"),
        (HeCo, {"features": "none"}, "features"),
        (HeCo, {"hidden_channels": 0}, "hidden_channels"),
        (HeCo, {"feature_dropout": 1.0}, "dropout"),
        (HeCo, {"attention_dropout": -0.1}, "dropout"),
    ],
)
def test_wrong_arguments_are_refused(method, options, message):
    with pytest.raises(ConfigError, match=message):
        method(**options)


def test_a_loss_without_a_lower_bound_may_be_selected_by_validation():
    """By the score of its own, whatever the loss does, and with the weights that had it."""

    class Preset(Clustering):
        scores = (0.1, 0.3, 0.2, 0.25, 0.9)

        def validate(self, outputs, held):
            seen.append(outputs.main.clone())
            return {"score": self.scores[len(seen) - 1]}

    seen = []
    trainer = {"epochs": 5, "select": "validation", "validate_every": 1, "patience": 2}
    evaluate = {"own": Preset(num_seeds=1, n_init=1), "classification": None, "clustering": None}
    result = gcl.pipeline(
        "adameow", make_graph(), **SETTINGS["adameow"], trainer=trainer, floors=False, evaluate=evaluate
    )
    fit = result.runs[0].fit
    assert (fit["best_epoch"], fit["epochs"]) == (2, 4)
    assert torch.equal(result.outputs.main, seen[1])
    assert not torch.equal(result.outputs.main, seen[3])


# -- their losses and encoder elsewhere -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        {"name": "weighted_infonce", "num_clusters": [3, 8], "warm_start": True},
        {"name": "weighted_infonce", "num_clusters": None},
        {"name": "adaptive_infonce", "normalize_weights": True},
    ],
)
def test_grace_trains_with_their_losses_and_resumes(loss, tmp_path, monkeypatch):
    settings = {
        "loss": loss,
        "encoder": {"name": "gcn", "out_channels": 8},
        "projector": {"name": "mlp", "out_channels": 6},
        "trainer": {"epochs": 4, "checkpoint_every": 1},
        **QUICK,
    }
    whole = gcl.pipeline("grace", "karate", **settings)
    assert whole.outputs.main.isfinite().all()
    built = whole.runs[0].method.loss_
    if loss["name"] == "adaptive_infonce":
        assert built.first_.weight.shape == (16, 6)
        untrained = gcl.pipeline("grace", "karate", **{**settings, "trainer": {"epochs": 0}}).runs[0].method.loss_
        assert not torch.equal(built.first_.weight, untrained.first_.weight)
    method = find_class("method", "grace")
    original = method.training_step

    def interrupted(self, batch, clock, streams):
        if clock.epoch == 3:
            raise KeyboardInterrupt
        return original(self, batch, clock, streams)

    with monkeypatch.context() as patch:
        patch.setattr(method, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gcl.pipeline("grace", "karate", out=tmp_path / "run", **settings)
    assert torch.equal(gcl.resume(tmp_path / "run").outputs.main, whole.outputs.main)


def test_a_loss_with_parameters_leaves_the_encoder_as_it_would_be_without(graph):
    plain, weighted = (ready(make("adameow", loss=loss), graph)[0] for loss in ("infonce", "adaptive_infonce"))
    for first, second in zip(plain.encoder_.parameters(), weighted.encoder_.parameters(), strict=True):
        assert torch.equal(first, second)


def test_the_encoder_of_meta_paths_is_refused_where_there_are_none(tmp_path):
    with pytest.raises(ConfigError, match="needs meta-paths; it belongs to the methods meow and adameow"):
        gcl.pipeline("grace", "karate", encoder="metapath_context", **QUICK, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="no relation joins 'node' with another type"):
        gcl.pipeline("meow", "karate", **QUICK)
