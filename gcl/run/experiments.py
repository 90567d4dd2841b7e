"""Shipped experiments of papers, how far each is, and what its next seed would bring."""

from __future__ import annotations

import inspect
import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcl.core.classes import find_class
from gcl.core.errors import ConfigError, DataError
from gcl.data.cards import Card, read_card
from gcl.data.names import find_name
from gcl.data.resources import resource_folder
from gcl.data.roots import find_archive
from gcl.run.run_directory import METRICS, RESULT, RunDirectory
from gcl.run.settings import experiment_method, read_yaml

PATIENCES = 10  # a run that ends by its patience is taken to last so many of them
WITHOUT_FIGURE = 0.1  # what an experiment without a figure of the paper counts beside one with


@dataclass
class Experiment:
    """A shipped experiment of a paper, and how far it is.

    Args:
        name: of the method, or the family of experiments.
        dataset: canonical name.
        seeds: how many are run.
        wanted: how many the experiment has.
        epochs: that one seed is expected to take, over all stages.
        folder: where its runs are.
        has_figure: whether the paper has a figure to compare with.
        refused: why it cannot be run, or nothing.
    """

    name: str
    dataset: str
    seeds: int
    wanted: int
    epochs: int
    folder: Path
    has_figure: bool = True
    refused: str = ""
    taken: bool = field(default=False, compare=False)  # by another process, when it was looked at last

    @property
    def key(self) -> str:
        """Of its record."""
        return f"{self.name}-{self.dataset.replace('/', '-')}"

    @property
    def title(self) -> str:
        """What it is called in print."""
        return f"{self.name} on {self.dataset}"

    @property
    def finished(self) -> list[int]:
        """Seeds that are trained and scored."""
        return [seed for seed in range(self.wanted) if RunDirectory(self.folder / f"seed-{seed}").is_finished]

    @property
    def next_seed(self) -> int | None:
        """The first of those to run that is not finished."""
        done = set(self.finished)
        return next((seed for seed in range(self.seeds) if seed not in done), None)

    def seconds_left(self, card: Card) -> float:
        """Of the next seed: by those that are finished, else by the epochs of its own so far, else a guess."""
        done, spent = self._progress(self.next_seed)
        costs = [_seconds(self.folder / f"seed-{seed}" / RESULT) for seed in self.finished]
        if costs:
            return max(statistics.fmean(costs) - spent, 1.0)
        if done:
            return max(spent / done * (self.epochs - done), 1.0)
        return max(self.epochs * _guess(card), 1.0)

    def gain(self, card: Card) -> float:
        """What a second brings: the first seed of an experiment counts 1, the second 1/2, and so on."""
        worth = (1.0 if self.has_figure else WITHOUT_FIGURE) / (len(self.finished) + 1)
        return worth / self.seconds_left(card)

    def _progress(self, seed: int | None) -> tuple[int, float]:
        """Epochs that an unfinished seed has done, over all stages, and their seconds."""
        path, done, spent = self.folder / f"seed-{seed}" / METRICS, 0, 0.0
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    spent, done = float(json.loads(line)["timing"]["elapsed"]), done + 1
                except (ValueError, KeyError):  # a line that was being written
                    break
        return done, spent


def experiments(
    out: Path,
    *,
    methods: Iterable[str] | None = None,
    datasets: Iterable[str] | None = None,
    seeds: int | None = None,
    data_root: str | Path | None = None,
) -> list[Experiment]:
    """Every shipped experiment of a paper, in order of name; those without their data say so.

    Args:
        out: folder of all runs.
        methods: only these methods or families.
        datasets: only these datasets, by name.
        seeds: at most so many of each, from 1.
        data_root: where named datasets lie.

    Raises:
        ConfigError: a name that no experiment has, a pair that is not there, or ``seeds`` below 1.
    """
    if seeds is not None and (isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1):
        raise ConfigError(f"seeds must be a whole number from 1, got {seeds!r}")
    found = []
    for path in sorted(resource_folder("experiments").glob("*/*.yaml")):
        settings = read_yaml(path) if path.name != "default.yaml" else {}
        made = _experiment(path, settings, out, seeds) if settings.get("paper") else None
        if made is None:
            continue
        card = read_card(made.dataset)
        if not card.embedded and find_archive(card, data_root) is None:
            made.refused = f"its data ({card.file}) are not here; see `gcl data info {card.name}`, or give --data-root"
        found.append(made)
    methods, datasets = (None if names is None else {_fold(name) for name in names} for names in (methods, datasets))
    for what, asked, known in (
        ("method", methods, {each.name for each in found}),
        ("dataset", datasets, {name for each in found for name in (each.dataset, each.dataset.partition("/")[2])}),
    ):
        strange = sorted((asked or set()) - {_fold(name) for name in known})
        if strange:
            raise ConfigError(
                f"no experiment is shipped for {what} {strange[0]!r}; there are: {', '.join(sorted(known))}"
            )
    chosen = [
        each
        for each in found
        if (methods is None or _fold(each.name) in methods)
        and (datasets is None or {_fold(each.dataset), _fold(each.dataset.partition("/")[2])} & datasets)
    ]
    if not chosen:
        raise ConfigError("no experiment is shipped for this method on this dataset; leave one of them out")
    return chosen


def _experiment(path: Path, settings: Mapping[str, Any], out: Path, seeds: int | None) -> Experiment | None:
    name = path.parent.name
    cls: Any = find_class("method", experiment_method(name))
    collection, dash, stem = path.stem.partition("-")
    dataset = find_name(f"{collection}/{stem}" if dash else path.stem, kind=cls.kind)
    if dataset is None:
        return None
    trainer = settings.get("trainer", {})
    epochs = int(trainer.get("epochs", 200))
    if trainer.get("patience"):
        epochs = min(epochs, PATIENCES * int(trainer["patience"]))
    pretraining = inspect.signature(cls).parameters.get("pretrain_epochs")
    if pretraining is not None:
        epochs += int(settings.get("pretrain_epochs", pretraining.default))
    count = int(settings.get("seeds", 1))
    return Experiment(
        name,
        dataset,
        count if seeds is None else min(count, seeds),
        count,
        epochs,
        out / f"{name}-{path.stem}",
        bool(settings["paper"].get("figures")),
    )


def _seconds(path: Path) -> float:
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return float(sum(record["timing"]["seconds"].values()))
    except (ValueError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}); remove the folder of that seed") from error


def _guess(card: Card) -> float:
    """Seconds of an epoch on one core, of which nothing is known but the size of the data."""
    size = card.statistics
    if card.collection == "rec":
        return 6e-5 * float(size.get("interactions", 1e5))
    nodes = size.get("nodes", 1e4)
    return 0.01 + 1e-8 * (float(nodes) if isinstance(nodes, int | float) else 1e4) ** 2


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")
