"""What ranked lists of items are worth, against the items that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gcl.core.errors import ConfigError, DataError

METRICS = ("recall", "ndcg", "precision", "mrr", "hit_rate")
LARGEST_K = 10_000  # lists of all users are held at once


def ranking_metrics(
    items: Tensor,
    users: Tensor,
    held: Tensor,
    *,
    num_items: int,
    k: Sequence[int],
    batch_mean: int | None = None,
) -> dict[str, float]:
    """The means over users of :func:`user_metrics`, by names such as ``recall@20``.

    Args:
        items, users, held, num_items, k: as there. Users without a held item are left out.
        batch_mean: the mean of the means over blocks of so many consecutive user ids (0 to 255, 256 to 511, ...), each
            over its users that count and every block with one alike: what the authors' program of LightGCL prints with
            256. ``None`` = the mean over users.

    Raises:
        ConfigError: ``batch_mean`` below 1, or as :func:`user_metrics`.
        DataError: no user has a held item, or as :func:`user_metrics`.
    """
    check_batch_mean(batch_mean)
    values, counts = user_metrics(items, users, held, num_items=num_items, k=k)
    scored = counts > 0
    if not bool(scored.any()):
        raise DataError("none of the users has a held item; ranking metrics need at least one")
    if batch_mean is None:
        return {name: float(value[scored].mean()) for name, value in values.items()}
    _, block = torch.unique(users[scored] // batch_mean, return_inverse=True)
    size = torch.bincount(block).double()
    return {
        name: float((torch.zeros_like(size).index_add_(0, block, value[scored]) / size).mean())
        for name, value in values.items()
    }


def user_metrics(
    items: Tensor, users: Tensor, held: Tensor, *, num_items: int, k: Sequence[int]
) -> tuple[dict[str, Tensor], Tensor]:
    r"""Metrics of every user's list at every K, and how many items are held for each user.

    With :math:`T_u` the held items of a user and :math:`h_r` 1 where the item at rank r is one of them, else 0:

    =============  =================================================================================================
    ``recall``     :math:`\sum_{r \le K} h_r / |T_u|`: at most :math:`\min(K, |T_u|) / |T_u|`
    ``ndcg``       :math:`\sum_{r \le K} h_r / \log_2(r + 1)` over its value for a perfect list,
                   :math:`\sum_{r \le \min(K, |T_u|)} 1 / \log_2(r + 1)`
    ``precision``  :math:`\sum_{r \le K} h_r / K`, also where the list is shorter than K
    ``mrr``        one over the rank of the first hit, 0 without one up to K
    ``hit_rate``   1 with a hit up to K, else 0
    =============  =================================================================================================

    Wang et al., *Neural Graph Collaborative Filtering*, SIGIR 2019; recall and NDCG as the authors of LightGCL (Cai et
    al., ICLR 2023) compute them.

    Args:
        items: the list of each user, best first, int64 ``[u, L]``; -1 = none, at the end.
        users: whose lists they are, different ids, int64 ``[u]``.
        held: pairs of user above item, int64 ``[2, n]``; a pair that is listed twice counts once.
        num_items: how many items there are.
        k: the K, each 1 to L.

    Returns:
        By name, float64 ``[u]`` (0 for a user without a held item); and :math:`|T_u|`, int64 ``[u]``.

    Raises:
        ConfigError: a K out of range.
        DataError: shapes that do not fit.
    """
    length = _check_lists(items, users, held, k)
    key = torch.unique(held[0] * num_items + held[1])  # sorted
    counts = _counts(key // num_items, users)
    listed = users.unsqueeze(1) * num_items + items
    place = torch.searchsorted(key, listed).clamp_(max=max(key.numel() - 1, 0))
    hit = (items >= 0) & (key[place] == listed) if key.numel() else torch.zeros_like(items, dtype=torch.bool)
    rank = torch.arange(1, length + 1, device=items.device, dtype=torch.float64)
    discount = 1 / torch.log2(rank + 1)
    hits = hit.cumsum(1)  # [u, L]
    gain = (hit * discount).cumsum(1)
    first = torch.where(hit, 1 / rank, 0.0).max(dim=1).values  # one over the rank of the first hit
    ideal = torch.cat([discount.new_zeros(1), discount.cumsum(0)])  # of 0, 1, ... hits
    known = counts.clamp(min=1)
    values: dict[str, Tensor] = {}
    for at in k:
        found = hits[:, at - 1].double()
        values[f"recall@{at}"] = found / known
        values[f"ndcg@{at}"] = gain[:, at - 1] / ideal[known.clamp(max=at)]
        values[f"precision@{at}"] = found / at
        values[f"mrr@{at}"] = torch.where(found > 0, first, 0.0)
        values[f"hit_rate@{at}"] = (found > 0).double()
    return values, counts


def recommended(items: Tensor, degree: Tensor, k: Sequence[int]) -> dict[str, dict[str, float]]:
    r"""What is recommended, whether it hits or not, at every K.

    ==============  ================================================================================================
    ``coverage``    share of the items that stand in at least one list
    ``popularity``  mean over the places of the lists of the item's percentile by training degree: the share of
                    items of a lower degree plus half the share of those of its own, so that items drawn evenly
                    give 1/2
    ``degree``      mean over the places of the item's training degree
    ``gini``        Gini coefficient of how often each item is recommended: 0 where all are alike, (n - 1) / n where
                    only one is
    ==============  ================================================================================================

    Args:
        items: as in :func:`user_metrics`; at least one of them is not -1.
        degree: training interactions of each item, int64 ``[n]``.
        k: the K.

    Returns:
        By metric, then by K as text.
    """
    percentile = _percentile(degree)
    measures: dict[str, dict[str, float]] = {name: {} for name in ("coverage", "popularity", "degree", "gini")}
    for at in k:
        chosen = items[:, :at]
        chosen = chosen[chosen >= 0]
        times = torch.bincount(chosen, minlength=degree.numel())
        measures["coverage"][str(at)] = float((times > 0).double().mean())
        measures["popularity"][str(at)] = float(percentile[chosen].mean())
        measures["degree"][str(at)] = float(degree[chosen].double().mean())
        measures["gini"][str(at)] = _gini(times)
    return measures


def check_k(k: Any) -> tuple[int, ...]:
    """The values of K, ascending.

    Raises:
        ConfigError: none, one twice, or one that is no whole number from 1 to 10,000.
    """
    values = list(k) if isinstance(k, list | tuple) else []
    whole = all(isinstance(at, int) and not isinstance(at, bool) and 1 <= at <= LARGEST_K for at in values)
    if not values or not whole or len(set(values)) != len(values):
        allowed = f"different whole numbers from 1 to {LARGEST_K:,}"
        raise ConfigError(f"k must list {allowed}, such as [10, 20, 40], got {k!r}")
    return tuple(sorted(values))


def check_batch_mean(batch_mean: Any) -> None:
    """Refuses what is neither ``None`` nor a whole number from 1.

    Raises:
        ConfigError: it is neither.
    """
    if batch_mean is not None and (isinstance(batch_mean, bool) or not isinstance(batch_mean, int) or batch_mean < 1):
        raise ConfigError(f"batch_mean must be a whole number of users from 1, or null, got {batch_mean!r}")


def _check_lists(items: Tensor, users: Tensor, held: Tensor, k: Sequence[int]) -> int:
    if items.dim() != 2 or users.shape != items.shape[:1] or held.dim() != 2 or held.shape[0] != 2:
        raise DataError(
            f"ranked lists must be [u, L] for users [u] and held pairs [2, n], got {list(items.shape)}, "
            f"{list(users.shape)} and {list(held.shape)}"
        )
    length = items.shape[1]
    if max(check_k(k)) > length:
        raise ConfigError(f"k={max(k)} is more than the {length} places of the lists; give a k up to {length}")
    return length


def _counts(owner: Tensor, users: Tensor) -> Tensor:
    """How often each of some users occurs in sorted ids, ``[u]``."""
    return torch.searchsorted(owner, users, right=True) - torch.searchsorted(owner, users)


def _percentile(degree: Tensor) -> Tensor:
    """The middle of each item's place among all by degree, float64 ``[n]`` in 0 to 1."""
    ordered = degree.sort().values
    below = torch.searchsorted(ordered, degree)
    up_to = torch.searchsorted(ordered, degree, right=True)
    return (below + up_to).double() / (2 * degree.numel())


def _gini(times: Tensor) -> float:
    ordered = times.sort().values.double()
    count = times.numel()
    rank = torch.arange(1, count + 1, device=times.device, dtype=torch.float64)
    return float((2 * rank - count - 1) @ ordered / (count * ordered.sum()))
