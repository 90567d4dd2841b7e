"""Directed, weighted and self-looped graphs through the whole way: read, train, evaluate, store, report."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gcl
from gcl.core.classes import find_class, names
from gcl.data.dataset import Dataset
from gcl.data.from_arrays import from_arrays
from gcl.data.load import load_dataset

METHODS = [name for name in names("method") if find_class("method", name).kind in ("node", "cluster")]
NUM_NODES = 24
SCORED = {
    "classification": {"num_splits": 2},
    "clustering": {"k": 2},
    "links": {"test": 0.2},
}


def parts(seed=0):
    """Arcs in no order, some in both directions, some from a node to itself; weights; features; labels of two groups."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(NUM_NODES) % 2
    chance = torch.where(y[:, None] == y, 0.3, 0.05)
    edge_index = (torch.rand(NUM_NODES, NUM_NODES, generator=generator) < chance).nonzero().t()
    edge_index = edge_index[:, torch.randperm(edge_index.shape[1], generator=generator)]
    weight = torch.rand(edge_index.shape[1], generator=generator) + 0.5
    x = torch.rand(NUM_NODES, 5, generator=generator) + y[:, None]
    assert (edge_index[0] == edge_index[1]).any()
    return edge_index, weight, x, y


def run(method, graph, **more):
    settings = {"trainer": {"epochs": 2}, "evaluate": {"classification": None, "clustering": None}, "floors": False}
    return gcl.pipeline(method, graph, **{**settings, **more})


def same(a, b):
    return all(torch.equal(a.runs[0].outputs.embeddings[key], b.runs[0].outputs.embeddings[key])
               for key in a.runs[0].outputs.embeddings)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_all_three_at_once(method, tmp_path):
    edge_index, weight, x, y = parts()
    graph = from_arrays(edge_index, x, y, edge_weight=weight, directed=True)
    result = run(method, graph, evaluate=SCORED, floors=True, out=tmp_path / "run")
    assert result.outputs.main.shape[0] == NUM_NODES
    for rows in result.scores.values():
        for report in rows.values():
            assert all(np.isfinite(report.mean(metric)) for metric in report.values)
    page = gcl.write_report([tmp_path / "run"], tmp_path / "page.html")
    assert method in page.read_text().lower()


@pytest.mark.parametrize("method", METHODS)
def test_weights_of_one_are_no_weights(method):
    edge_index, _, x, y = parts()
    plain = from_arrays(edge_index, x, y, directed=True)
    ones = from_arrays(edge_index, x, y, edge_weight=torch.ones(edge_index.shape[1]), directed=True)
    assert same(run(method, plain), run(method, ones))


@pytest.mark.parametrize("method", METHODS)
def test_weights_and_directions_matter(method):
    edge_index, weight, x, y = parts()
    plain = run(method, from_arrays(edge_index, x, y, directed=True))
    assert not same(plain, run(method, from_arrays(edge_index, x, y, edge_weight=weight, directed=True)))
    assert not same(plain, run(method, from_arrays(edge_index.flip(0), x, y, directed=True)))


@pytest.mark.parametrize("method", METHODS)
def test_an_undirected_graph_is_a_directed_one_with_both_arcs(method):
    edge_index, _, x, y = parts()
    once = torch.unique(torch.sort(edge_index, dim=0).values, dim=1)
    both = torch.unique(torch.cat([once, once.flip(0)], dim=1), dim=1)
    assert same(run(method, from_arrays(once, x, y)), run(method, from_arrays(both, x, y, directed=True)))


def test_a_part_of_a_graph_is_a_graph_of_its_own():
    graph = load_dataset("karate").graph
    part = graph.subgraph(torch.tensor([33, 32, 30, 8, 2, 0, 1, 3]))
    own = from_arrays(part.adjacency.edge_index(), part.x)
    for method in ("grace", "csgcl"):  # the second has scores of arcs and of nodes
        expected = gcl.pipeline(method, own, trainer={"epochs": 2}, evaluate=False).outputs.main
        for source in (part, Dataset("part", part)):
            found = gcl.pipeline(method, source, trainer={"epochs": 2}, evaluate=False).outputs.main
            assert torch.equal(found, expected)
    assert part.node_id is not None
    assert part.whole().node_id is None
    assert part.whole().adjacency.edge_id is None
