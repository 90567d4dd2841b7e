"""One training, as every process that takes part in it has it."""

from __future__ import annotations

import dataclasses
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from gcl.core.graph import Graph
from gcl.core.resolve import resolve
from gcl.core.streams import Streams
from gcl.methods.method import Method
from gcl.train.checkpoint import Checkpoint, TrainerState
from gcl.train.device import default_dtype, find_device, make_fabric, own_device, place_graph
from gcl.train.fit_result import FitResult
from gcl.train.interruption import Interruption
from gcl.train.loop import Loop
from gcl.train.memory import reset_peak_memory
from gcl.train.plan import plan_stages
from gcl.train.progress import TrainingProgress
from gcl.train.random_state import get_random_state, set_random_state
from gcl.train.ranks import Ranks

if TYPE_CHECKING:
    from gcl.train.trainer import Trainer


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """What the first process knows when training begins, and hands out to the others.

    Args:
        trainer: the settings.
        method: prepared and built.
        graph: what it learns from.
        streams: the source of all randomness.
        state, checkpoint: where it stands, and what it goes on from.
        validates: whether the first process has something to validate on.
    """

    trainer: Trainer
    method: Method
    graph: Graph
    streams: Streams
    state: TrainerState
    checkpoint: Checkpoint | None
    validates: bool

    def train(self, ranks: Ranks, device: torch.device, **outside: Any) -> FitResult:
        """Runs the loop in this process; ``outside`` is where it writes, shows and asks."""
        trainer, method, checkpoint = self.trainer, self.method, self.checkpoint
        if checkpoint is not None and checkpoint.random is not None:
            set_random_state(checkpoint.random)
        if device.type == "cuda":
            reset_peak_memory(device)
        with default_dtype(trainer.dtype):
            method.to(device)
            if trainer.dtype == torch.float64:
                method.double()
            loop = Loop(
                method=method,
                graph=place_graph(self.graph, device, trainer.dtype),
                streams=self.streams,
                fabric=make_fabric(device, trainer.precision),
                stages=plan_stages(trainer, method),
                checkpoint_every=trainer.checkpoint_every,
                gradient_clip=trainer.gradient_clip,
                max_seconds=math.inf if trainer.max_minutes is None else 60 * trainer.max_minutes,
                state=self.state,
                checkpoint=checkpoint,
                random=get_random_state(),
                batches=method.batches if trainer.batch is None else resolve("batch", trainer.batch),
                validates=self.validates,
                ranks=ranks,
                **outside,
            )
            return loop.run()

    def run(self, ranks: Ranks) -> None:
        """Trains in a helper, which writes and shows nothing."""
        device = own_device(find_device(self.trainer.device), ranks.rank)
        with suppress(KeyboardInterrupt):  # the first process was stopped
            self.train(
                ranks,
                device,
                store=None,
                log=None,
                interruption=Interruption(),
                progress=TrainingProgress(0, show=False),
                validate=None,
                on_epoch=None,
            )
