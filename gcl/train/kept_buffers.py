"""What a step changes beside the parameters, kept so that it can be put back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gcl.train.weights import get_weights, load_weights


class KeptBuffers:
    """Copies of a module's persistent buffers, as they were when last kept.

    A step may fail after it has changed buffers and before it changes parameters. Everything is copied each time:
    kernels such as batch normalisation's change running means without the tensor's count of changes going up.
    """

    def __init__(self, module: nn.Module):
        self._module = module
        self._copies: dict[str, Tensor] = {}

    @torch.no_grad()
    def keep(self) -> None:
        """Notes how the buffers are now."""
        copies = {}
        for name, value in self._buffers():
            copy = self._copies.get(name)
            if copy is None or copy.shape != value.shape or copy.dtype != value.dtype or copy.device != value.device:
                copy = torch.empty_like(value, memory_format=torch.contiguous_format)
            copies[name] = copy.copy_(value)
        self._copies = copies

    def put_back(self) -> None:
        """Sets the buffers to what was kept last, if anything was."""
        if self._copies:
            load_weights(self._module, {**get_weights(self._module), **self._copies})

    def _buffers(self) -> list[tuple[str, Tensor]]:
        return [
            (f"{path}.{name}" if path else name, value)
            for path, module in self._module.named_modules()
            for name, value in module._buffers.items()
            if value is not None and name not in module._non_persistent_buffers_set
        ]
