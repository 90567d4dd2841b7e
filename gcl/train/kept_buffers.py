"""What a step changes beside the parameters, kept so that it can be put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class KeptBuffers:
    """Copies of a module's persistent buffers at one moment or another.

    A step may fail after it has changed buffers and before it changes parameters. What has not changed since its last
    copy is not copied again: tensors count their changes. torch's batch and instance normalisation leave the count as
    it is, so the buffers of those modules, which are small, are always copied. A write through ``.data`` or a NumPy
    array is not seen.
    """

    def __init__(self, module: nn.Module):
        self._module = module
        self._last: dict[str, tuple[Tensor, int, Tensor]] = {}  # a buffer, its count of changes, and the copy

    @torch.no_grad()
    def take(self) -> dict[str, Tensor | None]:
        """The buffers as they are now, by name; not to be changed."""
        last, self._last = self._last, {}
        taken: dict[str, Tensor | None] = {}
        for name, owner, leaf in self._places():
            value = owner._buffers[leaf]
            if value is None:
                taken[name] = None
                continue
            counted = not value.is_inference() and not isinstance(owner, _NormBase)
            version = value._version if counted else -1
            before = last.get(name)
            same = counted and before is not None and before[0] is value and before[1] == version
            copy = before[2] if before is not None and same else value.clone()
            self._last[name], taken[name] = (value, version, copy), copy
        return taken

    @torch.no_grad()
    def put_back(self, taken: Mapping[str, Tensor | None]) -> None:
        """Sets the buffers to what :meth:`take` gave; one that was not registered then stays as it is."""
        for name, owner, leaf in self._places():
            if name not in taken:
                continue
            value, now = taken[name], owner._buffers[leaf]
            if value is None or now is None or now.is_inference() or now.shape != value.shape:
                owner._buffers[leaf] = None if value is None else value.clone()
            else:
                now.copy_(value)

    def _places(self) -> Iterator[tuple[str, nn.Module, str]]:
        for path, owner in self._module.named_modules():
            for leaf in owner._buffers:
                if leaf not in owner._non_persistent_buffers_set:
                    yield f"{path}.{leaf}" if path else leaf, owner, leaf
