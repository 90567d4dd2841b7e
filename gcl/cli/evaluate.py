"""``gcl evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gcl.cli.common import AsJson, DataRoot, print_json
from gcl.cli.sources import labels_of, need, read_source
from gcl.core.errors import ConfigError

if TYPE_CHECKING:
    from gcl.core.report import Report

app = typer.Typer(
    help="Score any embeddings: a file (npy, npz, csv, parquet, pt, safetensors) or a run.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(help="Embedding file or run folder.")]
Labels = Annotated[
    Path | None, typer.Option(help="Labels: csv or tsv (column `label`, joined on `id`), txt, npy, or npz key `y`.")
]
DatasetName = Annotated[str | None, typer.Option("--dataset", help="Take labels and splits from this dataset.")]


@app.command()
def classification(
    file: File,
    labels: Labels = None,
    dataset: DatasetName = None,
    splits: Annotated[
        Path | None,
        typer.Option(help="Splits, rows as the embeddings: npy or npz key `splits`, 0 train, 1 valid, 2 test."),
    ] = None,
    protocol: Annotated[str, typer.Option(help="linear, linear-adam, grace or heco.")] = "linear",
    num_splits: Annotated[int, typer.Option(help="Random 10/10/80 splits, where none are stored.")] = 20,
    split_index: Annotated[
        int | None, typer.Option(help="Which one of the stored splits, from 0 [the first --num-splits].")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of Adam, for linear-adam and heco [0.01].", show_default=False)
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of Adam, for heco [0].", show_default=False)] = None,
    data_root: DataRoot = None,
    json: AsJson = False,
) -> None:
    """Node classification by a linear classifier on frozen embeddings."""
    import torch

    from gcl.core.adjacency import Adjacency
    from gcl.core.context import Outputs
    from gcl.core.graph import Graph
    from gcl.core.resolve import resolve
    from gcl.data.labels import as_splits
    from gcl.evaluate.embedding_files import read_splits

    heads = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    spec: dict[str, Any] = {
        "name": "classification",
        "protocol": protocol,
        "num_splits": num_splits,
        "split_index": split_index,
        **{name: value for name, value in heads.items() if value is not None},
    }
    evaluator = resolve("evaluator", spec)
    source = read_source(file)
    y, stored = labels_of(source, labels, dataset, data_root)
    y = need(y, "classification needs labels; give --labels FILE or --dataset NAME")
    if splits is not None:
        stored = as_splits(read_splits(splits, num_nodes=y.numel()), y.numel())
    empty = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (y.numel(), y.numel()))
    graph = Graph.homogeneous(None, empty, attrs={"y": y} if stored is None else {"y": y, "splits": stored})
    _, held = evaluator.split(graph, seed=0)
    _show(evaluator.evaluate(Outputs({"embedding": source.values}), held, seed=0), str(file), json)


@app.command()
def clustering(
    file: File,
    k: Annotated[int | None, typer.Option("--k", help="Clusters [number of classes].")] = None,
    labels: Labels = None,
    dataset: DatasetName = None,
    normalize: Annotated[bool, typer.Option(help="L2-normalise the rows first.")] = True,
    seeds: Annotated[int, typer.Option(help="k-means seeds.")] = 5,
    algorithm: Annotated[
        Literal["auto", "lloyd", "minibatch"],
        typer.Option(help="Of k-means; auto takes mini-batches from 200,000 rows on."),
    ] = "auto",
    data_root: DataRoot = None,
    json: AsJson = False,
) -> None:
    """k-means against labels: accuracy (Hungarian matching), NMI, ARI, macro-F1."""
    from gcl.evaluate.clustering import kmeans_report

    source = read_source(file)
    y, _ = labels_of(source, labels, dataset, data_root)
    y = need(y, "scoring a clustering needs labels; give --labels FILE or --dataset NAME (or use `gcl cluster`)")
    report = kmeans_report(source.values, y, k=k, normalize=normalize, seeds=range(seeds), algorithm=algorithm)
    _show(report, str(file), json)


@app.command()
def ranking(
    users: Annotated[Path, typer.Argument(help="Embeddings of the users, or a run folder that holds both.")],
    items: Annotated[Path | None, typer.Argument(help="Embeddings of the items.", show_default=False)] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Interactions: a name or a path [those of the run].")
    ] = None,
    k: Annotated[
        str | None, typer.Option("--k", help="Lengths of the lists, as in 20,40 [those of the run, or 10,20,40].")
    ] = None,
    batch_mean: Annotated[
        int | None,
        typer.Option(help="Mean of means over blocks of so many user ids (LightGCL's program: 256) [over users]."),
    ] = None,
    data_root: DataRoot = None,
    json: AsJson = False,
) -> None:
    """All items ranked for every user by inner products: recall, NDCG, precision, MRR, hit rate, coverage."""
    from gcl.cli.ranking_sources import read_ranking
    from gcl.core.resolve import resolve

    lengths = None if k is None else _whole_numbers("--k", k)
    source = read_ranking(users, items, dataset, data_root)
    spec = source.evaluator
    if lengths is not None:
        spec["k"] = lengths
    if batch_mean is not None:
        spec["batch_mean"] = batch_mean
    evaluator = resolve("evaluator", spec)
    _, held = evaluator.split(source.graph, seed=0)
    _show(evaluator.evaluate(source.outputs, held, seed=0), str(users), json)


@app.command()
def links(
    file: File,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Pairs to score: csv with source, target and label (1 = link, 0 = none), or npy [n, 3]."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Take the edges from this dataset [that of the run].")
    ] = None,
    protocol: Annotated[
        Literal["held-out", "reconstruction"] | None,
        typer.Option(help="reconstruction scores the edges that were trained on [that of the run]."),
    ] = None,
    decoder: Annotated[
        Literal["inner_product", "cosine", "logistic"] | None,
        typer.Option(help="How a pair is scored [that of the run, or inner_product]."),
    ] = None,
    data_root: DataRoot = None,
    json: AsJson = False,
) -> None:
    """Link prediction: AUC and average precision of held-out edges against pairs without one."""
    from gcl.cli.link_sources import score_links

    report = score_links(file, pairs, dataset, protocol, decoder, data_root)
    _show(report, str(file), json)


def _whole_numbers(option: str, text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError(f"{option} must be whole numbers with commas between, such as 20,40, got {text!r}")
    return [int(part) for part in parts]


def _show(report: Report, name: str, json: bool) -> None:
    if json:
        print_json(report.to_json())
        return
    from gcl.report.table import print_scores, report_console

    print_scores(report_console(), {name: {"embeddings": report}}, num_seeds=1)
