"""All shipped experiments, those first that give most for the time, within a budget."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from gcl.core.errors import BusyError, ConfigError, DataError, GCLError, OutputError
from gcl.core.files import atomic_write, write_json
from gcl.data.cards import read_card
from gcl.report.reproductions import TITLE, reproductions
from gcl.run.experiment_records import Say, is_record, read_records, record_of
from gcl.run.experiments import Experiment, experiments
from gcl.run.reproduce import planned, run_planned
from gcl.run.run_directory import claim
from gcl.train.interruption import OutOfTime, stop_after
from gcl.train.launch import lend_a_hand

SHORTEST_SLICE = 120.0  # seconds of training that a run gets at least before the queue looks at it again
SHORTEST_START = 60.0  # seconds below which nothing is begun that will not be done by then
RESULTS = "RESULTS.md"


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
        OutputError: ``table``, or the file of a record, is one that this has not written.
        KeyboardInterrupt: a signal came; everything so far is written.
    """
    lend_a_hand()
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
    _check_records(records, queue)
    read_records(records, say)  # whatever is wrong with them is said before the work
    for each in queue:
        _take_up(each, records, data_root, say)
    try:
        while (left := end - time.monotonic()) > 0:
            chosen = _next(queue, say)
            if chosen is None or (left < SHORTEST_START and chosen.seconds_left(read_card(chosen.dataset)) > left):
                break
            if _run(chosen, left, records, data_root, progress, say):
                for each in queue:
                    each.taken = False
                write_table(table, records, _with_reasons(whole, queue))
    finally:
        write_table(table, records, _with_reasons(whole, queue))
    return table


def write_table(path: Path, records: Path, queue: Sequence[Experiment]) -> None:
    """Writes what is recorded, and what is left."""
    left = [
        (each.title, each.refused or f"{len(each.finished)} of {each.wanted} seeds")
        for each in queue
        if len(each.finished) < each.wanted
    ]
    wanted = {(each.name, each.dataset): each.wanted for each in queue}  # records may be older than the experiments
    found = [
        {**record, "seeds_wanted": wanted.get((record["experiment"], record["dataset"]), record["seeds_wanted"])}
        for record in read_records(records)
    ]
    with atomic_write(path) as temporary:
        temporary.write_text(reproductions(found, left), encoding="utf-8")


def _with_reasons(whole: Sequence[Experiment], queue: Sequence[Experiment]) -> list[Experiment]:
    """All experiments, with what was found out of those in the queue."""
    known = {each.key: each for each in queue}
    return [known.get(each.key, each) for each in whole]


def _check_table(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_file() or not path.read_text(encoding="utf-8", errors="replace").startswith(TITLE):
        raise OutputError(f"{path} is there and is no table of reproductions; choose another --table, or move it away")


def _check_records(folder: Path, queue: Sequence[Experiment]) -> None:
    for path in (folder / f"{each.key}.json" for each in queue):
        if path.exists() and not is_record(path):
            raise OutputError(
                f"{path} is there and is no record of an experiment; choose another --records, or move it away"
            )


def _next(queue: Sequence[Experiment], say: Say) -> Experiment | None:
    """The experiment whose next seed gives most for the time, of those that can be run here."""
    found: list[tuple[float, Experiment]] = []
    for each in queue:
        if each.refused or each.taken or each.next_seed is None:
            continue
        try:
            found.append((each.gain(read_card(each.dataset)), each))
        except DataError as error:  # one experiment is not to end the queue
            each.refused = _sentence(error)
            say(f"failed: {each.title}: {each.refused}")
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _take_up(experiment: Experiment, records: Path, data_root: str | Path | None, say: Say) -> None:
    """Writes the record of seeds that were finished without it: by another command, or just before a stop."""
    finished = experiment.finished
    path = records / f"{experiment.key}.json"
    known = next((record for record in read_records(records) if record["experiment"] == experiment.name
                  and record["dataset"] == experiment.dataset), None)  # fmt: skip
    if experiment.refused or not finished or (known is not None and {*finished} <= {*known["seeds"]}):
        return
    with ExitStack() as held:
        try:
            held.enter_context(claim(experiment.folder))
            settings, data = planned(
                experiment.name, experiment.dataset, seeds=experiment.finished, data_root=data_root
            )
            result, comparison, _ = run_planned(settings, data, experiment.folder)
            record = record_of(experiment, result, comparison)
        except BusyError:  # the other one writes it, or the next seed says so
            return
        except Exception as error:  # one experiment is not to end the queue
            experiment.refused = _sentence(error)
            say(f"failed: {experiment.title}: {experiment.refused}")
            return
        write_json(path, record)  # without which training would be for nothing


def _run(
    experiment: Experiment, left: float, records: Path, data_root: str | Path | None, progress: bool | None, say: Say
) -> bool:
    """The next seed of an experiment, for a while, and its record; whether it is finished."""
    with ExitStack() as held:
        try:
            held.enter_context(claim(experiment.folder))
            seed, seeds, expected = experiment.next_seed, experiment.finished, 0.0
            if seed is not None:  # else another process has done it meanwhile, perhaps without a record
                expected = experiment.seconds_left(read_card(experiment.dataset))
                say(f"{experiment.title}, seed {seed}: about {expected / 60:.1f} minutes")
                seeds = sorted([*seeds, seed])
            with stop_after(left, training=max(SHORTEST_SLICE, 2 * expected)):
                settings, data = planned(experiment.name, experiment.dataset, seeds=seeds, data_root=data_root)
                result, comparison, _ = run_planned(settings, data, experiment.folder, progress=progress)
            record = record_of(experiment, result, comparison)
        except OutOfTime:
            say(f"{experiment.title}, seed {seed}: goes on later")
            return False
        except BusyError:
            experiment.taken = True
            say(f"passed over: {experiment.title}, which another process is at")
            return False
        except Exception as error:  # one experiment is not to end the queue
            experiment.refused = _sentence(error)
            say(f"failed: {experiment.title}: {experiment.refused}")
            return False
        write_json(records / f"{experiment.key}.json", record)
    for line in comparison:
        say(
            f"{experiment.title}, {line['evaluate']} {line['metric']}: paper {line['paper']:.2f}, ours "
            f"{line['ours']:.2f} ({len(line['seeds'])} of {experiment.wanted} seeds)"
        )
    return True


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, GCLError) else f"{type(error).__name__}: {error}"
