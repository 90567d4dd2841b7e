"""Augmenters one after another, and PyG transforms among them."""

import random

import numpy as np
import pytest
import torch
import torch_geometric.transforms as T
from torch_geometric.data import Data

from gcl.augment import (
    CommunalAttributeVoting,
    CommunalEdgeDrop,
    Compose,
    EdgeDrop,
    FeatureMask,
    Identity,
    PyGTransform,
)
from gcl.augment.pyg_data import graph_of
from gcl.core.adjacency import Adjacency
from gcl.core.errors import CheckpointError, ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.view import View


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def cliques(*, symmetric=True, weight=False):
    """Two cliques of six nodes with a bridge."""
    inside = torch.combinations(torch.arange(6)).t()
    index = torch.cat([inside, inside + 6, torch.tensor([[0], [6]])], 1)
    index = torch.cat([index, index.flip(0)], 1) if symmetric else index
    adjacency = Adjacency.from_edge_index(index, (12, 12))
    if weight:
        adjacency = adjacency.with_weight(torch.rand(adjacency.num_arcs, generator=seeded()) + 0.5)
    return Graph.homogeneous(torch.rand(12, 5, generator=seeded(1)) + 0.1, adjacency)


def arcs_of(view):
    return set(map(tuple, view.edge_index.t().tolist()))


# -- Compose -------------------------------------------------------------------------------------------------------------


def test_parts_share_one_generator_in_order():
    graph, generator = cliques(), seeded(7)
    view = Compose([EdgeDrop(0.4), FeatureMask(0.5), EdgeDrop(0.2)])(graph, generator=seeded(7))
    expected = EdgeDrop(0.4)(graph, generator=generator)
    expected = FeatureMask(0.5)(expected, generator=generator)
    expected = EdgeDrop(0.2)(expected, generator=generator)
    assert torch.equal(view.edge_index, expected.edge_index)
    assert torch.equal(view.x, expected.x)


def test_names_state_needs_and_drop_probability():
    graph = cliques()
    inner = Compose({"communal": CommunalEdgeDrop(0.3), "mask": FeatureMask(0.1)})
    outer = Compose({"first": inner, "votes": CommunalAttributeVoting(0.2), "edge": EdgeDrop(0.5)})
    assert outer.needs == ("communities",)
    outer.fit(graph, generator=seeded())
    assert set(outer.state()) == {"first.communal.score", "first.communal.mean_score", "votes.score"}
    communal = inner.augmenters["communal"].edge_drop_prob(graph)
    torch.testing.assert_close(outer.edge_drop_prob(graph), 1 - (1 - communal) * 0.5)
    torch.testing.assert_close(
        Compose([]).edge_drop_prob(graph), torch.zeros(graph.adjacency.num_arcs, dtype=torch.float64)
    )
    torch.testing.assert_close(
        Compose([Identity(), FeatureMask()]).edge_drop_prob(graph), torch.zeros(62, dtype=torch.float64)
    )
    again = Compose({"first": Compose(inner.parts), "votes": CommunalAttributeVoting(0.2), "edge": EdgeDrop(0.5)})
    again.load_state(outer.state())
    assert torch.equal(again.edge_drop_prob(graph), outer.edge_drop_prob(graph))


def test_no_parts_change_nothing_and_single_specifications_stand_for_one():
    graph = cliques()
    view = View.of(graph)
    assert Compose([])(view) is view
    assert list(Compose("edge_drop").augmenters) == ["augmenter"]
    assert list(Compose([Identity(), "feature_mask"]).augmenters) == ["part0", "part1"]


def test_dotted_names_and_foreign_state_are_refused():
    with pytest.raises(ConfigError, match="dot"):
        Compose({"a.b": Identity()})
    with pytest.raises(CheckpointError, match=r"x\.score"):
        Compose({"a": Identity()}).load_state({"x.score": torch.ones(1)})
    with pytest.raises(CheckpointError, match="score"):
        Compose({"a": CommunalEdgeDrop()}).load_state({})


def test_a_part_that_cannot_say_how_likely_it_drops_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"'odd' \(PyGTransform\)"):
        Compose({"odd": T.ToUndirected()}).edge_drop_prob(cliques())


def test_an_augmenter_from_elsewhere_is_taken_by_its_methods():
    class Foreign:
        def fit(self, graph, *, generator=None):
            return self

        def __call__(self, view, *, generator=None):
            return View.of(view)

        def state(self):
            return {}

        def load_state(self, state):
            return self

    foreign = Foreign()
    composed = Compose({"foreign": foreign, "mask": FeatureMask(0.5)})
    assert composed.augmenters["foreign"] is foreign
    assert composed.fit(cliques())(cliques()).num_nodes == 12


def test_ours_between_the_transforms_of_pyg():
    graph = cliques()
    data = Data(x=graph.x, edge_index=graph.adjacency.edge_index())
    torch.manual_seed(0)
    out = T.Compose([T.NormalizeFeatures(), EdgeDrop(0.5), FeatureMask(0.4), T.ToUndirected(), EdgeDrop(1.0)])(data)
    assert isinstance(out, Data)
    assert out.edge_index.shape == (2, 0)
    nothing = T.Compose([EdgeDrop(1.0), EdgeDrop(0.5), FeatureMask(0.4)])(data)  # edges may all be gone
    assert nothing.edge_index.shape == (2, 0)
    assert torch.equal(data.edge_index, graph.adjacency.edge_index())


# -- PyGTransform --------------------------------------------------------------------------------------------------------


def test_a_transform_of_pyg_in_our_compose():
    graph = cliques(symmetric=False)
    view = Compose([EdgeDrop(0.3), T.ToUndirected(), FeatureMask(0.2)])(graph, generator=seeded())
    arcs = arcs_of(view)
    assert arcs == {(v, u) for u, v in arcs}
    assert view.relation().symmetric
    again = arcs_of(EdgeDrop(0.5, symmetric=True)(view, generator=seeded()))
    assert again == {(v, u) for u, v in again}


def test_a_specification_of_a_transform():
    view = PyGTransform({"name": "torch_geometric.transforms:AddRemainingSelfLoops", "fill_value": 1.0})(cliques())
    assert {(v, v) for v in range(12)} <= arcs_of(view)
    composed = Compose([{"name": "torch_geometric.transforms:AddRemainingSelfLoops"}])
    assert arcs_of(composed(cliques())) == arcs_of(view)


def test_edges_that_stay_keep_their_ids_and_dropping_is_a_mask():
    graph = cliques()
    fitted = CommunalEdgeDrop(0.4).fit(graph, generator=seeded())
    even = PyGTransform(lambda data: _with(data, edge_index=data.edge_index[:, ::2]))
    view = even(graph)
    assert torch.equal(view.edge_index, graph.adjacency.edge_index()[:, ::2])
    assert torch.equal(fitted.edge_drop_prob(view)[_kept(view)], fitted.edge_drop_prob(graph)[::2])
    assert fitted(view, generator=seeded()).num_nodes == 12
    # A new arc has no score.
    with pytest.raises(DataError, match="arcs that the fitted one"):
        fitted(PyGTransform(T.AddRemainingSelfLoops())(graph))
    # An arc that an earlier part dropped and the transform brings back has its own.
    for compact in (False, True):
        half = graph.adjacency.masked(torch.arange(62) % 2 == 0, compact=compact)
        back = PyGTransform(lambda data: _with(data, edge_index=graph.adjacency.edge_index()))
        view = back(View.of(graph).with_adjacency("edge", half))
        assert torch.equal(fitted.edge_drop_prob(view), fitted.edge_drop_prob(graph))


def test_unchanged_parts_are_the_same_objects():
    graph = cliques(weight=True)
    view = EdgeDrop(0.2)(graph, generator=seeded())
    assert PyGTransform(lambda data: data)(view).relation() is view.relation()
    assert PyGTransform(lambda data: data)(view).graph is graph
    scaled = PyGTransform(lambda data: _with(data, x=data.x * 2))(FeatureMask(0.5)(view, generator=seeded()))
    assert scaled.relation() is view.relation()
    assert torch.equal(scaled.x, FeatureMask(0.5)(view, generator=seeded()).x * 2)
    assert torch.equal(graph.x, cliques().x)


def test_new_weights():
    graph = cliques()
    view = PyGTransform(lambda data: _with(data, edge_weight=torch.full((data.edge_index.shape[1],), 3.0)))(graph)
    assert view.edge_weight.tolist() == [3.0] * 62
    assert torch.equal(view.edge_index, graph.adjacency.edge_index())
    assert torch.equal(view.relation().arc_ids(), torch.arange(62))


def test_every_global_generator_is_seeded_inside_and_restored():
    drawn = []

    def draw(data):
        drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
        return data

    transform, graph = PyGTransform(draw), cliques()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = (random.random(), float(np.random.rand()), float(torch.rand(())))
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    transform(graph, generator=seeded(3))
    transform(graph, generator=seeded(3))
    transform(graph, generator=seeded(4))
    assert (random.random(), float(np.random.rand()), float(torch.rand(()))) == expected
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.subgraph(torch.arange(5)), "5 nodes of 12"),
        (lambda data: _with(data, x=data.x[:, :3]), "3 feature columns of 5"),
        (lambda data: (data, data), "tuple instead of PyG Data"),
        (lambda data: _with(data, edge_index=None), "no edge_index"),
    ],
)
def test_what_a_view_cannot_hold_is_refused(change, message):
    with pytest.raises(DataError, match=message):
        PyGTransform(change)(cliques())


def test_what_cannot_be_called_is_refused():
    with pytest.raises(ConfigError, match="callable"):
        PyGTransform(torch.ones(1))


def test_a_transform_may_drop_and_add_every_edge():
    graph = cliques()
    none = PyGTransform(lambda data: _with(data, edge_index=data.edge_index[:, :0]))(graph)
    assert none.edge_index.shape == (2, 0)
    loops = PyGTransform(T.AddRemainingSelfLoops())(none)
    assert arcs_of(loops) == {(v, v) for v in range(12)}
    bare = Graph.homogeneous(None, graph.adjacency)
    assert arcs_of(PyGTransform(T.ToUndirected())(bare)) == arcs_of(View.of(graph))


def test_added_edges_beside_per_edge_tensors_are_refused():
    graph = cliques()
    data = Data(x=graph.x, edge_index=graph.adjacency.edge_index())
    assert PyGTransform(T.AddRemainingSelfLoops())(data).edge_index.shape == (2, 74)
    data.kind = torch.arange(62)
    data.edge_attr = torch.arange(62)
    with pytest.raises(DataError, match="added edges"):
        PyGTransform(T.AddRemainingSelfLoops())(data)


def test_a_fitted_view_counts_its_masks():
    graph = cliques()
    view = FeatureMask(0.5)(EdgeDrop(0.3)(graph, generator=seeded()), generator=seeded())
    masked = graph_of(view)
    assert torch.equal(masked.x, view.x)
    assert torch.equal(masked.adjacency.edge_index(), view.edge_index)


def _kept(view):
    adjacency = view.relation()
    return torch.ones(adjacency.num_arcs, dtype=torch.bool) if adjacency.keep is None else adjacency.keep


def _with(data, **changes):
    for key, value in changes.items():
        setattr(data, key, value)
    return data
