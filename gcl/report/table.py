"""Tables of reports for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from gcl.core.report import Report

LABELS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "auc": "AUC",
    "ap": "average precision",
    "nmi": "NMI",
    "ari": "ARI",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "hit_rate": "hit rate",
}
COUNTED = {"ranking": "users", "links": "pairs"}  # what n counts, where it is not nodes


def report_console() -> Console:
    """A console for results: as wide as the terminal, 120 columns elsewhere."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=120)


def score_tables(rows: Mapping[str, Report]) -> list[Table]:
    """The table of the metrics, or one for each K where they are called ``metric@K``."""
    split = [metric.partition("@") for metric in next(iter(rows.values())).values]
    places = sorted({place for _, _, place in split}, key=lambda place: (len(place), place))
    names = dict.fromkeys(name for name, _, _ in split)
    order = {name: position for position, name in enumerate(names)}  # the same in every table
    ordered = sorted(split, key=lambda parts: order[parts[0]])
    return [_score_table(rows, ["".join(parts) for parts in ordered if parts[2] == place]) for place in places]


def score_label(metric: str) -> str:
    """How a metric is called in print."""
    name, at, place = metric.partition("@")
    return f"{LABELS.get(name, name)}{at}{place}"


def _score_table(rows: Mapping[str, Report], metrics: Sequence[str]) -> Table:
    """One row a set of embeddings: mean and standard deviation of each metric in percent; the best mean is bold."""
    table = Table("embeddings")
    for metric in metrics:
        table.add_column(score_label(metric), justify="right")
    best = {metric: max(report.mean(metric) for report in rows.values()) for metric in metrics}
    for name, report in rows.items():
        cells = []
        for metric in metrics:
            text = f"{100 * report.mean(metric):.2f}"
            if len(report.values[metric]) > 1:
                text += f" ± {100 * report.std(metric):.2f}"
            cells.append(f"[bold]{text}[/bold]" if len(rows) > 1 and report.mean(metric) == best[metric] else text)
        table.add_row(name, *cells)
    return table


def beaten_floors(rows: Mapping[str, Report], trained: str, metric: str) -> str:
    """One sentence: which floors training beats on a metric and which not."""
    mine = rows[trained].mean(metric)
    floors = {name: report.mean(metric) for name, report in rows.items() if name != trained}
    if not floors:
        return ""
    above = [f"{name} by {100 * (mine - score):.2f}" for name, score in floors.items() if mine > score]
    below = [f"{name} by {100 * (score - mine):.2f}" for name, score in floors.items() if mine <= score]
    parts = []
    if above:
        parts.append(f"training beats {', '.join(above)}")
    if below:
        parts.append(f"training does NOT beat {', '.join(below)}")
    return f"{score_label(metric)}, in points: {'; '.join(parts)}"


CHOICES = {
    "start": "before the first update",
    "by_silhouette": "epoch by silhouette",
    "by_modularity": "epoch by modularity",
    "oracle": "oracle, by the labels: no result",
}


def other_epochs(report: Report) -> str:
    """One sentence: what other choices of an epoch than the last would have given, where a method kept them."""
    seeds = report.details.get("by_seed", [report.details])
    if not all("oracle" in details for details in seeds):
        return ""
    metric = next(iter(report.values))
    parts = [
        f"{words} {100 * sum(details[name][metric] for details in seeds) / len(seeds):.2f}"
        for name, words in CHOICES.items()
        if all(name in details for details in seeds)  # earlier versions kept fewer
    ]
    return f"{score_label(metric)} of other epochs than the last: {'; '.join(parts)}"


def diagnostics_line(values: Mapping[str, float]) -> str:
    """The label-free diagnostics of the trained embeddings in one line."""
    return "diagnostics: " + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in values.items())


def print_scores(console: Console, scores: Mapping[str, Mapping[str, Report]], *, num_seeds: int) -> None:
    """Prints one table an evaluator, and what the floors say."""
    for name, rows in scores.items():
        last = list(rows.values())[-1]
        task = "" if name == last.task else f"{last.task}, "
        count = len(next(iter(last.values.values())))
        spread = (
            f", ± over {num_seeds} training seeds" if num_seeds > 1 else f", ± over {count} runs" if count > 1 else ""
        )
        counted = COUNTED.get(last.task, "nodes")
        console.print(f"[bold]{name}[/bold]: {task}protocol {last.protocol}, {last.n} {counted}{spread}")
        for table in score_tables(rows):
            console.print(table)
        sentence = beaten_floors(rows, "trained", next(iter(last.values))) if "trained" in rows else ""
        for line in (sentence, other_epochs(last)):
            if line:
                console.print(line)
        console.print()
