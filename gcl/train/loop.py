"""The loop over stages, epochs and batches."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from gcl.core.context import Batch, Clock
from gcl.core.errors import ConfigError, NonFiniteError, RankError
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.methods.method import Method
from gcl.train.batches import Batches
from gcl.train.checkpoint import Checkpoint, CheckpointStore, TrainerState
from gcl.train.fit_result import FitResult
from gcl.train.interruption import Interruption
from gcl.train.kept_buffers import KeptBuffers
from gcl.train.memory import peak_memory_bytes
from gcl.train.metrics import MetricsLog
from gcl.train.optimizer import make_optimizer, set_learning_rate, trained_parameters
from gcl.train.progress import TrainingProgress
from gcl.train.random_state import scope
from gcl.train.ranks import Ranks
from gcl.train.selection import note_best, note_loss, out_of_patience, validation_due
from gcl.train.stage import PlannedStage
from gcl.train.step_output import check_output, read_output
from gcl.train.weights import copy_weights, get_weights, load_weights

RECORD_KEYS = ("stage", "epoch", "step", "loss", "lr", "validation", "timing")


@dataclass(eq=False, kw_only=True)
class Loop:
    """One run of the loop. ``Trainer.fit`` makes it, so that a trainer keeps settings only.

    Every hook of the method runs inside a scope that seeds the global generators from counters, so nothing that is
    drawn depends on what ran before, and a run resumes at any step.

    Several processes run it in step: each takes its share of a step, the sums are the same everywhere, and what depends
    on time, signals or validation is decided by the first one, which alone writes.
    """

    method: Method
    graph: Graph
    streams: Streams
    fabric: Any
    stages: list[PlannedStage]
    checkpoint_every: int
    gradient_clip: float | None
    max_seconds: float
    state: TrainerState
    checkpoint: Checkpoint | None  # to go on from
    random: Mapping[str, Any]  # global random states, which no hook changes
    store: CheckpointStore | None
    log: MetricsLog | None
    batches: Batches
    interruption: Interruption
    progress: TrainingProgress
    validate: Callable[[], float] | None
    validates: bool  # whether the first process has something to validate on
    ranks: Ranks
    on_epoch: Callable[[Clock, Mapping[str, Any]], None] | None
    optimizer: torch.optim.Optimizer | None = field(default=None, init=False)
    parameters: list[nn.Parameter] = field(default_factory=list, init=False)
    best: dict[str, Tensor] | None = field(default=None, init=False)
    out_of_time: bool = field(default=False, init=False)
    before_epoch: dict[str, Tensor | None] = field(default_factory=dict, init=False)  # buffers
    before_step: dict[str, Tensor | None] = field(default_factory=dict, init=False)
    _resumable: bool = field(default=True, init=False)
    stepped: bool = field(default=False, init=False)  # since this call began
    asked: bool = field(default=False, init=False)  # to stop, in any process

    def run(self) -> FitResult:
        """Trains to the end, from the beginning or from the checkpoint."""
        self._started = time.perf_counter() - self.state.elapsed
        self._kept = KeptBuffers(self.method)
        resumed_from = None
        if self.checkpoint is not None:
            load_weights(self.method, self.checkpoint.model)
            resumed_from = self.state.clock.step
        if not self.state.finished:
            try:
                for index in range(self.state.stage, len(self.stages)):
                    self._run_stage(index)
            except RankError as error:
                self._lost(error)
            self.state.finished = True
            self.optimizer = self.best = None
            self._save("last")
        self.method.eval()
        self._stop_if_asked(save=False)
        state = self.state
        return FitResult(
            epochs=state.epochs,
            steps=state.clock.step,
            best_metric=state.best_metric,
            best_epoch=state.best_epoch,
            stopped_early=state.stopped_early,
            wall_time=state.elapsed,
            peak_memory_bytes=peak_memory_bytes(self.fabric.device),
            resumed_from=resumed_from,
        )

    # -- stages and epochs -------------------------------------------------------------------------------------------

    def _run_stage(self, index: int) -> None:
        stage, state = self.stages[index], self.state
        checkpoint, self.checkpoint = self.checkpoint, None  # it is inside the first stage that is run
        if checkpoint is None:
            state.stage, state.clock = index, Clock(stage.name, step=state.clock.step, stage_index=index)
            state.best_metric = state.best_step = state.best_epoch = state.lowest_loss = None
            state.bad_epochs, state.sums = 0, {}
            self.optimizer = None
            self.before_epoch = self.before_step = {}
            self._resumable = False  # until the stage has begun
            if stage.init is not None:
                # Validation may have left either mode, and must not matter.
                self.method.eval()
                with scope(self.streams, "stage", index):
                    stage.init(self.graph, self._own(state.clock), self.streams)
            self._resumable = True
            if stage.init is not None:
                self.ranks.align(get_weights(self.method).values())
        if stage.epochs == 0:
            return
        self.optimizer = make_optimizer(self.method, stage)
        self.parameters = trained_parameters(self.optimizer)
        if checkpoint is not None:
            if checkpoint.optimizer is not None:
                self.optimizer.load_state_dict(dict(checkpoint.optimizer))
            if checkpoint.best is not None:
                self.best = {name: value.to(self.fabric.device) for name, value in checkpoint.best.items()}
        self._stop_if_asked()
        first = state.clock.epoch if state.clock.batch else state.clock.epoch + 1
        for epoch in range(first, stage.epochs + 1):
            if out_of_patience(state, stage):
                break
            self._run_epoch(stage, epoch)
            if self.out_of_time:
                break
        if self.best is not None:
            load_weights(self.method, self.best)
            self.best = None

    def _run_epoch(self, stage: PlannedStage, epoch: int) -> None:
        started, state, index = time.perf_counter(), self.state, stage.index
        skip = state.clock.batch  # steps of this epoch that were done before an interruption
        begin = self._own(Clock(stage.name, epoch, step=state.clock.step - skip, stage_index=index))
        assert self.optimizer is not None
        learning_rate = set_learning_rate(self.optimizer, stage, epoch)
        self.method.train()
        if self.store is not None and self.ranks.world > 1:
            self.before_epoch = self._kept.take()
        if not skip:
            state.sums = {}
            with scope(self.streams, "epoch", index, epoch):
                self.method.on_epoch_start(self.graph, begin, self.streams)
            if type(self.method).on_epoch_start is not Method.on_epoch_start:
                self.ranks.align(get_weights(self.method).values())
        count = 0
        with scope(self.streams, "batches", index, epoch):
            for count, batch in enumerate(self.batches(self.graph, begin, self.streams), start=1):
                if count <= skip:
                    continue
                clock = dataclasses.replace(begin, batch=count - 1, step=begin.step + count - 1)
                if self.store is not None:
                    self.before_step = self._kept.take()
                loss = self._step(batch, clock, self.optimizer)
                state.clock = Clock(stage.name, epoch, count, begin.step + count, stage_index=index)
                self.stepped = True
                self.progress.update(state.clock, state.epochs, loss)
                self._stop_if_asked()
        if count == 0:
            raise ConfigError(
                f"{type(self.method).__name__} made no batch in epoch {epoch} of stage {stage.name!r}; check the batch "
                "size and that the graph has what batches are drawn from"
            )
        self._end_epoch(stage, learning_rate, started)
        self._stop_if_asked()

    def _end_epoch(self, stage: PlannedStage, learning_rate: float, started: float) -> None:
        state = self.state
        epoch, step = state.clock.epoch, state.clock.step
        means = self._means(stage, epoch)
        loss = means.pop("loss")
        state.clock, state.sums = Clock(stage.name, epoch, step=step, stage_index=stage.index), {}
        self.before_epoch = {}  # of the one that is over
        state.epochs += 1
        note_loss(state, stage, loss)
        (over,) = self.ranks.of_first([self._elapsed() >= self.max_seconds])
        self.out_of_time = bool(over)
        out = self.out_of_time or out_of_patience(state, stage)
        state.stopped_early |= out and epoch < stage.epochs
        last = out or epoch == stage.epochs
        score = self._score(stage, epoch) if validation_due(stage, epoch, last=last) else None
        if note_best(state, stage, loss, score):
            self.best = copy_weights(self.method)
        out = out_of_patience(state, stage)  # a validation may have been the last straw
        state.stopped_early |= out and epoch < stage.epochs
        last |= out

        record: dict[str, Any] = {"stage": stage.name, "epoch": epoch, "step": step, "loss": loss}
        for name, value in means.items():
            record[f"part_{name}" if name in RECORD_KEYS else name] = value if math.isfinite(value) else None
        record["lr"] = learning_rate
        if score is not None:
            record["validation"] = score if math.isfinite(score) else None
        record["timing"] = {"seconds": time.perf_counter() - started, "elapsed": self._elapsed()}
        if self.log is not None:
            self.log.write(record)
        every = self.checkpoint_every
        if every and epoch % every == 0 and not (last and stage.index == len(self.stages) - 1):
            self._save("last")
        self.progress.update(state.clock, state.epochs, loss)
        if self.on_epoch is not None:
            with scope(self.streams, "on_epoch", stage.index, epoch):
                self.on_epoch(state.clock, record)

    def _means(self, stage: PlannedStage, epoch: int) -> dict[str, float]:
        """Loss and parts over the steps of the epoch, each step by its weight."""
        sums = self.state.sums
        if sums["loss"][1] == 0:
            raise ConfigError(
                f"every step of {type(self.method).__name__} has weight 0 in epoch {epoch} of stage {stage.name!r}; "
                "check that the batches have anything to learn from"
            )
        return {name: total / weight if weight else math.nan for name, (total, weight) in sums.items()}

    def _score(self, stage: PlannedStage, epoch: int) -> float | None:
        if not self.validates:
            return None
        score = math.nan
        if self.validate is not None:
            self.method.eval()
            with torch.no_grad(), scope(self.streams, "validate", stage.index, epoch):
                score = float(self.validate())
        return self.ranks.of_first([score])[0]

    # -- one step ----------------------------------------------------------------------------------------------------

    def _own(self, clock: Clock) -> Clock:
        """A clock with this process's rank; the saved ones have none, for a run may go on with more or fewer."""
        return dataclasses.replace(clock, rank=self.ranks.rank, world=self.ranks.world)

    def _step(self, batch: Batch, clock: Clock, optimizer: torch.optim.Optimizer) -> float:
        with scope(self.streams, "step", clock.stage_index, clock.epoch, clock.batch):
            self.method.zero_grad(set_to_none=True)
            with self.fabric.autocast():
                output = self.method.training_step(batch, clock, self.streams)
            check_output(self.method, output, clock)
            self.fabric.backward(output.loss)
            output, self.asked = self.ranks.sum_step(output, self.parameters, self._wants_to_stop())
            weight = float(output.weight)
            gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
            norm = get_total_norm(gradients)
            values, norm_value = read_output(output, norm)
            # The norm may overflow where every gradient is finite, hence the second look.
            if not math.isfinite(values["loss"]) or (not math.isfinite(norm_value) and self._bad_gradients()):
                self._crash(clock, values)
            if self.gradient_clip is not None:
                clip_grads_with_norm_(self.parameters, self.gradient_clip, norm)
            optimizer.step()
            self.method.after_step(dataclasses.replace(clock, step=clock.step + 1))
        for name, value in values.items():
            total, weights = self.state.sums.get(name, (0.0, 0.0))
            self.state.sums[name] = (total + weight * value, weights + weight)
        return values["loss"]

    def _bad_gradients(self) -> list[str]:
        trained = {id(parameter) for parameter in self.parameters}
        return [
            name
            for name, parameter in self.method.named_parameters()
            if id(parameter) in trained and parameter.grad is not None and not parameter.grad.isfinite().all()
        ]

    def _crash(self, clock: Clock, values: Mapping[str, float]) -> None:
        """Leaves the state before the step for inspection, and says what went wrong where."""
        names = self._bad_gradients()
        what = f"the loss became {values['loss']}" if not math.isfinite(values["loss"]) else "a gradient is not finite"
        parts = ", ".join(f"{name} = {value:.6g}" for name, value in values.items())
        listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        where = f"stage {clock.stage!r}, epoch {clock.epoch}, step {clock.step} (batch {clock.batch})"
        self._kept.put_back(self.before_step)
        self.state.clock = dataclasses.replace(clock, rank=0, world=1)
        self._save("crash")
        kept = (
            ""
            if self.store is None
            else f"; the state before the step is the checkpoint 'crash' in {self.store.folder}"
        )
        raise NonFiniteError(
            f"{what} in {where}, with {parts} and non-finite gradients in {listed or 'no parameter'}{kept}; lower "
            "trainer.learning_rate, set trainer.gradient_clip, or raise the loss's temperature"
        )

    # -- several processes -------------------------------------------------------------------------------------------

    def _lost(self, error: RankError) -> None:
        """Saves the state before the step in which a process was lost, and says so."""
        self._kept.put_back(self.before_step if self.state.clock.batch else self.before_epoch)
        if self.ranks.rank == 0 and self._resumable:
            self._save("last")
        where, kept = self.state.clock, "nothing was kept"
        if self.store is not None and self.store.exists():
            kept = f"resume the run in {self.store.folder.parent} to go on, with another trainer.devices if need be"
        raise RankError(f"{self.ranks.why(error)}, in stage {where.stage!r} after step {where.step}; {kept}") from error

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started

    def _save(self, name: str) -> None:
        self.state.elapsed = self._elapsed()
        if self.store is None or self.log is None:
            return
        self.state.metrics_bytes = self.log.sync()
        optimizer = None if self.optimizer is None else self.optimizer.state_dict()
        self.store.save(name, Checkpoint(get_weights(self.method), self.state, optimizer, self.best, self.random))

    def _wants_to_stop(self) -> bool:
        """Whether this process is asked to."""
        if not self.interruption.requested:
            return False
        # out of time alone: a call that gained nothing would be made again and again, and what is finished stays so
        return self.interruption.signalled or (self.stepped and not self.state.finished)

    def _stop_if_asked(self, *, save: bool = True) -> None:
        alone = self.ranks.world == 1 or (self.state.finished and self.ranks.rank == 0)
        if not (self._wants_to_stop() if alone else self.asked):
            return
        if save:
            self._save("last")
        kept = "nothing was kept" if self.store is None else f"resume the run in {self.store.folder.parent} to go on"
        clock = self.state.clock
        raise self.interruption.error(
            f"interrupted in stage {clock.stage!r}, epoch {clock.epoch}, after step {clock.step}; {kept}"
        )
