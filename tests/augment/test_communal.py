"""Strengths, communal edge dropping and communal attribute voting: golden values, brute force and invariants."""

import math

import networkx as nx
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.augment.communal_attribute_voting import CommunalAttributeVoting, attribute_score, attribute_votes
from gcl.augment.communal_edge_drop import CommunalEdgeDrop, communal_edge_score
from gcl.augment.communities import Communities, community_strength
from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, NotFittedError
from gcl.core.graph import Graph
from gcl.core.view import View

# Graph A: ten nodes in three communities, 14 edges.
EDGES = [(0, 1), (1, 2), (0, 2), (3, 4), (3, 5), (3, 6), (4, 5), (4, 6), (5, 6), (2, 3), (7, 8), (8, 9), (6, 7), (0, 9)]
LABELS = torch.tensor([1, 1, 1, 0, 0, 0, 0, 2, 2, 2])
ONES = [{0, 1, 2, 7}, {3, 4, 5, 6}, {0, 3, 7, 8}, {8, 9}, set()]


def undirected(edges, num_nodes):
    index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t()
    return Adjacency.from_edge_index(torch.cat([index, index.flip(0)], 1), (num_nodes, num_nodes), duplicates="first")


def graph_a(*, sparse=False):
    x = torch.zeros(10, 5)
    for column, nodes in enumerate(ONES):
        x[list(nodes), column] = 1.0
    features = x
    if sparse:
        node, column = x.nonzero().t()
        features = Adjacency.from_edge_index(torch.stack([column, node]), (10, 5))
    return Graph.homogeneous(features, undirected(EDGES, 10), attrs={"community": LABELS})


def by_edge(graph, values):
    """Values of the arcs u -> v and v -> u for each listed edge."""
    arcs = dict(zip(map(tuple, graph.adjacency.edge_index().t().tolist()), values.tolist(), strict=True))
    assert all(arcs[u, v] == arcs[v, u] for u, v in EDGES)
    return [arcs[edge] for edge in EDGES]


def in_order(inner1, inner0, bridge23, inner2, bridge67, bridge09):
    return [inner1] * 3 + [inner0] * 6 + [bridge23] + [inner2] * 2 + [bridge67] + [bridge09]


# -- golden values -------------------------------------------------------------------------------------------------------


def test_golden_strengths():
    adjacency = graph_a().adjacency
    strength = community_strength(adjacency, LABELS)
    assert strength.dtype == torch.float64
    assert strength.tolist() == pytest.approx([0.178571, 0.132653, 0.096939], abs=1e-6)
    assert float(strength.sum()) == pytest.approx(0.408163, abs=1e-6)
    doubled = community_strength(adjacency, LABELS, doubled=True)
    assert doubled.tolist() == pytest.approx([0.607143, 0.346939, 0.239796], abs=1e-6)


def test_golden_edge_scores():
    graph = graph_a()
    fitted = CommunalEdgeDrop(0.3).fit(graph)
    expected = in_order(0.906250, 1.0, 0.0, 0.833333, 0.072917, 0.166667)
    assert by_edge(graph, fitted.score_) == pytest.approx(expected, abs=1e-6)
    assert float(fitted.mean_score_) == pytest.approx(0.758929, abs=1e-6)


@pytest.mark.parametrize(
    ("drop_prob", "expected", "mean"),
    [
        (0.3, in_order(0.835882, 0.922353, 0.0, 0.768627, 0.067255, 0.153725), 0.7),
        (0.1, in_order(1.0, 1.0, 0.0, 0.988235, 0.086471, 0.197647), 0.804328),
    ],
)
def test_golden_keep_probabilities(drop_prob, expected, mean):
    graph = graph_a()
    fitted = CommunalEdgeDrop(drop_prob).fit(graph)
    assert by_edge(graph, fitted.keep_prob_) == pytest.approx(expected, abs=1e-6)
    assert float(fitted.keep_prob_.mean()) == pytest.approx(mean, abs=1e-6)
    assert torch.equal(fitted.edge_drop_prob(graph), 1 - fitted.keep_prob_)
    assert torch.equal(fitted.drop_prob_, 1 - fitted.keep_prob_)


@pytest.mark.parametrize("sparse", [False, True])
def test_golden_attribute_votes(sparse):
    graph = graph_a(sparse=sparse)
    strength = community_strength(graph.adjacency, LABELS)[LABELS]
    votes = attribute_votes(graph.features["node"], strength)
    assert votes.tolist() == pytest.approx([0.494898, 0.714286, 0.505102, 0.193878, 0.0], abs=1e-6)
    fitted = CommunalAttributeVoting(0.2).fit(graph)
    assert fitted.score_.tolist() == pytest.approx([0.281377, 0, 0.265727, 1, 0], abs=1e-6)
    assert float(fitted.score_.mean()) == pytest.approx(0.309421, abs=1e-6)
    assert fitted.drop_prob_.tolist() == pytest.approx([0.181873, 0, 0.171758, 0.646369, 0], abs=1e-6)
    half = CommunalAttributeVoting(0.5).fit(graph)
    assert half.drop_prob_.tolist() == pytest.approx([0.454683, 0, 0.429394, 1, 0], abs=1e-6)


def test_strengths_of_small_parts():
    """An isolated node has 0, a lone linked node is negative, and a pair alone has 1/M - 1/M^2."""
    adjacency = undirected([(0, 1), (2, 3), (3, 4), (4, 2), (4, 5)], 7)  # M = 5
    strength = community_strength(adjacency, torch.tensor([0, 0, 1, 1, 1, 2, 3]))
    assert strength.tolist() == pytest.approx([1 / 5 - 1 / 25, 3 / 5 - (7 / 10) ** 2, -((1 / 10) ** 2), 0.0])


# -- strengths -----------------------------------------------------------------------------------------------------------


@given(adjacencies(undirected=True, masked=False, max_nodes=10), st.data())
@settings(max_examples=50, deadline=None)
def test_strengths_sum_to_the_modularity_of_networkx(adjacency, data):
    num_nodes = adjacency.shape[0]
    arcs = adjacency.edge_index().t().tolist()
    assume(arcs)
    size = min(3, num_nodes) - 1
    labels = torch.tensor(data.draw(st.lists(st.integers(0, size), min_size=num_nodes, max_size=num_nodes)))
    graph = nx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(arcs)
    parts = [set((labels == k).nonzero().squeeze(1).tolist()) for k in labels.unique()]
    quality = nx.community.modularity(graph, parts)
    assert float(community_strength(adjacency, labels).sum()) == pytest.approx(quality, abs=1e-12)
    inner = sum(int(labels[u]) == int(labels[v]) for u, v in graph.edges)
    doubled = float(community_strength(adjacency, labels, doubled=True).sum())
    assert doubled == pytest.approx(quality + inner / graph.number_of_edges(), abs=1e-12)


def test_without_edges_strengths_are_zero():
    adjacency = undirected([], 3)
    assert community_strength(adjacency, torch.tensor([0, 1, 1])).tolist() == [0, 0]


def test_overlapping_or_missing_communities_are_refused():
    with pytest.raises(DataError, match="every node"):
        community_strength(undirected([(0, 1)], 2), torch.tensor([-1, 0]))


# -- edge scores ---------------------------------------------------------------------------------------------------------


def edge_scores_by_loops(arcs, labels, strength):
    raw = []
    for u, v in arcs:
        same = labels[u] == labels[v]
        raw.append(strength[u] if same else -(strength[u] + strength[v]))
    low, high = min(raw), max(raw)
    return [1.0 if high == low else (value - low) / (high - low) for value in raw]


@given(adjacencies(undirected=True, masked=False, max_nodes=10), st.data())
@settings(max_examples=50, deadline=None)
def test_edge_scores_are_those_of_loops_symmetric_and_reach_both_ends(adjacency, data):
    num_nodes = adjacency.shape[0]
    assume(adjacency.num_arcs)
    size = min(3, num_nodes) - 1
    labels = torch.tensor(data.draw(st.lists(st.integers(0, size), min_size=num_nodes, max_size=num_nodes)))
    sigma = torch.tensor([0.25, 0.125, 0.0625], dtype=torch.float64)
    score = communal_edge_score(adjacency, labels, sigma[labels])
    arcs = adjacency.edge_index().t().tolist()
    expected = edge_scores_by_loops(arcs, labels.tolist(), sigma[labels].tolist())
    assert score.tolist() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(score, score[adjacency.t_perm.long()])
    if len(set(expected)) > 1:
        assert float(score.min()) == 0
        assert float(score.max()) == 1
    u, v = adjacency.edge_index()
    inside = labels[u] == labels[v]
    if bool(inside.any()) and bool((~inside).any()):
        assert score[inside].min() > score[~inside].max()


@given(st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_keep_probabilities_stay_within_caps_and_never_exceed_the_rate(drop_prob, cap):
    graph = graph_a()
    free = CommunalEdgeDrop(drop_prob).fit(graph)
    assert float(free.keep_prob_.mean()) <= 1 - drop_prob + 1e-12
    if float(((1 - drop_prob) * free.score_ / free.mean_score_).max()) <= 1:
        assert float(free.keep_prob_.mean()) == pytest.approx(1 - drop_prob, abs=1e-12)
    capped = CommunalEdgeDrop(drop_prob, max_drop_prob=cap).fit(graph)
    assert float(capped.edge_drop_prob(graph).max()) <= cap + 1e-6
    attributes = CommunalAttributeVoting(drop_prob, max_drop_prob=cap).fit(graph)
    assert float(attributes.drop_prob_.max()) <= cap
    assert float(attributes.drop_prob_.mean()) <= drop_prob + 1e-12


def test_equal_scores_drop_uniformly():
    triangle = Graph.homogeneous(None, undirected([(0, 1), (1, 2), (0, 2)], 3))
    one = triangle.with_node_attrs(community=torch.zeros(3, dtype=torch.int64))
    assert CommunalEdgeDrop(0.3).fit(one).drop_prob_.tolist() == pytest.approx([0.3] * 6)
    # Equal strengths in float32 with a rounding error are still equal.
    two = Graph.homogeneous(None, undirected([(0, 1), (2, 3)], 4)).with_node_attrs(
        community=torch.tensor([0, 0, 1, 1]), community_strength=torch.tensor([0.1, 0.1, 0.1 + 1e-8, 0.1 + 1e-8])
    )
    assert CommunalEdgeDrop(0.3).fit(two).drop_prob_.tolist() == pytest.approx([0.3] * 4)


def test_a_graph_without_edges_has_nothing_to_drop():
    graph = Graph.homogeneous(torch.ones(3, 2), undirected([], 3))
    fitted = CommunalEdgeDrop(0.3).fit(graph)
    assert fitted(graph).edge_index.shape == (2, 0)
    assert fitted.edge_drop_prob(graph).shape == (0,)


def test_arcs_that_are_dropped_already_do_not_count_in_the_score():
    graph = graph_a()
    u, v = graph.adjacency.edge_index()
    keep = ~(((u == 2) & (v == 3)) | ((u == 3) & (v == 2)))  # the arc of the smallest score
    part = Adjacency.from_edge_index(torch.stack([u, v])[:, keep], (10, 10))
    strength = community_strength(graph.adjacency, LABELS)[LABELS].float()
    attached = graph.with_node_attrs(community_strength=strength)
    expected = CommunalEdgeDrop().fit(Graph.homogeneous(None, part, attrs=attached.node_attrs["node"]))
    for compact in (False, True):
        view = View.of(attached).with_adjacency("edge", attached.adjacency.masked(keep, compact=compact))
        fitted = CommunalEdgeDrop().fit(view)
        assert torch.equal(fitted.score_[keep.nonzero().squeeze(1)], expected.score_)
        assert torch.equal(fitted.mean_score_, expected.mean_score_)


# -- drawing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("drop_prob", "cap"), [(0.3, 1.0), (0.1, 1.0), (0.5, 0.6)])
def test_empirical_edge_rates(drop_prob, cap, symmetric):
    graph, draws = graph_a(), 2000
    fitted = CommunalEdgeDrop(drop_prob, max_drop_prob=cap, symmetric=symmetric).fit(graph)
    generator = torch.Generator().manual_seed(0)
    kept = torch.zeros(graph.adjacency.num_arcs, dtype=torch.float64)
    both = torch.zeros_like(kept)
    reverse = graph.adjacency.t_perm.long()
    for _ in range(draws):
        adjacency = fitted(graph, generator=generator).relation()
        mask = torch.zeros_like(kept)
        ids = adjacency.arc_ids() if adjacency.keep is None else adjacency.arc_ids()[adjacency.keep]
        mask[ids] = 1
        kept += mask
        both += mask * mask[reverse]
    expected = fitted.keep_prob_
    error = (expected * (1 - expected) / draws).sqrt()
    assert bool(((kept / draws - expected).abs() <= 5 * error + 1e-9).all())
    together = expected if symmetric else expected**2  # the two arcs of an edge are drawn together or independently
    error = (together * (1 - together) / draws).sqrt()
    assert bool(((both / draws - together).abs() <= 5 * error + 1e-9).all())


def test_empirical_attribute_rates_and_what_a_mask_changes():
    graph, draws = graph_a(), 2000
    fitted = CommunalAttributeVoting(0.5).fit(graph)
    generator = torch.Generator().manual_seed(0)
    masked = torch.zeros(5, dtype=torch.float64)
    for _ in range(draws):
        view = fitted(graph, generator=generator)
        keep = view.feature_mask["node"]
        assert torch.equal(view.x, graph.x * keep)
        assert view.relation() is graph.adjacency
        masked += ~keep
    expected = fitted.drop_prob_
    assert masked[1] == 0  # the top-voted attribute
    assert masked[3] == draws
    assert bool(((masked / draws - expected).abs() <= 5 * (expected * (1 - expected) / draws).sqrt()).all())


def test_the_rate_may_change_after_fit():
    graph = graph_a()
    for changed, fresh in (
        (CommunalEdgeDrop(0.3), CommunalEdgeDrop(0.1)),
        (CommunalAttributeVoting(0.5), CommunalAttributeVoting(0.1)),
    ):
        changed.fit(graph).drop_prob = 0.1
        fresh.fit(graph)
        assert torch.equal(changed.drop_prob_, fresh.drop_prob_)
        one, two = (part(graph, generator=torch.Generator().manual_seed(1)) for part in (changed, fresh))
        assert torch.equal(one.edge_index, two.edge_index)
        assert torch.equal(one.x, two.x)


# -- attribute scores ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "score"),
    [
        ([0.5, 0.5, 0.5], [1, 1, 1]),  # all equal
        ([0.5], [1]),
        ([0.0, 0.0], [1, 1]),  # none positive
        ([-1.0, 0.0, -2.0], [1, 1, 1]),
        ([1.0, math.e, 0.0], [1, 0, 0]),  # no vote counts as the most
        ([1.0, math.e, -3.0], [1, 0, 1]),  # a negative one as the least positive
        ([1.0, math.e, math.e**2], [1, 0.5, 0]),
        ([0.5, 0.0], [1, 1]),  # equal after the repair
        ([], []),
    ],
)
def test_attribute_scores_of_odd_votes(votes, score):
    assert attribute_score(torch.tensor(votes, dtype=torch.float64)).tolist() == pytest.approx(score)


@given(st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_attribute_scores_are_finite_and_lie_in_the_unit_interval(votes):
    score = attribute_score(torch.tensor(votes, dtype=torch.float64))
    assert bool(((score >= 0) & (score <= 1)).all())
    assert float(score.max()) == 1


def test_votes_of_real_features_use_absolute_values_and_match_loops():
    generator = torch.Generator().manual_seed(0)
    x, strength = torch.randn(30, 4, generator=generator), torch.rand(30, generator=generator)
    expected = [sum(abs(float(x[v, f])) * float(strength[v]) for v in range(30)) for f in range(4)]
    assert attribute_votes(x, strength).tolist() == pytest.approx(expected, abs=1e-9)


def test_votes_are_the_same_in_blocks(monkeypatch):
    import gcl.augment.communal_attribute_voting as module

    x, strength = torch.randn(30, 4), torch.rand(30)
    whole = attribute_votes(x, strength)
    monkeypatch.setattr(module, "BLOCK", 28)
    torch.testing.assert_close(attribute_votes(x, strength), whole)


def test_sparse_features_are_not_made_dense(monkeypatch):
    graph = graph_a(sparse=True)
    monkeypatch.setattr(Adjacency, "to_dense", lambda *_, **__: pytest.fail("densified"))
    fitted = CommunalAttributeVoting(0.5).fit(graph)
    assert fitted(graph).feature_mask["node"].shape == (5,)


def test_no_features_or_other_columns_are_refused():
    graph = graph_a()
    bare = Graph.homogeneous(None, graph.adjacency)
    with pytest.raises(DataError, match="features"):
        CommunalAttributeVoting().fit(bare)
    wider = Graph.homogeneous(torch.ones(10, 6), graph.adjacency)
    with pytest.raises(DataError, match="6 attributes"):
        CommunalAttributeVoting().fit(graph)(wider)


# -- communities ---------------------------------------------------------------------------------------------------------


def test_communities_fit_and_attach():
    graph = graph_a().without_node_attrs(["community"])
    communities = Communities()
    assert communities.fit(graph, generator=torch.Generator().manual_seed(0)) is communities
    assert communities.labels_.shape == (10,)
    assert communities.strength_.dtype == torch.float64
    assert communities.modularity_ == pytest.approx(float(communities.strength_.sum()))
    attached = communities.attach(graph)
    assert attached.attr("community").dtype == torch.int64
    assert attached.attr("community_strength").dtype == torch.float32
    assert torch.equal(attached.attr("community_strength"), communities.strength_[communities.labels_].float())
    doubled = Communities(strength="doubled").fit(graph, generator=torch.Generator().manual_seed(0))
    assert torch.equal(doubled.labels_, communities.labels_)
    assert bool((doubled.strength_ >= communities.strength_).all())


def test_communities_of_the_whole_serve_a_part_and_those_of_a_part_its_parts():
    graph = graph_a()
    whole = Communities().fit(graph, generator=torch.Generator().manual_seed(0))
    nodes = torch.tensor([9, 3, 4, 5, 6, 7])
    part = graph.subgraph(nodes)
    assert torch.equal(whole.attach(part).attr("community"), whole.labels_[nodes])
    of_part = Communities().fit(part, generator=torch.Generator().manual_seed(0))
    assert of_part.labels_[[0, 1, 2, 8]].tolist() == [-1] * 4
    assert torch.equal(of_part.attach(part).attr("community"), of_part.labels_[nodes])
    with pytest.raises(DataError, match="call fit"):
        of_part.attach(graph.subgraph(torch.tensor([0, 3])))
    with pytest.raises(DataError, match="call fit"):
        whole.attach(Graph.homogeneous(None, undirected([(0, 1)], 3)))
    with pytest.raises(NotFittedError):
        Communities().attach(graph)


def test_attached_communities_are_used_and_others_are_found():
    graph = graph_a()
    bare = graph.without_node_attrs(["community"])
    seed = torch.Generator().manual_seed
    given_labels = CommunalEdgeDrop().fit(graph, generator=seed(0))
    assert torch.equal(given_labels.score_, communal_edge_score(graph.adjacency, LABELS, _sigma(graph)))
    coarse = CommunalEdgeDrop(communities=Communities(resolution=0.0)).fit(bare, generator=seed(0))
    assert torch.equal(coarse.score_, torch.ones(28, dtype=torch.float64))  # one community
    by_name = CommunalEdgeDrop(communities={"name": "communities", "resolution": 0.0}).fit(bare, generator=seed(0))
    assert torch.equal(by_name.score_, coarse.score_)
    own = Communities()
    CommunalAttributeVoting(communities=own).fit(bare, generator=seed(0))
    assert not hasattr(own, "labels_")  # a specification stays as it was given


def _sigma(graph):
    return community_strength(graph.adjacency, LABELS)[LABELS]


def test_given_strengths_are_used():
    graph = graph_a().with_node_attrs(community_strength=torch.tensor([0.1] * 3 + [0.3] * 4 + [0.2] * 3))
    score = CommunalEdgeDrop().fit(graph).score_
    expected = communal_edge_score(graph.adjacency, LABELS, graph.attr("community_strength"))
    assert torch.equal(score, expected)
    assert not torch.equal(score, CommunalEdgeDrop().fit(graph_a()).score_)


@pytest.mark.parametrize(
    "wrong", [{"method": "x"}, {"resolution": -1}, {"resolution": True}, {"strength": "x"}, {"runs": 0}, {"runs": True}]
)
def test_wrong_arguments_of_communities_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Communities(**wrong)
