"""Bayesian personalised ranking."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gcl.core.errors import DataError


def bpr_loss(users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    r"""How far each user's negative item is from scoring below the positive one, a mean over triples.

    .. math:: -\frac1B \sum_b \ln \sigma(x_b \cdot y^+_b - x_b \cdot y^-_b)
        = \frac1B \sum_b \mathrm{softplus}(x_b \cdot y^-_b - x_b \cdot y^+_b)

    Rendle, Freudenthaler, Gantner, Schmidt-Thieme: *BPR: Bayesian Personalized Ranking from Implicit Feedback*, UAI
    2009.

    Args:
        users: x, ``[B, d]``.
        positives: y of an item that each user took, ``[B, d]``.
        negatives: y of one that it did not, ``[B, d]``.

    Returns:
        A scalar; ln 2 where all scores are equal. It stays finite for scores of any size.

    Raises:
        DataError: shapes that differ, or no triple.
    """
    if users.dim() != 2 or users.shape != positives.shape or users.shape != negatives.shape or not users.shape[0]:
        raise DataError(
            f"triples need three matrices of one shape [B, d] with at least one row, got {list(users.shape)}, "
            f"{list(positives.shape)} and {list(negatives.shape)}"
        )
    return F.softplus((users * (negatives - positives)).sum(dim=1)).mean()
