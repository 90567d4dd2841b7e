from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies, matrices
from torch import Tensor
from torch_geometric.nn import GCNConv, LGConv

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.operator import Operator
from gcl.ops.low_rank import LowRank
from gcl.ops.propagation import Propagation
from gcl.ops.sparse_product import own_matrix

NORMALIZATIONS = ["gcn", "symmetric", "row", "none"]


def dense_oracle(adjacency: Adjacency, normalize: str) -> Tensor:
    """The definition with dense float64 matrices."""
    a = adjacency.to_dense()
    if normalize == "gcn":
        a = a - torch.diag(a.diagonal()) + torch.eye(a.shape[0], dtype=a.dtype)
        degree = a.sum(1)
        return a / (degree.unsqueeze(1) * degree).sqrt()
    if normalize == "symmetric":
        return (a / (a.sum(1, keepdim=True) * a.sum(0)).sqrt()).nan_to_num(0.0, posinf=0.0)
    if normalize == "row":
        return (a / a.sum(1, keepdim=True)).nan_to_num(0.0)
    return a


@st.composite
def cases(draw, **options) -> tuple[Adjacency, str]:
    normalize = draw(st.sampled_from(NORMALIZATIONS))
    return draw(adjacencies(bipartite=normalize != "gcn", **options)), normalize


@settings(max_examples=50, deadline=None)
@given(cases(), st.sampled_from([1.0, 0.25]))
def test_equals_the_definition(case, scale):
    adjacency, normalize = case
    operator = Propagation(adjacency, normalize=normalize, scale=scale)
    expected = scale * dense_oracle(adjacency, normalize)
    assert operator.shape == adjacency.shape
    torch.testing.assert_close(operator.dense(), expected)
    torch.testing.assert_close(operator.dense(torch.float32), expected.float())
    torch.testing.assert_close(operator.t().dense(), expected.t())
    torch.testing.assert_close(operator.t().t().dense(), expected)


@settings(max_examples=40, deadline=None)
@given(cases(), st.data())
def test_rows_are_those_of_the_dense_matrix_in_order_with_repeats(case, data):
    adjacency, normalize = case
    node = st.integers(0, adjacency.shape[0] - 1)
    index = torch.tensor(data.draw(st.lists(node, max_size=6)), dtype=torch.int64)
    operator = Propagation(adjacency, normalize=normalize, scale=0.5)
    part = operator.rows(index)
    assert part.shape == (index.numel(), adjacency.shape[1])
    torch.testing.assert_close(part.dense(), operator.dense()[index])
    torch.testing.assert_close(part.t().dense(), operator.dense()[index].t())
    torch.testing.assert_close(operator.t().rows(index[:0]).dense(), operator.dense().t()[:0])


def test_rows_of_a_transposed_gcn_and_a_mask_of_rows():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 2, 2], [1, 2, 0, 2]]), (4, 4))
    transposed = Propagation(adjacency).t()
    torch.testing.assert_close(transposed.rows(torch.tensor([3, 0])).dense(), transposed.dense()[[3, 0]])
    mask = torch.tensor([False, True, True, False])
    torch.testing.assert_close(transposed.rows(mask).dense(), transposed.dense()[mask])


@settings(max_examples=40, deadline=None)
@given(adjacencies(weighted=False), st.data())
def test_gcn_equals_pyg_on_directed_masked_graphs(adjacency, data):
    x = data.draw(matrices(adjacency.shape[0], 3)).requires_grad_()
    torch.manual_seed(0)
    layer = GCNConv(3, 2, bias=False).double()
    expected = layer(x, adjacency.edge_index())
    y = Propagation(adjacency).matmul(x @ layer.lin.weight.t())
    torch.testing.assert_close(y, expected)
    upstream = data.draw(matrices(adjacency.shape[0], 2))
    torch.testing.assert_close(torch.autograd.grad(y, x, upstream)[0], torch.autograd.grad(expected, x, upstream)[0])


@settings(max_examples=25, deadline=None)
@given(adjacencies(weighted=True, self_loops=False), st.data())
def test_gcn_equals_pyg_with_weights(adjacency, data):
    x = data.draw(matrices(adjacency.shape[0], 2))
    torch.manual_seed(0)
    layer = GCNConv(2, 2, bias=False).double()
    expected = layer(x, adjacency.edge_index(), adjacency.edge_weight().double())
    torch.testing.assert_close(Propagation(adjacency).matmul(x @ layer.lin.weight.t()), expected)


@settings(max_examples=25, deadline=None)
@given(adjacencies(weighted=False, undirected=True), st.data())
def test_symmetric_equals_lightgcn_on_undirected_graphs(adjacency, data):
    x = data.draw(matrices(adjacency.shape[0], 2))
    arcs = torch.nonzero(adjacency.to_dense() > 0).t().flip(0)
    adjacency = Adjacency.from_edge_index(torch.cat([arcs, arcs.flip(0)], 1), adjacency.shape, duplicates="first")
    expected = LGConv()(x, adjacency.edge_index())
    torch.testing.assert_close(Propagation(adjacency, normalize="symmetric").matmul(x), expected)


@settings(max_examples=30, deadline=None)
@given(cases(masked=False), st.data())
def test_a_mask_equals_the_smaller_graph(case, data):
    adjacency, normalize = case
    bits = data.draw(st.lists(st.booleans(), min_size=adjacency.num_arcs, max_size=adjacency.num_arcs))
    keep = torch.tensor(bits, dtype=torch.bool)
    weight = None if adjacency.weight is None else adjacency.weight[keep]
    smaller = Adjacency.from_edge_index(adjacency.edge_index()[:, keep], adjacency.shape, weight)
    x = data.draw(matrices(adjacency.shape[1], 2))
    expected = Propagation(smaller, normalize=normalize).matmul(x)
    for compact in (True, False, None):
        masked = adjacency.masked(keep, compact=compact)
        torch.testing.assert_close(Propagation(masked, normalize=normalize).matmul(x), expected)


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_gradcheck_to_x_and_values(normalize):
    edge_index = torch.tensor([[0, 1, 2, 3, 3, 1], [1, 2, 0, 3, 1, 4]])  # a self-loop; node 4 sends nothing
    adjacency = Adjacency.from_edge_index(edge_index, (5, 5))
    adjacency = adjacency.masked(torch.tensor([True, True, False, True, True, True]), compact=False)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 2, dtype=torch.float64, generator=generator).requires_grad_()
    values = (torch.rand(6, dtype=torch.float64, generator=generator) + 0.5).requires_grad_()

    def product(x: Tensor, values: Tensor) -> Tensor:
        return Propagation(adjacency, normalize=normalize, values=values, scale=0.5).matmul(x)

    assert torch.autograd.gradcheck(product, (x, values))
    (grad,) = torch.autograd.grad(product(x, values).sum(), values)
    assert grad[2] == 0  # dropped


@settings(max_examples=50, deadline=None)
@given(cases(), st.sampled_from([torch.float32, torch.float64]), st.data())
def test_prepared_and_general_products_agree_in_value_and_gradient(case, dtype, data):
    adjacency, normalize = case
    x = data.draw(matrices(adjacency.shape[1], 3, dtype)).requires_grad_()
    upstream = data.draw(matrices(adjacency.shape[0], 3, dtype))
    prepared = Propagation(adjacency, normalize=normalize, scale=0.5)
    fixed = Propagation(adjacency, normalize=normalize, values=adjacency.values(dtype), scale=0.5)
    learned = Propagation(adjacency, normalize=normalize, values=adjacency.values(dtype).requires_grad_(), scale=0.5)
    dense = 0.5 * dense_oracle(adjacency, normalize)
    for operator in (prepared, fixed, learned):
        y = operator.matmul(x)
        torch.testing.assert_close(y, (dense @ x.double()).to(dtype))
        (grad,) = torch.autograd.grad(y, x, upstream)
        torch.testing.assert_close(grad, (dense.t() @ upstream.double()).to(dtype))
    assert torch.equal(prepared.matmul(x), fixed.matmul(x))


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("undirected", [True, False])
def test_the_transpose_for_gradients_holds_the_same_bits(normalize, undirected):
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(40, (2, 300), generator=generator)
    edges = torch.cat([edges, edges.flip(0)], 1) if undirected else edges
    adjacency = Adjacency.from_edge_index(edges, (40, 40), duplicates="first")
    adjacency = adjacency.with_weight(torch.rand(adjacency.num_arcs, generator=generator))
    for keep in (None, torch.rand(adjacency.num_arcs, generator=generator) < 0.5):
        view = adjacency if keep is None else adjacency.masked(keep)
        matrix = own_matrix(view, torch.float32, normalize=normalize, scale=0.3)
        forward, backward = matrix.csr(False), matrix.csr(True)
        assert torch.equal(forward.tensor().to_dense().t(), backward.tensor().to_dense())


def test_second_derivatives_of_the_prepared_product():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 2, 3], [1, 2, 0, 3]]), (4, 4))
    x = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: Propagation(adjacency).matmul(x).pow(3), (x,))


def test_layers_and_operators_of_one_view_share_one_preparation():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [1, 2, 0]]), (3, 3))
    view = adjacency.masked(torch.tensor([True, False, True]))
    Propagation(view).matmul(torch.ones(3, 1))
    made = dict(view.memo)
    Propagation(view).matmul(torch.ones(3, 2))
    assert view.memo == made
    assert len(made) == 1
    assert not adjacency.memo  # the graph itself was not multiplied


def test_a_product_is_prepared_with_memory_of_the_kept_arcs_only():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [1, 2, 0]]), (3, 3))
    view = adjacency.masked(torch.tensor([True, False, False]))
    assert own_matrix(view, torch.float32).csr(False).values.numel() == 1
    assert own_matrix(view, torch.float32, normalize="gcn").csr(True).values.numel() == 4  # and three loops


def test_x_of_another_shape_or_type_is_refused():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2))
    with pytest.raises(DataError, match=r"\[2, d\]"):
        Propagation(adjacency).matmul(torch.ones(3, 1))
    with pytest.raises(DataError, match=r"torch\.int64"):
        Propagation(adjacency).matmul(torch.ones(2, 1, dtype=torch.int64))


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_learned_values_survive_two_backward_passes(normalize):
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), (2, 2))
    values = torch.ones(2, requires_grad=True)
    operator = Propagation(adjacency, normalize=normalize, values=values)
    for _ in range(2):
        operator.matmul(operator.matmul(torch.eye(2))).sum().backward()


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_zero_degree_has_no_nan_in_value_or_gradient(normalize):
    adjacency = Adjacency.from_edge_index(torch.tensor([[0], [1]]), (3, 3))
    values = torch.zeros(1, requires_grad=True)
    x = torch.ones(3, 2, requires_grad=True)
    y = Propagation(adjacency, normalize=normalize, values=values).matmul(x)
    y.sum().backward()
    for tensor in (y, x.grad, values.grad):
        assert torch.isfinite(tensor).all()


def test_gcn_ignores_self_loops_of_the_data():
    with_loops = Adjacency.from_edge_index(torch.tensor([[0, 0, 1], [0, 1, 1]]), (3, 3), torch.tensor([5.0, 2.0, 7.0]))
    without = Adjacency.from_edge_index(torch.tensor([[0], [1]]), (3, 3), torch.tensor([2.0]))
    assert torch.equal(Propagation(with_loops).dense(), Propagation(without).dense())


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("num_nodes", [0, 1, 3])
def test_no_edges(normalize, num_nodes):
    adjacency = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (num_nodes, num_nodes))
    dense = Propagation(adjacency, normalize=normalize).dense()
    expected = torch.eye(num_nodes) if normalize == "gcn" else torch.zeros(num_nodes, num_nodes)
    assert torch.equal(dense, expected.double())


def test_half_precision_keeps_its_dtype():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), (2, 2))
    y = Propagation(adjacency).matmul(torch.ones(2, 2, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, torch.ones_like(y))


def test_wrong_arguments_are_refused_in_one_sentence():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 3))
    with pytest.raises(ConfigError, match="unknown normalization 'symetric'; did you mean 'symmetric'"):
        Propagation(adjacency, normalize="symetric")
    with pytest.raises(ConfigError, match=r"square adjacency, got \[2, 3\]"):
        Propagation(adjacency)
    with pytest.raises(DataError, match=r"values must have shape \[1\]"):
        Propagation(adjacency, normalize="none", values=torch.ones(2))


def test_low_rank_equals_its_dense_matrix():
    generator = torch.Generator().manual_seed(0)
    u, s, v = (torch.randn(*size, dtype=torch.float64, generator=generator) for size in ((5, 2), (2,), (4, 2)))
    operator, dense = LowRank(u, s, v), u @ torch.diag(s) @ v.t()
    index = torch.tensor([3, 3, 0])
    assert operator.shape == (5, 4)
    torch.testing.assert_close(operator.dense(), dense)
    torch.testing.assert_close(operator.t().dense(), dense.t())
    torch.testing.assert_close(operator.rows(index).dense(), dense[index])
    x = torch.randn(4, 3, dtype=torch.float64, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(operator.matmul, (x,))
    assert operator.matmul(x.float()).dtype == torch.float32
    assert LowRank(u[:, :0], s[:0], v[:, :0]).dense().eq(0).all()


def test_low_rank_refuses_shapes_that_do_not_fit():
    with pytest.raises(DataError, match=r"got \[3, 2\], \[3\] and \[4, 2\]"):
        LowRank(torch.ones(3, 2), torch.ones(3), torch.ones(4, 2))
    with pytest.raises(DataError, match=r"shape \[4, d\]"):
        LowRank(torch.ones(3, 2), torch.ones(2), torch.ones(4, 2)).matmul(torch.ones(3, 1))


def test_both_are_operators():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2))
    for operator in (Propagation(adjacency), LowRank(torch.ones(2, 1), torch.ones(1), torch.ones(2, 1))):
        assert isinstance(operator, Operator)
        assert isinstance(operator.t(), Operator)
        assert isinstance(operator.rows(torch.tensor([0])), Operator)
