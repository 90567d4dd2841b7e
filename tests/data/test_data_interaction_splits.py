"""Filters and splits of interactions against brute force."""

from __future__ import annotations

import collections
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.data.carve_validation import carve_validation
from gcl.data.interaction_filters import k_core, keep_rated, merge_duplicates
from gcl.data.interaction_options import InteractionOptions
from gcl.data.interaction_splits import leave_one_out, ratio_split, time_split
from gcl.data.interaction_table import InteractionTable
from gcl.data.prepare_interactions import graph_of_table, prepare_interactions, table_of_graph

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 7)), min_size=1, max_size=50)
SHAPE = (7, 8)


def table(pairs, **columns):
    user, item = np.array(pairs, np.int64).reshape(-1, 2).T
    return InteractionTable(user, item, SHAPE, **columns)


def pairs_of(found):
    return list(zip(found.user.tolist(), found.item.tolist(), strict=True))


def held_pairs(graph, part):
    return set(map(tuple, graph.held[part].t().tolist()))


def train_pairs(graph):
    item, user = graph.adjacency.edge_index().tolist()
    return set(zip(user, item, strict=True))


# -- filters ---------------------------------------------------------------------------------------------------------


@given(PAIRS, st.integers(0, 4), st.integers(0, 4))
def test_the_core_is_that_of_brute_force(pairs, users, items):
    kept = sorted(set(pairs))
    while True:
        by_user, by_item = (collections.Counter(pair[at] for pair in kept) for at in (0, 1))
        rest = [(user, item) for user, item in kept if by_user[user] >= users and by_item[item] >= items]
        if rest == kept:
            break
        kept = rest
    merged = merge_duplicates(table(pairs))
    if not kept:
        with pytest.raises(DataError, match=rf"no {users}/{items}-core"):
            k_core(merged, (users, items))
        return
    core = k_core(merged, (users, items))
    assert pairs_of(core) == kept
    assert pairs_of(k_core(core, (users, items))) == kept  # a fixed point
    small = core.without_empty()
    assert small.shape == (len({user for user, _ in kept}), len({item for _, item in kept}))
    traced = [
        (int(small.user_ids[u]), int(small.item_ids[i])) if small.user_ids else (u, i) for u, i in pairs_of(small)
    ]
    assert traced == kept


def test_a_chain_unravels_from_its_end():
    pairs = [(at, at) for at in range(7)] + [(at, at + 1) for at in range(7)]  # items 0 and 7 have one user
    with pytest.raises(DataError, match="2/2-core"):
        k_core(table(pairs), 2)
    assert len(k_core(table(pairs), (2, 1))) == 14


@given(PAIRS, st.randoms(), st.booleans())
def test_of_repeats_the_earliest_is_kept(pairs, random, timed):
    time = np.array([random.randint(0, 3) for _ in pairs])
    rating = np.arange(len(pairs))  # tells the rows apart
    merged = merge_duplicates(table(pairs, rating=rating, time=time if timed else None))
    best = {}
    for row, pair in enumerate(pairs):
        if pair not in best or (timed and time[row] < time[best[pair]]):
            best[pair] = row
    assert pairs_of(merged) == sorted(best)
    assert merged.rating.tolist() == [best[pair] for pair in sorted(best)]


def test_repeats_of_two_parts_are_not_merged():
    both = table([(0, 1), (0, 1), (0, 1)], part=np.array([0, 2, 2], np.uint8), parts=("test",))
    assert len(merge_duplicates(both)) == 2
    with pytest.raises(DataError, match="1 pairs in both train and test, the first user 0, item 1"):
        prepare_interactions(both)
    graph, _ = prepare_interactions(both, InteractionOptions(split="ratio"))
    assert train_pairs(graph) == {(0, 1)}


def test_low_ratings_are_left_out():
    rated = table([(0, 1), (0, 2), (3, 1)], rating=np.array([4.5, 3, 4.0]))
    assert pairs_of(keep_rated(rated, 4)) == [(0, 1), (3, 1)]
    assert pairs_of(keep_rated(rated, 4.5)) == [(0, 1)]
    with pytest.raises(DataError, match=r"no rating of at least 5 \(the highest is 4\.5\)"):
        keep_rated(rated, 5)
    with pytest.raises(DataError, match="has no ratings"):
        keep_rated(table([(0, 1)]), 1)
    with pytest.raises(DataError, match="has the rating nan in interaction 1"):
        table([(0, 1), (0, 2)], rating=np.array([1, np.nan]))
    with pytest.raises(DataError, match="has the time inf in interaction 0"):
        table([(0, 1)], time=np.array([np.inf]))


# -- splits ----------------------------------------------------------------------------------------------------------


def recbole_counts(total, ratios):
    """``Dataset._calcu_split_ids`` of RecBole, as counts."""
    counts = [math.floor(round(share * total, 6)) for share in ratios]
    counts[0] = total - sum(counts[1:])
    for at in range(1, 3):
        if counts[0] <= 1:
            break
        if 0 < ratios[-at] * total < 1:
            counts[-at] += 1
            counts[0] -= 1
    return counts


@given(
    st.lists(st.integers(0, 9), max_size=300),
    st.sampled_from([(0.8, 0.1, 0.1), (0.7, 0.1, 0.2), (0.8, 0, 0.2), (0.9, 0.1, 0), (1, 0, 0), (0.34, 0.33, 0.33)]),
)
def test_ratio_parts_have_their_sizes(users, fractions):
    part = ratio_split(np.array(users, np.int64), fractions, seed=3)
    for user in set(users):
        sizes = np.bincount(part[np.array(users) == user], minlength=3).tolist()
        assert sizes == recbole_counts(users.count(user), fractions)
    np.testing.assert_array_equal(part, ratio_split(np.array(users, np.int64), fractions, seed=3))


def test_ratio_parts_are_random_and_uniform():
    user = np.repeat([0, 1], [20, 5])
    parts = np.stack([ratio_split(user, seed=seed) for seed in range(600)])
    assert len(np.unique(parts, axis=0)) > 500
    assert np.abs((parts[:, :20] == 2).mean(0) - 0.1).max() < 0.05
    drawn = ratio_split(user, seed=torch.Generator().manual_seed(1))
    np.testing.assert_array_equal(drawn, ratio_split(user, seed=torch.Generator().manual_seed(1)))
    assert np.bincount(drawn).tolist() == np.bincount(parts[0]).tolist()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=60), st.booleans())
def test_the_last_is_left_out(rows, timed):
    user, time = np.array(rows, np.int64).reshape(-1, 2).T
    part = leave_one_out(user, time if timed else None, seed=1)
    for each in set(user.tolist()):
        mine, when = part[user == each], time[user == each]
        assert (mine == 2).sum() == (len(mine) > 1)
        assert (mine == 1).sum() == (len(mine) > 2)
        if timed and len(mine) > 2:
            assert when[mine == 2] >= when[mine == 1] >= when[mine == 0].max()


def test_ties_of_time_are_broken_by_chance():
    user, time = np.zeros(4, np.int64), np.array([5, 5, 5, 1])
    last = [leave_one_out(user, time, seed=seed).argmax() for seed in range(300)]
    assert np.bincount(last, minlength=4).min(initial=300, where=[True, True, True, False]) > 60
    assert 3 not in last


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=60),
    st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0, 0.5), (0.6, 0.4, 0), (0.1, 0.8, 0.1)]),
)
def test_time_cuts_all_at_two_points(times, fractions):
    time = np.array(times)
    ordered = sorted(times)
    cuts = []
    for share in (fractions[0], fractions[0] + fractions[1]):
        at = math.floor(round(share * len(times), 6))
        cuts.append(ordered[at] if at < len(times) else math.inf)
    expected = [2 if at >= cuts[1] else 1 if at >= cuts[0] else 0 for at in times]
    if 0 not in expected:
        with pytest.raises(DataError, match="nothing to train on"):
            time_split(time, fractions)
    else:
        assert time_split(time, fractions).tolist() == expected


def test_distinct_times_are_cut_in_their_shares():
    part = time_split(np.random.RandomState(0).permutation(1000) / 7)
    assert np.bincount(part).tolist() == [800, 100, 100]


# -- all together ----------------------------------------------------------------------------------------------------


@given(PAIRS, st.sampled_from(["ratio", "leave-one-out", "time"]), st.randoms(), st.sampled_from([None, 1]))
def test_parts_are_a_partition_whatever_the_order_of_rows(pairs, split, random, core):
    options = InteractionOptions(split=split, fractions=(0.5, 0.25, 0.25), seed=5, k_core=core)
    time = {pair: random.randint(0, 100) + 1000 * (at > 0) for at, pair in enumerate(pairs)}
    graphs = []
    for _ in range(2):
        rows = table(pairs, time=np.array([time[pair] for pair in pairs]))
        try:
            graphs.append(prepare_interactions(rows, options)[0])
        except DataError:
            assume(split != "time")  # half of the interactions share the first time
            raise
        random.shuffle(pairs)
    graph = graphs[0]
    parts = [train_pairs(graph), held_pairs(graph, "valid"), held_pairs(graph, "test")]
    assert sum(map(len, parts)) == len(set(pairs)) == len(set.union(*parts))
    if core is None:
        assert set.union(*parts) == set(pairs)
        assert graph.num_nodes_by_type == {"user": 7, "item": 8}
    else:
        assert graph.num_nodes == len({user for user, _ in pairs})
    assert graph.adjacency.edge_index().tolist() == graphs[1].adjacency.edge_index().tolist()
    assert {part: held.tolist() for part, held in graph.held.items()} == {
        part: held.tolist() for part, held in graphs[1].held.items()
    }


def test_a_graph_becomes_a_table_and_a_graph_again():
    part = np.array([0, 0, 1, 2], np.uint8)
    graph = graph_of_table(table([(0, 1), (3, 2), (0, 0), (6, 7)], part=part, parts=("valid", "test")))
    again = table_of_graph(graph, "it")
    assert pairs_of(again) == [(0, 1), (3, 2), (0, 0), (6, 7)]
    assert again.part.tolist() == part.tolist()
    assert again.parts == ("valid", "test")
    raw = {"raw_user": [0, 3, 0, 6, 1], "raw_item": [0, 2, 1, 7, 1], "raw_rating": [1, 2, 3, 4, 5]}
    raw = {key: np.array(values, np.uint8) for key, values in {**raw, "raw_timestamp": [9, 8, 7, 6, 5]}.items()}
    rated = table_of_graph(graph, "it", info=raw)
    assert rated.rating.tolist() == [3, 2, 1, 4]
    assert rated.time.tolist() == [7, 8, 9, 6]
    for lacking in (slice(1, None), slice(0, 2)):  # raw arrays that do not hold every pair are of another set
        assert table_of_graph(graph, "it", info={key: values[lacking] for key, values in raw.items()}).rating is None


# -- a validation part -----------------------------------------------------------------------------------------------


def training_graph(pairs, **columns):
    user, item = torch.tensor(sorted(set(pairs)), dtype=torch.int64).reshape(-1, 2).t()
    return Graph(
        relations={
            "interaction": Adjacency.from_edge_index(torch.stack([item, user]), SHAPE, columns.pop("weight", None))
        },
        relation_types={"interaction": ("item", "user")},
        target="user",
        **columns,
    )


@given(PAIRS, st.sampled_from([0.1, 0.5, 0.99]))
def test_a_carved_part_is_disjoint_and_leaves_one(pairs, fraction):
    graph = training_graph(pairs, held={"test": torch.tensor([[0], [0]])})
    try:
        carved = carve_validation(graph, fraction, 2)
    except DataError:
        assume(
            fraction == 0.99 and any(user == twin for (user, _), (twin, _) in itertools.pairwise(sorted(set(pairs))))
        )
        raise
    taken, rest = held_pairs(carved, "valid"), train_pairs(carved)
    assert taken | rest == set(pairs)
    assert not taken & rest
    for user, total in collections.Counter(user for user, _ in set(pairs)).items():
        count = sum(pair[0] == user for pair in taken)
        assert count <= max(total - 1, 0)
        assert math.floor(fraction * total) - (fraction * total > total - 1) <= count <= math.ceil(fraction * total)
    assert set(carved.held) == {"valid", "test"}
    assert carved.num_nodes_by_type == graph.num_nodes_by_type
    assert train_pairs(graph) == set(pairs)  # the graph given is as it was
    assert sorted(taken) == list(map(tuple, carved.held["valid"].t().tolist()))
    assert carve_validation(graph, fraction, 2).held["valid"].tolist() == carved.held["valid"].tolist()


def test_the_carved_share_is_exact_in_the_mean():
    graph = training_graph([(user, item) for user in range(6) for item in range(2 + user)])
    drawn = [carve_validation(graph, 0.3, seed).held["valid"] for seed in range(400)]
    share = sum(pairs.shape[1] for pairs in drawn) / len(drawn) / graph.adjacency.num_arcs
    assert abs(share - 0.3) < 0.01
    by_user = torch.bincount(torch.cat(drawn, dim=1)[0], minlength=6) / len(drawn)
    assert (by_user / torch.arange(2, 8) - 0.3).abs().max() < 0.04


def test_weights_and_attributes_stay_with_their_arcs():
    pairs = [(user, item) for user in range(7) for item in range(5)]
    values = torch.arange(35.0)
    graph = training_graph(pairs, weight=values, edge_attrs={"interaction": {"stars": values}})
    carved = carve_validation(graph, 0.4, torch.Generator().manual_seed(0))
    adjacency = carved.adjacency
    expected = (adjacency.row * 5 + adjacency.col).float()
    assert adjacency.weight.tolist() == expected.tolist()
    assert carved.edge_attrs["interaction"]["stars"].tolist() == expected.tolist()
    masked = training_graph(pairs, edge_attrs={"interaction": {"stars": values}})
    masked = Graph(
        relations={"interaction": masked.adjacency.masked(values % 2 == 0)},
        relation_types=masked.relation_types,
        edge_attrs=masked.edge_attrs,
        target="user",
    )
    carved = carve_validation(masked, 0.4, 0)
    expected = (carved.adjacency.row * 5 + carved.adjacency.col).float()
    assert carved.edge_attrs["interaction"]["stars"].tolist() == expected.tolist()
    assert ((expected % 2) == 0).all()


def test_what_cannot_be_carved_is_refused():
    graph = training_graph([(0, 1), (1, 1)])
    with pytest.raises(DataError, match="leaves nothing for validation"):
        carve_validation(graph, 0.9)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        carve_validation(graph, 1)
    with pytest.raises(DataError, match="a validation part already"):
        carve_validation(training_graph([(0, 1), (0, 2)], held={"valid": torch.tensor([[0], [3]])}), 0.5)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"k_cores": 5}, "did you mean 'k_core'"),
        ({"k_core": -1}, "k_core must be"),
        ({"k_core": True}, "k_core must be"),
        ({"k_core": [1, 2, 3]}, "k_core must be"),
        ({"split": "random"}, "unknown split 'random'"),
        ({"layout": "wide"}, "unknown layout 'wide'"),
        ({"fractions": [0.8, 0.2]}, "shares of train, validation and test"),
        ({"fractions": [0.8, 0.1, 0.2]}, "which add up to 1.1"),
        ({"fractions": [0, 0.5, 0.5]}, "shares of train"),
        ({"fractions": "8:1:1"}, "shares of train"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 1.0}, "seed must be"),
        ({"min_rating": float("nan")}, "min_rating must be"),
        ({"min_rating": "4"}, "min_rating must be"),
        ({"validation": 1}, "validation must be"),
        ({"columns": {"users": "u"}}, "did you mean 'user'"),
        ({"columns": {"user": 1.5}}, "column of user must be"),
        ({"columns": ["u", "i"]}, "columns must be a mapping"),
        ({"header": "yes"}, "header must be"),
        ("ratio", "must be a mapping"),
    ],
)
def test_wrong_settings_are_one_sentence(settings, match):
    with pytest.raises(ConfigError, match=match) as caught:
        InteractionOptions.of(settings)
    assert "\n" not in str(caught.value)


def test_settings_come_back():
    options = InteractionOptions.of({"k_core": [5, 2], "columns": {"user": "who"}, "fractions": (0.7, 0.1, 0.2)})
    assert InteractionOptions.of(options.describe()) == InteractionOptions.of(options).of(options.describe())
    assert options.describe()["k_core"] == [5, 2]
    assert InteractionOptions.of(None) == InteractionOptions()


def test_a_core_of_nothing_leaves_all():
    graph, found = prepare_interactions(table([(0, 1), (0, 2)]), InteractionOptions(k_core=0))
    assert graph.num_nodes_by_type == {"user": 7, "item": 8}
    assert found.user_ids is None
