"""The loop over stages, epochs and batches."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from gcl.core.context import Batch, Clock, StepOutput
from gcl.core.errors import ConfigError, NonFiniteError
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.methods.method import Method
from gcl.train.checkpoint import Checkpoint, CheckpointStore, TrainerState
from gcl.train.interruption import Interruption
from gcl.train.memory import peak_memory_bytes
from gcl.train.metrics import MetricsLog
from gcl.train.progress import TrainingProgress
from gcl.train.random_state import scope
from gcl.train.weights import copy_weights, get_weights, load_weights

if TYPE_CHECKING:
    from gcl.train.trainer import Trainer

RECORD_KEYS = ("stage", "epoch", "step", "loss", "lr", "validation", "timing")
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
DEFAULT_VALIDATE_EVERY = 10


@dataclass(frozen=True)
class FitResult:
    """What became of a training run.

    Args:
        epochs, steps: done in all, over all stages and resumptions.
        best_metric, best_epoch: of the weights selected in the last stage; ``None`` where the last ones are kept.
        stopped_early: whether patience ended a stage.
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


@dataclass(frozen=True)
class PlannedStage:
    """A :class:`gcl.core.context.Stage` with every setting decided."""

    name: str
    epochs: int
    learning_rate: float
    weight_decay: float
    parameters: Callable[[], list[nn.Parameter]] | None
    init: Callable[[], None] | None


@dataclass(eq=False, kw_only=True)
class Loop:
    """One run of the loop. ``Trainer.fit`` makes it, so that a trainer keeps settings only.

    Every hook of the method runs inside a scope that seeds the global generators from counters, so nothing that is
    drawn depends on what ran before, and a run resumes at any step.
    """

    trainer: Trainer
    method: Method
    graph: Graph
    streams: Streams
    fabric: Any
    stages: list[PlannedStage]
    state: TrainerState
    checkpoint: Checkpoint | None  # to go on from
    random: Mapping[str, Any]  # global random states, which no hook changes
    store: CheckpointStore | None
    log: MetricsLog | None
    interruption: Interruption
    progress: TrainingProgress
    validate: Callable[[], float] | None
    on_epoch: Callable[[Clock, Mapping[str, Any]], None] | None
    optimizer: torch.optim.Optimizer | None = field(default=None, init=False)
    parameters: list[nn.Parameter] = field(default_factory=list, init=False)
    best: dict[str, Tensor] | None = field(default=None, init=False)

    def run(self) -> FitResult:
        """Trains to the end, from the beginning or from the checkpoint."""
        self._started = time.perf_counter() - self.state.elapsed
        resumed_from = None
        if self.checkpoint is not None:
            load_weights(self.method, self.checkpoint.model)
            resumed_from = self.state.clock.step
        if not self.state.finished:
            for index in range(self.state.stage, len(self.stages)):
                self._run_stage(index)
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
            state.stage, state.clock = index, Clock(stage.name, step=state.clock.step)
            state.best_metric = state.best_step = state.best_epoch = state.lowest_loss = None
            state.bad_epochs, state.sums = 0, {}
            if stage.init is not None:
                with scope(self.streams, "stage", index):
                    stage.init()
        if stage.epochs == 0:
            return
        self.optimizer = self._make_optimizer(stage)
        if checkpoint is not None:
            if checkpoint.optimizer is not None:
                self.optimizer.load_state_dict(dict(checkpoint.optimizer))
            if checkpoint.best is not None:
                self.best = {name: value.to(self.fabric.device) for name, value in checkpoint.best.items()}
        self._stop_if_asked()
        first = state.clock.epoch if state.clock.batch else state.clock.epoch + 1
        for epoch in range(first, stage.epochs + 1):
            if self._out_of_patience():
                break
            self._run_epoch(index, stage, epoch)
        if self.best is not None:
            load_weights(self.method, self.best)
            self.best = None

    def _make_optimizer(self, stage: PlannedStage) -> torch.optim.Optimizer:
        chosen = stage.parameters() if stage.parameters is not None else self.method.parameters()
        self.parameters = [parameter for parameter in chosen if parameter.requires_grad]
        if not self.parameters:
            raise ConfigError(
                f"stage {stage.name!r} of {type(self.method).__name__} has no parameters to train; set trainer.epochs=0"
            )
        return OPTIMIZERS[self.trainer.optimizer](
            self.parameters, lr=stage.learning_rate, weight_decay=stage.weight_decay
        )

    def _run_epoch(self, index: int, stage: PlannedStage, epoch: int) -> None:
        started, state = time.perf_counter(), self.state
        skip = state.clock.batch  # steps of this epoch that were done before an interruption
        begin = Clock(stage.name, epoch, 0, state.clock.step - skip)
        learning_rate = stage.learning_rate * self._learning_rate_factor(epoch, stage.epochs)
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.method.train()
        if not skip:
            state.sums = {}
            with scope(self.streams, "epoch", index, epoch):
                self.method.on_epoch_start(self.graph, begin, self.streams)
        count = 0
        with scope(self.streams, "batches", index, epoch):
            for count, batch in enumerate(self.method.batches(self.graph, begin, self.streams), start=1):
                if count <= skip:
                    continue
                clock = dataclasses.replace(begin, batch=count - 1, step=begin.step + count - 1)
                loss = self._step(index, batch, clock, self.optimizer)
                state.clock = dataclasses.replace(begin, batch=count, step=begin.step + count)
                self.progress.update(state.clock, state.epochs, loss)
                self._stop_if_asked()
        if count == 0:
            raise ConfigError(
                f"{type(self.method).__name__} made no batch in epoch {epoch} of stage {stage.name!r}; check the batch "
                "size and that the graph has what batches are drawn from"
            )
        self._end_epoch(index, stage, learning_rate, started)
        self._stop_if_asked()

    def _end_epoch(self, index: int, stage: PlannedStage, learning_rate: float, started: float) -> None:
        state = self.state
        epoch, step = state.clock.epoch, state.clock.step
        means = {name: total / count for name, (total, count) in state.sums.items()}
        loss = means.pop("loss")
        state.clock, state.sums = Clock(stage.name, epoch, 0, step), {}
        state.epochs += 1
        if state.lowest_loss is None or loss < state.lowest_loss - self.trainer.min_delta:
            state.lowest_loss, state.bad_epochs = loss, 0
        else:
            state.bad_epochs += 1
        state.stopped_early |= self._out_of_patience() and epoch < stage.epochs
        last = epoch == stage.epochs or self._out_of_patience()
        score = self._validate(index, epoch) if self._validation_due(epoch, last) else None
        self._select(loss, score)

        record: dict[str, Any] = {"stage": stage.name, "epoch": epoch, "step": step, "loss": loss}
        for name, value in means.items():
            record[f"part_{name}" if name in RECORD_KEYS else name] = value if math.isfinite(value) else None
        record["lr"] = learning_rate
        if score is not None:
            record["validation"] = score if math.isfinite(score) else None
        record["timing"] = {"seconds": time.perf_counter() - started, "elapsed": self._elapsed()}
        if self.log is not None:
            self.log.write(record)
        every = self.trainer.checkpoint_every
        if every and epoch % every == 0 and not (last and index == len(self.stages) - 1):
            self._save("last")
        self.progress.update(state.clock, state.epochs, loss)
        if self.on_epoch is not None:
            with scope(self.streams, "on_epoch", index, epoch):
                self.on_epoch(state.clock, record)

    def _learning_rate_factor(self, epoch: int, epochs: int) -> float:
        warmup = self.trainer.warmup_epochs
        if epoch <= warmup:
            return epoch / warmup
        if self.trainer.scheduler == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (epoch - warmup - 1) / (epochs - warmup)))
        return 1.0

    # -- one step ----------------------------------------------------------------------------------------------------

    def _step(self, index: int, batch: Batch, clock: Clock, optimizer: torch.optim.Optimizer) -> float:
        with scope(self.streams, "step", index, clock.epoch, clock.batch):
            self.method.zero_grad(set_to_none=True)
            with self.fabric.autocast():
                output = self.method.training_step(batch, clock, self.streams)
            self.fabric.backward(output.loss)
            gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
            norm = get_total_norm(gradients)
            values, norm_value = _read(output, norm)
            # The norm may overflow where every gradient is finite, hence the second look.
            if not math.isfinite(values["loss"]) or (not math.isfinite(norm_value) and self._bad_gradients()):
                self._crash(clock, values)
            if self.trainer.gradient_clip is not None:
                clip_grads_with_norm_(self.parameters, self.trainer.gradient_clip, norm)
            optimizer.step()
            self.method.after_step(dataclasses.replace(clock, step=clock.step + 1))
        for name, value in values.items():
            total, count = self.state.sums.get(name, (0.0, 0))
            self.state.sums[name] = (total + value, count + 1)
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
        self.state.clock = clock
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

    # -- selection ---------------------------------------------------------------------------------------------------

    def _out_of_patience(self) -> bool:
        return self.trainer.patience is not None and self.state.bad_epochs >= self.trainer.patience

    def _validation_due(self, epoch: int, last: bool) -> bool:
        every = self.trainer.validate_every
        if every is None and self.trainer.select == "validation":
            every = DEFAULT_VALIDATE_EVERY
        return self.validate is not None and every is not None and (last or epoch % every == 0)

    def _validate(self, index: int, epoch: int) -> float:
        assert self.validate is not None
        self.method.eval()
        with torch.no_grad(), scope(self.streams, "validate", index, epoch):
            return float(self.validate())

    def _select(self, loss: float, score: float | None) -> None:
        """Keeps the weights if they are the best of this stage so far."""
        if self.trainer.select == "last":
            return
        metric, sign = (loss, -1) if self.trainer.select == "loss" else (score, 1)
        if metric is None or not math.isfinite(metric):
            return
        state = self.state
        if state.best_metric is None or sign * metric > sign * state.best_metric:
            state.best_metric, state.best_step, state.best_epoch = metric, state.clock.step, state.clock.epoch
            self.best = copy_weights(self.method)

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

    def _stop_if_asked(self, *, save: bool = True) -> None:
        if not self.interruption.requested:
            return
        if save:
            self._save("last")
        kept = "nothing was kept" if self.store is None else "resume the run to go on"
        raise KeyboardInterrupt(f"interrupted after step {self.state.clock.step}; {kept}")


def _read(output: StepOutput, norm: Tensor) -> tuple[dict[str, float], float]:
    """Loss and parts, and the gradient's norm, as numbers in one transfer from the device."""
    device = output.loss.device
    parts = {name: value for name, value in output.parts.items() if name != "loss"}
    tensors = [output.loss, norm, *parts.values()]
    stacked = torch.stack([torch.as_tensor(value, device=device).detach().double().reshape(()) for value in tensors])
    loss, norm_value, *rest = stacked.tolist()
    return {"loss": loss, **dict(zip(parts, rest, strict=True))}, norm_value
