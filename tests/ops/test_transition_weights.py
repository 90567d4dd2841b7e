"""Multi-hop transition weights, against dense powers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.data.load import load_dataset
from gcl.ops import transition_weights as module
from gcl.ops.transition_weights import estimated_reach, transition_weights, walk_weights

HOPS = st.sampled_from(["cumulative", "power"])


def dense(adjacency, order, hops):
    loops = adjacency.to_dense() + torch.eye(adjacency.shape[0], dtype=torch.float64)
    step = loops / loops.sum(dim=1, keepdim=True)
    powers = [torch.linalg.matrix_power(step, r) for r in range(1, order + 1)]
    return sum(powers) if hops == "cumulative" else powers[-1]


def ring(num_nodes, *, chords=0):
    draw = np.random.default_rng(0)
    pairs = {(i, (i + 1) % num_nodes) for i in range(num_nodes)}
    pairs |= {tuple(sorted(draw.integers(num_nodes, size=2).tolist())) for _ in range(chords)}
    arcs = [(i, j) for i, j in pairs if i != j] + [(j, i) for i, j in pairs if i != j]
    return Adjacency.from_edge_index(torch.tensor(sorted(set(arcs))).t(), (num_nodes, num_nodes))


@settings(max_examples=60, deadline=None)
@given(adjacencies(), st.integers(1, 4), HOPS, st.sampled_from([1, 3, 2**22]))
def test_equals_dense_powers_in_any_block(adjacency, order, hops, entries):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_ENTRIES", entries)
        found = transition_weights(adjacency, order, hops=hops)
    expected = dense(adjacency, order, hops)
    torch.testing.assert_close(found.to_dense(), expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(
        found.to_dense().sum(dim=1),
        torch.full(expected.shape[:1], float(order if hops == "cumulative" else 1)).double(),
    )
    assert bool((found.to_dense().diagonal() > 0).all())
    assert found.num_arcs == int((expected > 0).sum())


@settings(max_examples=40, deadline=None)
@given(adjacencies(weighted=False), st.integers(1, 3), st.integers(1, 4))
def test_top_keeps_the_largest_of_each_row(adjacency, order, top):
    found = transition_weights(adjacency, order, top=top).to_dense()
    for row, kept in zip(dense(adjacency, order, "cumulative"), found, strict=True):
        count = min(top, int((row > 0).sum()))
        assert int((kept > 0).sum()) == count
        torch.testing.assert_close(
            kept.sort(descending=True)[0][:count], row.sort(descending=True)[0][:count], rtol=1e-6, atol=0
        )


def test_of_equal_entries_those_of_the_smallest_columns_are_kept():
    found = transition_weights(ring(9), 1, top=2).to_dense()
    assert found[5].nonzero().squeeze(1).tolist() == [4, 5]


@pytest.mark.parametrize("hops", ["cumulative", "power"])
def test_walks_estimate_it_without_bias(hops):
    graph = ring(12, chords=4)
    expected = dense(graph, 3, hops)
    found = walk_weights(graph, 3, num_walks=40_000, hops=hops, generator=torch.Generator().manual_seed(1)).to_dense()
    torch.testing.assert_close(found.sum(dim=1), expected.sum(dim=1), rtol=1e-5, atol=0)
    assert float((found - expected).abs().max()) < 4 * 3 * 0.5 / 40_000**0.5  # four standard errors
    few = walk_weights(graph, 3, num_walks=5, hops=hops, generator=torch.Generator().manual_seed(1))
    assert int(few.row_ptr.diff().max()) <= 5
    again = walk_weights(graph, 3, num_walks=5, hops=hops, generator=torch.Generator().manual_seed(1))
    assert torch.equal(few.to_dense(), again.to_dense())


def test_walks_keep_to_weights_and_to_what_is_there():
    arcs, weight = torch.tensor([[1, 2, 0], [0, 0, 2]]), torch.tensor([3.0, 0.0, 1.0])
    graph = Adjacency.from_edge_index(arcs, (4, 4), weight)
    found = walk_weights(graph, 1, num_walks=2000, generator=torch.Generator().manual_seed(0)).to_dense()
    torch.testing.assert_close(found, dense(graph, 1, "power"), rtol=0, atol=0.06)
    assert found[0, 2] == 0
    assert found[3, 3] == found[1, 1] == 1


@pytest.mark.filterwarnings("ignore:.*hardly sparse")
def test_the_reach_is_estimated_within_a_fifth():
    graph = ring(3000, chords=1500)
    assert estimated_reach(graph, 0) == pytest.approx(3000, rel=0.05)
    for order in (2, 4, 6):
        exact = transition_weights(graph, order, hops="power").num_arcs
        assert estimated_reach(graph, order) == pytest.approx(exact, rel=0.2)
    empty = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (0, 0))
    assert estimated_reach(empty, 3) == 0
    assert transition_weights(empty, 3).shape == (0, 0)


@pytest.mark.filterwarnings("ignore:.*hardly sparse")
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("usps", {1: 52_202, 2: 185_180, 4: 1_301_520}),
        ("acm", {1: 29_281, 3: 446_045, 4: 1_061_947}),
        ("dblp", {1: 11_113, 2: 40_703, 4: 400_763}),
    ],
)
def test_pairs_within_some_hops_are_as_many_as_was_counted_elsewhere(name, counts, data_root):
    adjacency = load_dataset(f"cluster/{name}", data_root=data_root).graph.adjacency
    for order, count in counts.items():
        assert transition_weights(adjacency, order).num_arcs == count
        assert estimated_reach(adjacency, order) == pytest.approx(count, rel=0.3)


def test_what_would_not_fit_is_refused_before_it_is_made_and_dense_results_are_pointed_out():
    graph = ring(1500, chords=3000)
    with pytest.raises(
        DataError, match=r"4 hops reach about .* pairs of nodes, more than the 1,000 .*top=100.*num_walks=100"
    ):
        transition_weights(graph, 4, max_entries=1000)
    assert transition_weights(graph, 4, max_entries=15_000, top=10).num_arcs == 15_000
    with pytest.warns(UserWarning, match="hardly sparse"):
        transition_weights(graph, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 0}, "order"),
        ({"order": 1.5}, "order"),
        ({"order": 1, "top": 0}, "top"),
        ({"order": 1, "hops": "all"}, "hops"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        transition_weights(ring(5), **options)


def test_bad_graphs_are_refused():
    with pytest.raises(DataError, match="square"):
        transition_weights(Adjacency.from_edge_index(torch.zeros(2, 1, dtype=torch.int64), (2, 3)), 1)
    for wrong in (-1.0, float("nan")):
        weight = torch.tensor([1.0, wrong])
        with pytest.raises(DataError, match="weights of 0 or more"):
            transition_weights(Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), (2, 2), weight), 1)
    with pytest.raises(ConfigError, match="num_walks"):
        walk_weights(ring(5), 1, num_walks=0)
