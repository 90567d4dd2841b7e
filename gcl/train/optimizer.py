"""The optimiser of a stage and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from gcl.core.errors import ConfigError
from gcl.train.checks import check_real
from gcl.train.stage import PlannedStage

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def make_optimizer(method: nn.Module, stage: PlannedStage) -> torch.optim.Optimizer:
    """The optimiser of what the stage trains; parameters that need no gradient are left out.

    Raises:
        ConfigError: there is nothing to train, or a parameter group is not one of PyTorch's.
    """
    where = f"stage {stage.name!r} of {type(method).__name__}"
    chosen = list(method.parameters() if stage.parameters is None else stage.parameters())
    if not any(isinstance(item, Mapping) for item in chosen):
        chosen = [{"params": chosen}]
    groups = [_group(item, where, stage.name) for item in chosen]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ConfigError(f"{where} has no parameters to train; set trainer.epochs=0")
    try:
        optimizer = OPTIMIZERS[stage.optimizer](groups, lr=stage.learning_rate, weight_decay=stage.weight_decay)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where} gives parameters that {stage.optimizer} does not take: {error}") from error
    for group in optimizer.param_groups:
        # PyTorch keeps a misspelt setting without a word.
        if unknown := sorted(set(group) - {"params"} - set(optimizer.defaults)):
            raise ConfigError(
                f"{where} sets {unknown[0]!r} for a parameter group, which {stage.optimizer} does not have; choose "
                f"from {', '.join(optimizer.defaults)}"
            )
        group["initial_lr"] = group["lr"]  # as PyTorch's schedulers name it
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, stage: PlannedStage, epoch: int) -> float:
    """Sets the rate of every group for an epoch, and gives that of the first."""
    factor = _factor(stage, epoch)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])


def trained_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """The parameters of all groups."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _group(item: Any, where: str, stage_name: str) -> dict[str, Any]:
    params = item.get("params") if isinstance(item, Mapping) else None
    if isinstance(params, nn.Parameter):
        params = [params]
    elif isinstance(params, Iterable):
        params = list(params)
    if not isinstance(params, list) or not all(isinstance(parameter, nn.Parameter) for parameter in params):
        raise ConfigError(
            f"{where} must give a list of parameters, or a list of dictionaries with such a list under 'params'"
        )
    if "lr" in item:
        check_real(f"learning_rate of a parameter group of stage {stage_name!r}", item["lr"], above=True)
    if "weight_decay" in item:
        check_real(f"weight_decay of a parameter group of stage {stage_name!r}", item["weight_decay"])
    return {**item, "params": [parameter for parameter in params if parameter.requires_grad]}


def _factor(stage: PlannedStage, epoch: int) -> float:
    warmup = stage.warmup_epochs
    if epoch <= warmup:
        return epoch / warmup
    if stage.scheduler == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (epoch - warmup - 1) / (stage.epochs - warmup)))
    if stage.scheduler == "exponential":
        return max(stage.decay ** (epoch - warmup - 1), min(1.0, stage.min_learning_rate / stage.learning_rate))
    return 1.0
