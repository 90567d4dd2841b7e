"""A method whose steps are shared out over processes, in a module of its own that they can import."""

from __future__ import annotations

import os
import signal

import torch
from tiny_method import FEATURES
from torch import nn

from gcl.core.context import Batch, StepOutput
from gcl.methods.method import Method
from gcl.ops.rank_rows import gathered_rows, own_rows


class Sharing(Method):
    """A linear model with dropout whose mean over shuffled rows is shared out; rows are gathered where ``gather``.

    ``fail`` says what happens in process 1 at step 4: ``raise``, ``kill``, a part of another name by ``name``, or
    ``nan`` in all of them.
    """

    def __init__(self, fail: str = "", gather: bool = False):
        super().__init__()
        self.fail, self.gather = fail, gather

    def check_shares(self, parts=False):
        pass

    def build(self, spec=None, prepared=None):
        torch.manual_seed(3)
        self.linear = nn.Linear(FEATURES, 4)
        self.unused = nn.Parameter(torch.ones(3))
        self.only_first = nn.Parameter(torch.ones(2))
        self.register_buffer("passes", torch.zeros(()))
        return self

    def batches(self, graph, clock, streams):
        order = torch.randperm(graph.num_nodes, generator=streams.generator("shuffle", clock.epoch))
        yield from (Batch(graph, index=index) for index in order.split(5))

    def training_step(self, batch, clock, streams):
        self.passes += 1
        if clock.step == 4 and clock.rank == 1 and self.fail == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if clock.step == 4 and clock.rank == 1 and self.fail == "raise":
            raise ValueError("a part of one's own went wrong")
        rows = own_rows(batch.index, clock)
        h = nn.functional.dropout(self.linear(batch.graph.x), 0.3)[rows]
        if self.gather:
            h = gathered_rows(h, batch.index.numel(), clock)
            loss = (h @ h.t()).square().mean() / clock.world
        else:
            loss = h.square().sum() / batch.index.numel()
        if clock.rank == 0:
            loss = loss + self.only_first.square().sum()
        if clock.step == 4 and self.fail == "nan":
            loss = loss * torch.nan
        parts = {"half": loss.detach() / 2}
        if clock.step == 4 and clock.rank == 1 and self.fail == "name":
            parts = {"other": loss.detach()}
        if clock.step % 2:
            odd = {"odd": loss.detach() * clock.step}
            parts = {**odd, **parts} if clock.rank else {**parts, **odd}  # in any order
        return StepOutput(loss, parts, weight=batch.index.numel())
