"""Buffers as they were before a step."""

from __future__ import annotations

import torch
from torch import nn

from gcl.train.kept_buffers import KeptBuffers


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("centres", None)
        self.register_buffer("working", torch.zeros(2), persistent=False)


def test_buffers_are_put_back_and_parameters_left_alone():
    module = Counted()
    kept = KeptBuffers(module)
    kept.put_back({})  # nothing was kept: nothing happens
    assert kept.take()["centres"] is None
    for size in (2, 4):  # what training makes may change its size
        module.centres = torch.full((size,), float(size))
        before = kept.take()
        mean, weight = module.norm.running_mean.clone(), module.norm.weight
        module.norm(torch.randn(5, 3))  # changes what it keeps without the tensor knowing
        assert not torch.equal(module.norm.running_mean, mean)
        module.centres.add_(1)
        with torch.no_grad():
            weight.add_(1)
        module.working.fill_(9)
        changed = weight.detach().clone()
        kept.put_back(before)
        assert torch.equal(module.norm.running_mean, mean)
        assert int(module.norm.num_batches_tracked) == 0
        assert torch.equal(module.centres, torch.full((size,), float(size)))
        assert torch.equal(weight, changed)
        assert torch.equal(module.working, torch.full((2,), 9.0))


def test_what_does_not_change_is_copied_once_and_what_was_absent_is_absent_again():
    module = Counted()
    module.register_buffer("large", torch.zeros(1000))
    kept = KeptBuffers(module)
    first, second = kept.take(), kept.take()
    assert second["large"] is first["large"]
    assert second["norm.running_mean"] is not first["norm.running_mean"]
    module.large[3] = 1
    module.centres = torch.ones(2)
    third = kept.take()
    assert third["large"] is not first["large"]
    kept.put_back(second)
    assert not module.large.any()
    assert module.centres is None
    kept.put_back(third)
    assert module.large[3] == 1
    assert torch.equal(module.centres, torch.ones(2))
    module.large = torch.zeros(1000)  # another tensor, of as many changes
    assert not kept.take()["large"].any()
