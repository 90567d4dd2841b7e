"""The contrast with what a memory holds, by a slow copy of encoder and projector."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gcl.core.context import LossContext
from gcl.core.view import View
from gcl.methods.memory import Memory
from gcl.methods.slow_copy import SlowCopy


class Remembered(nn.Module):
    """A memory of negatives and the slow copy that it is filled from.

    Args:
        memory: built.
        encoder, projector: what the copy follows.
    """

    def __init__(self, memory: Memory, encoder: nn.Module, projector: nn.Module):
        super().__init__()
        self.memory_ = memory
        self.slow_ = SlowCopy(encoder, projector)
        self._met: tuple[Tensor, tuple[Tensor, Tensor]] | None = None  # nodes of the step and their projections

    @torch.no_grad()
    def project(
        self, views: Sequence[View], contrasted: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """The views as the slow copy sees them, ``[n, d]`` each.

        Args:
            views: both.
            contrasted: the rows of embeddings ``[N, d]`` that the loss gets.
        """
        encoder, projector = self.slow_.copies_
        return tuple(projector(rows) for rows in contrasted(tuple(encoder(view) for view in views)))

    def contrast(
        self, loss: Any, h: tuple[Tensor, ...], slow: tuple[Tensor, ...], nodes: Tensor, context: LossContext
    ) -> Tensor:
        """The mean loss of each view's projections ``[n, d]`` with the other's by the slow copy, and with the memory.

        Args:
            loss: of two views.
            h, slow: projections, and those of the slow copy, of both views.
            nodes: what they are of, in the fitted graph, int64 ``[n]``.
            context: of the step.
        """
        context = dataclasses.replace(context, more_keys=self.memory_.keys(nodes))
        self._met = (nodes, (slow[0], slow[1]))
        total: Tensor = loss(h[0], slow[1], context=context) + loss(slow[0], h[1], context=context)
        return total / 2

    def after_step(self, encoder: nn.Module, projector: nn.Module) -> None:
        """Remembers the nodes of the step, and moves the slow copy."""
        if self._met is not None:
            self.memory_.put(*self._met)
            self._met = None
            self.slow_.follow(encoder, projector, momentum=self.memory_.momentum)
