"""``gcl cluster``."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gcl.cli.common import AsJson, DataRoot, print_json
from gcl.cli.evaluate import DatasetName, Labels
from gcl.cli.sources import graph_of, labels_of, read_rows
from gcl.core.errors import ConfigError, DataError
from gcl.core.files import atomic_write

if TYPE_CHECKING:
    from gcl.run.cluster import ClusterResult

MOST_SIZES = 20  # sizes that are listed


def cluster(
    file: Annotated[str, typer.Argument(help="Embedding or feature file, run folder, or dataset.")],
    k: Annotated[
        int | None, typer.Option("--k", help="Number of clusters [number of classes, else by the eigengap].")
    ] = None,
    labels: Labels = None,
    dataset: DatasetName = None,
    method: Annotated[
        Literal["kmeans", "gmm", "agglomerative", "leiden", "pamc", "own"] | None,
        typer.Option(help="How to cluster [the run's own assignment where it has one, else kmeans]."),
    ] = None,
    normalize: Annotated[bool, typer.Option(help="L2-normalise the rows first.")] = True,
    seeds: Annotated[
        int | None,
        typer.Option(help="How many [5; pamc 1]; the clustering written is the best by the method's own measure."),
    ] = None,
    algorithm: Annotated[
        Literal["auto", "lloyd", "minibatch"],
        typer.Option(help="Of k-means; auto takes mini-batches from 200,000 rows on."),
    ] = "auto",
    resolution: Annotated[float, typer.Option(help="Of leiden; larger gives more clusters.")] = 1.0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of pamc, such as trainer.epochs=50.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Another clustering of the same rows (as --labels) to compare with.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the assignment as csv (id, cluster).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the clusters: png, svg or pdf.")] = None,
    data_root: DataRoot = None,
    json: AsJson = False,
) -> None:
    """Cluster embeddings, features or a graph, and score the clusters where labels are given.

    `gcl cluster embeddings.npy --k 7 --labels labels.csv`

    `gcl cluster runs/first --method leiden --out clusters.csv`
    """
    _check_targets(out, plot)
    from gcl.evaluate.embedding_files import read_labels
    from gcl.run.cluster import cluster as run
    from gcl.run.cluster import compare_clusterings
    from gcl.run.settings import parse_overrides

    source = read_rows(file, data_root, kind="cluster" if method == "pamc" else None)
    if method is None:
        method = "own" if source.assignment is not None and k is None else "kmeans"
    lost = ""
    try:
        y, _ = labels_of(source, labels, dataset, data_root)
        adjacency = graph_of(source, dataset, data_root)
    except DataError as error:
        if labels is not None or dataset is not None or method in ("leiden", "pamc") or (k is None and method != "own"):
            raise
        y = adjacency = None  # a run whose data is gone can still be clustered
        lost = f"no labels and no graph: {error}"
    other = None
    if compare is not None:
        other = read_labels(compare, ids=source.ids)
        if other.numel() != source.values.shape[0]:
            raise DataError(f"{compare} has {other.numel()} rows for {source.values.shape[0]} here; give the same rows")
    result = run(
        source.values,
        k=k,
        method=method,
        assignment=source.assignment if method == "own" else None,
        adjacency=adjacency,
        y=y,
        normalize=normalize,
        seeds=seeds if seeds is not None else 1 if method == "pamc" else 5,
        algorithm=algorithm,
        resolution=resolution,
        settings=parse_overrides(settings or []),
        progress=None,
    )
    if lost:
        result = dataclasses.replace(result, notes=(*result.notes, lost))
    agreement = None if other is None else compare_clusterings(result.labels, other)
    if out is not None:
        _write(out, source.ids, result.labels.tolist())
    if plot is not None:
        from gcl.report.cluster_plot import plot_clusters

        plot_clusters(source.values, result.labels, plot, normalize=normalize, title=f"{file}: {method}")
    written = {name: str(path) for name, path in (("out", out), ("plot", plot)) if path is not None}
    if json:
        print_json({**_record(result), **({} if agreement is None else {"agreement": agreement}), **written})
        return
    _show(result, agreement, compare, written)


def _check_targets(out: Path | None, plot: Path | None) -> None:
    """Refuses names of files that cannot be written, before any work."""
    if out is not None and out.suffix != ".csv":
        raise ConfigError(f"--out {out} must end in .csv")
    if plot is not None:
        from gcl.report.compactness_plot import check_plot

        check_plot(plot)
    for name, path in (("out", out), ("plot", plot)):
        if path is not None and path.exists():
            raise ConfigError(f"--{name} {path} exists already; give a new name or remove it")


def _write(out: Path, ids: Sequence[str] | None, labels: Sequence[int]) -> None:
    names = ids or [str(index) for index in range(len(labels))]
    with atomic_write(out, overwrite=False) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "cluster"])
        writer.writerows(zip(names, labels, strict=True))


def _record(result: ClusterResult) -> dict[str, object]:
    scored = (
        {"seeds": list(range(len(result.runs))), "metrics": {}} if result.report is None else result.report.to_json()
    )
    return {
        "task": "clustering",
        "n": result.labels.numel(),
        "protocol": result.runs[0].protocol,
        **scored,
        "k": result.k,
        "clusters": len(result.sizes),
        "k_from": result.k_from,
        "chosen": result.chosen,
        "quality": dict(result.quality),
        "sizes": result.sizes,
        "notes": list(result.notes),
    }


def _counted(count: int) -> str:
    return f"{count} cluster{'' if count == 1 else 's'}"


def _listed(sizes: Sequence[int]) -> str:
    if len(sizes) <= MOST_SIZES:
        return f"size{'' if len(sizes) == 1 else 's'} {', '.join(map(str, sizes))}"
    ordered = sorted(sizes, reverse=True)
    rest = ordered[MOST_SIZES:]
    return f"sizes {', '.join(map(str, ordered[:MOST_SIZES]))} and {len(rest)} more, {rest.count(1)} of one row"


def _show(
    result: ClusterResult, agreement: dict[str, float] | None, compare: Path | None, written: dict[str, str]
) -> None:
    from gcl.report.table import print_scores, report_console, score_label

    console = report_console()
    if result.report is not None:
        print_scores(console, {"clusters": {"embeddings": result.report}}, num_seeds=1)
    count = _counted(len(result.sizes))
    console.print(f"{count} (k: {result.k_from}) of {_listed(result.sizes)}", soft_wrap=True)
    if result.quality:
        values = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in result.quality.items())
        console.print(f"without labels: {values}", soft_wrap=True)
    if agreement is not None:
        values = ", ".join(f"{score_label(name)} {100 * value:.2f}" for name, value in agreement.items())
        console.print(f"compared with {compare}: {values}", soft_wrap=True)
    for note in result.notes:
        console.print(f"note: {note}", soft_wrap=True)
    for name, path in written.items():
        console.print(f"{'assignment' if name == 'out' else 'picture'} written to {path}", soft_wrap=True)
