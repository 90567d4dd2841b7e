"""The result of an evaluation."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gcl.core.errors import ConfigError, unknown


@dataclass(frozen=True)
class Report:
    """Scores of one set of embeddings, or of one method over training seeds.

    Args:
        task: ``classification``, ``clustering``, ...
        protocol: how it was measured, by name.
        n: nodes scored.
        values: metric name to one value a run (a split, a k-means seed, or a training seed). Fractions, not percent.
        seeds: the seeds behind the values.
        details: anything else worth keeping (chosen regularisation, number of splits, ...); JSON only.
    """

    task: str
    protocol: str
    n: int
    values: Mapping[str, Sequence[float]]
    seeds: Sequence[int] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def mean(self, metric: str) -> float:
        """Mean over the runs.

        Raises:
            ConfigError: no such metric.
        """
        if metric not in self.values:
            raise ConfigError(unknown("metric", metric, self.values))
        return statistics.fmean(self.values[metric])

    def std(self, metric: str) -> float:
        """Sample standard deviation over the runs; 0 for a single one."""
        values = self.values[metric]
        return statistics.stdev(values) if len(values) > 1 else 0.0

    def to_json(self) -> dict[str, Any]:
        """``{"task", "n", "protocol", "seeds", "metrics": {name: {"mean", "std", "values"}}, "details"}``."""
        metrics = {
            name: {"mean": self.mean(name), "std": self.std(name), "values": [float(value) for value in values]}
            for name, values in self.values.items()
        }
        return {
            "task": self.task,
            "n": self.n,
            "protocol": self.protocol,
            "seeds": [int(seed) for seed in self.seeds],
            "metrics": metrics,
            "details": dict(self.details),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Report:
        """The inverse of :meth:`to_json`."""
        values = {name: list(entry["values"]) for name, entry in record["metrics"].items()}
        return cls(record["task"], record["protocol"], record["n"], values, record["seeds"], record.get("details", {}))

    @staticmethod
    def over_seeds(reports: Sequence[Report], seeds: Sequence[int]) -> Report:
        """One report of several training seeds: each value is the mean over that seed's runs (splits)."""
        first = reports[0]
        values = {name: [report.mean(name) for report in reports] for name in first.values}
        details = {
            "std_within_seed": {name: [report.std(name) for report in reports] for name in first.values},
            "by_seed": [dict(report.details) for report in reports],
        }
        return Report(first.task, first.protocol, first.n, values, list(seeds), details)
