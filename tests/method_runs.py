"""Methods made ready for a step, and runs that are broken off."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gcl.core.context import Clock
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.methods.method import Method


def ready(method: Method, graph: Graph, seed: int = 0) -> tuple[Method, Streams]:
    """A method, prepared and built for a graph, and the streams that it was made with."""
    streams = Streams(seed)
    prepared = method.prepare(graph, streams)
    with streams.scope("init"):
        method.build(graph.spec, prepared)
    return method, streams


@contextmanager
def interrupted(cls: type[Method], *, at: int) -> Iterator[list[Clock]]:
    """A run of a method inside gets Ctrl-C in its step number ``at`` and ends by it; gives the clock of each step."""
    step, seen = cls.training_step, []

    def stopped(self, batch, clock, streams):
        seen.append(clock)
        if len(seen) == at:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, clock, streams)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cls, "training_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            yield seen
