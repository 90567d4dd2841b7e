"""What every augmenter promises, swept over every public class of ``gcl.augment``."""

import importlib
import inspect
import pkgutil

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.transforms import Compose as PyGCompose

import gcl.augment
from gcl.augment import (
    AdaptiveEdgeDrop,
    AdaptiveFeatureMask,
    Augmenter,
    CommunalAttributeVoting,
    CommunalEdgeDrop,
    Compose,
    Diffusion,
    EdgeAdd,
    EdgeDrop,
    FeatureDropout,
    FeatureMask,
    HeatDiffusion,
    Identity,
    MarkovDiffusion,
    NodeDrop,
    PPRDiffusion,
    PyGTransform,
    RandomChoice,
    RandomWalkSubgraph,
)
from gcl.core.adjacency import Adjacency
from gcl.core.classes import names
from gcl.core.errors import CheckpointError, ConfigError, DataError, NotFittedError
from gcl.core.graph import Graph
from gcl.core.protocols import Augmenter as AugmenterProtocol
from gcl.core.protocols import DropsEdges
from gcl.core.resolve import describe, normalise, resolve
from gcl.core.view import View


class HalfOfTheEdges(BaseTransform):
    """Drops arcs at random from torch's global generator."""

    def forward(self, data):
        data.edge_index = data.edge_index[:, torch.rand(data.edge_index.shape[1]) < 0.5]
        return data


# One entry or more for every public augmenter class: name -> how to make it.
SWEEP = {
    "Identity": Identity,
    "EdgeDrop": lambda: EdgeDrop(0.4),
    "EdgeDrop symmetric": lambda: EdgeDrop(0.7, symmetric=True),
    "EdgeDrop exact": lambda: EdgeDrop(0.4, exact=True),
    "EdgeDrop exact symmetric": lambda: EdgeDrop(0.5, symmetric=True, exact=True),
    "NodeDrop": lambda: NodeDrop(0.3),
    "NodeDrop exact": lambda: NodeDrop(0.3, exact=True),
    "FeatureMask": lambda: FeatureMask(0.5),
    "FeatureDropout": lambda: FeatureDropout(0.5),
    "EdgeAdd": lambda: EdgeAdd(0.3),
    "EdgeAdd symmetric": lambda: EdgeAdd(0.3, symmetric=True),
    "RandomWalkSubgraph": lambda: RandomWalkSubgraph(3, walk_length=4),
    "Diffusion": lambda: Diffusion([0.2, 0.5, 0.3], top=5),
    "PPRDiffusion": lambda: PPRDiffusion(0.2, top=5),
    "HeatDiffusion": lambda: HeatDiffusion(2.0, top=5, normalize="row"),
    "MarkovDiffusion": lambda: MarkovDiffusion(0.1, order=3, top=5),
    "AdaptiveEdgeDrop": lambda: AdaptiveEdgeDrop(0.4),
    "AdaptiveEdgeDrop by PageRank": lambda: AdaptiveEdgeDrop(0.4, centrality="pagerank"),
    "AdaptiveEdgeDrop symmetric": lambda: AdaptiveEdgeDrop(0.6, centrality="eigenvector", symmetric=True),
    "AdaptiveFeatureMask": lambda: AdaptiveFeatureMask(0.5),
    "CommunalEdgeDrop": lambda: CommunalEdgeDrop(0.3),
    "CommunalEdgeDrop symmetric": lambda: CommunalEdgeDrop(0.7, max_drop_prob=0.8, symmetric=True),
    "CommunalAttributeVoting": lambda: CommunalAttributeVoting(0.5),
    "PyGTransform": lambda: PyGTransform(HalfOfTheEdges()),
    "Compose": lambda: Compose({"edge": CommunalEdgeDrop(0.6), "mask": FeatureMask(0.2), "more": EdgeDrop(0.2)}),
    "Compose with diffusion": lambda: Compose([PPRDiffusion(top=5), EdgeDrop(0.3), FeatureDropout(0.2)]),
    "RandomChoice": lambda: RandomChoice([EdgeDrop(0.4), CommunalEdgeDrop(0.3), FeatureMask(0.3)], num_choices=2),
    "Compose of specifications": lambda: Compose(
        ["communal_attribute_voting", {"name": "edge_drop", "drop_prob": 0.5}]
    ),
}


def public_classes():
    found = set()
    for info in pkgutil.iter_modules(gcl.augment.__path__):
        module = importlib.import_module(f"gcl.augment.{info.name}")
        for name, value in vars(module).items():
            ours = inspect.isclass(value) and issubclass(value, Augmenter) and value.__module__ == module.__name__
            if ours and value is not Augmenter and not name.startswith("_"):
                found.add(value)
    return found


def test_every_public_class_is_in_the_sweep_and_the_package():
    swept = {type(make()) for make in SWEEP.values()}
    assert public_classes() <= swept, f"add to SWEEP: {[cls.__name__ for cls in public_classes() - swept]}"
    assert {cls.__name__ for cls in public_classes()} <= set(gcl.augment.__all__)


def make_graph(num_nodes=40, *, sparse=False, seed=0):
    """Two dense halves with some edges between them, a self-loop, and an isolated node at the end."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.arange(num_nodes) % 2
    prob = torch.where(half[:, None] == half[None], 0.3, 0.03)
    upper = torch.triu(torch.rand(num_nodes, num_nodes, generator=generator) < prob, 1)
    upper[:, -1] = False
    arcs = upper.nonzero().t()
    arcs = torch.cat([arcs, arcs.flip(0), torch.tensor([[0], [0]])], 1)
    x = (torch.rand(num_nodes, 12, generator=generator) < 0.3).float()
    features = Adjacency.from_edge_index(x.nonzero().t().flip(0), (num_nodes, 12)) if sparse else x
    return Graph.homogeneous(features, Adjacency.from_edge_index(arcs, (num_nodes, num_nodes)))


def diffuses(augmenter):
    return any(isinstance(part, Diffusion) for part in getattr(augmenter, "augmenters", {"": augmenter}).values())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def same_view(one, two):
    return torch.equal(one.edge_index, two.edge_index) and torch.equal(one.x, two.x)


@pytest.fixture(params=SWEEP, scope="module")
def fitted(request):
    return SWEEP[request.param]().fit(make_graph(), generator=seeded())


class TestEveryAugmenter:
    def test_meets_the_protocol(self, fitted):
        assert isinstance(fitted, AugmenterProtocol)
        assert isinstance(fitted.needs, tuple)

    def test_gives_a_view_with_the_same_nodes(self, fitted):
        graph = make_graph()
        for given in (graph, View.of(graph)):
            view = fitted(given, generator=seeded())
            assert isinstance(view, View)
            assert view.num_nodes == 40
            assert view.x.shape == graph.x.shape

    def test_same_seed_same_view_and_global_generator_untouched(self, fitted):
        graph = make_graph()
        before = torch.random.get_rng_state()
        assert same_view(fitted(graph, generator=seeded(3)), fitted(graph, generator=seeded(3)))
        assert torch.equal(before, torch.random.get_rng_state())
        views = [fitted(graph, generator=seeded(seed)) for seed in range(5)]
        if not isinstance(fitted, Identity | Diffusion):
            assert not all(same_view(views[0], view) for view in views[1:])

    def test_without_a_generator_it_follows_the_global_one(self, fitted):
        graph = make_graph()
        torch.manual_seed(5)
        one = fitted(graph)
        torch.manual_seed(5)
        assert same_view(one, fitted(graph))

    def test_leaves_its_input_alone(self, fitted):
        graph, copy = make_graph(), make_graph()
        view = View.of(graph)
        fitted(view, generator=seeded())
        assert same_view(view, View.of(copy))

    def test_what_is_gone_stays_gone(self, fitted):
        graph = make_graph()
        earlier = FeatureMask(0.5)(EdgeDrop(0.3)(graph, generator=seeded(8)), generator=seeded(9))
        arcs = set(map(tuple, earlier.edge_index.t().tolist()))
        gone = set(map(tuple, graph.adjacency.edge_index().t().tolist())) - arcs
        for compact in (False, True):
            adjacency = earlier.relation().masked(earlier.relation().values().bool(), compact=compact)
            view = earlier.with_adjacency("edge", adjacency)
            if diffuses(fitted):
                with pytest.raises(DataError, match="put it first"):
                    fitted(view, generator=seeded())
                continue
            later = fitted(view, generator=seeded())
            found = set(map(tuple, later.edge_index.t().tolist()))
            assert not found & gone
            assert found <= arcs or fitted.adds_edges
            assert bool((later.x[:, earlier.x.sum(0) == 0] == 0).all())

    def test_fitted_on_the_whole_it_gives_a_part_the_part_of_what_it_gives(self, fitted):
        graph = make_graph()
        part = graph.subgraph(torch.tensor([3, 17, 1, 0, 30, 29, 8, 11, 39, 5, 7]))
        ids = part.adjacency.arc_ids()
        assert ids.numel() > 10
        view = fitted(part, generator=seeded())
        assert view.num_nodes == 11
        kept = set(map(tuple, part.adjacency.edge_index().t().tolist()))
        assert set(map(tuple, view.edge_index.t().tolist())) <= kept or fitted.adds_edges
        if isinstance(fitted, Diffusion):
            whole = fitted(graph).relation().subgraph(part.node_id["node"])
            assert torch.equal(view.relation().to_dense(), whole.to_dense())
        if isinstance(fitted, DropsEdges) and not diffuses(fitted):
            assert torch.equal(fitted.edge_drop_prob(part), fitted.edge_drop_prob(graph)[ids])
            drop = fitted.edge_drop_prob(graph)
            masked = graph.adjacency.masked(torch.arange(drop.numel()) % 3 > 0, compact=True)
            over = View.of(graph).with_adjacency("edge", masked)
            assert torch.equal(fitted.edge_drop_prob(over), drop[masked.arc_ids()])

    def test_the_order_of_a_parts_nodes_does_not_matter(self, fitted):
        graph = make_graph()
        order = torch.randperm(40, generator=seeded(1))
        if isinstance(fitted, DropsEdges) and not diffuses(fitted):
            part = graph.subgraph(order)
            drop = torch.zeros(graph.adjacency.num_arcs, dtype=torch.float64)
            drop[part.adjacency.arc_ids()] = fitted.edge_drop_prob(part)
            assert torch.equal(drop, fitted.edge_drop_prob(graph))

    def test_data_in_data_out(self, fitted):
        graph = make_graph()
        data = Data(x=graph.x, edge_index=graph.adjacency.edge_index(), y=torch.arange(40), name="two halves")
        data.kind = torch.arange(graph.adjacency.num_arcs)
        if fitted.adds_edges:
            with pytest.raises(DataError, match="added edges"):
                fitted(data, generator=seeded())
            del data.kind
        out = fitted(data, generator=seeded())
        view = fitted(graph, generator=seeded())
        assert isinstance(out, Data)
        assert torch.equal(out.edge_index, view.edge_index)
        assert torch.equal(out.x, view.x)
        assert torch.equal(out.y, data.y)
        assert out.name == "two halves"
        assert torch.equal(data.edge_index, graph.adjacency.edge_index())  # the input is as it was
        if "kind" not in data:
            return
        assert torch.equal(data.edge_index[:, out.kind], out.edge_index)  # per-edge tensors follow their edges

    def test_works_in_a_compose_of_pyg(self, fitted):
        graph = make_graph()
        data = Data(x=graph.x, edge_index=graph.adjacency.edge_index())
        out = PyGCompose([fitted, lambda given: given])(data)
        assert isinstance(out, Data)
        assert out.num_nodes == 40

    def test_fit_takes_a_view_and_data_too(self, fitted):
        graph = make_graph()
        data = Data(x=graph.x, edge_index=graph.adjacency.edge_index())
        state = {key: value.clone() for key, value in fitted.state().items()}
        for given in (View.of(graph), data):
            assert fitted.fit(given, generator=seeded()) is fitted
            assert fitted.state().keys() == state.keys()
            assert all(torch.equal(value, state[key]) for key, value in fitted.state().items())

    def test_fit_is_reproducible_and_may_be_repeated(self, fitted):
        state = {key: value.clone() for key, value in fitted.state().items()}
        fitted.fit(make_graph(30, seed=2), generator=seeded(4))
        fitted.fit(make_graph(), generator=seeded())
        assert all(torch.equal(value, state[key]) for key, value in fitted.state().items())

    def test_describes_itself(self, fitted):
        assert repr(fitted).startswith(type(fitted).__name__ + "(")
        for name in inspect.signature(type(fitted)).parameters:
            assert f"{name}=" in repr(fitted)

    def test_other_input_is_refused(self, fitted):
        with pytest.raises(DataError, match="Graph"):
            fitted("cora")
        with pytest.raises(DataError, match="Graph"):
            fitted.fit(torch.ones(3, 3))


@pytest.mark.parametrize("name", SWEEP)
def test_state_goes_round(name):
    graph = make_graph()
    first = SWEEP[name]().fit(graph, generator=seeded())
    state = first.state()
    assert all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items())
    second = SWEEP[name]()
    assert second.load_state(state) is second
    assert same_view(first(graph, generator=seeded(1)), second(graph, generator=seeded(1)))
    with pytest.raises(CheckpointError):
        SWEEP[name]().load_state({**state, "other": torch.ones(1)})


@pytest.mark.parametrize("name", SWEEP)
def test_sparse_features_give_the_same_view(name):
    dense = SWEEP[name]().fit(make_graph(), generator=seeded())(make_graph(), generator=seeded(2))
    graph = make_graph(sparse=True)
    sparse = SWEEP[name]().fit(graph, generator=seeded())(graph, generator=seeded(2))
    assert same_view(dense, sparse)


@pytest.mark.parametrize("name", ["CommunalEdgeDrop", "CommunalAttributeVoting", "PPRDiffusion", "Compose"])
def test_a_call_before_fit_is_refused(name):
    for act in (lambda part: part(make_graph()), lambda part: part.state()):
        with pytest.raises(NotFittedError, match=r"call fit\(graph\) first"):
            act(SWEEP[name]())
    for read in ("keep_prob_", "drop_prob_"):
        with pytest.raises(NotFittedError):
            getattr(CommunalEdgeDrop(), read)
    with pytest.raises(CheckpointError, match="score"):
        CommunalAttributeVoting().load_state({})


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), float("inf"), True, "0.3", None])
@pytest.mark.parametrize("cls", [EdgeDrop, FeatureMask, FeatureDropout, CommunalEdgeDrop, CommunalAttributeVoting])
def test_what_is_no_probability_is_refused(cls, wrong):
    with pytest.raises(ConfigError, match="drop_prob must be a number from 0 to 1"):
        cls(wrong)
    if cls in (CommunalEdgeDrop, CommunalAttributeVoting):
        with pytest.raises(ConfigError, match="max_drop_prob"):
            cls(0.1, max_drop_prob=wrong)


def test_registered_names_resolve_and_describe_themselves():
    for name in names("augmenter"):
        if name in ("compose", "pyg", "random_choice"):
            continue
        record = normalise("augmenter", name)
        assert describe(resolve("augmenter", record)) == record
    nested = Compose({"a": EdgeDrop(0.2, symmetric=True), "b": "feature_mask"})
    again = resolve("augmenter", describe(nested))
    assert repr(again.augmenters["a"]) == repr(nested.augmenters["a"])
    assert list(again.augmenters) == ["a", "b"]


def test_another_graph_than_the_fitted_one_is_refused():
    fitted = CommunalEdgeDrop(0.3).fit(make_graph(), generator=seeded())
    with pytest.raises(DataError, match="call fit"):
        fitted(make_graph(30))
    part = make_graph().subgraph(torch.arange(10))
    of_part = CommunalEdgeDrop(0.3).fit(part, generator=seeded())
    assert of_part(part.subgraph(torch.arange(5))).num_nodes == 5
    with pytest.raises(DataError, match="call fit"):
        of_part(make_graph())
    with pytest.raises(DataError, match="call fit"):
        of_part(make_graph().subgraph(torch.arange(5, 15)))


def test_one_node_and_no_edges():
    graph = Graph.homogeneous(torch.ones(1, 12), Adjacency.from_edge_index(torch.empty(2, 0).long(), (1, 1)))
    for name, make in SWEEP.items():
        augmenter = make().fit(graph, generator=seeded())
        loops = diffuses(augmenter)  # of its diagonal
        assert augmenter(graph, generator=seeded()).edge_index.shape[1] <= loops, name


def test_data_attributes_of_communities_are_read():
    graph = make_graph()
    labels = torch.arange(40) % 2
    data = Data(x=graph.x, edge_index=graph.adjacency.edge_index(), community=labels)
    assert torch.equal(
        CommunalEdgeDrop().fit(data).score_, CommunalEdgeDrop().fit(graph.with_node_attrs(community=labels)).score_
    )
