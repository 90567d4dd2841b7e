"""The stages of a method with a trainer's settings, and what does not go together."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from gcl.core.errors import ConfigError
from gcl.core.resolve import resolve
from gcl.methods.method import Method
from gcl.train.checks import check_choice, check_real, check_whole
from gcl.train.stage import OptimizerName, PlannedStage, SchedulerName, Select
from gcl.train.surroundings import surroundings

if TYPE_CHECKING:
    from gcl.train.trainer import Trainer


def plan_stages(trainer: Trainer, method: Method) -> list[PlannedStage]:
    """The method's stages with the trainer's settings where they leave them open."""
    method.check_batches(trainer.batch is not None)
    batch = None if trainer.batch is None else resolve("batch", trainer.batch)
    if batch is not None and not callable(batch):
        raise ConfigError(
            f"trainer.batch is called with a graph, a clock and streams, and {trainer.batch!r} cannot be; see "
            "gcl.train.batches"
        )
    here = surroundings()
    if max(trainer.devices, here.world) > 1:
        method.check_shares(getattr(batch, "own_parts", False))
    if here.world > 1 and ":" in trainer.device:
        raise ConfigError(f"trainer.device={trainer.device} is one GPU for all processes of torchrun; use device=cuda")
    plan = []
    for index, stage in enumerate(method.stages()):
        where = f"of stage {stage.name!r}"
        open_settings = ("epochs", "learning_rate", "weight_decay", "optimizer", "scheduler", "patience", "select")
        own = {name: getattr(stage, name) for name in open_settings}
        settings = {name: getattr(trainer, name) if value is None else value for name, value in own.items()}
        check_whole(f"epochs {where}", settings["epochs"], 0)
        check_real(f"learning_rate {where}", settings["learning_rate"], above=True)
        check_real(f"weight_decay {where}", settings["weight_decay"])
        check_choice(f"optimizer {where}", settings["optimizer"], get_args(OptimizerName))
        check_choice(f"scheduler {where}", settings["scheduler"], get_args(SchedulerName))
        check_whole(f"patience {where}", settings["patience"], 1, optional=True)
        check_choice(f"select {where}", settings["select"], get_args(Select))
        waits = settings["patience"] is not None and settings["select"] != "validation"
        if not method.bounded_loss and (waits or settings["select"] == "loss"):
            raise ConfigError(
                f"the loss of {type(method).__name__} has no lower bound, so a lower one is not better; leave out "
                "trainer.patience and select=loss, or set trainer.select=validation"
            )
        plan.append(
            PlannedStage(
                index=index,
                name=stage.name,
                warmup_epochs=trainer.warmup_epochs,
                decay=trainer.decay,
                min_learning_rate=trainer.min_learning_rate,
                min_delta=trainer.min_delta,
                validate_every=trainer.validate_every,
                parameters=stage.parameters,
                init=stage.init,
                **settings,
            )
        )
    return plan
