"""All shipped experiments, those first that give most for the time, within a budget."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcl.core.errors import ConfigError, GCLError
from gcl.core.files import atomic_write, claimed, write_json
from gcl.core.resolve import find_class
from gcl.data.cards import Card, read_card
from gcl.data.names import find_name
from gcl.data.resources import resource_folder
from gcl.data.roots import find_archive
from gcl.report.reproductions import reproductions
from gcl.run.reproduce import reproduce
from gcl.run.run_directory import METRICS, RESULT, RunDirectory
from gcl.run.settings import experiment_method, read_yaml
from gcl.train.interruption import OutOfTime, stop_after

SHORTEST_SLICE = 120.0  # seconds that a run gets at least before the queue looks at it again
RESULTS = "RESULTS.md"

Say = Callable[[str], None]


@dataclass
class Experiment:
    """A shipped experiment with a paper's figure, and how far it is.

    Args:
        name: of the method, or the family of experiments.
        dataset: canonical name.
        seeds: how many.
        epochs: of one seed, at most.
        folder: where its runs are.
        refused: why it cannot be run, or nothing.
    """

    name: str
    dataset: str
    seeds: int
    epochs: int
    folder: Path
    refused: str = ""
    taken: bool = field(default=False, compare=False)

    @property
    def key(self) -> str:
        """Of its files."""
        return f"{self.name}-{self.dataset.replace('/', '-')}"

    @property
    def title(self) -> str:
        """What it is called in print."""
        return f"{self.name} on {self.dataset}"

    @property
    def finished(self) -> list[int]:
        """Seeds that are trained and scored."""
        return [seed for seed in range(self.seeds) if RunDirectory(self.folder / f"seed-{seed}").is_finished]

    @property
    def next_seed(self) -> int | None:
        """The first that is not finished."""
        done = set(self.finished)
        return next((seed for seed in range(self.seeds) if seed not in done), None)

    def seconds_left(self, card: Card) -> float:
        """Of the next seed: by those that are finished, else by the epochs of its own so far, else a guess."""
        seed = self.next_seed
        spent, share = self._progress(seed)
        costs = [_seconds(self.folder / f"seed-{done}" / RESULT) for done in self.finished]
        if costs:
            return max(statistics.fmean(costs) - spent, 1.0)
        if share > 0:
            return max(spent / share - spent, 1.0)
        return max(self.epochs * _guess(card), 1.0)

    def gain(self, card: Card) -> float:
        """What a second brings: the first seed of an experiment counts 1, the second 1/2, and so on."""
        return 1 / (len(self.finished) + 1) / self.seconds_left(card)

    def _progress(self, seed: int | None) -> tuple[float, float]:
        """Seconds of training that an unfinished seed has had, and the share of its epochs."""
        last = None
        path = self.folder / f"seed-{seed}" / METRICS
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    last = json.loads(line)
                except ValueError:  # the end of a line that was being written
                    break
        if not last or "timing" not in last:
            return 0.0, 0.0
        return float(last["timing"]["elapsed"]), min(1.0, last["epoch"] / max(self.epochs, 1))


def experiments(
    out: Path,
    *,
    methods: Iterable[str] | None = None,
    datasets: Iterable[str] | None = None,
    seeds: int | None = None,
    data_root: str | Path | None = None,
) -> list[Experiment]:
    """Every shipped experiment that has a paper's figure, in order of name; those without their data say so.

    Args:
        out: folder of all runs.
        methods: only these methods or families.
        datasets: only these datasets, by name.
        seeds: at most so many of each.
        data_root: where named datasets lie.

    Raises:
        ConfigError: a name that no experiment has.
    """
    found = []
    for path in sorted(resource_folder("experiments").glob("*/*.yaml")):
        settings = read_yaml(path) if path.name != "default.yaml" else {}
        if not settings.get("paper"):
            continue
        kind: str = find_class("method", experiment_method(path.parent.name)).kind  # type: ignore[attr-defined]
        collection, dash, stem = path.stem.partition("-")
        dataset = find_name(f"{collection}/{stem}" if dash else path.stem, kind=kind)
        if dataset is None:
            continue
        epochs = int(settings.get("trainer", {}).get("epochs", 1))
        count = min(int(settings.get("seeds", 1)), seeds or 10**9)
        made = Experiment(path.parent.name, dataset, count, epochs, out / f"{path.parent.name}-{path.stem}")
        card = read_card(dataset)
        if not card.embedded and find_archive(card, data_root) is None:
            made.refused = f"its data ({card.file}) are not here"
        found.append(made)
    for what, asked, known in (
        ("method", methods, {each.name for each in found}),
        ("dataset", datasets, {each.dataset for each in found} | {each.dataset.partition("/")[2] for each in found}),
    ):
        strange = [
            name for name in asked or () if name.lower().replace("-", "_") not in {k.replace("-", "_") for k in known}
        ]
        if strange:
            raise ConfigError(
                f"no experiment with a paper's figure for {what} {strange[0]!r}; there are: {', '.join(sorted(known))}"
            )
    return [
        each
        for each in found
        if _among(each.name, methods)
        and (_among(each.dataset, datasets) or _among(each.dataset.partition("/")[2], datasets))
    ]


def reproduce_all(
    out: str | Path,
    *,
    hours: float,
    records: str | Path | None = None,
    table: str | Path | None = None,
    methods: Iterable[str] | None = None,
    datasets: Iterable[str] | None = None,
    seeds: int | None = None,
    data_root: str | Path | None = None,
    progress: bool | None = False,
    say: Say = lambda line: None,
) -> Path:
    """Runs shipped experiments for some hours, seed by seed, and writes what came of all so far.

    The next seed is always the one that gives most for the time: an experiment's first seed counts 1, its second 1/2,
    its third 1/3, over the seconds that it will take, by what was measured of it. When the time is over, the run under
    way stops between two steps, and the next call goes on with it, bit for bit. Several processes may share a folder.

    Args:
        out: folder of all runs.
        hours: the budget. Preparing and scoring are not cut short.
        records: folder of one JSON file an experiment; ``OUT/records`` by default.
        table: the Markdown file that is written; ``OUT/RESULTS.md`` by default.
        methods, datasets, seeds, data_root: see :func:`experiments`.
        progress: as in :func:`gcl.run.pipeline.pipeline`.
        say: gets a line on what happens.

    Returns:
        The path of the table.

    Raises:
        ConfigError: a name that no experiment has, or no time.
        KeyboardInterrupt: a signal came; everything so far is written.
    """
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not hours > 0:
        raise ConfigError(f"hours must be a number above 0, got {hours!r}")
    out = Path(out)
    records = out / "records" if records is None else Path(records)
    table = out / RESULTS if table is None else Path(table)
    end = time.monotonic() + 3600 * hours
    queue = experiments(out, methods=methods, datasets=datasets, seeds=seeds, data_root=data_root)
    try:
        while (left := end - time.monotonic()) > 0:
            open_ones = [each for each in queue if not (each.refused or each.taken) and each.next_seed is not None]
            if not open_ones:
                break
            chosen = max(open_ones, key=lambda each: each.gain(read_card(each.dataset)))
            _run(chosen, left, records, data_root, progress, say)
    finally:
        write_table(table, records, queue)
    return table


def write_table(path: Path, records: Path, queue: Sequence[Experiment]) -> None:
    """Writes what is recorded, and what is left."""
    found = [json.loads(each.read_text(encoding="utf-8")) for each in sorted(records.glob("*.json"))]
    left = [
        (each.title, each.refused or f"{len(each.finished)} of {each.seeds} seeds")
        for each in queue
        if each.next_seed is not None
    ]
    with atomic_write(path) as temporary:
        temporary.write_text(reproductions(found, left), encoding="utf-8")


def _run(
    experiment: Experiment, left: float, records: Path, data_root: str | Path | None, progress: bool | None, say: Say
) -> None:
    """The next seed of an experiment, for a while."""
    seed = experiment.next_seed
    assert seed is not None
    expected = experiment.seconds_left(read_card(experiment.dataset))
    with claimed(experiment.folder.parent / f"{experiment.folder.name}.lock") as is_ours:
        if not is_ours:
            experiment.taken = True
            say(f"passed over: {experiment.title}, which another process is at")
            return
        say(f"{experiment.title}, seed {seed}: about {expected / 60:.1f} minutes")
        try:
            with stop_after(min(left, max(SHORTEST_SLICE, 2 * expected))):
                result, comparison, _ = reproduce(
                    experiment.name,
                    experiment.dataset,
                    out=experiment.folder,
                    seeds=[*experiment.finished, seed],
                    overrides={},
                    data_root=data_root,
                    progress=progress,
                )
        except OutOfTime:
            say(f"{experiment.title}, seed {seed}: goes on later")
            return
        except Exception as error:  # one experiment is not to end the queue
            what = "" if isinstance(error, GCLError) else f"{type(error).__name__}: "
            experiment.refused = f"{what}{error}"
            say(f"failed: {experiment.title}: {experiment.refused}")
            return
        write_json(records / f"{experiment.key}.json", _record(experiment, result, comparison))
        for line in comparison:
            say(
                f"{experiment.title}, {line['evaluate']} {line['metric']}: paper {line['paper']:.2f}, ours "
                f"{line['ours']:.2f} ({len(line['seeds'])} of {experiment.seeds} seeds)"
            )


def _record(experiment: Experiment, result: Any, comparison: list[dict[str, Any]]) -> dict[str, Any]:
    peaks = [run.cost["peak_memory_bytes"] for run in result.runs if run.cost["peak_memory_bytes"] is not None]
    oracle = {}
    for name, rows in result.scores.items():
        details = rows["trained"].details if "trained" in rows else {}
        by_seed = details.get("by_seed", [details])
        if all("oracle" in each for each in by_seed):
            oracle[name] = {
                metric: 100 * statistics.fmean(each["oracle"][metric] for each in by_seed)
                for metric in by_seed[0]["oracle"]
                if metric in rows["trained"].values
            }
    return {
        "experiment": experiment.name,
        "dataset": experiment.dataset,
        "title": result.settings["paper"].get("title"),
        "seeds_wanted": experiment.seeds,
        "comparison": comparison,
        "oracle": oracle,
        "epochs": [run.fit["epochs"] for run in result.runs],
        "seconds": [sum(run.cost["seconds"].values()) for run in result.runs],
        "peak_memory_bytes": max(peaks) if peaks else None,
        "environment": {key: result.environment.get(key) for key in ("commit", "processor", "threads")},
    }


def _seconds(path: Path) -> float:
    record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return float(sum(record["timing"]["seconds"].values()))


def _guess(card: Card) -> float:
    """Seconds of an epoch on one core, of which nothing is known but the size of the data."""
    size = card.statistics
    if card.collection == "rec":
        return 6e-5 * float(size.get("interactions", 1e5))
    nodes = float(size.get("nodes", 1e4)) if not isinstance(size.get("nodes"), Mapping) else 1e4
    return 0.01 + 1e-8 * nodes**2


def _among(name: str, asked: Iterable[str] | None) -> bool:
    return asked is None or name.replace("-", "_") in {each.lower().replace("-", "_") for each in asked}
