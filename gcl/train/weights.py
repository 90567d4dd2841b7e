"""The tensors of a module, out and in."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gcl.core.errors import CheckpointError, ConfigError


def get_weights(module: nn.Module) -> dict[str, Tensor]:
    """All parameters and persistent buffers, as they are and without gradient.

    Raises:
        ConfigError: the module keeps state that is not a tensor.
    """
    weights = module.state_dict()
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"{type(module).__name__} keeps the state {name!r} as {type(value).__name__}, but checkpoints hold "
                "tensors only; make it a buffer"
            )
    return dict(weights)


def copy_weights(module: nn.Module) -> dict[str, Tensor]:
    """Copies of what :func:`get_weights` gives, on the module's device."""
    return {name: value.clone(memory_format=torch.contiguous_format) for name, value in get_weights(module).items()}


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Sets all parameters and persistent buffers of a module.

    A buffer takes the saved shape and dtype where its own differs: what training makes (cluster centres, assignments)
    may be ``None`` or of another size in a module that was just built.

    Raises:
        CheckpointError: a tensor is missing or has no place, or a parameter has another shape.
    """
    for name, value in tensors.items():
        _resize_buffer(module, name, value)
    expected = module.state_dict()
    _refuse("has no place for", sorted(set(tensors) - set(expected)), module)
    _refuse("does not find", sorted(set(expected) - set(tensors)), module)
    for name, value in tensors.items():
        if expected[name].shape != value.shape:
            raise CheckpointError(
                f"parameter {name!r} has shape {list(value.shape)} in the checkpoint and {list(expected[name].shape)} "
                f"in {type(module).__name__}; build it with the configuration and graph that it was trained with"
            )
    module.load_state_dict(dict(tensors))


def _resize_buffer(module: nn.Module, name: str, value: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    try:
        owner = module.get_submodule(path)
    except AttributeError:
        return
    if leaf not in owner._buffers or leaf in owner._non_persistent_buffers_set:
        return
    buffer = owner._buffers[leaf]
    if buffer is None:
        device = next((tensor.device for tensor in module.parameters()), value.device)
        owner._buffers[leaf] = torch.empty_like(value, device=device)
    elif buffer.shape != value.shape:
        owner._buffers[leaf] = torch.empty_like(value, device=buffer.device)


def _refuse(what: str, names: list[str], module: nn.Module) -> None:
    if names:
        raise CheckpointError(
            f"{type(module).__name__} {what} {', '.join(map(repr, names[:5]))} of the checkpoint's weights; build it "
            "with the configuration and graph that it was trained with"
        )
