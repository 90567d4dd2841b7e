"""Projectors."""

from __future__ import annotations

import pytest
import torch

from gcl.core.errors import ConfigError, NotFittedError
from gcl.core.resolve import describe, resolve
from gcl.encoders.projection_head import IdentityProjector, MLPProjector


@pytest.mark.parametrize(("hidden", "out"), [(None, None), (3, None), (None, 7), (3, 7)])
def test_two_linear_layers_with_elu(hidden, out):
    torch.manual_seed(0)
    head = MLPProjector(hidden_channels=hidden, out_channels=out).build(5)
    first, _, second = head.layers_
    torch.manual_seed(0)
    plain = torch.nn.Linear(5, hidden or 5)  # torch's own initialisation
    assert torch.equal(first.weight, plain.weight)
    z = torch.randn(4, 5)
    middle = z @ first.weight.t() + first.bias
    middle = torch.where(middle > 0, middle, middle.exp() - 1)
    torch.testing.assert_close(head(z), middle @ second.weight.t() + second.bias)
    assert head(z).shape == (4, out or 5)
    assert (head.hidden_channels, head.out_channels) == (hidden, out)


def test_identity():
    z = torch.randn(3, 2)
    head = IdentityProjector().build(2)
    assert head(z) is z
    assert not list(head.parameters())


def test_errors_and_description():
    with pytest.raises(NotFittedError, match="build"):
        MLPProjector()(torch.ones(1, 1))
    for arguments in ({"hidden_channels": 0}, {"out_channels": 1.5}, {"activation": "selu"}):
        with pytest.raises(ConfigError):
            MLPProjector(**arguments)
    with pytest.raises(ConfigError, match="in_channels"):
        MLPProjector().build(0)
    record = describe(MLPProjector(hidden_channels=3))
    assert describe(resolve("projector", record)) == record
