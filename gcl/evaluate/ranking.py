"""Ranking of all items for every user, against held-out interactions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.core.streams import Streams
from gcl.data.carve_validation import carve_validation
from gcl.data.interactions import ITEM, USER
from gcl.evaluate.embeddings import refuse_non_finite
from gcl.evaluate.held_interactions import HeldInteractions, SelectionInteractions, interactions_of
from gcl.evaluate.ranking_floors import RANKING_FLOORS
from gcl.evaluate.ranking_metrics import METRICS, check_batch_mean, check_k, ranking_metrics, recommended
from gcl.ops.top_items import Scorer, inner_products, top_items

CARVE_SEED = 0  # of every training seed, so that they are compared on equal ground
SAMPLE_SEED = 0  # for the same reason


class Ranking:
    """Scores embeddings of users and items by the lists that their inner products make.

    Every item is ranked for every user with a test item: also items and users without a training interaction, whose
    embeddings count as they are. Left out of a list are the user's training items, and at the test those of validation
    too. Items of equal score are ordered by id.

    Args:
        k: lengths of the lists that are scored. A K may exceed the number of items.
        validation: share of each user's training interactions that is held for validation, where the data has no
            validation part (:func:`gcl.data.carve_validation.carve_validation`); the method is then trained without
            them. 0 = none, and nothing can be selected by validation.
        batch_mean: ``None`` = the mean over users; 256 = the mean of means that the authors' program of LightGCL prints
            (:func:`gcl.evaluate.ranking_metrics.ranking_metrics`).
        max_users: score at most so many users, a uniform sample that is the same for every seed; ``None`` = all. On
            large sets ranking all items for all users takes longer than training.
        select: the metric that :meth:`validate` gives first, ``METRIC@K`` with any K; METRIC is recall, ndcg,
            precision, mrr or hit_rate.

    Raises:
        ConfigError: a value outside these.
    """

    on_device: ClassVar[bool] = True  # ranks where the embeddings are

    def __init__(
        self,
        *,
        k: Sequence[int] = (10, 20, 40),
        validation: float = 0.1,
        batch_mean: int | None = None,
        max_users: int | None = None,
        select: str = "ndcg@20",
    ):
        check_k(k)
        if isinstance(validation, bool) or not isinstance(validation, int | float) or not 0 <= validation < 1:
            raise ConfigError(f"validation must be a share from 0 to below 1, got {validation!r}")
        check_batch_mean(batch_mean)
        if max_users is not None and (type(max_users) is not int or max_users < 1):
            raise ConfigError(f"max_users must be a whole number from 1 or null for all, got {max_users!r}")
        if max_users is not None and batch_mean is not None:
            raise ConfigError("batch_mean is over all users in order, and max_users takes a sample; give one of them")
        metric, _, place = select.partition("@")
        if metric not in METRICS:
            raise ConfigError(f"select: {unknown('metric', metric, METRICS)}")
        if not re.fullmatch(r"[1-9]\d*", place):
            raise ConfigError(f"select must be a metric at a K, such as ndcg@20, got {select!r}")
        self.k = k
        self.validation = validation
        self.batch_mean = batch_mean
        self.max_users = max_users
        self.select = select

    def split(self, graph: Graph, *, seed: int) -> tuple[Graph, HeldInteractions]:
        """The training graph, and what is held out of it.

        Stored validation pairs are taken as they are; else they are carved, the same for every ``seed``, so that
        training seeds are compared on equal ground.

        Raises:
            DataError: no users and items, no test pair, a pair in two parts, or users too small to carve from.
        """
        stored = graph.held.get("valid")
        if stored is not None and stored.numel():
            return graph.for_training(), HeldInteractions.of(graph, "stored")
        if self.validation == 0:
            return graph.for_training(), HeldInteractions.of(graph, "none")
        HeldInteractions.of(graph, "none")  # refuses what is no such graph before it is carved
        carved = carve_validation(graph, self.validation, CARVE_SEED)
        return carved.for_training(), HeldInteractions.of(carved, "carved")

    def validate(self, outputs: Outputs, held: HeldInteractions) -> dict[str, float]:
        """Every metric on the validation part, the one that is selected by first; never opens the test part.

        Raises:
            ConfigError: there is no validation part.
            DataError: embeddings that cannot be used.
        """
        return self._validate(outputs, held.for_selection())

    no_validation: ClassVar[str] = (
        "there is no validation part to select by, since the data has none and validation=0 carves none; give "
        "validation=0.1, a share of the training part, or select the last weights"
    )

    def _validate(self, outputs: Outputs, held: SelectionInteractions) -> dict[str, float]:
        """Gets no test pair."""
        if held.valid is None:
            raise ConfigError(self.no_validation)
        k = sorted({*self.k, int(self.select.partition("@")[2])})
        score = self._scorer(outputs, held.train)
        values, _, _ = self._measure(score, outputs.main.device, held.valid, [held.train], k)
        return {self.select: values[self.select], **values}

    def evaluate(self, outputs: Outputs, held: HeldInteractions, *, seed: int) -> Report:
        """Every metric on the test part, and what is recommended: coverage and popularity.

        Returns:
            One value each; ``n`` = users scored. In ``details``: sizes, and ``recommended``, all measures of
            :func:`gcl.evaluate.ranking_metrics.recommended`.

        Raises:
            DataError: no embeddings of users and items, of other counts, or not finite.
        """
        return self._report(self._scorer(outputs, held.train), outputs.main.device, held, seed)

    def floor_reports(self, training_graph: Graph, held: HeldInteractions, *, seed: int) -> dict[str, Report]:
        """Reports, by name, of recommenders that need no training; see :mod:`gcl.evaluate.ranking_floors`.

        Args:
            training_graph: as :meth:`split` gave it; nothing else is learnt from.
            held: as :meth:`split` gave it.
            seed: goes into the reports; the floors are the same for all.
        """
        train = interactions_of(training_graph)
        return {name: self._report(make(train), train.device, held, seed) for name, make in RANKING_FLOORS.items()}

    def _scorer(self, outputs: Outputs, train: Adjacency) -> Scorer:
        pair = []
        for kind, count in zip((USER, ITEM), train.shape, strict=True):
            if kind not in outputs.embeddings:
                raise DataError(
                    f"ranking needs embeddings of users and items under {USER!r} and {ITEM!r}, got "
                    f"{', '.join(map(repr, outputs.embeddings))}; choose a recommender"
                )
            z = outputs.embeddings[kind]
            if z.dim() != 2 or z.shape[0] != count:
                raise DataError(f"the {kind} embeddings must be [{count}, d], a row for each, got {list(z.shape)}")
            refuse_non_finite(z, f"the {kind} embeddings")
            pair.append(z)
        return inner_products(*pair)

    def _measure(
        self, score: Scorer, device: Any, pairs: Tensor, seen: list[Adjacency], k: Sequence[int]
    ) -> tuple[dict[str, float], Tensor, Tensor]:
        """The metrics, the lists ``[u, L]`` and their users: those with a pair."""
        pairs = pairs.to(device)
        users = pairs[0].unique()
        if self.max_users is not None and self.max_users < users.numel():
            order = torch.randperm(users.numel(), generator=Streams(SAMPLE_SEED).generator("ranking users"))
            users = users[order[: self.max_users].sort().values.to(device)]
            pairs = pairs[:, torch.isin(pairs[0], users)]
        items, _ = top_items(score, users, max(k), num_items=seen[0].shape[1], seen=seen)
        num_items = seen[0].shape[1]
        values = ranking_metrics(items, users, pairs, num_items=num_items, k=k, batch_mean=self.batch_mean)
        return values, items, users

    def _report(self, score: Scorer, device: Any, held: HeldInteractions, seed: int) -> Report:
        k = check_k(self.k)
        values, items, users = self._measure(score, device, held.test, held.seen(), k)
        train = held.train.to(device)
        measures = recommended(items, train.t_row_ptr.diff().long(), k)
        for name in ("coverage", "popularity"):
            values |= {f"{name}@{at}": measures[name][str(at)] for at in k}
        if self.select in values:
            values = {self.select: values[self.select], **values}
        details = {
            "k": list(k),
            "validation": held.validation,
            "users": train.shape[0],
            "items": train.shape[1],
            "users_without_test": train.shape[0] - held.test[0].unique().numel(),
            "pairs": {
                "train": train.num_arcs,
                "valid": 0 if held.valid is None else held.valid.shape[1],
                "test": held.test.shape[1],
            },
            "test_pairs_of_new_items": _of_unknown(held.test[1], held.train.t_row_ptr),
            "test_pairs_of_new_users": _of_unknown(held.test[0], held.train.row_ptr),
            "recommended": measures,
        }
        return Report(
            "ranking",
            self._protocol(held),
            users.numel(),
            {name: [value] for name, value in values.items()},
            [seed],
            details,
        )

    def _protocol(self, held: HeldInteractions) -> str:
        lists = ",".join(map(str, check_k(self.k)))
        carved = f"validation carved, {self.validation:g} of each user's items"
        validation = {"stored": "validation stored", "carved": carved, "none": "no validation"}[held.validation]
        masked = "train" if held.valid is None else "train and validation"
        mean = "over users" if self.batch_mean is None else f"of batch means, {self.batch_mean} user ids each"
        sample = "" if self.max_users is None else f", at most {self.max_users:,} users, sampled"
        return f"all items ranked @{lists}, {masked} masked, {validation}, mean {mean}{sample}"


def _of_unknown(index: Tensor, pointer: Tensor) -> int:
    """How many of some ids have no training interaction."""
    return int((pointer.diff()[index] == 0).sum())
