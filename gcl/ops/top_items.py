"""The items that a recommender scores highest, for many users, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.ops.largest import largest
from gcl.ops.matmul import linear

Scorer = Callable[[Tensor], Tensor]  # user ids [b] -> a new tensor of scores [b, num_items]

MEMORY = 128 * 2**20
BYTES_PER_SCORE = 16  # a float32 score, a copy of it, and the masks of rows with ties


@torch.no_grad()
def top_items(
    score: Scorer,
    users: Tensor,
    k: int,
    *,
    num_items: int,
    seen: Adjacency | Sequence[Adjacency] | None = None,
    memory: int = MEMORY,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The k items with the highest scores for each user, best first, without those that the user has seen.

    Items of equal score are ordered by id, smallest first. Users are scored a chunk at a time, so that the memory does
    not grow with users times items. An item that the scorer gives minus infinity is left out as a seen one is.

    Args:
        score: takes ids of users, int64 ``[b]``, and gives a new tensor of floating-point scores, ``[b, num_items]``,
            which is written to.
        users: int64 ``[u]``, in any order.
        k: length of the lists, from 1; it may exceed the number of items.
        num_items: n.
        seen: one or several matrices of users by items whose stored entries (those not dropped) are left out.
        memory: bytes that a chunk may take, about; what the scorer itself needs comes on top.
        chunk: users a chunk, in place of ``memory``.

    Returns:
        Items, int64 ``[u, k]``, and their scores, ``[u, k]``. Where a user has fewer than k candidates the rest of the
        list is -1, of score minus infinity.

    Raises:
        ConfigError: ``k`` or ``chunk`` below 1.
        DataError: users that are no ids, a shape that does not fit, or scores that are NaN or plus infinity.
    """
    for name, count in (("k", k), ("chunk", 1 if chunk is None else chunk)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigError(f"{name} must be a whole number from 1, got {count!r}")
    masks = [seen] if isinstance(seen, Adjacency) else [] if seen is None else list(seen)
    _check_users(users, masks, num_items)
    masks = [mask.to(users.device) for mask in masks]
    size = max(1, memory // (BYTES_PER_SCORE * max(num_items, 1))) if chunk is None else chunk
    items = users.new_full((users.numel(), k), -1)
    scores: Tensor | None = None
    for start in range(0, users.numel(), size):
        some = users[start : start + size]
        block = score(some)  # [b, n]
        if block.shape != (some.numel(), num_items) or not block.is_floating_point():
            raise DataError(
                f"a scorer must give floating-point scores [{some.numel()}, {num_items}] for {some.numel()} users, "
                f"got {block.dtype} {list(block.shape)}"
            )
        for mask in masks:
            row, col = entries_of_rows(mask, some)
            block[row, col] = -torch.inf
        best, value = largest(block, min(k, num_items))
        _check_scores(value, some)
        if scores is None:
            scores = value.new_full((users.numel(), k), -torch.inf)
        items[start : start + size, : best.shape[1]] = best.masked_fill_(value == -torch.inf, -1)
        scores[start : start + size, : best.shape[1]] = value
    return items, torch.empty(0, k, device=users.device) if scores is None else scores


def inner_products(users: Tensor, items: Tensor) -> Scorer:
    """A scorer by inner products of embeddings, on their device; half precision is multiplied and summed in float32.

    Rounding can depend on the size of a chunk, as it does in any matrix product: scores that differ by less than it may
    change places.

    Args:
        users: ``[m, d]``.
        items: ``[n, d]``.

    Raises:
        DataError: shapes that do not fit.
    """
    if users.dim() != 2 or items.dim() != 2 or users.shape[1] != items.shape[1]:
        raise DataError(
            f"embeddings of users and items must be matrices of the same width, got {list(users.shape)} and "
            f"{list(items.shape)}"
        )
    dtype = torch.promote_types(torch.promote_types(users.dtype, items.dtype), torch.float32)
    left, right = users.detach(), items.detach().to(dtype)

    def score(ids: Tensor) -> Tensor:
        with torch.autocast(left.device.type, enabled=False):
            return linear(left[ids].to(dtype), right)

    return score


def top_items_by_embeddings(
    users: Tensor,
    items: Tensor,
    k: int,
    *,
    ids: Tensor | None = None,
    seen: Adjacency | Sequence[Adjacency] | None = None,
    memory: int = MEMORY,
) -> tuple[Tensor, Tensor]:
    """The k items whose embeddings have the largest inner products with the user's; as :func:`top_items`.

    Args:
        users: ``[m, d]``.
        items: ``[n, d]``.
        k: length of the lists.
        ids: the users that are asked for, int64 ``[u]``; ``None`` = all, in order.
        seen, memory: as in :func:`top_items`.
    """
    ids = torch.arange(users.shape[0], device=users.device) if ids is None else ids.to(users.device)
    return top_items(inner_products(users, items), ids, k, num_items=items.shape[0], seen=seen, memory=memory)


def entries_of_rows(adjacency: Adjacency, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The stored entries of some rows that are not dropped: position in ``rows`` and column, both int64 ``[e]``."""
    row, place = adjacency.entries_of(rows)
    if adjacency.keep is not None:
        kept = adjacency.keep[place]
        row, place = row[kept], place[kept]
    return row, adjacency.col[place].long()


def _check_users(users: Tensor, masks: Sequence[Adjacency], num_items: int) -> None:
    if users.dim() != 1 or users.dtype != torch.int64:
        raise DataError(f"users must be ids, int64 [u], got {users.dtype} {list(users.shape)}")
    for mask in masks:
        if mask.shape[1] != num_items:
            raise DataError(f"seen has {mask.shape[1]} columns for {num_items} items; give users by items")
        if users.numel() and not 0 <= int(users.min()) <= int(users.max()) < mask.shape[0]:
            raise DataError(
                f"users has an id outside of 0 to {mask.shape[0] - 1}, the rows of seen; give the ids of its users"
            )


def _check_scores(value: Tensor, users: Tensor) -> None:
    """Refuses NaN and plus infinity, both of which come first in a list."""
    if value.shape[1] == 0:
        return
    wrong = ~(value[:, 0] < torch.inf)
    if bool(wrong.any()):
        raise DataError(
            f"the scores of user {int(users[wrong][0])} have NaN or plus infinity; check the embeddings they come from"
        )
