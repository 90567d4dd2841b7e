"""What became of a training run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FitResult:
    """What became of a training run.

    Args:
        epochs, steps: done in all, over all stages and resumptions.
        best_metric, best_epoch: of the weights selected in the last stage; ``None`` where the last ones are kept.
        stopped_early: whether patience or the time limit ended a stage.
        wall_time: seconds of training, over all resumptions.
        peak_memory_bytes: of this process, see :func:`gcl.train.memory.memory_method`.
        resumed_from: the step that training went on from; ``None`` = it began.
    """

    epochs: int
    steps: int
    best_metric: float | None
    best_epoch: int | None
    stopped_early: bool
    wall_time: float
    peak_memory_bytes: int | None
    resumed_from: int | None
