"""What a method's step gives, checked and read."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gcl.core.context import Clock, StepOutput
from gcl.core.errors import ConfigError


def check_output(method: nn.Module, output: StepOutput, clock: Clock) -> None:
    """Refuses a weight or a loss that no gradient can come from.

    Raises:
        ConfigError: a weight that is negative or not finite, or a loss that is no number or has no gradient.
    """
    name, weight = type(method).__name__, float(output.weight)
    if not (math.isfinite(weight) and weight >= 0):
        raise ConfigError(
            f"{name} gave the weight {weight} for batch {clock.batch} of epoch {clock.epoch}; a step's weight is a "
            "finite number of at least 0"
        )
    if not isinstance(output.loss, Tensor):
        raise ConfigError(f"{name} gave a loss of type {type(output.loss).__name__}; a loss returns a tensor")
    if output.loss.numel() != 1 or not output.loss.requires_grad:
        what = f"of shape {list(output.loss.shape)}" if output.loss.numel() != 1 else "without a gradient"
        raise ConfigError(f"{name} gave a loss {what}; a loss returns one number that depends on the embeddings")


def read_output(output: StepOutput, norm: Tensor) -> tuple[dict[str, float], float]:
    """Loss and parts, and the gradient's norm, as numbers in one transfer from the device."""
    device = output.loss.device
    parts = {name: value for name, value in output.parts.items() if name != "loss"}
    tensors = [output.loss, norm, *parts.values()]
    stacked = torch.stack([torch.as_tensor(value, device=device).detach().double().reshape(()) for value in tensors])
    loss, norm_value, *rest = stacked.tolist()
    return {"loss": loss, **dict(zip(parts, rest, strict=True))}, norm_value
