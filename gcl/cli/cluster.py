"""``gcl cluster``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Literal

import typer

from gcl.cli.common import AsJson, DataRoot, print_json
from gcl.cli.evaluate import DatasetName, File, Labels
from gcl.cli.sources import labels_of, read_source
from gcl.core.errors import ConfigError, DataError
from gcl.core.files import atomic_write


def cluster(
    file: File,
    k: Annotated[int | None, typer.Option("--k", help="Number of clusters [number of classes in --labels].")] = None,
    labels: Labels = None,
    dataset: DatasetName = None,
    method: Annotated[Literal["kmeans"], typer.Option(help="How to cluster.")] = "kmeans",
    normalize: Annotated[bool, typer.Option(help="L2-normalise the rows first.")] = True,
    seeds: Annotated[
        int, typer.Option(help="k-means seeds; the assignment written is that of the lowest inertia.")
    ] = 5,
    algorithm: Annotated[
        Literal["auto", "lloyd", "minibatch"],
        typer.Option(help="Of k-means; auto takes mini-batches from 200,000 rows on."),
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Write the assignment as csv (id, cluster).")] = None,
    data_root: DataRoot = None,
    json: AsJson = False,
) -> None:
    """Cluster embeddings, and score the clusters where labels are given."""
    if out is not None and out.suffix != ".csv":
        raise ConfigError(f"--out {out} must end in .csv")
    import torch

    from gcl.core.report import Report
    from gcl.evaluate.clustering import cluster_scores, kmeans_assign, kmeans_protocol

    source = read_source(file)
    try:
        y, _ = labels_of(source, labels, dataset, data_root)
    except DataError:
        if labels is not None or dataset is not None or k is None:
            raise
        y = None  # a run whose data is gone can still be clustered
    if k is None and y is None:
        raise ConfigError("give --k, the number of clusters, or --labels to take their number of classes")
    if seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, got {seeds}")
    clusters = int(y[y >= 0].unique().numel()) if k is None and y is not None else k
    assert clusters is not None
    fits = [
        kmeans_assign(source.values, clusters, normalize=normalize, seed=seed, algorithm=algorithm)
        for seed in range(seeds)
    ]
    best = min(range(seeds), key=lambda index: (fits[index].inertia, index))
    assignment = fits[best].labels
    sizes = torch.bincount(assignment, minlength=clusters).tolist()
    record = {
        "task": "clustering",
        "n": assignment.numel(),
        "protocol": kmeans_protocol(normalize, fits[0]),
        "k": clusters,
    }
    report = None
    if y is not None:
        scores = [cluster_scores(fit.labels, y) for fit in fits]
        values = {name: [score[name] for score in scores] for name in scores[0]}
        report = Report(
            "clustering", str(record["protocol"]), int((y >= 0).sum()), values, list(range(seeds)), {"k": clusters}
        )
    if out is not None:
        ids = source.ids or [str(index) for index in range(assignment.numel())]
        with (
            atomic_write(out, overwrite=False) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(["id", "cluster"])
            writer.writerows(zip(ids, assignment.tolist(), strict=True))
    if json:
        scored = {"seeds": list(range(seeds)), "metrics": {}} if report is None else report.to_json()
        print_json({**record, **scored, "sizes": sizes, **({"out": str(out)} if out else {})})
        return
    from gcl.report.table import print_scores, report_console

    console = report_console()
    if report is not None:
        print_scores(console, {"clusters": {"embeddings": report}}, num_seeds=1)
    console.print(f"{clusters} clusters of sizes {', '.join(map(str, sizes))}", soft_wrap=True)
    if out is not None:
        console.print(f"assignment written to {out}", soft_wrap=True)
