"""Link prediction: what is held out, how pairs are scored, and that nothing leaks."""

import dataclasses
import itertools

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from strategies import adjacencies

import gcl
from gcl.core.adjacency import Adjacency
from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.evaluate.held_links import LabelledPairs, hold_links_out
from gcl.evaluate.link_prediction import LinkPrediction
from gcl.evaluate.link_scores import decoder, heuristics, link_metrics
from gcl.methods.grace import GRACE


def make_graph(num_nodes=60, *, prob=0.15, directed=False, weighted=False, seed=0):
    """Random edges, two self-loops; features and labels."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(num_nodes, num_nodes, generator=generator) < prob
    draw.fill_diagonal_(False)
    if not directed:
        draw = draw.triu() | draw.triu().t()
    draw[0, 0] = draw[5, 5] = True
    arcs = draw.nonzero().t()
    weight = None
    if weighted:
        weight = (arcs[0] * arcs[1] % 7 + 1).float()
    adjacency = Adjacency.from_edge_index(arcs, (num_nodes, num_nodes), weight)
    x = torch.rand(num_nodes, 6, generator=generator)
    return Graph.homogeneous(x, adjacency, attrs={"y": torch.arange(num_nodes) % 3})


def undirected(pairs):
    return {frozenset(pair) for pair in pairs.t().tolist()}


def links(part):
    return part.pairs[:, part.is_link]


def others(part):
    return part.pairs[:, ~part.is_link]


def loopless(graph):
    index = graph.adjacency.edge_index()
    return index[:, index[0] != index[1]]


@pytest.mark.parametrize("weighted", [False, True])
def test_parts_of_an_undirected_graph(weighted):
    graph = make_graph(weighted=weighted)
    whole = undirected(loopless(graph))
    training, held = LinkPrediction(valid=0.1, test=0.2).split(graph, seed=0)
    train, valid, test = undirected(loopless(training)), undirected(links(held.valid)), undirected(links(held.test))
    assert len(valid) == links(held.valid).shape[1] == int(0.1 * len(whole))
    assert len(test) == links(held.test).shape[1] == int(0.2 * len(whole))
    assert train | valid | test == whole
    assert len(train) + len(valid) + len(test) == len(whole)
    assert undirected(links(held.train)) == train
    adjacency = training.adjacency
    assert adjacency.symmetric
    assert adjacency.edge_id is None
    assert int(adjacency.is_loop.sum()) == 2
    dense, before = adjacency.to_dense(), graph.adjacency.to_dense()
    assert torch.equal(dense[dense > 0], before[dense > 0])
    assert "y" not in training.node_attrs["node"]
    assert held.validation == "carved"


@pytest.mark.parametrize("prob", [0.05, 0.4])
def test_parts_of_a_directed_graph(prob):
    """Both arcs of a held-out pair go, where there are two, for the one that stays would tell of the other."""
    graph = make_graph(directed=True, prob=prob)
    whole = undirected(loopless(graph))
    training, held = LinkPrediction(valid=0.0, test=0.25).split(graph, seed=3)
    train, test = undirected(loopless(training)), undirected(links(held.test))
    assert train | test == whole
    assert not train & test
    assert len(test) == links(held.test).shape[1] == int(0.25 * len(whole))
    assert not undirected(others(held.test)) & whole
    arcs = set(map(tuple, graph.adjacency.edge_index().t().tolist()))
    assert set(map(tuple, training.adjacency.edge_index().t().tolist())) == {
        arc for arc in arcs if frozenset(arc) not in test
    }
    assert held.valid is None
    assert held.validation == "none"


def test_a_structure_that_lost_its_mark_of_symmetry_is_split_alike():
    graph = make_graph()
    loose = Graph.homogeneous(graph.x, graph.adjacency.without_self_loops())
    assert not loose.adjacency.symmetric
    training, held = LinkPrediction().split(loose, seed=0)
    assert not undirected(links(held.test)) & undirected(training.adjacency.edge_index())
    assert training.adjacency.symmetric


@given(adjacencies(undirected=True, masked=False, min_nodes=6), st.floats(0.3, 2.0), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_other_pairs_have_no_edge_that_is_known_by_then(adjacency, negatives, seed):
    graph = Graph.homogeneous(None, adjacency)
    try:
        training, held = LinkPrediction(valid=0.2, test=0.2, negatives=negatives, split_seed=seed).split(graph, seed=0)
    except DataError:
        return
    whole, train = undirected(adjacency.edge_index()), undirected(training.adjacency.edge_index())
    known = {"train": train, "valid": train | undirected(links(held.valid)), "test": whole}
    for name, edges in known.items():
        part = getattr(held, name)
        found = undirected(others(part))
        assert not found & edges
        assert all(len(pair) == 2 for pair in found)
        assert len(found) == others(part).shape[1]
        size = adjacency.shape[0]
        free = {frozenset(pair) for pair in itertools.combinations(range(size), 2)} - edges
        assert len(found) == min(int(np.ceil(round(negatives * links(part).shape[1], 6))), len(free))


def test_other_pairs_of_training_may_be_links_of_the_test():
    """Else the decoder would learn which pairs the test asks for."""
    graph = make_graph(20, prob=0.6)
    _, held = LinkPrediction(valid=0.1, test=0.4, negatives=5.0).split(graph, seed=0)
    assert undirected(others(held.train)) & undirected(links(held.test))
    assert undirected(others(held.valid)) & undirected(links(held.test))


def test_every_training_seed_gets_the_same_split_and_another_split_seed_another():
    graph = make_graph()
    first, second = (LinkPrediction().split(graph, seed=seed)[1] for seed in (0, 7))
    assert torch.equal(first.test.pairs, second.test.pairs)
    other = LinkPrediction(split_seed=1).split(graph, seed=0)[1]
    assert not torch.equal(first.test.pairs, other.test.pairs)


# -- scores ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_auc_and_average_precision_by_hand(seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(5, (12,), generator=generator).double()
    is_link = torch.arange(12) < 5
    found = link_metrics(scores, LabelledPairs(torch.zeros(2, 12, dtype=torch.int64), is_link))
    wins = [float(a > b) + 0.5 * float(a == b) for a in scores[is_link] for b in scores[~is_link]]
    assert found["auc"] == pytest.approx(np.mean(wins))
    # area under the steps of precision over recall, equal scores together
    area, before = 0.0, 0.0
    for bar in sorted(set(scores.tolist()), reverse=True):
        taken = scores >= bar
        recall, precision = float(is_link[taken].sum()) / 5, float(is_link[taken].float().mean())
        area, before = area + (recall - before) * precision, recall
    assert found["ap"] == pytest.approx(area)


@given(adjacencies(masked=False), st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_heuristics_are_those_of_networkx(adjacency, seed):
    near = networkx.Graph()
    near.add_nodes_from(range(adjacency.shape[0]))
    values = adjacency.values()
    rows, cols = adjacency.row[values != 0].tolist(), adjacency.col[values != 0].tolist()
    near.add_edges_from((u, v) for u, v in zip(rows, cols, strict=True) if u != v)
    pairs = list(itertools.combinations(range(adjacency.shape[0]), 2))
    if not pairs:
        return
    index = torch.tensor(pairs).t()
    expected = {
        "common neighbours": [len(list(networkx.common_neighbors(near, u, v))) for u, v in pairs],
        "Adamic-Adar": [score for _, _, score in networkx.adamic_adar_index(near, pairs)],
        "preferential attachment": [score for _, _, score in networkx.preferential_attachment(near, pairs)],
    }
    for name, score in heuristics(adjacency).items():
        np.testing.assert_allclose(score(index).numpy(), expected[name], rtol=1e-12, err_msg=name)


def test_decoders():
    graph = make_graph()
    _, held = LinkPrediction(valid=0.1, test=0.2).split(graph, seed=0)
    z = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
    pairs, seen = held.test.pairs, held.for_selection()
    products = (z[pairs[0]] * z[pairs[1]]).sum(1)
    torch.testing.assert_close(decoder("inner_product", z, seen)[0](pairs), products.double())
    lengths = z.norm(dim=1)
    expected = products / (lengths[pairs[0]] * lengths[pairs[1]])
    torch.testing.assert_close(decoder("cosine", z, seen)[0](pairs), expected.double())

    def rows(part):
        features = (z[part.pairs[0]] * z[part.pairs[1]]).double().numpy()
        fitted = (z[seen.train.pairs[0]] * z[seen.train.pairs[1]]).double().numpy()
        return (features - fitted.mean(0)) / fitted.std(0)

    score, chosen = decoder("logistic", z, seen)
    best, auc = None, -1.0
    for strength in (0.001, 0.01, 0.1, 1, 10, 100, 1000):
        model = LogisticRegression(C=strength, max_iter=1000).fit(rows(seen.train), seen.train.is_link.numpy())
        found = link_metrics(torch.from_numpy(model.decision_function(rows(seen.valid))), seen.valid)["auc"]
        if found > auc:
            best, auc = (strength, model), found
    assert chosen == {"strength": best[0]}
    np.testing.assert_allclose(score(pairs).numpy(), best[1].decision_function(rows(held.test)), atol=1e-2)
    _, chosen = decoder("logistic", z, dataclasses.replace(seen, valid=None))
    assert chosen == {"strength": 1.0}


@pytest.mark.parametrize("kind", ["inner_product", "cosine", "logistic"])
def test_embeddings_that_know_the_edges_find_them(kind):
    """Two groups, all inside of which is joined."""
    group = torch.arange(40) % 2
    arcs = ((group[:, None] == group[None]) & ~torch.eye(40, dtype=torch.bool)).nonzero().t()
    graph = Graph.homogeneous(None, Adjacency.from_edge_index(arcs, (40, 40)))
    z = torch.nn.functional.one_hot(group, 2) * 2.0 - 1
    evaluator = LinkPrediction(decoder=kind)
    _, held = evaluator.split(graph, seed=0)
    report = evaluator.evaluate(Outputs({"embedding": z}), held, seed=0)
    assert report.mean("auc") == report.mean("ap") == 1.0
    assert report.n == 2 * report.details["links"]
    assert evaluator.validate(Outputs({"embedding": z}), held)["auc"] > 0.9  # links of the test are among the others
    flat = evaluator.evaluate(Outputs({"embedding": torch.ones(40, 2)}), held, seed=0)
    assert flat.mean("auc") == 0.5


def test_selection_never_opens_the_test_part():
    evaluator, graph = LinkPrediction(), make_graph()
    _, held = evaluator.split(graph, seed=0)
    before = evaluator.validate(Outputs({"embedding": graph.x}), held)
    assert evaluator.validate(Outputs({"embedding": graph.x}), dataclasses.replace(held, test=None)) == before
    with pytest.raises(ConfigError, match="no validation part"):
        evaluator.validate(Outputs({"embedding": graph.x}), dataclasses.replace(held, valid=None))


def test_reconstruction_holds_nothing_out():
    evaluator, graph = LinkPrediction(protocol="reconstruction"), make_graph()
    training, held = evaluator.split(graph, seed=0)
    assert training.adjacency is graph.adjacency
    assert undirected(links(held.test)) == undirected(loopless(graph))
    assert not undirected(others(held.test)) & undirected(loopless(graph))
    assert evaluator.evaluate(Outputs({"embedding": graph.x}), held, seed=0).protocol.startswith("reconstruction")


# -- in a run ----------------------------------------------------------------------------------------------------------


def test_nothing_of_a_run_sees_the_held_out_edges(monkeypatch):
    """Neither preparation, nor steps, nor floors of any evaluator."""
    graph, seen = make_graph(), []
    prepare, step = GRACE.prepare, GRACE.training_step
    monkeypatch.setattr(GRACE, "prepare", lambda self, g, s: seen.append(g) or prepare(self, g, s))
    monkeypatch.setattr(GRACE, "training_step", lambda self, b, c, s: seen.append(b.graph) or step(self, b, c, s))
    result = gcl.pipeline(
        "grace", graph, evaluate={"links": {"test": 0.2}, "classification": {"num_splits": 2}}, trainer={"epochs": 2}
    )
    training, _ = LinkPrediction(test=0.2).split(graph, seed=0)
    assert len(seen) > 2
    assert {given.adjacency.num_arcs for given in seen} == {training.adjacency.num_arcs}
    without = gcl.pipeline(
        "grace",
        training.with_node_attrs(y=graph.attr("y")),
        evaluate={"clustering": None, "classification": {"num_splits": 2}},
        trainer={"epochs": 2},
    )
    for row in ("A²X", "trained"):
        mine, other = (run.scores["classification"][row].mean("accuracy") for run in (result, without))
        assert mine == other, row
    rows = result.scores["links"]
    assert list(rows) == [
        "raw features",
        "A²X",
        "common neighbours",
        "Adamic-Adar",
        "preferential attachment",
        "untrained",
        "trained",
    ]


def test_validation_selects_by_links():
    result = gcl.pipeline(
        "grace",
        make_graph(),
        evaluate={"clustering": None, "classification": None, "links": {}},
        trainer={"epochs": 4, "select": "validation", "validate_every": 1},
    )
    assert 1 <= result.runs[0].fit["best_epoch"] <= 4
    with pytest.raises(ConfigError, match=r"evaluate.links: links have no validation part .* valid=0.05"):
        gcl.pipeline(
            "grace",
            make_graph(),
            evaluate={"clustering": None, "classification": None, "links": {"valid": 0.0}},
            trainer={"epochs": 4, "select": "validation"},
        )


def test_two_evaluators_that_hold_links_out_are_refused():
    with pytest.raises(ConfigError, match="take different things out of the graph"):
        gcl.pipeline("grace", make_graph(), evaluate={"links": {}, "more": {"name": "links", "split_seed": 1}})


def test_two_decoders_of_one_split_and_the_reconstruction_of_what_is_left():
    graph = make_graph()
    result = gcl.pipeline(
        "grace",
        graph,
        evaluate={
            "again": {"name": "links", "protocol": "reconstruction"},
            "links": {},
            "cosine": {"name": "links", "decoder": "cosine"},
        },
        trainer={"epochs": 1},
    )
    training, held = LinkPrediction().split(graph, seed=0)
    found = {
        name: rows["trained"].details["links"]
        for name, rows in result.scores.items()
        if rows["trained"].task == "links"
    }
    assert found["links"] == found["cosine"] == int(held.test.is_link.sum())
    assert found["again"] == len(undirected(loopless(training)))


def test_without_labels_links_alone_are_scored():
    graph = make_graph().without_node_attrs(["y"])
    result = gcl.pipeline("grace", graph, evaluate={"links": {}}, trainer={"epochs": 1})
    assert list(result.scores) == ["links"]
    assert result.scores["links"]["common neighbours"].protocol.endswith("common neighbours")


def test_fewer_other_pairs_than_asked_are_said():
    graph = make_graph(12, prob=0.9)
    evaluator = LinkPrediction(test=0.3, negatives=5.0)
    _, held = evaluator.split(graph, seed=0)
    report = evaluator.evaluate(Outputs({"embedding": graph.x}), held, seed=0)
    assert f"all {report.details['others']} other pairs that there are" in report.protocol


@pytest.mark.parametrize("rows", [59, 61])
@pytest.mark.parametrize("kind", ["inner_product", "logistic"])
def test_embeddings_of_another_number_of_nodes_are_refused(rows, kind):
    evaluator = LinkPrediction(decoder=kind)
    _, held = evaluator.split(make_graph(), seed=0)
    for act in (lambda z: evaluator.evaluate(z, held, seed=0), lambda z: evaluator.validate(z, held)):
        with pytest.raises(DataError, match=f"{rows} embeddings for 60 nodes"):
            act(Outputs({"embedding": torch.ones(rows, 3)}))


def test_large_embeddings_are_scored_or_refused():
    evaluator = LinkPrediction()
    _, held = evaluator.split(make_graph(), seed=0)
    z = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)).double()
    plain = evaluator.evaluate(Outputs({"embedding": z}), held, seed=0)
    assert evaluator.evaluate(Outputs({"embedding": z * 1e100}), held, seed=0).values == plain.values
    with pytest.raises(DataError, match="not finite; scale the embeddings down, or take the decoder 'cosine'"):
        evaluator.evaluate(Outputs({"embedding": z * 1e200}), held, seed=0)


@pytest.mark.parametrize("kind", ["cosine", "logistic"])
@pytest.mark.parametrize("power", [-110, -40, 60, 120])
def test_the_scale_of_embeddings_does_not_matter(kind, power):
    evaluator = LinkPrediction(decoder=kind)
    _, held = evaluator.split(make_graph(), seed=0)
    z = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    plain = evaluator.evaluate(Outputs({"embedding": z}), held, seed=0)
    assert evaluator.evaluate(Outputs({"embedding": torch.ldexp(z, torch.tensor(power))}), held, seed=0).values == (
        plain.values
    )
    assert evaluator.evaluate(Outputs({"embedding": torch.zeros(60, 3)}), held, seed=0).mean("auc") == 0.5


def test_the_logistic_decoder_is_scikit_learns_on_scaled_products():
    """With columns of other scales, most of them noise, so that strength and scale both matter."""
    generator = torch.Generator().manual_seed(1)
    group = torch.arange(60) % 3
    chance = torch.where(group[:, None] == group, 0.4, 0.05)
    arcs = (torch.rand(60, 60, generator=generator) < chance).triu(1).nonzero().t()
    graph = Graph.homogeneous(None, Adjacency.from_edge_index(torch.cat([arcs, arcs.flip(0)], 1), (60, 60)))
    z = torch.randn(60, 30, generator=generator).double()
    z[:, :3] += 1.5 * torch.nn.functional.one_hot(group, 3)
    z *= torch.logspace(-2, 2, 30).double()
    _, held = LinkPrediction(valid=0.2, test=0.2).split(graph, seed=0)
    score, chosen = decoder("logistic", z, held.for_selection())

    def rows(part):
        return (z[part.pairs[0]] * z[part.pairs[1]]).numpy()

    found = {}
    for strength in (0.001, 0.01, 0.1, 1, 10, 100, 1000):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        model.fit(rows(held.train), held.train.is_link.numpy())
        of_valid = model.decision_function(rows(held.valid))
        found[strength] = (link_metrics(torch.from_numpy(of_valid), held.valid)["auc"], model)
    best = max(found, key=lambda strength: found[strength][0])
    assert best not in (0.001, 1.0, 1000)  # neither the first, nor the last, nor what is taken without validation
    assert chosen == {"strength": best}
    expected = found[best][1].decision_function(rows(held.test))
    assert expected.std() > 0.1
    np.testing.assert_allclose(score(held.test.pairs).numpy(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"protocol": "heldout"}, "held-out"),
        ({"decoder": "dot"}, "inner_product"),
        ({"valid": -0.1}, "valid"),
        ({"test": 0.0}, "test"),
        ({"test": 0.7, "valid": 0.3}, "below 1 together"),
        ({"negatives": 0}, "negatives"),
        ({"split_seed": -1}, "split_seed"),
    ],
)
def test_wrong_settings_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        LinkPrediction(**wrong)


def test_graphs_that_cannot_be_split_are_refused():
    tiny = Graph.homogeneous(None, Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), (3, 3)))
    with pytest.raises(DataError, match="leaves none for test"):
        LinkPrediction().split(tiny, seed=0)
    full = (~torch.eye(6, dtype=torch.bool)).nonzero().t()
    with pytest.raises(DataError, match="every pair of nodes has an edge"):
        LinkPrediction(valid=0.1, test=0.2).split(
            Graph.homogeneous(None, Adjacency.from_edge_index(full, (6, 6))), seed=0
        )
    with pytest.raises(DataError, match="nothing to reconstruct"):
        LinkPrediction(protocol="reconstruction").split(
            Graph.homogeneous(None, Adjacency.from_edge_index(torch.empty(2, 0).long(), (3, 3))), seed=0
        )
    relation = Adjacency.from_edge_index(torch.tensor([[0, 3], [2, 0]]), (10, 7))
    two = Graph(relations={"writes": relation}, relation_types={"writes": ("author", "paper")}, target="paper")
    with pytest.raises(DataError, match="one node type"):
        LinkPrediction().split(two, seed=0)


def test_edge_attributes_follow_their_arcs():
    graph = make_graph()
    marked = dataclasses.replace(graph, edge_attrs={"edge": {"kind": graph.adjacency.row * 100 + graph.adjacency.col}})
    training, _ = hold_links_out(marked, valid=0.1, test=0.1, negatives=1.0, seed=0, most_train=100)
    adjacency = training.adjacency
    assert torch.equal(training.edge_attrs["edge"]["kind"], adjacency.row * 100 + adjacency.col)
