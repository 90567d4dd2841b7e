"""MEOW's loss against loops in float64: weights by clusterings, prototypes, and what must not change it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import gcl
from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError, NotFittedError
from gcl.core.resolve import describe, resolve
from gcl.losses.weighted_infonce import WeightedInfoNCE, concentrations, prototype_contrast, weighted_contrast
from gcl.ops.inner_product_kmeans import Clustering, inner_product_kmeans

T = 0.4
WITHOUT_PROTOTYPES = WeightedInfoNCE(T, num_clusters=None, prototype_weight=0.0)


def random_pair(num_nodes=14, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    z1 = torch.randn(num_nodes, dim, generator=generator, dtype=dtype)
    return z1.requires_grad_(), (z1.detach() + torch.randn(num_nodes, dim, generator=generator)).to(
        dtype
    ).requires_grad_()


def random_labels(num_nodes=14, sizes=(3, 5), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (num_nodes,), generator=generator) for size in sizes], dim=1)


def slow_contrast(h1, h2, labels, temperature, weights):
    """Formula (8): one anchor after the other, one pair after the other."""
    n, total = len(h1), 0.0
    for i in range(n):
        negative = []
        for j in range(n):
            gamma = sum(int(labels[i, g] != labels[j, g]) for g in range(labels.shape[1]))
            if gamma:
                negative.append(gamma * (h1[i] @ h2[j] / temperature).exp())
        loss = -(h1[i] @ h2[i]) / temperature
        if negative:
            loss = loss + torch.stack(negative).sum().log()
        total = total + weights[i] * loss
    return total


def slow_phi(labels, value, centers, temperature, concentration):
    """Formula (10), with NumPy's percentiles."""
    raw = []
    for c, center in enumerate(centers):
        members = [i for i, label in enumerate(labels.tolist()) if label == c]
        if concentration == "similarity":
            spread = [math.sqrt(max(float(value[i]), 0.0)) for i in members]
        else:
            length = float(center @ center)
            spread = [math.sqrt(max(1 - 2 * float(value[i]) + length, 0.0)) for i in members]
        raw.append(sum(spread) / len(members) / math.log(len(members) + 5) if len(members) > 1 else None)
    largest = max(r for r in raw if r is not None)
    raw = np.array([largest if r is None else r for r in raw])
    raw = np.clip(raw, np.percentile(raw, 10), np.percentile(raw, 90))
    return temperature * raw / raw.mean()


def slow_prototypes(h, clusterings, temperature, concentration, weights):
    """Formula (11), over clusterings, anchors and prototypes."""
    n, total = len(h), 0.0
    for labels, centers, value in clusterings:
        phi = slow_phi(labels, value, centers, temperature, concentration)
        mu = [center / center.norm() for center in centers]
        for i in range(n):
            logits = torch.stack([h[i] @ mu[c] / phi[c] for c in range(len(mu))])
            total = total - weights[i] * (logits[labels[i]] - (n / len(mu) * logits.exp().sum()).log())
    return total / len(clusterings)


def clusterings_of(h, labels):
    found = []
    for g in range(labels.shape[1]):
        ids = labels[:, g].unique()
        column = torch.searchsorted(ids, labels[:, g].contiguous())
        centers = torch.stack([h[column == c].mean(0) for c in range(len(ids))])
        found.append((column, centers, (h * centers[column]).sum(1)))
    return found


def slow(z1, z2, labels, *, weight=1.0, concentration="similarity", weights=None, clusterings=None):
    h1, h2 = F.normalize(z1), F.normalize(z2)
    weights = [1 / len(z1)] * len(z1) if weights is None else weights
    clusterings = clusterings_of(h2.detach(), labels) if clusterings is None else clusterings
    prototypes = slow_prototypes(h1, clusterings, T, concentration, weights)
    return slow_contrast(h1, h2, labels, T, weights) + weight * prototypes


def same_with_gradients(found, expected, inputs):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    ours, theirs = torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


# -- values and gradients ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concentration", ["similarity", "distance"])
@pytest.mark.parametrize("sizes", [(3,), (3, 5), (2, 4, 20)])
def test_equals_the_loops_with_given_clusters(sizes, concentration):
    z1, z2 = random_pair()
    labels = random_labels(sizes=sizes)
    loss = WeightedInfoNCE(T, num_clusters=None, prototype_weight=0.7, concentration=concentration)
    found = loss(z1, z2, context=LossContext(clusters=labels))
    same_with_gradients(found, slow(z1, z2, labels, weight=0.7, concentration=concentration), (z1, z2))


@pytest.mark.parametrize("concentration", ["similarity", "distance"])
def test_equals_the_loops_with_its_own_clusters(concentration):
    z1, z2 = random_pair(30)
    loss = WeightedInfoNCE(T, num_clusters=[3, 6], concentration=concentration, iterations=2, restarts=3)
    unit = F.normalize(z2.detach())
    clusterings = [
        inner_product_kmeans(unit, k, iterations=2, restarts=3, generator=torch.Generator().manual_seed(g))
        for g, k in enumerate((3, 6))
    ]
    labels = torch.stack([clustering.labels for clustering in clusterings], dim=1)
    expected = slow(z1, z2, labels, concentration=concentration, clusterings=clusterings)
    same_with_gradients(loss(z1, z2), expected, (z1, z2))


def test_one_clustering_may_be_a_vector_of_any_numbers():
    z1, z2 = random_pair()
    labels = random_labels(sizes=(4,))
    renamed = torch.tensor([2**40, -7, 0, 5])[labels[:, 0]]
    loss = WeightedInfoNCE(T, num_clusters=None)
    expected = loss(z1, z2, context=LossContext(clusters=labels))
    for clusters in (labels[:, 0], renamed, labels.int()):
        torch.testing.assert_close(loss(z1, z2, context=LossContext(clusters=clusters)), expected)


def test_both_directions_take_the_clusters_of_their_own_keys():
    z1, z2 = random_pair()
    for options in ({"num_clusters": None}, {"num_clusters": [2, 4]}):
        context = LossContext(clusters=random_labels())
        one_way, both = (WeightedInfoNCE(T, **options, symmetric=symmetric) for symmetric in (False, True))
        expected = (one_way(z1, z2, context=context) + one_way(z2, z1, context=context)) / 2
        same_with_gradients(both(z1, z2, context=context), expected, (z1, z2))


def test_the_terms_add_up_and_without_weight_there_are_no_prototypes():
    z1, z2 = random_pair()
    context = LossContext(clusters=random_labels())
    single, double = (WeightedInfoNCE(T, num_clusters=None, prototype_weight=weight) for weight in (1.0, 2.0))
    terms = single.terms(z1, z2, context=context)
    assert list(terms) == ["contrast", "prototypes"]
    torch.testing.assert_close(double.terms(z1, z2, context=context)["prototypes"], 2 * terms["prototypes"])
    torch.testing.assert_close(single(z1, z2, context=context), terms["contrast"] + terms["prototypes"])
    assert list(WITHOUT_PROTOTYPES.terms(z1, z2, context=context)) == ["contrast"]


def test_gradients_by_finite_differences_with_fixed_clusters():
    z1, z2 = (z.detach()[:7].clone().requires_grad_() for z in random_pair())
    labels = random_labels(7)
    clusterings = [Clustering(*parts) for parts in clusterings_of(F.normalize(z2.detach()), labels)]
    for context in (LossContext(), LossContext(anchors=torch.tensor([4, 0, 0]), counts=torch.tensor([1.0, 2, 0.5]))):
        context = dataclasses.replace(context, clusters=labels)
        assert torch.autograd.gradcheck(lambda a, b, c=context: WITHOUT_PROTOTYPES(a, b, context=c), (z1, z2))
        assert torch.autograd.gradcheck(
            lambda a, c=context: prototype_contrast(F.normalize(a), clusterings, temperature=T, context=c), z1
        )


def test_many_rows_in_several_tiles():
    z1, z2 = random_pair(700)
    labels = random_labels(700, (40, 90))
    h1, h2 = F.normalize(z1), F.normalize(z2)
    gamma = (labels[:, None] != labels[None]).sum(2)
    logits = h1 @ h2.t() / T
    expected = (torch.logsumexp(logits + gamma.double().log(), dim=1) - logits.diagonal()).mean()
    same_with_gradients(WITHOUT_PROTOTYPES(z1, z2, context=LossContext(clusters=labels)), expected, (z1, z2))


def test_prototypes_get_no_gradient():
    z1, z2 = random_pair()
    terms = WeightedInfoNCE(T, num_clusters=[2, 3]).terms(z1, z2)
    assert torch.autograd.grad(terms["prototypes"], z2, retain_graph=True, allow_unused=True)[0] is None
    assert float(torch.autograd.grad(terms["prototypes"], z1)[0].abs().max()) > 0


# -- the weights of pairs -------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), times=st.integers(1, 4), num_clusterings=st.integers(1, 3))
def test_a_common_factor_of_the_weights_shifts_the_loss_by_its_logarithm(seed, times, num_clusterings):
    z1, z2 = random_pair(9, seed=seed)
    labels = random_labels(9, (3,) * num_clusterings, seed)
    if (labels == labels[:1]).all():
        return
    once, often = (
        WITHOUT_PROTOTYPES(z1, z2, context=LossContext(clusters=clusters))
        for clusters in (labels, labels.repeat(1, times))
    )
    same_with_gradients(often, once + math.log(times), (z1, z2))


def test_nodes_in_clusters_of_their_own_give_infonce_without_the_positive():
    z1, z2 = random_pair()
    own = torch.arange(14).unsqueeze(1).repeat(1, 3)
    logits = F.normalize(z1) @ F.normalize(z2).t() / T
    negatives = logits.masked_fill(torch.eye(14, dtype=torch.bool), -math.inf)
    expected = (negatives.logsumexp(dim=1) - logits.diagonal()).mean() + math.log(3)
    same_with_gradients(WITHOUT_PROTOTYPES(z1, z2, context=LossContext(clusters=own)), expected, (z1, z2))


def test_a_node_that_shares_every_cluster_is_not_pushed_and_others_by_their_separations():
    labels = torch.tensor([[0, 0], [0, 0], [0, 1], [1, 1]])
    h1, h2 = torch.eye(4, 5, dtype=torch.float64), torch.zeros(4, 5, dtype=torch.float64, requires_grad=True)
    loss = weighted_contrast(h1, h2, labels, temperature=1.0, context=LossContext(anchors=torch.tensor([0])))
    (grad,) = torch.autograd.grad(loss, h2)
    torch.testing.assert_close(grad[:, 0], torch.tensor([-1, 0, 1 / 3, 2 / 3], dtype=torch.float64))


def test_a_constant_on_the_similarities_of_a_row_changes_nothing():
    z1, z2 = random_pair()
    shift = torch.linspace(-3, 3, 14, dtype=torch.float64, requires_grad=True)
    labels = random_labels()
    h1, h2 = F.normalize(z1), F.normalize(z2)
    shifted = torch.cat([h1, shift.unsqueeze(1)], dim=1), torch.cat([h2, torch.ones(14, 1)], dim=1)
    moved = weighted_contrast(*shifted, labels, temperature=T)
    torch.testing.assert_close(moved, weighted_contrast(h1, h2, labels, temperature=T))
    (grad,) = torch.autograd.grad(moved, shift)
    torch.testing.assert_close(grad, torch.zeros(14, dtype=torch.float64), rtol=0, atol=1e-14)


# -- the temperatures of clusters -----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    num_clusters=st.integers(1, 9),
    temperature=st.floats(0.05, 2),
    concentration=st.sampled_from(["similarity", "distance"]),
)
def test_concentrations_are_positive_with_the_temperature_as_their_mean(seed, num_clusters, temperature, concentration):
    h = F.normalize(random_pair(10, 3, seed)[0].detach())
    generator = torch.Generator().manual_seed(seed)
    clustering = inner_product_kmeans(h, num_clusters, iterations=2, restarts=1, generator=generator)
    phi = concentrations(clustering, temperature=temperature, concentration=concentration)
    assert phi.shape == (num_clusters,)
    assert float(phi.mean()) == pytest.approx(temperature)
    assert float(phi.min()) > 0
    order = torch.randperm(num_clusters, generator=generator)
    renamed = Clustering(order.argsort()[clustering.labels], clustering.centers[order], clustering.similarity)
    again = concentrations(renamed, temperature=temperature, concentration=concentration)
    torch.testing.assert_close(again, phi[order])
    if bool((clustering.labels.bincount() > 1).any()):
        labels, centers, value = clustering
        expected = slow_phi(labels, value, centers, temperature, concentration)
        np.testing.assert_allclose(phi.numpy(), expected, rtol=1e-6)


def test_clusters_without_a_spread_of_their_own_get_the_largest():
    rows = F.normalize(random_pair(6)[0].detach())
    ones, temperature = torch.ones(6, dtype=torch.float64), 0.3
    everywhere = torch.full((6,), temperature, dtype=torch.float64)
    for labels in (torch.arange(6), torch.arange(6) // 2):
        equal = Clustering(labels, rows[: int(labels.max()) + 1], ones)
        phi = concentrations(equal, temperature=temperature, concentration="distance")
        torch.testing.assert_close(phi, everywhere[: len(phi)])
    below = Clustering(torch.arange(6) // 2, rows[:3], -ones)
    torch.testing.assert_close(concentrations(below, temperature=temperature), everywhere[:3])
    twins = torch.cat([rows[:3].repeat_interleave(2, dim=0), rows])
    labels = torch.tensor([0, 0, 1, 1, 2, 2, *[3] * 6])
    centers = torch.stack([*rows[:3], rows.mean(0)])
    mixed = Clustering(labels, centers, (twins * centers[labels]).sum(1))
    phi = concentrations(mixed, temperature=temperature, concentration="distance")
    torch.testing.assert_close(phi, everywhere[:4])


# -- anchors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_clusters", [None, [2, 3]])
def test_all_subsets_of_anchors_average_to_the_whole(num_clusters):
    z1, z2 = random_pair(6)
    loss = WeightedInfoNCE(T, num_clusters=num_clusters)
    context = LossContext(clusters=random_labels(6))
    subsets = [torch.tensor(chosen) for chosen in itertools.combinations(range(6), 2)]
    values = [loss(z1, z2, context=dataclasses.replace(context, anchors=anchors)) for anchors in subsets]
    same_with_gradients(torch.stack(values).mean(), loss(z1, z2, context=context), (z1, z2))


def test_counted_and_shared_out_anchors_equal_the_loops():
    z1, z2 = random_pair()
    labels, loss = random_labels(), WeightedInfoNCE(T, num_clusters=None)
    weights = [0.0] * 14
    weights[7], weights[2] = 0.25, 0.75
    context = LossContext(clusters=labels, anchors=torch.tensor([7, 2]), counts=torch.tensor([1, 3]))
    same_with_gradients(loss(z1, z2, context=context), slow(z1, z2, labels, weights=weights), (z1, z2))
    shards = (torch.arange(5), torch.arange(5, 14), torch.arange(0))
    parts = [loss(z1, z2, context=LossContext(clusters=labels, anchors=part, num_anchors=14)) for part in shards]
    same_with_gradients(sum(parts), slow(z1, z2, labels), (z1, z2))


# -- k-means and its warm start ---------------------------------------------------------------------------------------------


def test_a_warm_start_begins_at_the_centres_of_the_step_before_and_these_are_saved():
    pairs = [random_pair(20, seed=seed) for seed in (0, 1, 2)]
    options = {"num_clusters": [3, 5], "warm_start": True, "iterations": 2, "symmetric": True}
    loss = WeightedInfoNCE(T, **options).build(4).double()
    assert sorted(loss.state_dict()) == ["centers_0_0", "centers_0_1", "centers_1_0", "centers_1_1"]
    cold = WeightedInfoNCE(T, **{**options, "warm_start": False}, restarts=1)
    torch.testing.assert_close(loss(*pairs[0]), cold(*pairs[0]))
    before = loss.centers_0_1.clone()
    second = loss(*pairs[1])
    keys = F.normalize(pairs[1][1].detach())
    expected = inner_product_kmeans(keys, 5, iterations=2, centers=before, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss.centers_0_1, expected.centers)
    assert not torch.equal(second, cold(*pairs[1]))
    again = WeightedInfoNCE(T, **options).build(4).double()
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again(*pairs[2]), loss(*pairs[2]))


def test_a_warm_start_without_room_for_its_centres_is_refused():
    pair = random_pair(20)
    loss = WeightedInfoNCE(T, num_clusters=[3], warm_start=True)
    with pytest.raises(NotFittedError, match=r"keeps centres for warm_start; call build\(channels\) before using it"):
        loss(*pair)
    assert loss.build(4).double()(*pair).isfinite()
    assert WeightedInfoNCE(T, num_clusters=[3])(*pair).isfinite()  # without one there is nothing to keep


def test_the_same_input_gives_the_same_bits_without_touching_the_global_generator():
    z1, z2 = random_pair(dtype=torch.float32)
    loss = WeightedInfoNCE(T, num_clusters=[3, 6])
    state = torch.random.get_rng_state()
    first = loss(z1, z2)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(123)
    assert torch.equal(loss(z1, z2), first)


# -- degenerate input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_clusters", [None, [1, 1]])
def test_one_cluster_everywhere_leaves_the_positive_term_and_the_logarithm_of_the_nodes(num_clusters):
    z1, z2 = random_pair()
    loss = WeightedInfoNCE(T, num_clusters=num_clusters)
    context = LossContext(clusters=torch.full((14, 2), 3))
    terms = loss.terms(z1, z2, context=context)
    expected = -(F.normalize(z1) * F.normalize(z2)).sum(1).mean() / T
    same_with_gradients(terms["contrast"], expected, (z1, z2))
    prototypes = loss.terms(z1, z2, context=context)["prototypes"]
    assert prototypes.item() == pytest.approx(math.log(14), abs=1e-12)
    (grad,) = torch.autograd.grad(prototypes, z1)
    torch.testing.assert_close(grad, torch.zeros_like(grad), rtol=0, atol=1e-14)


def test_one_node_and_zero_rows_and_equal_rows():
    one = torch.tensor([[3.0, 4.0]], requires_grad=True)
    alone = WeightedInfoNCE(T, num_clusters=[1])(one, one.detach())
    assert alone.item() == pytest.approx(-1 / T, abs=1e-6)
    alone.backward()
    zeros = torch.zeros(12, 4, requires_grad=True)
    equal = torch.ones(12, 4, requires_grad=True)
    for first, second in ((zeros, zeros), (zeros, equal), (equal, equal)):
        for concentration in ("similarity", "distance"):
            value = WeightedInfoNCE(T, num_clusters=[2, 5], concentration=concentration)(first, second)
            value.backward()
            assert math.isfinite(value.item())
    assert bool(zeros.grad.isfinite().all())
    assert bool(equal.grad.isfinite().all())


def test_as_many_clusters_as_nodes():
    z1, z2 = random_pair()
    loss = WeightedInfoNCE(T, num_clusters=[14])
    value = loss(z1, z2)
    value.backward()
    assert math.isfinite(value.item())
    assert bool(z1.grad.isfinite().all())
    assert bool(z2.grad.isfinite().all())


def test_the_order_of_nodes_and_the_lengths_of_rows_do_not_matter():
    z1, z2 = random_pair()
    labels, loss = random_labels(), WeightedInfoNCE(T, num_clusters=None)
    expected = loss(z1, z2, context=LossContext(clusters=labels))
    order = torch.randperm(14, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(z1[order], z2[order], context=LossContext(clusters=labels[order])), expected)
    torch.testing.assert_close(loss(3 * z1, z2 / 7, context=LossContext(clusters=labels)), expected)


def test_half_precision_is_summed_in_single():
    z1, z2 = (z.detach().bfloat16().requires_grad_() for z in random_pair())
    labels = random_labels()
    value = WeightedInfoNCE(T, num_clusters=None)(z1, z2, context=LossContext(clusters=labels))
    value.backward()
    assert value.dtype == torch.float32
    assert z1.grad.dtype == torch.bfloat16
    expected = slow(z1.detach().double(), z2.detach().double(), labels)
    assert value.item() == pytest.approx(float(expected), rel=2e-2)


MEMORY_PROBE = """
import resource, sys, torch
from gcl.losses.weighted_infonce import WeightedInfoNCE
torch.set_num_threads(1)
loss = WeightedInfoNCE(0.5, num_clusters=[20, 50], iterations=2, restarts=1)
z1, z2 = (torch.randn(12000, 8, requires_grad=True) for _ in range(2))
loss(z1[:64], z2[:64]).backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
loss(z1, z2).backward()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) // (1024 if sys.platform != "darwin" else 1024 ** 2))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
def test_no_matrix_of_all_pairs_exists():
    # The weights of all pairs alone would take 549 MiB in float32.
    root = Path(gcl.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", MEMORY_PROBE], capture_output=True, text=True, check=True, cwd=root)
    assert int(done.stdout) < 300  # MiB


# -- misuse -----------------------------------------------------------------------------------------------------------------


def test_what_it_needs_depends_on_where_the_clusters_come_from():
    assert WeightedInfoNCE().needs == ()
    assert WeightedInfoNCE(num_clusters=None).needs == ("clusters",)


def test_wrong_input_is_refused():
    z1, z2 = random_pair()
    with pytest.raises(ConfigError, match="num_clusters=15 clusters cannot be made of 14 nodes"):
        WeightedInfoNCE(num_clusters=[3, 15])(z1, z2)
    given = WeightedInfoNCE(num_clusters=None)
    with pytest.raises(ConfigError, match="needs clusters"):
        given(z1, z2)
    for clusters in (torch.zeros(13, dtype=torch.int64), torch.zeros(14), torch.zeros(14, 1, 1, dtype=torch.int64)):
        with pytest.raises(DataError, match="clusters must be integers"):
            given(z1, z2, context=LossContext(clusters=clusters))
    with pytest.raises(ConfigError, match="two views"):
        WeightedInfoNCE(num_clusters=[2])(z1)
    with pytest.raises(DataError, match=r"same shape \[N, d\]"):
        WeightedInfoNCE(num_clusters=[2])(z1, z2[:5])
    with pytest.raises(DataError, match="anchors"):
        given(z1, z2, context=LossContext(clusters=random_labels(), anchors=torch.tensor([14])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"concentration": "size"}, "concentration"),
        ({"num_clusters": 5}, "list"),
        ({"num_clusters": 5.0}, "list"),
        ({"num_clusters": "55"}, "list"),
        ({"num_clusters": []}, "list"),
        ({"num_clusters": [3, 0]}, "num_clusters"),
        ({"num_clusters": [3, True]}, "num_clusters"),
        ({"num_clusters": [2.0]}, "num_clusters"),
        ({"iterations": 0}, "iterations"),
        ({"restarts": 0}, "restarts"),
        ({"prototype_weight": -1.0}, "prototype_weight"),
        ({"prototype_weight": math.inf}, "prototype_weight"),
        ({"prototype_weight": math.nan}, "prototype_weight"),
        ({"prototype_weight": True}, "prototype_weight"),
        ({"num_clusters": None, "warm_start": True}, "warm_start"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        WeightedInfoNCE(**options)


def test_configuration_resolves_and_describes():
    loss = WeightedInfoNCE(0.3, num_clusters=[4, 9], prototype_weight=0.1, concentration="distance", warm_start=True)
    record = describe(loss)
    again = resolve("loss", record)
    assert type(again) is WeightedInfoNCE
    assert describe(again) == record
    assert "num_clusters=[4, 9]" in repr(again)
