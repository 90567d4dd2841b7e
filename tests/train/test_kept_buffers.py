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
    kept.put_back()  # nothing was kept: nothing happens
    for size in (2, 4):  # what training makes may change its size
        module.centres = torch.full((size,), float(size))
        kept.keep()
        mean, weight = module.norm.running_mean.clone(), module.norm.weight
        module.norm(torch.randn(5, 3))  # changes what it keeps without the tensor knowing
        assert not torch.equal(module.norm.running_mean, mean)
        module.centres.add_(1)
        with torch.no_grad():
            weight.add_(1)
        module.working.fill_(9)
        changed = weight.detach().clone()
        kept.put_back()
        assert torch.equal(module.norm.running_mean, mean)
        assert int(module.norm.num_batches_tracked) == 0
        assert torch.equal(module.centres, torch.full((size,), float(size)))
        assert torch.equal(weight, changed)
        assert torch.equal(module.working, torch.full((2,), 9.0))
