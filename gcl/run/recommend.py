"""What a trained recommender recommends."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, unknown
from gcl.ops.top_items import top_items, top_items_by_embeddings
from gcl.ops.unit_rows import unit_rows
from gcl.run import run_directory as files
from gcl.run.open_run import Run, open_run
from gcl.run.result import Result

Seen = Literal["all", "train", "none"]
UnknownUser = Literal["error", "popular"]


@dataclass(frozen=True)
class Recommendation:
    """A list for one user, or the items most like one.

    Args:
        query: the id that was asked for.
        items: ids of the items, best first; fewer than asked for where there are no more.
        scores: inner products with the user, cosines with the item, or numbers of users for popular items.
        popular: whether these are the most popular items, since the user is unknown.
    """

    query: str
    items: tuple[str, ...]
    scores: tuple[float, ...]
    popular: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        items = [{"item": item, "score": score} for item, score in zip(self.items, self.scores, strict=True)]
        return {"query": self.query, "popular": self.popular, "items": items}


def recommend(
    run: str | Path | Run | Result,
    users: Sequence[Any] | None = None,
    *,
    k: int = 20,
    seen: Seen = "all",
    unknown_user: UnknownUser = "error",
) -> list[Recommendation]:
    """The items of highest score for some users, by a trained run alone; ``gcl recommend`` does exactly this.

    Args:
        run: a run folder, an opened run, or the result of :func:`gcl.pipeline` (its first seed).
        users: ids as the data has them, compared as text; ``None`` = all, those without a training interaction with the
            popular items.
        k: length of the lists, from 1.
        seen: what is left out of a user's list: ``all`` its known interactions, held-out ones too; those of ``train``
            and validation, as when the test was scored; or ``none``.
        unknown_user: ``error`` refuses an id that the data does not have or that has no training interaction,
            ``popular`` answers with the items that most users took.

    Raises:
        ConfigError: no recommender, or a value out of range; an unknown user, with the nearest ids.
    """
    model = _Model.of(run)
    if seen not in get_args(Seen):
        raise ConfigError(unknown("seen", str(seen), get_args(Seen)))
    if unknown_user not in get_args(UnknownUser):
        raise ConfigError(unknown("unknown_user", str(unknown_user), get_args(UnknownUser)))
    wanted = list(model.user_ids) if users is None else [str(user) for user in users]
    place = {user: position for position, user in enumerate(model.user_ids)}
    absent = [user for user in wanted if user not in place]
    if absent and unknown_user == "error":
        more = f" (and {len(absent) - 1} more of those asked for)" if len(absent) > 1 else ""
        raise ConfigError(
            f"the data has no user {absent[0]!r}{more}{_nearest(absent[0], model.user_ids)}; nothing was learnt of it, "
            "and popular items are given on request only (--unknown popular)"
        )
    active = model.degree(0) > 0
    place = {user: position for user, position in place.items() if bool(active[position])}
    idle = [user for user in wanted if user not in place and user not in absent]
    if idle and unknown_user == "error" and users is not None:
        raise ConfigError(
            f"user {idle[0]!r} has no training interaction, so nothing was learnt of it; popular items are given on "
            "request only (--unknown popular)"
        )
    known = torch.tensor([place[user] for user in wanted if user in place], dtype=torch.int64)
    k = min(k, len(model.item_ids)) if isinstance(k, int) else k
    lists, scores = top_items_by_embeddings(model.users, model.items, k, ids=known, seen=model.seen(seen))
    rows = iter(zip(lists.tolist(), scores.tolist(), strict=True))
    popular = model.popular(k) if absent or idle else None
    made = []
    for user in wanted:
        if user in place:
            made.append(model.named(user, *next(rows)))
        else:
            assert popular is not None
            made.append(Recommendation(user, popular.items, popular.scores, popular=True))
    return made


def similar_items(run: str | Path | Run | Result, items: Sequence[Any], *, k: int = 20) -> list[Recommendation]:
    """The items whose embeddings have the largest cosines with those of some items, themselves left out.

    Items without a training interaction are in no list.

    Args:
        run: as in :func:`recommend`.
        items: ids as the data has them, compared as text.
        k: length of the lists, from 1.

    Raises:
        ConfigError: no recommender, or an unknown item, with the nearest ids.
    """
    model = _Model.of(run)
    place = {item: position for position, item in enumerate(model.item_ids)}
    wanted = [str(item) for item in items]
    for item in wanted:
        if item not in place:
            raise ConfigError(f"the data has no item {item!r}{_nearest(item, model.item_ids)}; give an id of the data")
    unit, known = unit_rows(model.items), torch.tensor([place[item] for item in wanted], dtype=torch.int64)
    idle = model.degree(1) == 0
    for item, position in zip(wanted, known.tolist(), strict=True):
        if bool(idle[position]):
            raise ConfigError(f"item {item!r} has no training interaction, so nothing was learnt of it; give another")
    k = min(k, len(model.item_ids)) if isinstance(k, int) else k

    def score(rows: Tensor) -> Tensor:
        scores = (unit[rows] @ unit.t()).masked_fill_(idle, -torch.inf)
        scores[torch.arange(rows.numel()), rows] = -torch.inf
        return scores

    lists, scores = top_items(score, known, k, num_items=unit.shape[0])
    return [
        model.named(item, row, values)
        for item, row, values in zip(wanted, lists.tolist(), scores.tolist(), strict=True)
    ]


def _nearest(query: str, ids: Sequence[str]) -> str:
    near = difflib.get_close_matches(query, ids, n=3)
    return f" (the nearest: {', '.join(near)})" if near else ""


@dataclass(frozen=True, eq=False)
class _Model:
    users: Tensor  # [m, d]
    items: Tensor  # [n, d]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    parts: Mapping[str, Tensor]

    @classmethod
    def of(cls, run: str | Path | Run | Result) -> _Model:
        if isinstance(run, Result):
            embeddings, parts, name = run.outputs.embeddings, run.runs[0].interactions, "the result"
            ids = {"user": run.ids, **run.other_ids}
        else:
            opened = run if isinstance(run, Run) else open_run(run)
            embeddings, name = opened.embeddings, str(opened.root)
            path = opened.directory / files.INTERACTIONS
            parts = files.read_tensors(path) if path.is_file() else {}
            ids = {kind: opened.ids_of(kind) for kind in embeddings}
        if not {"user", "item"} <= set(embeddings) or "train" not in parts:
            raise ConfigError(
                f"{name} is no recommender (it has no users and items); give a run of one, such as lightgcn"
            )
        users, items = embeddings["user"], embeddings["item"]
        named = [
            ids.get(kind) or [str(row) for row in range(z.shape[0])] for kind, z in (("user", users), ("item", items))
        ]
        return cls(users, items, named[0], named[1], parts)

    def seen(self, which: str) -> Adjacency | None:
        """The interactions to leave out, users by items."""
        if which == "none":
            return None
        pairs = torch.cat([pairs for part, pairs in self.parts.items() if which == "all" or part != "test"], dim=1)
        shape = (self.users.shape[0], self.items.shape[0])
        return Adjacency.from_edge_index(pairs.flip(0), shape, duplicates="first")

    def degree(self, side: int) -> Tensor:
        """Training interactions of each user (0) or item (1)."""
        return torch.bincount(self.parts["train"][side], minlength=(self.users, self.items)[side].shape[0])

    def popular(self, k: int) -> Recommendation:
        """The items that most users took, of equally many the first."""
        counts = self.degree(1)
        top, _ = top_items(
            lambda _: counts.double().unsqueeze(0), torch.zeros(1, dtype=torch.int64), k, num_items=counts.numel()
        )
        row = [item for item in top[0].tolist() if item >= 0]
        return Recommendation(
            "", tuple(self.item_ids[item] for item in row), tuple(float(counts[item]) for item in row), True
        )

    def named(self, query: str, row: list[int], scores: list[float]) -> Recommendation:
        there = [(item, score) for item, score in zip(row, scores, strict=True) if item >= 0]
        return Recommendation(
            query, tuple(self.item_ids[item] for item, _ in there), tuple(score for _, score in there)
        )
