"""Truncated SVD, against the dense decomposition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError
from gcl.ops.propagation import Propagation
from gcl.ops.truncated_svd import truncated_svd


def random_interactions(m, n, density, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(m, 1, generator=generator) * torch.rand(1, n, generator=generator)
    arcs = (torch.rand(m, n, generator=generator) < 4 * density * weight).nonzero().t()
    return Adjacency.from_edge_index(arcs.flip(0), (m, n))


def dense(operator):
    return operator.matmul(torch.eye(operator.shape[1], dtype=torch.float64))


def best_of_rank(matrix, rank):
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


@settings(max_examples=40, deadline=None)
@given(adjacencies(bipartite=True, masked=False, max_nodes=6), st.data())
def test_exact_is_the_best_approximation_of_small_matrices(adjacency, data):
    operator = Propagation(adjacency, normalize="symmetric")
    rank = data.draw(st.integers(1, min(operator.shape)))
    matrix = dense(operator)
    found = truncated_svd(operator, rank)
    error, least = (torch.linalg.matrix_norm(matrix - near) for near in (found.dense(), best_of_rank(matrix, rank)))
    assert float(error) <= float(least) + 1e-6
    assert found.s.shape == (rank,)
    assert bool((found.s.diff() <= 1e-7).all())


@pytest.mark.parametrize("shape", [(700, 300), (300, 700)])
@pytest.mark.parametrize(("method", "tolerance"), [("exact", 1e-6), ("randomized", 0.05), ("reference", 0.4)])
def test_large_matrices(shape, method, tolerance):
    operator = Propagation(random_interactions(*shape, density=0.02), normalize="symmetric")
    true = torch.linalg.svdvals(dense(operator))[:5].float()
    found = truncated_svd(operator, 5, method=method, generator=torch.Generator().manual_seed(3))
    relative = (true - found.s) / true
    assert float(relative.abs().max()) < tolerance
    assert float(relative.min()) > -1e-5  # a projection never has larger singular values
    for factor in (found.u, found.v):
        torch.testing.assert_close(factor.t() @ factor, torch.eye(5), atol=1e-5, rtol=0)


def test_the_reference_is_cruder_than_the_oversampled_sketch():
    operator = Propagation(random_interactions(800, 600, density=0.02), normalize="symmetric")
    true = float(torch.linalg.svdvals(dense(operator))[4])
    last = {
        method: float(truncated_svd(operator, 5, method=method, generator=torch.Generator().manual_seed(0)).s[-1])
        for method in ("reference", "randomized")
    }
    assert last["reference"] < last["randomized"] <= true + 1e-5


def test_first_triplet_of_normalised_interactions():
    """LightGCL specification: s1 = 1 with singular vectors sqrt(degree / E) on a connected graph."""
    adjacency = random_interactions(60, 40, density=0.4)
    operator = Propagation(adjacency, normalize="symmetric")
    found = truncated_svd(operator, 3)
    degree = adjacency.row_ptr.diff().float(), adjacency.t_row_ptr.diff().float()
    assert float(found.s[0]) == pytest.approx(1, abs=1e-6)
    for vector, count in zip((found.u[:, 0], found.v[:, 0]), degree, strict=True):
        torch.testing.assert_close(vector.abs(), (count / adjacency.num_arcs).sqrt(), atol=1e-5, rtol=0)
    assert float(found.s.max()) <= 1 + 1e-6


@pytest.mark.parametrize("method", ["exact", "randomized", "reference"])
def test_one_generator_one_result_whatever_the_global_state(method):
    operator = Propagation(random_interactions(400, 300, density=0.03), normalize="symmetric")
    found = []
    for state in (1, 2):
        torch.manual_seed(state)
        found.append(truncated_svd(operator, 4, method=method, generator=torch.Generator().manual_seed(7)))
    assert torch.equal(found[0].u, found[1].u)
    assert torch.equal(found[0].v, found[1].v)
    largest = found[0].u.gather(0, found[0].u.abs().argmax(0, keepdim=True))
    assert bool((largest > 0).all())


def test_dropped_arcs_are_not_there():
    adjacency = random_interactions(30, 20, density=0.3)
    keep = torch.rand(adjacency.num_arcs, generator=torch.Generator().manual_seed(0)) < 0.5
    masked, compact = (adjacency.masked(keep, compact=flag) for flag in (False, True))
    one, two = (truncated_svd(Propagation(part, normalize="symmetric"), 4) for part in (masked, compact))
    torch.testing.assert_close(one.dense(), two.dense(), atol=1e-6, rtol=0)


def test_refuses_a_rank_out_of_range_and_unknown_methods():
    operator = Propagation(random_interactions(6, 4, density=0.5), normalize="symmetric")
    for rank in (0, 5, True, 2.0):
        with pytest.raises(ConfigError, match="from 1 to 4"):
            truncated_svd(operator, rank)
    with pytest.raises(ConfigError, match="exact"):
        truncated_svd(operator, 2, method="exakt")
