from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import edge_indices

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.data.interactions import INTERACTION, ITEM, USER
from gcl.data.validation_pairs import carve_validation


def graph_of(edge_index, shape, **options) -> Graph:
    return Graph(
        relations={INTERACTION: Adjacency.from_edge_index(edge_index, shape)},
        relation_types={INTERACTION: (ITEM, USER)},
        num_nodes_by_type={USER: shape[0], ITEM: shape[1]},
        target=USER,
        **options,
    )


def everyone_took(degree: int, num_users: int = 3) -> Graph:
    users = torch.arange(num_users).repeat_interleave(degree)
    return graph_of(torch.stack([torch.arange(degree).repeat(num_users), users]), (num_users, degree))


@settings(max_examples=60, deadline=None)
@given(edge_indices(bipartite=True), st.floats(0.05, 0.95), st.integers(0, 3))
def test_what_is_carved(drawn, fraction, seed):
    graph = graph_of(*drawn)
    dense = graph.adjacency.to_dense()
    degree = dense.sum(1)
    count = torch.minimum((fraction * degree + 0.5).floor(), degree - 1).clamp(min=0)
    assume(bool(count.any()))
    carved = carve_validation(graph, fraction, seed=seed)
    rest, valid = carved.adjacency, carved.held["valid"]
    held = torch.zeros_like(dense)
    held[valid[0], valid[1]] = 1
    assert torch.equal(held.sum(1), count)
    assert torch.equal(rest.to_dense() + held, dense)  # nothing is lost, nothing is in both
    assert bool((rest.to_dense().sum(1) >= degree.clamp(max=1)).all())
    key = valid[0] * dense.shape[1] + valid[1]
    assert bool((key[1:] > key[:-1]).all())
    fresh = Adjacency.from_edge_index(rest.edge_index(), rest.shape)
    for name in ("row_ptr", "col", "t_row_ptr", "t_col", "t_perm"):
        assert torch.equal(getattr(rest, name), getattr(fresh, name))
    assert rest.edge_id is None
    assert torch.equal(graph.adjacency.to_dense(), dense)  # the graph that was given is as it was
    assert torch.equal(carve_validation(graph, fraction, seed=seed).held["valid"], valid)


def test_every_interaction_is_as_likely():
    times = torch.zeros(3, 10)
    for seed in range(200):
        user, item = carve_validation(everyone_took(10), 0.3, seed=seed).held["valid"]
        times[user, item] += 1
    assert times.sum() == 200 * 3 * 3
    assert bool(((times / 200 - 0.3).abs() < 0.13).all())  # 4 standard deviations


def test_other_parts_and_attributes_stay():
    graph = dataclasses.replace(
        everyone_took(10),
        held={"test": torch.zeros(2, 1, dtype=torch.int64)},
        edge_attrs={INTERACTION: {"rating": torch.arange(30)}},
    )
    carved = carve_validation(graph, 0.1, seed=0)
    assert carved.held["test"] is graph.held["test"]
    rating = carved.edge_attrs[INTERACTION]["rating"]
    assert torch.equal(rating, carved.adjacency.row.long() * 10 + carved.adjacency.col.long())
    assert carved.num_nodes_by_type == graph.num_nodes_by_type


def test_what_cannot_be_carved_is_refused():
    graph = everyone_took(4)
    for fraction in (0, 1, 1.5, True, float("nan")):
        with pytest.raises(ConfigError, match="share of validation pairs"):
            carve_validation(graph, fraction, seed=0)
    with pytest.raises(DataError, match="takes no interaction from users of at most 4"):
        carve_validation(graph, 0.1, seed=0)
    with pytest.raises(DataError, match="takes no interaction from users of at most 1"):
        carve_validation(everyone_took(1), 0.9, seed=0)
    with pytest.raises(DataError, match="has validation pairs already"):
        carve_validation(carve_validation(everyone_took(10), 0.1, seed=0), 0.1, seed=0)
