"""When a stage ends, when it is validated, and which weights it ends with."""

from __future__ import annotations

import math

from gcl.train.checkpoint import TrainerState
from gcl.train.stage import PlannedStage

DEFAULT_VALIDATE_EVERY = 10


def note_loss(state: TrainerState, stage: PlannedStage, loss: float) -> None:
    """Counts the epochs without progress of the training loss; a stage that selects by validation counts those."""
    if stage.select == "validation":
        return
    if state.lowest_loss is None or loss < state.lowest_loss - stage.min_delta:
        state.lowest_loss, state.bad_epochs = loss, 0
    else:
        state.bad_epochs += 1


def out_of_patience(state: TrainerState, stage: PlannedStage) -> bool:
    """Whether the stage ends although epochs are left."""
    return stage.patience is not None and state.bad_epochs >= stage.patience


def validation_due(stage: PlannedStage, epoch: int, *, last: bool) -> bool:
    """Whether to validate after this epoch."""
    every = stage.validate_every
    if every is None and stage.select == "validation":
        every = DEFAULT_VALIDATE_EVERY
    return every is not None and (last or epoch % every == 0)


def note_best(state: TrainerState, stage: PlannedStage, loss: float, score: float | None) -> bool:
    """Notes and tells whether the weights are the best of the stage so far."""
    if stage.select == "last":
        return False
    metric, sign = (loss, -1) if stage.select == "loss" else (score, 1)
    if metric is None:
        return False
    if not math.isfinite(metric) or (state.best_metric is not None and sign * metric <= sign * state.best_metric):
        state.bad_epochs += stage.select == "validation"
        return False
    state.bad_epochs *= stage.select != "validation"
    state.best_metric, state.best_step, state.best_epoch = metric, state.clock.step, state.clock.epoch
    return True
