"""A graph of several node types as one of target nodes: the bridge to all other methods."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.transforms import ToUndirected

import gcl
from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.data.convert import from_pyg
from gcl.data.load import load_dataset
from gcl.data.metapath_options import MetaPathOptions, metapath_view
from gcl.methods import heco, metapath_contrast
from gcl.methods.heco import HeCo
from gcl.methods.metapath_views import make_views
from gcl.run.open_run import open_run
from gcl.run.settings import parse_overrides


def papers(num_papers=30, num_authors=8, seed=0):
    draw = np.random.RandomState(seed)
    data = HeteroData()
    data["paper"].x = torch.from_numpy(draw.random_sample((num_papers, 5))).float()
    data["paper"].y = torch.arange(num_papers) % 2
    for name, masked in (("train_mask", slice(0, 10)), ("val_mask", slice(10, 20)), ("test_mask", slice(20, None))):
        mask = torch.zeros(num_papers, dtype=torch.bool)
        mask[masked] = True
        data["paper"][name] = mask
    data["author"].num_nodes = num_authors
    pairs = np.argwhere(draw.random_sample((num_papers, num_authors)) < 0.25).T
    data["paper", "by", "author"].edge_index = torch.from_numpy(pairs)
    return data


def incidence(data):
    matrix = np.zeros((data["paper"].num_nodes, data["author"].num_nodes))
    matrix[tuple(data["paper", "by", "author"].edge_index.numpy())] = 1
    return matrix


def nearest(counts, top):
    """The union of both directions of the pairs that PathSim ranks first, without the nodes themselves."""
    kept = np.zeros_like(counts)
    for i, row in enumerate(counts):
        others = [j for j in np.flatnonzero(row) if j != i]
        score = {j: 2 * row[j] / (counts[i, i] + counts[j, j]) for j in others}
        for j in sorted(others, key=lambda j: (-score[j], j))[:top]:
            kept[i, j] = counts[i, j]
    return np.maximum(kept, kept.T)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("top", [None, 1, 3])
def test_it_is_the_graph_of_pathsims_nearest_by_counts_whether_weighted_or_not(top, weighted):
    data = papers()
    counts = incidence(data) @ incidence(data).T
    expected = nearest(counts, top or 99)
    graph = metapath_view(from_pyg(data), MetaPathOptions("paper-author-paper", top, weighted))
    found = graph.adjacency.to_dense().numpy()
    np.testing.assert_array_equal(found, expected if weighted else expected > 0)
    assert graph.adjacency.symmetric
    assert (graph.adjacency.weight is None) is not weighted
    assert torch.equal(graph.attr("y"), data["paper"].y)
    assert graph.attr("splits") is not None
    assert torch.equal(graph.x, data["paper"].x)


def test_walks_find_the_neighbours_that_many_instances_join():
    graph = from_pyg(papers())
    exact = metapath_view(graph, MetaPathOptions("paper-author-paper", None, True)).adjacency.to_dense()
    walked = metapath_view(graph, MetaPathOptions("paper-author-paper", None, True, num_walks=3000)).adjacency
    assert bool(((walked.to_dense() > 0) <= (exact > 0)).all())
    assert float((walked.to_dense() - exact).abs().max()) < 1
    again = metapath_view(graph, MetaPathOptions("paper-author-paper", None, True, num_walks=3000)).adjacency
    assert torch.equal(again.weight, walked.weight)
    few = {"metapaths": ["paper-author-paper"], "num_walks": 20, "top": 5}
    result = gcl.pipeline("adameow", papers(), **few, trainer={"epochs": 2}, floors=False, evaluate=False)
    assert bool(result.outputs.main.isfinite().all())


def test_a_target_without_features_gets_the_identity():
    data = papers()
    del data["paper"].x
    data["paper"].num_nodes = 30
    graph = metapath_view(from_pyg(data), MetaPathOptions("paper-author-paper"))
    assert torch.equal(graph.x, torch.eye(30))
    assert isinstance(graph.features["node"], Adjacency)


def test_what_cannot_be_is_one_sentence():
    for value, message in (
        (3, "metapath must be a text such as paper-author-paper"),
        ({"top": 3}, "metapath needs a path"),
        ({"name": "paper-author-paper", "path": "paper-author-paper"}, "metapath is given twice"),
        ({"path": "paper-author-paper", "tpo": 3}, "unknown setting of metapath 'tpo'"),
        ({"path": 3}, "metapath.path must be a text"),
        ({"path": "paper-author-paper", "top": 0}, "metapath.top must be a whole number from 1"),
        ({"path": "paper-author-paper", "weighted": 1}, "metapath.weighted must be true or false"),
        ("paper-venue-paper", "unknown node type 'venue'"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_dataset(papers(), metapath=value)
    with pytest.raises(DataError, match="this one has one; leave it out"):
        load_dataset("karate", metapath="node-node")
    with pytest.raises(ConfigError, match="meow takes graphs of several node types itself"):
        gcl.pipeline("meow", papers(), metapath="paper-author-paper")
    data = papers()
    data["paper", "cites", "paper"].edge_index = torch.tensor([[0, 1], [1, 2]])
    with pytest.raises(ConfigError, match=r"GRACE takes one relation, and this graph has 2 .*dataset\.metapath=paper-"):
        gcl.pipeline("grace", data)


def test_any_method_trains_on_it_and_the_run_goes_on_and_embeds_by_it(tmp_path):
    by = {"path": ["paper", "author", "paper"], "top": 4}
    settings = {"trainer": {"epochs": 4}, "floors": False, "evaluate": False, "metapath": by}
    data, folder = papers(), tmp_path / "run"
    result = gcl.pipeline("grace", data, **settings, out=folder)
    assert open_run(folder).settings["metapath"] == {**by, "weighted": False, "num_walks": None, "seed": 0}
    graph = load_dataset(data, metapath=by).graph
    torch.testing.assert_close(open_run(folder).embed(graph).main, result.outputs.main)
    again = gcl.pipeline("grace", data, **settings)
    assert torch.equal(again.outputs.main, result.outputs.main)


def test_a_path_and_its_settings_may_be_given_apart():
    """As on the command line: dataset.metapath=... dataset.metapath.top=..."""
    wanted = MetaPathOptions("paper-author-paper", top=3)
    for order in (1, -1):
        given = parse_overrides(["metapath=paper-author-paper", "metapath.top=3"][::order])
        assert MetaPathOptions.of(given["metapath"]) == wanted
    assert (
        MetaPathOptions.of(parse_overrides(["metapath.path=paper-author-paper", "metapath.top=3"])["metapath"])
        == wanted
    )


def test_the_graph_of_a_meta_path_sorts_nothing(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("sorted")

    graph = from_pyg(papers())
    for name in ("sort", "argsort"):
        monkeypatch.setattr(torch, name, refuse)
    monkeypatch.setattr(Adjacency, "from_edge_index", refuse)
    for options in ({}, {"top": 3}, {"num_walks": 5}):
        view = metapath_view(graph, MetaPathOptions("paper-author-paper", weighted=True, **options))
        assert torch.equal(view.adjacency.to_dense(), view.adjacency.to_dense().t())


def test_heco_makes_the_graphs_of_its_meta_paths_once(monkeypatch):
    made, original = [], heco.metapath_graph
    monkeypatch.setattr(heco, "metapath_graph", lambda *given, **options: made.append(1) or original(*given, **options))
    gcl.pipeline(
        "heco", papers(), metapaths=["paper-author-paper"],
        evaluate={"classification": {"name": "classification"}, "clustering": None}, trainer={"epochs": 2},
    )  # fmt: skip
    assert len(made) == 1


# -- at the boundary -------------------------------------------------------------------------------------------------


def test_relations_that_are_stored_in_both_directions_count_once():
    once, twice = from_pyg(papers()), from_pyg(ToUndirected()(papers()))
    assert set(once.relations) == set(twice.relations) == {"by"}
    assert torch.equal(once.relations["by"].col, twice.relations["by"].col)
    other = papers()
    other["author", "wrote", "paper"].edge_index = other["paper", "by", "author"].edge_index.flip(0)[:, 1:]
    assert set(from_pyg(other).relations) == {"by", "wrote"}  # one arc is missing


def test_two_relations_between_two_types_give_two_meta_paths_of_their_own_names():
    data = papers()
    data["paper", "reviewed_by", "author"].edge_index = data["paper", "by", "author"].edge_index[:, ::2]
    settings = {"trainer": {"epochs": 1}, "floors": False, "evaluate": False}
    with pytest.warns(UserWarning, match=r"paper-\[by\]-author-\[by\]-paper, paper-\[reviewed_by\]"):
        result = gcl.pipeline("adameow", data, **settings)
    shares = {key: value for key, value in result.runs[0].diagnostics.items() if key.startswith("attention")}
    assert len(shares) == 2
    assert sum(shares.values()) == pytest.approx(1)
    with pytest.raises(ConfigError, match="is given twice"):
        gcl.pipeline("adameow", papers(), metapaths=["paper-author-paper", "paper-[by]-author-paper"], **settings)


def test_edges_are_checked_against_the_two_types_that_they_join():
    data = papers()
    data["paper", "by", "author"].edge_index = torch.tensor([[0, 1], [2, 8]])
    with pytest.raises(
        DataError,
        match=r"relation \(paper, by, author\): edge 1 names node 8 of type 'author', which has 8 \(valid: 0 to 7",
    ):
        from_pyg(data)
    data = papers()
    data["paper", "in", "venue"].edge_index = torch.tensor([[0], [0]])
    with pytest.raises(DataError, match=r"relation \(paper, in, venue\) names node type 'venue', which the data lack"):
        from_pyg(data)
    data = papers()
    data["venue"].num_nodes = 3
    data["paper", "in", "venue"].edge_index = torch.empty(2, 0, dtype=torch.int64)
    assert from_pyg(data).relations["in"].num_arcs == 0
    del data["paper", "by", "author"]
    with pytest.raises(DataError, match="the graph has no edges"):
        from_pyg(data)


def test_a_relation_called_positive_between_other_types_is_not_taken_for_positives():
    graph = from_pyg(papers())
    relations = {**graph.relations, "positive": graph.relations["by"]}
    types = {**graph.relation_types, "positive": graph.relation_types["by"]}
    graph = dataclasses.replace(graph, relations=relations, relation_types=types)
    method = HeCo(metapaths=["paper-[by]-author-[by]-paper"])
    for refused in (lambda: method.check(graph.spec), lambda: method.prepare(graph.for_training(), Streams(0))):
        with pytest.raises(DataError, match="relation 'positive' joins paper and author"):
            refused()
    HeCo(metapaths=["paper-[by]-author-[by]-paper"], positives="metapaths").check(graph.spec)


def test_every_embedding_of_the_target_carries_the_ids_of_the_user(tmp_path):
    folder = tmp_path / "library"
    folder.mkdir()
    draw = np.random.RandomState(0)
    names = [f"p{index:03d}" for index in range(20)]
    lines = [f"{name},{draw.rand():.3f},{draw.rand():.3f}" for name in names]
    (folder / "features_paper.csv").write_text("id,a,b\n" + "\n".join(lines) + "\n")
    (folder / "edges_paper_author.csv").write_text("\n".join(f"{name},a{draw.randint(6)}" for name in names * 2) + "\n")
    (folder / "target.txt").write_text("paper\n")
    out = tmp_path / "run"
    gcl.pipeline(
        "adameow",
        folder,
        metapaths=["paper-author-paper"],
        trainer={"epochs": 2},
        floors=False,
        evaluate=False,
        out=out,
    )
    opened = open_run(out)
    assert list(opened.embeddings) == ["embedding", "last_pass"]
    assert opened.ids_of("last_pass") == opened.ids_of("embedding") == names
    assert json.loads((out / "graph_spec.json").read_text())["target"] == "paper"


def test_one_graph_is_read_once_in_double_precision(monkeypatch):
    made = []
    monkeypatch.setattr(
        metapath_contrast, "make_views", lambda *given, **options: (made.append(1), make_views(*given, **options))[1]
    )
    gcl.pipeline(
        "adameow", papers(), metapaths=["paper-author-paper"], floors=False,
        evaluate={"classification": {"name": "classification"}, "clustering": None},
        trainer={"epochs": 6, "precision": "64-true", "select": "validation", "validate_every": 1},
    )  # fmt: skip
    assert len(made) == 1  # in double from the first step on: there are no scores before it


def test_a_mistyped_embedding_is_refused_also_where_there_is_one_alone():
    graph = from_pyg(papers())
    assert isinstance(graph, Graph)
    with pytest.raises(ConfigError, match="unknown embedding 'last_pas'"):
        gcl.pipeline(
            "heco", papers(), metapaths=["paper-author-paper"], trainer={"epochs": 1}, floors=False,
            evaluate={"classification": {"name": "classification", "embedding": "last_pas"}, "clustering": None},
        )  # fmt: skip
