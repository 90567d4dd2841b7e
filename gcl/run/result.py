"""What a run gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from gcl.core.context import Outputs, Prepared
from gcl.core.errors import CheckpointError, ConfigError
from gcl.core.files import write_json
from gcl.core.graph_spec import GraphSpec
from gcl.core.report import Report
from gcl.core.resolve import describe
from gcl.methods.method import Method
from gcl.run import run_directory as files
from gcl.run.run_directory import RunDirectory


@dataclass(frozen=True, eq=False)
class SeedRun:
    """One training seed.

    Args:
        seed: the seed.
        outputs: embeddings of the training graph.
        scores: ``"trained"`` and ``"untrained"`` to reports by evaluator.
        diagnostics: label-free numbers about the embeddings.
        fit: epochs, steps and how training ended.
        cost: wall seconds by phase, and peak memory of the process in bytes since the seed began (where the system
            cannot say that, since the process did).
        method: the trained method; ``None`` when it was read back from a folder.
        prepared: what was computed once before training.
        spec: sizes and types of the training graph.
        interactions: of a recommender: every known pair by part, int64 ``[2, n]``, user above item.
        fingerprints: SHA-256 of the data, the prepared tensors and the configuration, where the run was written.
        environment: versions and machine that it was finished with.
    """

    seed: int
    outputs: Outputs
    scores: Mapping[str, Mapping[str, Report]]
    diagnostics: Mapping[str, float]
    fit: Mapping[str, Any]
    cost: Mapping[str, Any]
    method: Method | None = None
    prepared: Prepared | None = field(default=None, repr=False)
    spec: GraphSpec | None = None
    interactions: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    fingerprints: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Everything but tensors."""
        scores = {
            row: {name: report.to_json() for name, report in reports.items()} for row, reports in self.scores.items()
        }
        return {
            "seed": self.seed,
            "scores": scores,
            "diagnostics": dict(self.diagnostics),
            "fit": dict(self.fit),
            "timing": dict(self.cost),
            "fingerprints": dict(self.fingerprints),
            "environment": dict(self.environment),
        }

    def write(self, place: RunDirectory, ids: list[str] | None, other_ids: Mapping[str, list[str]] = {}) -> None:
        """Writes weights, embeddings and, last, the result that marks the run as finished.

        Args:
            place: the run's folder.
            ids: of the rows of the main embedding; ``None`` = their positions.
            other_ids: of the rows of other embeddings, by name.
        """
        if self.method is None or self.prepared is None:
            raise ConfigError("this run was read from a folder and holds no weights; copy the folder instead")
        files.save_trained(place, self.method, self.outputs, self.interactions, ids, other_ids)
        self.write_result(place)

    def write_result(self, place: RunDirectory) -> None:
        """Marks a run whose weights and embeddings are written as finished."""
        write_json(place / files.RESULT, self.to_json())

    @classmethod
    def read(cls, place: RunDirectory, fingerprints: Mapping[str, str]) -> SeedRun:
        """A finished run from its folder.

        Raises:
            CheckpointError: it is damaged, or belongs to other data or settings than ``fingerprints``.
        """
        record = place.read_result()
        for name, value in record["fingerprints"].items():
            if fingerprints.get(name, value) != value:
                raise CheckpointError(
                    f"{place.path} was finished with other {name} than this run's; train again into another folder"
                )
        scores = {
            row: {name: Report.from_json(report) for name, report in reports.items()}
            for row, reports in record["scores"].items()
        }
        return cls(
            record["seed"],
            files.read_outputs(place / files.EMBEDDINGS),
            scores,
            record["diagnostics"],
            record["fit"],
            record["timing"],
            fingerprints=record["fingerprints"],
            environment=record.get("environment", {}),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Embeddings, scores and configuration of a run over one or more seeds.

    Args:
        settings: the whole configuration.
        dataset: the dataset's name.
        ids: id of each row, where the data has its own.
        runs: one entry a seed.
        floors: scores without training, by evaluator and row.
        environment: versions and machine.
        notes: sentences that belong beside the figures.
        other_ids: ids of the rows of other embeddings than the main one (items), by name.
    """

    settings: Mapping[str, Any]
    dataset: str
    ids: list[str] | None
    runs: tuple[SeedRun, ...]
    floors: Mapping[str, Mapping[str, Report]]
    environment: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    other_ids: Mapping[str, list[str]] = field(default_factory=dict)

    def __repr__(self) -> str:
        method = describe(self.settings["method"])["name"]
        return f"Result({method} on {self.dataset}, seeds={[run.seed for run in self.runs]})"

    @property
    def outputs(self) -> Outputs:
        """Embeddings of the first seed."""
        return self.runs[0].outputs

    @property
    def scores(self) -> dict[str, dict[str, Report]]:
        """By evaluator: the floors, the untrained encoder and the trained one, each over the seeds."""
        table: dict[str, dict[str, Report]] = {}
        seeds = [run.seed for run in self.runs]
        for name in self.settings["evaluate"]:
            # A floor does not depend on the training seed: beside several seeds it has no deviation of its own.
            several = len(seeds) > 1
            floors = self.floors.get(name, {})
            table[name] = {r: Report.over_seeds([f], seeds[:1]) if several else f for r, f in floors.items()}
            for row in ("untrained", "trained"):
                reports = [run.scores[row][name] for run in self.runs if name in run.scores.get(row, {})]
                if len(reports) > 1:
                    table[name][row] = Report.over_seeds(reports, seeds)
                elif reports:
                    table[name][row] = reports[0]
        return table

    def to_json(self) -> dict[str, Any]:
        """Scores, configuration, cost and environment."""
        scores = {name: {row: report.to_json() for row, report in rows.items()} for name, rows in self.scores.items()}
        return {
            "method": describe(self.settings["method"])["name"],
            "dataset": self.dataset,
            "scores": scores,
            "paper": self.settings.get("paper"),
            "notes": list(self.notes),
            "runs": [run.to_json() for run in self.runs],
            "settings": describe(dict(self.settings)),
            "environment": dict(self.environment),
        }

    def save(self, folder: str | Path) -> Path:
        """Writes the run folder of a run that was kept in memory.

        Raises:
            OutputError: the folder is there and not empty.
        """
        from gcl.run.settings import write_yaml

        root = Path(folder)
        with files.claim(root):
            files.require_new(root)
            write_yaml(root / files.CONFIG, files.writable(self.settings))
            for run in self.runs:
                place = RunDirectory(root if len(self.runs) == 1 else root / f"seed-{run.seed}")
                place.path.mkdir(exist_ok=True)
                if run.spec is None or run.prepared is None:
                    raise ConfigError("this run was read from a folder; copy that folder instead")
                place.write_spec(run.spec)
                files.save_tensors(place / files.PREPARED, run.prepared.tensors)
                run.write(place, self.ids, self.other_ids)
            write_json(root / files.REPORT, self.to_json())
            write_json(root / files.ENVIRONMENT, dict(self.environment))
        return root
