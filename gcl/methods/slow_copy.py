"""A copy of modules that follows them slowly."""

from __future__ import annotations

import copy

import torch
from torch import nn


class SlowCopy(nn.Module):
    r"""Copies of modules whose weights are a moving average of theirs, without gradient.

    .. math:: \xi \leftarrow m\, \xi + (1 - m)\, \theta

    He et al.: *Momentum Contrast*, CVPR 2020, arXiv 1911.05722.

    Args:
        modules: what is copied.
    """

    def __init__(self, *modules: nn.Module):
        super().__init__()
        self.copies_ = nn.ModuleList(copy.deepcopy(module) for module in modules)
        for parameter in self.copies_.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def follow(self, *modules: nn.Module, momentum: float) -> None:
        """One step towards the weights of the modules; buffers are taken over as they are."""
        for slow, fast in zip(self.copies_, modules, strict=True):
            for own, other in zip(slow.parameters(), fast.parameters(), strict=True):
                own.lerp_(other, 1 - momentum)
            for own_buffer, buffer in zip(slow.buffers(), fast.buffers(), strict=True):
                own_buffer.copy_(buffer)
