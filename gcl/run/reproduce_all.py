"""All shipped experiments, those first that give most for the time, within a budget."""

from __future__ import annotations

import inspect
import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcl.core.errors import ConfigError, DataError, GCLError, OutputError
from gcl.core.files import atomic_write, claimed, write_json
from gcl.core.resolve import find_class
from gcl.data.cards import Card, read_card
from gcl.data.names import find_name
from gcl.data.resources import resource_folder
from gcl.data.roots import find_archive
from gcl.report.reproductions import TITLE, reproductions
from gcl.run.reproduce import lock_of, planned, run_planned
from gcl.run.result import Result
from gcl.run.run_directory import METRICS, RESULT, RunDirectory
from gcl.run.settings import experiment_method, read_yaml
from gcl.train.interruption import OutOfTime, stop_after

SHORTEST_SLICE = 120.0  # seconds of training that a run gets at least before the queue looks at it again
SHORTEST_START = 60.0  # seconds below which nothing is begun that will not be done by then
PATIENCES = 10  # a run that ends by its patience is taken to last so many of them
WITHOUT_FIGURE = 0.1  # what an experiment without a figure of the paper counts beside one with
RESULTS = "RESULTS.md"

Say = Callable[[str], None]


@dataclass
class Experiment:
    """A shipped experiment of a paper, and how far it is.

    Args:
        name: of the method, or the family of experiments.
        dataset: canonical name.
        seeds: how many.
        epochs: that one seed is expected to take, over all stages.
        folder: where its runs are.
        has_figure: whether the paper has a figure to compare with.
        refused: why it cannot be run, or nothing.
    """

    name: str
    dataset: str
    seeds: int
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
        return [seed for seed in range(self.seeds) if RunDirectory(self.folder / f"seed-{seed}").is_finished]

    @property
    def next_seed(self) -> int | None:
        """The first that is not finished."""
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
        epochs,
        out / f"{name}-{path.stem}",
        bool(settings["paper"].get("figures")),
    )


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
    """Runs shipped experiments for some hours, seed by seed, and writes what came of all so far after each.

    The next seed is always the one that gives most for the time: an experiment's first seed counts 1, its second 1/2,
    its third 1/3, over the seconds that it will take, by what was measured of it; a tenth of that where the paper has
    no figure. When the time is over, the run under way stops between two steps, and the next call goes on with it, bit
    for bit. Several processes may share a folder.

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
        OutputError: ``table`` is a file that this has not written.
        KeyboardInterrupt: a signal came; everything so far is written.
    """
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not hours > 0:
        raise ConfigError(f"hours must be a number above 0, got {hours!r}")
    out = Path(out)
    records = out / "records" if records is None else Path(records)
    table = out / RESULTS if table is None else Path(table)
    _check_table(table)
    end = time.monotonic() + 3600 * hours
    queue = experiments(out, methods=methods, datasets=datasets, seeds=seeds, data_root=data_root)
    whole = experiments(out, data_root=data_root)
    refused = sum(bool(each.refused) for each in queue)
    if refused:
        say(f"{refused} of {len(queue)} experiments cannot be run here, mostly for want of data; the table says why")
    read_records(records, say)  # whatever is wrong with them is said before the work
    for each in queue:
        _take_up(each, records, data_root, say)
    try:
        while (left := end - time.monotonic()) > 0:
            ready = {
                each.key: each.gain(read_card(each.dataset))
                for each in queue
                if not (each.refused or each.taken) and each.next_seed is not None
            }
            if not ready:
                break
            chosen = max((each for each in queue if each.key in ready), key=lambda each: ready[each.key])
            if left < SHORTEST_START and chosen.seconds_left(read_card(chosen.dataset)) > left:
                break
            if _run(chosen, left, records, data_root, progress, say):
                for each in queue:
                    each.taken = False
                write_table(table, records, _with_reasons(whole, queue))
    finally:
        write_table(table, records, _with_reasons(whole, queue))
    return table


def read_records(folder: Path, say: Say = lambda line: None) -> list[dict[str, Any]]:
    """The records of experiments in a folder, by name; other files are passed over, and said."""
    found = []
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith("."):  # of a write that is under way, or was cut off
            continue
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            record["experiment"], record["comparison"], record["environments"]
        except (OSError, ValueError, KeyError, TypeError):
            say(f"passed over: {path}, which is no record of an experiment")
            continue
        found.append(record)
    return found


def write_table(path: Path, records: Path, queue: Sequence[Experiment]) -> None:
    """Writes what is recorded, and what is left."""
    left = [
        (each.title, each.refused or f"{len(each.finished)} of {each.seeds} seeds")
        for each in queue
        if each.next_seed is not None
    ]
    with atomic_write(path) as temporary:
        temporary.write_text(reproductions(read_records(records), left), encoding="utf-8")


def _with_reasons(whole: Sequence[Experiment], queue: Sequence[Experiment]) -> list[Experiment]:
    """All experiments, with what was found out of those in the queue."""
    known = {each.key: each for each in queue}
    return [known.get(each.key, each) for each in whole]


def _check_table(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_file() or not path.read_text(encoding="utf-8", errors="replace").startswith(TITLE):
        raise OutputError(f"{path} is there and is no table of reproductions; choose another --table, or move it away")


def _take_up(experiment: Experiment, records: Path, data_root: str | Path | None, say: Say) -> None:
    """Writes the record of seeds that were finished without it: by another command, or just before a stop."""
    finished = experiment.finished
    path = records / f"{experiment.key}.json"
    known = next((record for record in read_records(records) if record["experiment"] == experiment.name
                  and record["dataset"] == experiment.dataset), None)  # fmt: skip
    if experiment.refused or not finished or (known is not None and {*finished} <= {*known["seeds"]}):
        return
    with claimed(lock_of(experiment.folder)) as is_ours:
        if not is_ours:
            return
        try:
            settings, data = planned(experiment.name, experiment.dataset, seeds=finished, data_root=data_root)
            result, comparison, _ = run_planned(settings, data, experiment.folder)
        except Exception as error:  # one experiment is not to end the queue
            experiment.refused = _sentence(error)
            say(f"failed: {experiment.title}: {experiment.refused}")
            return
        write_json(path, _record(experiment, result, comparison))


def _run(
    experiment: Experiment, left: float, records: Path, data_root: str | Path | None, progress: bool | None, say: Say
) -> bool:
    """The next seed of an experiment, for a while; whether it is finished."""
    with claimed(lock_of(experiment.folder)) as is_ours:
        if not is_ours:
            experiment.taken = True
            say(f"passed over: {experiment.title}, which another process is at")
            return False
        seed = experiment.next_seed
        if seed is None:  # another process has done it meanwhile
            return False
        expected = experiment.seconds_left(read_card(experiment.dataset))
        say(f"{experiment.title}, seed {seed}: about {expected / 60:.1f} minutes")
        seeds = [*experiment.finished, seed]
        try:
            with stop_after(left, training=max(SHORTEST_SLICE, 2 * expected)):
                settings, data = planned(experiment.name, experiment.dataset, seeds=seeds, data_root=data_root)
                result, comparison, _ = run_planned(settings, data, experiment.folder, progress=progress)
        except OutOfTime:
            say(f"{experiment.title}, seed {seed}: goes on later")
            return False
        except Exception as error:  # one experiment is not to end the queue
            experiment.refused = _sentence(error)
            say(f"failed: {experiment.title}: {experiment.refused}")
            return False
        write_json(records / f"{experiment.key}.json", _record(experiment, result, comparison))
    for line in comparison:
        say(
            f"{experiment.title}, {line['evaluate']} {line['metric']}: paper {line['paper']:.2f}, ours "
            f"{line['ours']:.2f} ({len(line['seeds'])} of {experiment.seeds} seeds)"
        )
    return True


def _record(experiment: Experiment, result: Result, comparison: list[dict[str, Any]]) -> dict[str, Any]:
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
    environments = [
        {key: environment.get(key) for key in ("commit", "processor", "threads")}
        for environment in (run.environment or result.environment for run in result.runs)
    ]
    return {
        "experiment": experiment.name,
        "dataset": experiment.dataset,
        "title": result.settings["paper"].get("title"),
        "seeds": [run.seed for run in result.runs],
        "seeds_wanted": experiment.seeds,
        "comparison": comparison or _without_figure(result),
        "oracle": oracle,
        "epochs": [run.fit["epochs"] for run in result.runs],
        "seconds": [sum(run.cost["seconds"].values()) for run in result.runs],
        "peak_memory_bytes": max(peaks) if peaks else None,
        "environments": [each for at, each in enumerate(environments) if each not in environments[:at]],
    }


def _without_figure(result: Result) -> list[dict[str, Any]]:
    """The first metric of every evaluator, for an experiment whose paper has no figure."""
    lines = []
    for name, rows in result.scores.items():
        if "trained" not in rows:
            continue
        report = rows["trained"]
        metric = next(iter(report.values))
        lines.append(
            {
                "evaluate": name,
                "metric": metric,
                "paper": None,
                "paper_std": None,
                "note": None,
                "ours": round(100 * report.mean(metric), 3),
                "ours_std": round(100 * report.std(metric), 3) if len(result.runs) > 1 else None,
                "difference": None,
                "seeds": [run.seed for run in result.runs],
                "protocol": report.protocol,
                "floors": {row: round(100 * each.mean(metric), 3) for row, each in rows.items() if row != "trained"},
            }
        )
    return lines


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, GCLError) else f"{type(error).__name__}: {error}"


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
