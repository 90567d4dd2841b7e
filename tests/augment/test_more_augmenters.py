"""Added edges, dropped entries, walks, diffusion and choices among parts."""

import itertools

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

import gcl
from gcl.augment import (
    CommunalEdgeDrop,
    Compose,
    EdgeAdd,
    EdgeDrop,
    FeatureDropout,
    FeatureMask,
    NodeDrop,
    PPRDiffusion,
    RandomChoice,
    RandomWalkSubgraph,
)
from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.view import View
from gcl.ops.bipartite import joined_graph
from gcl.ops.diffusion import diffusion_weights, pagerank_coefficients
from gcl.regularizers.boundable import named_parts


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pairs(adjacency):
    return set(map(tuple, adjacency.edge_index().t().tolist()))


# -- added edges -------------------------------------------------------------------------------------------------------


@given(adjacencies(), st.floats(0, 2), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_added_arcs_are_new_and_as_many_as_asked(adjacency, share, seed):
    graph = Graph.homogeneous(None, adjacency)
    view = EdgeAdd(share, weight=0.25)(graph, generator=seeded(seed))
    before, after = pairs(adjacency), pairs(view.relation())
    size = adjacency.shape[0]
    stored = {(int(c), int(r)) for r, c in zip(adjacency.row, adjacency.col, strict=True)}
    candidates = set(itertools.permutations(range(size), 2)) - stored
    added = after - before
    assert before <= after
    assert added <= candidates
    own = sum(u != v for u, v in before)
    if adjacency.weight is None or bool((adjacency.weight != 0).all()):
        assert len(added) == min(int(round(share * own, 6)), len(candidates))
    dense, new = view.relation().to_dense(), torch.tensor(sorted(added), dtype=torch.int64).reshape(-1, 2).t()
    assert bool((dense[new[1], new[0]] == (1.0 if adjacency.weight is None else 0.25)).all())
    dense[new[1], new[0]] = 0
    assert torch.equal(dense, adjacency.to_dense())


@given(adjacencies(undirected=True, masked=False), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_added_edges_are_whole(adjacency, share, seed):
    view = EdgeAdd(share, symmetric=True)(Graph.homogeneous(None, adjacency), generator=seeded(seed))
    after = pairs(view.relation())
    assert after == {(v, u) for u, v in after}
    assert view.relation().symmetric


def test_added_arcs_are_uniform():
    """Of the 12 - 4 free pairs each comes as often."""
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 2, 3], [1, 0, 0, 2]]), (4, 4))
    graph, generator = Graph.homogeneous(None, adjacency), seeded()
    counts = torch.zeros(4, 4)
    for _ in range(2000):
        counts += EdgeAdd(0.25)(graph, generator=generator).relation().to_dense(torch.float32) - adjacency.to_dense()
    free = (adjacency.to_dense() == 0) & ~torch.eye(4, dtype=torch.bool)
    assert int(free.sum()) == 8
    assert not counts[~free].any()
    assert bool((abs(counts[free] / 2000 - 1 / 8) < 5 * (1 / 8 * 7 / 8 / 2000) ** 0.5).all())


def test_users_are_joined_with_items():
    interactions = Adjacency.from_edge_index((torch.rand(6, 9, generator=seeded()) < 0.3).nonzero().t().flip(0), (6, 9))
    graph = joined_graph(Graph({}, {"rates": interactions}, {"rates": ("item", "user")}, target="user"))
    for symmetric in (False, True):
        view = EdgeAdd(0.5, symmetric=symmetric)(graph, generator=seeded(1))
        added = pairs(view.relation()) - pairs(graph.adjacency)
        assert added
        assert all((u < 6) != (v < 6) for u, v in added)
    everything = EdgeAdd(100.0)(graph, generator=seeded(1))
    assert everything.relation().num_arcs == 2 * 6 * 9


@given(adjacencies(undirected=True, masked=False), st.floats(0.1, 2), st.floats(0.1, 2), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_whole_edges_behind_single_arcs_are_no_duplicates(adjacency, first, second, seed):
    graph = Graph.homogeneous(None, adjacency)
    for parts in ([EdgeAdd(first), EdgeAdd(second, symmetric=True)], [EdgeDrop(0.5), EdgeAdd(second, symmetric=True)]):
        view = Compose(parts)(graph, generator=seeded(seed))
        arcs = view.relation().edge_index()
        assert arcs.unique(dim=1).shape == arcs.shape
        if isinstance(parts[0], EdgeDrop):  # what was dropped stays so
            assert not (pairs(view.relation()) & pairs(adjacency)) - pairs(EdgeDrop(0.0)(graph).relation())


def test_two_node_types_of_equal_size_are_joined_everywhere():
    relation = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 2]]), (3, 3))
    graph = Graph(relations={"takes": relation}, relation_types={"takes": ("item", "user")}, target="user")
    view = EdgeAdd(100.0)(graph, generator=seeded())
    assert view.relation("takes").num_arcs == 9
    square = Graph.homogeneous(None, relation)
    assert EdgeAdd(100.0)(square, generator=seeded()).relation().num_arcs == 6


def test_users_and_items_of_very_different_number():
    draw = torch.randint(20_000, (500,), generator=seeded()).unique()
    relation = Adjacency.from_edge_index(torch.stack([draw, draw % 5]), (5, 20_000))
    graph = joined_graph(Graph({}, {"rates": relation}, {"rates": ("item", "user")}, target="user"))
    view = EdgeAdd(1.0, symmetric=True)(graph, generator=seeded())
    added = pairs(view.relation()) - pairs(graph.adjacency)
    assert len(added) == graph.adjacency.num_arcs
    assert all((u < 5) != (v < 5) for u, v in added)


def test_what_an_earlier_part_added_is_not_added_again():
    graph = Graph.homogeneous(None, Adjacency.from_edge_index(torch.tensor([[0, 1, 2, 3], [1, 0, 0, 2]]), (4, 4)))
    view = Compose([EdgeAdd(1.0), EdgeAdd(1.0), EdgeDrop(0.0)])(graph, generator=seeded())
    assert 8 <= view.relation().num_arcs <= 12
    assert len(pairs(view.relation())) == view.relation().num_arcs


def test_arcs_that_were_added_are_unknown_to_what_was_fitted():
    graph = Graph.homogeneous(None, Adjacency.from_edge_index(torch.tensor([[0, 1, 2, 3], [1, 0, 0, 2]]), (4, 4)))
    with pytest.raises(DataError, match="does not have"):
        Compose([EdgeAdd(0.5), CommunalEdgeDrop(0.3)]).fit(graph, generator=seeded())(graph, generator=seeded())
    with pytest.raises(ConfigError, match="cannot say"):
        Compose([EdgeAdd(0.5), EdgeDrop(0.3)]).edge_drop_prob(graph)
    assert not Compose([EdgeAdd(0.0), EdgeDrop(0.0)]).edge_drop_prob(graph).any()


@pytest.mark.parametrize("wrong", [{"share": -0.1}, {"share": float("nan")}, {"weight": 0.0}, {"share": "0.1"}])
def test_wrong_shares_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        EdgeAdd(**wrong)


# -- dropped entries ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rescale", [False, True])
def test_entries_are_dropped_one_by_one_and_the_mean_stays(rescale):
    x = torch.rand(300, 40, generator=seeded()) + 0.5
    graph = Graph.homogeneous(x, Adjacency.from_edge_index(torch.empty(2, 0).long(), (300, 300)))
    view = FeatureDropout(0.3, rescale=rescale)(graph, generator=seeded(1))
    gone = view.x == 0
    deviation = (0.21 / 12000) ** 0.5
    assert abs(float(gone.float().mean()) - 0.3) < 5 * deviation
    assert not torch.equal(gone, gone[:1].expand_as(gone))
    torch.testing.assert_close(view.x[~gone], x[~gone] / (0.7 if rescale else 1.0))
    again = FeatureDropout(1.0, rescale=rescale)(view)
    assert not again.x.any()
    half = Compose([FeatureMask(0.5), FeatureDropout(0.5, rescale=False)])(graph, generator=seeded(2))
    assert abs(float((half.x == 0).float().mean()) - 0.75) < 0.15


def test_dropout_without_features_is_refused():
    graph = Graph.homogeneous(None, Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2)))
    with pytest.raises(DataError, match="features"):
        FeatureDropout()(graph)


# -- walks -------------------------------------------------------------------------------------------------------------


@given(adjacencies(), st.integers(1, 4), st.integers(0, 5), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_walks_reach_what_can_be_reached(adjacency, num_roots, walk_length, seed):
    graph = Graph.homogeneous(None, adjacency)
    view = RandomWalkSubgraph(num_roots, walk_length=walk_length)(graph, generator=seeded(seed))
    visited = set(view.node_mask.nonzero()[:, 0].tolist())
    assert min(num_roots, graph.num_nodes) <= len(visited) <= num_roots * (walk_length + 1)
    # a walk goes from a node to one that it receives from, over kept arcs of weight other than 0
    heard = networkx.DiGraph()
    heard.add_nodes_from(range(graph.num_nodes))
    present = adjacency.values() > 0
    heard.add_edges_from(zip(adjacency.row[present].tolist(), adjacency.col[present].tolist(), strict=True))
    reach = {node: set(networkx.single_source_shortest_path_length(heard, node, walk_length)) for node in heard}
    assert any(
        visited <= set().union(*(reach[root] for root in roots))
        for roots in itertools.combinations(sorted(visited), min(num_roots, len(visited)))
    )
    assert all(u in visited and v in visited for u, v in pairs(view.relation()))


def test_steps_follow_the_weights():
    """From the middle of a star to its ends with weights 1, 2, 3 and a dropped arc."""
    weight = torch.tensor([1.0, 2.0, 3.0, 9.0])
    adjacency = Adjacency.from_edge_index(torch.tensor([[1, 2, 3, 4], [0, 0, 0, 0]]), (5, 5), weight)
    adjacency = adjacency.masked(torch.tensor([True, True, True, False]))
    graph = Graph.homogeneous(None, adjacency)
    only = View.of(graph)
    counts, runs, generator = torch.zeros(5), 0, seeded()
    for _ in range(4000):
        mask = RandomWalkSubgraph(1, walk_length=1)(only, generator=generator).node_mask
        if bool(mask[0]) and int(mask.sum()) == 2:
            counts += mask.float()
            runs += 1
    assert runs > 500
    share = counts[1:] / runs
    assert float(share[3]) == 0
    expected = torch.tensor([1, 2, 3]) / 6
    assert bool((abs(share[:3] - expected) < 5 * (expected * (1 - expected) / runs).sqrt()).all())


def test_walks_stay_among_the_nodes_that_are_left():
    ring = torch.stack([torch.arange(30), (torch.arange(30) + 1) % 30])
    graph = Graph.homogeneous(None, Adjacency.from_edge_index(torch.cat([ring, ring.flip(0)], 1), (30, 30)))
    for seed in range(10):
        view = NodeDrop(0.4)(graph, generator=seeded(seed))
        later = RandomWalkSubgraph(3, walk_length=5)(view, generator=seeded(seed))
        assert bool((later.node_mask <= view.node_mask).all())
    for wrong in ({"num_roots": 0}, {"walk_length": -1}, {"num_roots": 2.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            RandomWalkSubgraph(**wrong)


# -- diffusion ---------------------------------------------------------------------------------------------------------


def test_the_view_is_the_diffusion_and_known_arcs_keep_their_ids():
    draw = torch.rand(25, 25, generator=seeded()) < 0.1
    adjacency = Adjacency.from_edge_index((draw | draw.t()).nonzero().t(), (25, 25))
    graph = Graph.homogeneous(torch.rand(25, 3), adjacency)
    augmenter = PPRDiffusion(0.3, top=6, tolerance=1e-4).fit(graph)
    view = augmenter(graph)
    expected, _ = diffusion_weights(adjacency, pagerank_coefficients(0.3), top=6, tolerance=1e-4)
    assert torch.equal(view.relation().to_dense(), expected.to_dense())
    for arc, row, col in zip(view.relation().arc_ids(), view.relation().row, view.relation().col, strict=True):
        stored = bool(adjacency.to_dense()[row, col])
        assert (int(arc) >= 0) == stored
        if stored:
            assert (int(adjacency.row[arc]), int(adjacency.col[arc])) == (int(row), int(col))
    # computed once: every view has the same structure
    assert augmenter(graph).relation() is view.relation()
    later = Compose({"s": augmenter, "drop": EdgeDrop(0.5)})(graph, generator=seeded())
    assert pairs(later.relation()) < pairs(view.relation())


def test_diffusion_of_a_part_or_of_another_graph_is_refused():
    graph = Graph.homogeneous(None, Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [1, 2, 3]]), (4, 4)))
    with pytest.raises(DataError, match="whole graph"):
        PPRDiffusion().fit(graph.subgraph(torch.tensor([0, 1])))
    small = Graph.homogeneous(None, Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2)))
    with pytest.raises(DataError, match="call fit"):
        PPRDiffusion().fit(small)(graph)
    with pytest.raises(DataError, match="call fit"):
        PPRDiffusion().fit(small)(graph.subgraph(torch.tensor([0, 3])))
    with pytest.raises(DataError, match="put it first"):
        PPRDiffusion().fit(graph)(EdgeAdd(1.0)(graph, generator=seeded()))
    other = Graph.homogeneous(None, Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 2]]), (4, 4)))
    with pytest.raises(DataError, match="not the fitted one"):
        PPRDiffusion().fit(graph)(other)
    heavy = View.of(graph).with_adjacency("edge", graph.adjacency.with_weight(torch.tensor([1.0, 2.0, 3.0])))
    with pytest.raises(DataError, match="put it first"):
        PPRDiffusion().fit(graph)(heavy)
    for wrong in ({"alpha": 0.0}, {"top": 0}, {"normalize": "column"}):
        with pytest.raises(ConfigError):
            PPRDiffusion(**wrong)


@pytest.mark.parametrize(
    "parts",
    [
        [EdgeDrop(0.001), PPRDiffusion()],
        [EdgeAdd(0.1), FeatureMask(), PPRDiffusion()],
        [RandomChoice([EdgeDrop(), FeatureMask()]), PPRDiffusion()],
        [EdgeDrop(), RandomChoice([FeatureMask(), PPRDiffusion()])],
        [RandomWalkSubgraph(), Compose([PPRDiffusion(), FeatureMask()])],
    ],
)
def test_diffusion_behind_what_may_change_edges_is_refused_at_once(parts):
    with pytest.raises(ConfigError, match="put it first"):
        Compose(parts)
    if len(parts) == 2:
        with pytest.raises(ConfigError, match="put it first"):
            RandomChoice(parts, num_choices=2)
        assert RandomChoice(parts).num_choices == 1


def test_a_choice_is_one_part_to_pot():
    choice = RandomChoice([EdgeDrop(1.0), EdgeDrop(0.1)])
    assert list(named_parts(choice, "view1")) == [("view1", choice)]
    assert not choice.drops_all
    graph = Graph.homogeneous(None, Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [1, 2, 3]]), (4, 4)))
    torch.testing.assert_close(choice.edge_drop_prob(graph), torch.full((3,), 0.55, dtype=torch.float64))
    assert RandomChoice([EdgeDrop(1.0), EdgeDrop(1.0)]).drops_all
    assert RandomChoice([EdgeDrop(0.1, symmetric=True), FeatureMask()]).symmetric


# -- choices -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_choices", [1, 2, 3])
def test_each_set_of_parts_comes_as_often(num_choices):
    graph = Graph.homogeneous(torch.ones(2, 3), Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2)))
    marks = [Mark(place) for place in range(3)]
    choice, generator, counts = RandomChoice(marks, num_choices=num_choices), seeded(), {}
    for _ in range(900):
        view = choice(graph, generator=generator)
        chosen = tuple((view.x[0] == 0).nonzero()[:, 0].tolist())
        counts[chosen] = counts.get(chosen, 0) + 1
    sets = list(itertools.combinations(range(3), num_choices))
    assert sorted(counts) == sets
    chance = 1 / len(sets)
    assert all(abs(count / 900 - chance) <= 5 * (chance * (1 - chance) / 900) ** 0.5 for count in counts.values())


class Mark(FeatureMask):
    """Zeroes one column."""

    def __init__(self, place):
        super().__init__(0.0)
        self.place = place

    def augment(self, view, generator):
        keep = torch.ones(3, dtype=torch.bool)
        keep[self.place] = False
        return view.mask_columns(keep)


@given(adjacencies(masked=False), st.lists(st.floats(0, 1), min_size=1, max_size=5), st.data())
@settings(max_examples=50, deadline=None)
def test_probability_of_dropping_is_the_mean_over_sets(adjacency, probs, data):
    num_choices = data.draw(st.integers(1, len(probs)))
    graph = Graph.homogeneous(None, adjacency)
    found = RandomChoice([EdgeDrop(prob) for prob in probs], num_choices=num_choices).edge_drop_prob(graph)
    keeps = [
        torch.tensor([1 - p for p in chosen], dtype=torch.float64).prod()
        for chosen in itertools.combinations(probs, num_choices)
    ]
    torch.testing.assert_close(found, torch.full_like(found, 1 - float(torch.stack(keeps).mean())))


@pytest.mark.parametrize("num_choices", [0, 3, True, "one"])
def test_choices_out_of_range_are_refused(num_choices):
    with pytest.raises(ConfigError, match="from 1 to the 2 parts"):
        RandomChoice([EdgeDrop(), FeatureMask()], num_choices=num_choices)


# -- in a method -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        {"edge": "ppr_diffusion", "drop": {"name": "edge_drop", "drop_prob": 0.2}},
        {"edge": {"name": "heat_diffusion", "time": 3.0, "top": 8}, "feature": "feature_dropout"},
        {"edge": {"name": "markov_diffusion", "normalize": "row"}},
        {"edge": {"name": "edge_add", "share": 0.2, "symmetric": True}},
        {"edge": {"name": "random_walk_subgraph", "num_roots": 4, "walk_length": 3}},
        {"edge": {"name": "random_choice", "parts": ["edge_drop", "node_drop", "feature_mask"]}},
    ],
)
def test_methods_train_with_them_and_a_run_is_reopened(parts, tmp_path):
    options = {"augment": {"view2": parts}, "trainer": {"epochs": 3}, "evaluate": False, "seeds": [1]}
    result = gcl.pipeline("grace", "karate", out=tmp_path / "run", **options)
    again = gcl.pipeline("grace", "karate", **options)
    assert torch.equal(result.outputs.main, again.outputs.main)
    assert torch.equal(gcl.open_run(tmp_path / "run").outputs.main, result.outputs.main)


def test_pot_refuses_what_adds_edges():
    with pytest.raises(ConfigError, match="PPRDiffusion"):
        gcl.pipeline(
            "grace", "karate", regularizer="pot", augment={"view1": {"edge": "ppr_diffusion"}}, trainer={"epochs": 1}
        )
