"""The trainer: settings of the loop, and the call that runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch

from gcl.core.context import Clock
from gcl.core.errors import CheckpointError, ConfigError, OutputError
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.resolve import Slot, resolve
from gcl.core.streams import Streams
from gcl.methods.method import Method
from gcl.train.checkpoint import CheckpointStore, TrainerState
from gcl.train.checks import check_choice, check_real, check_whole
from gcl.train.device import DEVICE, find_device, place_graph
from gcl.train.fit_result import FitResult
from gcl.train.hand_over import hand_out
from gcl.train.interruption import Interruption
from gcl.train.launch import lend_a_hand, together
from gcl.train.metrics import MetricsLog
from gcl.train.plan import plan_stages
from gcl.train.progress import TrainingProgress
from gcl.train.stage import OptimizerName, PlannedStage, SchedulerName, Select
from gcl.train.task import Task

Precision = Literal["32-true", "64-true", "bf16-mixed"]


class Trainer:
    r"""Trains a method, with checkpoints from which a run resumes bit for bit.

    The learning rate of epoch :math:`e` of :math:`E`, with :math:`W` epochs of warm-up, is

    .. math:: \eta_e = \eta \cdot \begin{cases} e / W & e \le W \\
        \tfrac12\big(1 + \cos(\pi\,\tfrac{e - W - 1}{E - W})\big) & \text{cosine} \\
        \max(\gamma^{e - W - 1}, \eta_{\min} / \eta) & \text{exponential} \\ 1 & \text{none} \end{cases}

    Args:
        epochs: passes over the batches, 0 or more; a stage may have its own.
        learning_rate: above 0; a stage may have its own.
        weight_decay: 0 or more; a stage may have its own.
        optimizer: ``adam``, ``adamw`` or ``sgd`` (without momentum); a stage may have its own.
        scheduler: ``none``, ``cosine`` or ``exponential``; a stage may have its own.
        decay: :math:`\gamma` of ``exponential``, the factor of each epoch, above 0 and up to 1.
        min_learning_rate: :math:`\eta_{\min}`, below which ``exponential`` does not fall, 0 or more.
        warmup_epochs: epochs at the beginning of each stage in which the learning rate grows linearly.
        patience: epochs without a lower training loss after which a stage ends, or validations without a higher score
            where ``select`` is ``validation``; ``None`` = never. A stage may have its own.
        min_delta: by how much the loss must fall to count as lower.
        select: which weights a stage ends with: the ``last``, those after the epoch of lowest mean ``loss``, or those
            of highest ``validation`` score; a stage may have its own.
        validate_every: epochs between validations; the last epoch of a stage is validated too. ``None`` = 10 where
            ``select`` is ``validation``, never otherwise.
        checkpoint_every: epochs between checkpoints; 0 = only at the end (and when interrupted).
        gradient_clip: largest 2-norm of the gradient; ``None`` = not clipped.
        max_minutes: wall time of training and validation, over all resumptions, after which the epoch under way is the
            last of its stage; above 0. Which epoch that is depends on the machine, so that a seed no longer stands for
            one result: for comparisons at equal cost. ``None`` = no limit.
        device: ``auto`` (the first GPU if there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        devices: processes on this machine that share every step, each with a GPU of its own or its part of the CPU's
            threads; for methods whose loss can be shared out. Loss and gradient are those of one process, but for the
            order of sums; with ``batch=neighbors`` what is drawn depends on how many they are. Under ``torchrun`` its
            processes are taken, on however many machines.
        precision: ``32-true``, ``64-true`` (module, graph and noise in double), or ``bf16-mixed`` (autocast).
        batch: how each step takes a part of the graph: ``neighbors``, ``communities`` or ``walks`` with their
            arguments; for methods of two views. ``None`` = the method's own batches, of most the whole graph.

    Raises:
        ConfigError: a value out of its range.
    """

    def __init__(
        self,
        *,
        epochs: int = 200,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        optimizer: OptimizerName = "adam",
        scheduler: SchedulerName = "none",
        decay: float = 0.98,
        min_learning_rate: float = 0.0,
        warmup_epochs: int = 0,
        patience: int | None = None,
        min_delta: float = 0.0,
        select: Select = "last",
        validate_every: int | None = None,
        checkpoint_every: int = 50,
        gradient_clip: float | None = None,
        max_minutes: float | None = None,
        device: str = "auto",
        devices: int = 1,
        precision: Precision = "32-true",
        batch: Annotated[Any, Slot("batch")] | None = None,
    ):
        check_whole("epochs", epochs, 0)
        check_real("learning_rate", learning_rate, above=True)
        check_real("weight_decay", weight_decay)
        check_choice("optimizer", optimizer, get_args(OptimizerName))
        check_choice("scheduler", scheduler, get_args(SchedulerName))
        check_real("decay", decay, above=True)
        if decay > 1:
            raise ConfigError(f"trainer.decay must be above 0 and up to 1, got {decay!r}")
        check_real("min_learning_rate", min_learning_rate)
        check_whole("warmup_epochs", warmup_epochs, 0)
        check_whole("patience", patience, 1, optional=True)
        check_real("min_delta", min_delta)
        check_choice("select", select, get_args(Select))
        check_whole("validate_every", validate_every, 1, optional=True)
        check_whole("checkpoint_every", checkpoint_every, 0)
        check_real("gradient_clip", gradient_clip, above=True, optional=True)
        check_real("max_minutes", max_minutes, above=True, optional=True)
        if not isinstance(device, str) or not DEVICE.fullmatch(device):
            raise ConfigError(f"trainer.device must be 'auto', 'cpu', 'cuda' or 'cuda:<number>', got {device!r}")
        check_whole("devices", devices, 1)
        if devices > 1 and ":" in device:
            raise ConfigError(
                f"trainer.device={device} is one GPU and trainer.devices={devices} asks for several; use device=cuda"
            )
        check_choice("precision", precision, get_args(Precision))
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.decay = decay
        self.min_learning_rate = min_learning_rate
        self.warmup_epochs = warmup_epochs
        self.patience = patience
        self.min_delta = min_delta
        self.select = select
        self.validate_every = validate_every
        self.checkpoint_every = checkpoint_every
        self.gradient_clip = gradient_clip
        self.max_minutes = max_minutes
        self.device = device
        self.devices = devices
        self.precision = precision
        self.batch = batch

    @property
    def dtype(self) -> torch.dtype:
        """The type of parameters and features."""
        return torch.float64 if self.precision == "64-true" else torch.float32

    def place(self, graph: Graph) -> Graph:
        """The graph as training sees it: on the trainer's device, and in its precision.

        :meth:`fit` does this itself; call it before, for a ``validate`` that works on the same graph.
        """
        return place_graph(graph, find_device(self.device), self.dtype)

    def fit(
        self,
        method: Method,
        graph: Graph,
        *,
        streams: Streams,
        run_dir: Path | None = None,
        resume: bool = False,
        fingerprints: Mapping[str, str] = {},
        validate: Callable[[], float] | None = None,
        progress: bool | None = None,
        on_epoch: Callable[[Clock, Mapping[str, Any]], None] | None = None,
    ) -> FitResult:
        """Trains a method that was prepared and built; it ends in evaluation mode on the trainer's device.

        Args:
            method: changed in place.
            graph: what it learns from.
            streams: the source of all randomness.
            run_dir: gets ``metrics.jsonl`` and ``checkpoint/``; ``None`` = nothing is written.
            resume: go on from the last checkpoint in ``run_dir`` (from the beginning if none was written).
            fingerprints: of ``data``, ``prepared`` and ``config``; a run resumes on equal ones only.
            validate: the score of the method as it is, higher is better. Called in evaluation mode without gradient.
            progress: ``False`` = silent.
            on_epoch: called after each epoch with the clock and the record that went to ``metrics.jsonl``.

        Raises:
            ConfigError: settings that do not fit the method, or a device that is not there.
            CheckpointError: a checkpoint that is damaged or belongs to another run.
            OutputError: ``run_dir`` holds a run and ``resume`` is ``False``, or cannot be written.
            RankError: one of several processes is gone; the last checkpoint holds everything up to the step before, or,
                where a stage had not begun in all of them, what it held.
            NonFiniteError: a loss or gradient became NaN or infinite; ``checkpoint/crash`` holds the state before.
            KeyboardInterrupt: SIGINT or SIGTERM came; the last checkpoint holds everything up to the last step, and
                ``str(error)`` says where training stopped and how to go on.
        """
        lend_a_hand()
        if unknown := sorted(set(fingerprints) - set(STATE_KEYS)):
            raise ConfigError(f"fingerprints are of {', '.join(STATE_KEYS)}, got {unknown[0]!r}")
        if resume and run_dir is None:
            raise ConfigError("resuming needs the run's folder; give run_dir")
        device = find_device(self.device)
        stages = plan_stages(self, method)
        if validate is None and any(stage.select == "validation" for stage in stages):
            raise ConfigError("trainer.select is 'validation', but nothing to validate on was given; use select=loss")
        store = log_file = checkpoint = None
        if run_dir is not None:
            store, log_file = CheckpointStore(Path(run_dir) / "checkpoint"), Path(run_dir) / "metrics.jsonl"
            if resume and store.exists():
                checkpoint = store.load()
            elif not resume and (store.exists() or _has_content(log_file)):
                raise OutputError(f"{run_dir} holds a run; resume it or choose another folder")
        state = TrainerState(Clock(), streams.seed)
        for name, value in fingerprints.items():
            setattr(state, STATE_KEYS[name], value)
        if checkpoint is not None:
            _check_same_run(checkpoint.state, state, stages)
            state = checkpoint.state
        with ExitStack() as stack:
            ranks = stack.enter_context(together(self.devices, device))
            task = Task(self, method, graph, streams, state, checkpoint, validate is not None)
            if ranks.world > 1:
                hand_out(task, ranks)
            log = None
            if store is not None and log_file is not None:
                store.clean()
                log = stack.enter_context(MetricsLog(log_file, state.metrics_bytes))
            total = sum(stage.epochs for stage in stages)
            return task.train(
                ranks,
                device,
                store=store,
                log=log,
                interruption=stack.enter_context(Interruption()),
                progress=stack.enter_context(TrainingProgress(total, state.epochs, show=progress)),
                validate=validate,
                on_epoch=on_epoch,
            )

    def check(self, method: Method) -> None:
        """Refuses settings that do not fit a method, before anything is prepared.

        Raises:
            ConfigError: such a setting.
        """
        plan_stages(self, method)

    def batch_spec(self, spec: GraphSpec) -> GraphSpec:
        """The graph as large as a step may have it, for checks of what a loss needs."""
        size = None if self.batch is None else getattr(resolve("batch", self.batch), "batch_size", None)
        if size is None:
            return spec
        least = min(size, spec.num_nodes[spec.target])
        return dataclasses.replace(spec, num_nodes={**spec.num_nodes, spec.target: least})


STATE_KEYS = {"data": "data_fingerprint", "prepared": "prepared_sha256", "config": "config_sha256"}


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputError(f"{path} cannot be reached ({error}); choose a folder that you may use") from error


def _check_same_run(saved: TrainerState, current: TrainerState, stages: list[PlannedStage]) -> None:
    """Refuses to go on with a run that was started on something else."""
    for what, name in (*STATE_KEYS.items(), ("seed", "seed")):
        if getattr(saved, name) != getattr(current, name):
            raise CheckpointError(
                f"the checkpoint was made with another {what} ({name} {getattr(saved, name)!r}, now "
                f"{getattr(current, name)!r}); resume with what the run was started with, or train in a new folder"
            )
    names = [stage.name for stage in stages]
    if not saved.finished and (saved.stage >= len(names) or names[saved.stage] != saved.clock.stage):
        raise CheckpointError(
            f"the checkpoint is in stage {saved.clock.stage!r} (number {saved.stage + 1}), but the method's stages are "
            f"{names}; resume with the method that the run was started with"
        )
