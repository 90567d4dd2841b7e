"""``gcl cluster``."""

from __future__ import annotations

import csv
import dataclasses
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gcl.cli.common import AsJson, DataRoot, heard_warnings, print_json
from gcl.cli.evaluate import Labels
from gcl.cli.sources import Source, labels_of, order_of, read_source
from gcl.core.errors import ConfigError, DataError
from gcl.core.files import atomic_write, check_writable

if TYPE_CHECKING:
    from torch import Tensor

    from gcl.core.adjacency import Adjacency
    from gcl.data.dataset import Dataset
    from gcl.run.cluster import ClusterResult

MOST_SIZES = 20  # sizes that are listed


def cluster(
    file: Annotated[str, typer.Argument(help="Embedding or feature file, run folder, or dataset (a graph).")],
    k: Annotated[
        int | None, typer.Option("--k", help="Number of clusters [number of classes, else by the eigengap].")
    ] = None,
    labels: Labels = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Take labels and graph from this dataset [that of the run].")
    ] = None,
    method: Annotated[
        Literal["kmeans", "gmm", "agglomerative", "leiden", "pamc", "own"] | None,
        typer.Option(help="How to cluster [the run's own assignment where it has one, else kmeans]."),
    ] = None,
    normalize: Annotated[bool, typer.Option(help="L2-normalise the rows first.")] = True,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="How many [5; pamc 1; of agglomerative and own there is one]; the clustering written is the best by "
            "the method's own measure."
        ),
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
    from gcl.run.cluster import cluster as run
    from gcl.run.cluster import compare_clusterings
    from gcl.run.settings import parse_overrides

    with heard_warnings() as heard:
        source, data = _read(file, data_root, kind="cluster" if method == "pamc" else None, method=method)
        y = None if labels is None else labels_of(source, labels, None, data_root)[0]
        if method is None:
            method = "own" if source.assignment is not None and k is None else "kmeans"
        has_rows = source.values.shape[1] > 0
        if plot is not None and not has_rows:
            raise ConfigError(f"--plot draws embeddings, and {file} has none; leave it out")
        adjacency, lost = None, ""
        try:
            data = _dataset_of(source, data, dataset, data_root)
            if data is not None:
                own_labels, adjacency = _by_rows(data, source)
                y = own_labels if labels is None else y
        except DataError as error:
            counted = k is not None or method == "own" or (y is not None and bool((y >= 0).any()))
            if dataset is not None or method in ("leiden", "pamc") or not counted:
                raise
            # a run whose data is gone can still be clustered
            lost = f"{'no labels and no graph' if labels is None else 'no graph'}: {error}"
        other = None if compare is None else _other(compare, source)
        result = run(
            source.values if has_rows else None,
            k=k,
            method=method,
            assignment=source.assignment if method == "own" else None,
            adjacency=adjacency,
            y=y,
            normalize=normalize,
            seeds=seeds,
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
        result = dataclasses.replace(result, notes=(*heard, *result.notes))  # else on standard error
        print_json({**_record(result), **({} if agreement is None else {"agreement": agreement}), **written})
        return
    _show(result, agreement, compare, written)


def _check_targets(out: Path | None, plot: Path | None) -> None:
    """Refuses files that cannot be written, before any work."""
    if out is not None and out.suffix != ".csv":
        raise ConfigError(f"--out {out} must end in .csv")
    if plot is not None:
        from gcl.report.pictures import check_plot

        check_plot(plot)
    for path in (out, plot):
        if path is not None:
            check_writable(path)


# -- what is clustered, and what is known of it ----------------------------------------------------------------------


def _read(file: str, data_root: Path | None, *, kind: str | None, method: str | None) -> tuple[Source, Dataset | None]:
    """The rows of an embedding file or a run; or the features of a dataset, by name or path, and the dataset.

    Args:
        file: the file, folder or name.
        data_root: where named datasets lie.
        kind: the collection that a bare name is looked up in first.
        method: for ``leiden`` a dataset needs no features; it then has rows without columns.

    Raises:
        DataError: neither a file, a run nor a dataset, or a dataset without features.
    """
    import torch

    from gcl.data.node_files import plain_edge_files

    path = Path(file)
    if (path.is_file() and not _is_graph_archive(path)) or (path.is_dir() and not plain_edge_files(path)):
        return read_source(path), None
    from gcl.data.load import load_dataset
    from gcl.data.names import find_name

    if not path.exists() and find_name(file, kind=kind) is None:
        raise DataError(f"{file} does not exist; give an embedding file, a run folder or a dataset")
    data = load_dataset(file, kind=kind, data_root=data_root)
    if data.graph.target not in data.graph.features:
        square = _is_of_one_type(data)
        if square and method == "leiden":
            return Source(torch.empty(data.graph.num_nodes, 0), data.node_ids, data.name), data
        more = ", or cluster its graph by --method leiden" if square else ""
        raise DataError(f"{data.name} has no features; give embeddings of its nodes{more}")
    from gcl.core.view import View

    return Source(View.of(data.graph).x, data.node_ids, data.name), data


def _is_of_one_type(data: Dataset) -> bool:
    """Whether the graph joins its nodes to each other, by one kind of edges."""
    graph = data.graph
    return list(graph.relation_types.values()) == [(graph.target, graph.target)]


def _is_graph_archive(path: Path) -> bool:
    if path.suffix != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "edge_index.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False  # the reader of embeddings says what is wrong


def _dataset_of(source: Source, data: Dataset | None, dataset: str | None, data_root: Path | None) -> Dataset | None:
    """The dataset that was asked for, else the one that was read, else that of the run; ``None`` where there is none.

    Raises:
        DataError: it is not there any more.
    """
    if dataset is None and (data is not None or source.dataset is None):
        return data
    from gcl.data.load import load_dataset

    return load_dataset(dataset or source.dataset, kind=source.kind, data_root=data_root or source.data_root)


def _by_rows(data: Dataset, source: Source) -> tuple[Tensor | None, Adjacency | None]:
    """Labels ``[N]`` and graph ``[N, N]`` of a dataset in the order of the rows; ``None`` where it has none.

    Raises:
        DataError: other nodes than there are rows.
    """
    import torch

    graph = data.graph
    if graph.num_nodes != source.values.shape[0]:
        raise DataError(f"{data.name} has {graph.num_nodes} nodes, the embeddings {source.values.shape[0]} rows")
    adjacency = graph.adjacency if _is_of_one_type(data) else None
    if source.ids is None:
        return data.y, adjacency
    order = torch.tensor(order_of(source.ids, data.node_ids, data.name))
    if torch.equal(order, torch.arange(len(order))):
        return data.y, adjacency
    return None if data.y is None else data.y[order], None if adjacency is None else adjacency.subgraph(order)


def _other(path: Path, source: Source) -> Tensor:
    """The clustering to compare with, checked before there is one."""
    from gcl.evaluate.embedding_files import read_labels
    from gcl.run.cluster import check_comparison

    other, num_rows = read_labels(path, ids=source.ids), source.values.shape[0]
    if other.numel() != num_rows:
        raise DataError(f"{path} has {other.numel()} rows for {num_rows} here; give the same rows")
    check_comparison(other, num_rows)
    return other


# -- what is written and shown ---------------------------------------------------------------------------------------


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
