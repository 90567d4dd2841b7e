"""Polynomials of operators, against dense powers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.ops.bipartite import joined_adjacency
from gcl.ops.polynomial import polynomial
from gcl.ops.propagation import Propagation

COEFFICIENTS = st.lists(st.integers(-2, 2).map(float), min_size=1, max_size=4)


def dense_polynomial(matrix, x, coefficients):
    power, total = x, torch.zeros_like(x)
    for coefficient in coefficients:
        total = total + coefficient * power
        power = matrix @ power
    return total


@settings(max_examples=40, deadline=None)
@given(adjacencies(masked=False), COEFFICIENTS)
def test_equals_dense_powers_of_a_directed_operator(adjacency, coefficients):
    operator = Propagation(adjacency, normalize="row")
    dense = operator.matmul(torch.eye(adjacency.shape[0], dtype=torch.float64))
    x = torch.randn(adjacency.shape[0], 2, dtype=torch.float64, requires_grad=True)
    y = polynomial(operator, x, coefficients)
    expected = dense_polynomial(dense, x, coefficients)
    torch.testing.assert_close(y, expected)
    seed = torch.randn_like(y)
    torch.testing.assert_close(*(torch.autograd.grad(value, x, seed)[0] for value in (y, expected)))


@settings(max_examples=40, deadline=None)
@given(adjacencies(bipartite=True, weighted=False), COEFFICIENTS)
def test_a_symmetric_operator_needs_no_transpose(adjacency, coefficients):
    operator = Propagation(joined_adjacency(adjacency), normalize="symmetric")
    x = torch.randn(operator.shape[0], 2, dtype=torch.float64, requires_grad=True)
    (given_symmetric, plain) = (polynomial(operator, x, coefficients, symmetric=flag) for flag in (True, False))
    torch.testing.assert_close(given_symmetric, plain)
    seed = torch.randn_like(plain)
    torch.testing.assert_close(*(torch.autograd.grad(value, x, seed)[0] for value in (given_symmetric, plain)))


def test_gradients_of_first_and_second_order():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [1, 2, 0]]), (3, 3))
    operator = Propagation(adjacency, normalize="gcn")
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: polynomial(operator, z, (1.0, 0.5, -0.25)), x)
    assert torch.autograd.gradgradcheck(lambda z: polynomial(operator, z, (1.0, 0.5, -0.25)).pow(3), x)


def test_x_is_not_written_to():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), (2, 2))
    x = torch.ones(2, 1)
    for coefficients in ((1.0,), (1.0, 1.0), (0.0, 1.0)):
        polynomial(Propagation(adjacency), x, coefficients)
        assert torch.equal(x, torch.ones(2, 1))


def test_refuses_a_rectangle_other_shapes_and_no_coefficient():
    rectangle = Propagation(Adjacency.from_edge_index(torch.tensor([[0], [0]]), (2, 3)), normalize="none")
    square = Propagation(Adjacency.from_edge_index(torch.tensor([[0], [0]]), (2, 2)), normalize="none")
    with pytest.raises(DataError, match="square"):
        polynomial(rectangle, torch.ones(3, 1), (1.0,))
    with pytest.raises(DataError, match=r"\[2, d\]"):
        polynomial(square, torch.ones(3, 1), (1.0,))
    with pytest.raises(ConfigError, match="coefficient"):
        polynomial(square, torch.ones(2, 1), ())
