"""Embeddings and the pairs of nodes that they are scored on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcl.cli.sources import Source, need, order_of, read_source
from gcl.core.errors import ConfigError

if TYPE_CHECKING:
    from gcl.core.report import Report

LINKS = "links"


def score_links(
    file: Path,
    pairs: Path | None,
    dataset: str | None,
    protocol: str | None,
    decoder: str | None,
    data_root: Path | None,
) -> Report:
    """Scores a file of embeddings or a run on pairs from a file, or on the edges of a dataset (by default the run's).

    Raises:
        ConfigError: nothing to score, options that exclude each other, or held-out edges that were not held out.
        DataError: a file or dataset that cannot be read, or that does not fit the other.
    """
    source = read_source(file)
    if source.kind == "rec":
        raise ConfigError(
            f"{file} has embeddings of users and of items, and links join nodes of one table; use gcl evaluate ranking"
        )
    if pairs is not None:
        given = [name for name, value in (("--dataset", dataset), ("--protocol", protocol)) if value is not None]
        if given:
            raise ConfigError(f"--pairs says which pairs are scored; leave out {' and '.join(given)}")
        return _of_pairs(source, pairs, decoder or "inner_product")
    own = _evaluator(file)
    asked = {key: value for key, value in (("protocol", protocol), ("decoder", decoder)) if value is not None}
    spec: dict[str, Any] = {**(own or {"name": LINKS}), **asked}
    held_out = spec.get("protocol", "held-out") == "held-out"
    if held_out and (own is None or own.get("protocol") == "reconstruction"):
        what = f"{file} was trained with every edge"
        if not file.is_dir():
            what = f"nobody knows which edges {file} was trained on"
        raise ConfigError(
            f"{what}, so none is held out; train with evaluate.links.test=0.1, score pairs of your own with --pairs "
            "FILE, or ask for --protocol reconstruction"
        )
    return _of_dataset(file, source, dataset, spec, data_root, own)


def _of_pairs(source: Source, path: Path, decoder: str) -> Report:
    from gcl.core.report import Report
    from gcl.evaluate.link_scores import by_blocks, link_metrics, pair_scores
    from gcl.evaluate.pair_files import read_pairs

    if decoder == "logistic":
        raise ConfigError("the logistic decoder needs training edges, which --pairs has none of; use another decoder")
    labelled = read_pairs(path, source.ids, source.values.shape[0])
    scores = by_blocks(pair_scores(decoder, source.values), labelled.pairs, source.values)
    count = labelled.is_link.numel()
    details = {"links": int(labelled.is_link.sum()), "others": count - int(labelled.is_link.sum()), "decoder": decoder}
    values = {name: [value] for name, value in link_metrics(scores, labelled).items()}
    return Report(LINKS, f"pairs of {path.name}, {decoder.replace('_', ' ')}", count, values, [0], details)


def _of_dataset(
    file: Path,
    source: Source,
    dataset: str | None,
    spec: dict[str, Any],
    data_root: Path | None,
    own: dict[str, Any] | None,
) -> Report:
    """``own`` is by what the run held links out: what it is to reconstruct is what it was trained on."""
    import torch

    from gcl.core.context import Outputs
    from gcl.core.errors import DataError
    from gcl.core.resolve import resolve
    from gcl.data.fingerprint import graph_fingerprint
    from gcl.data.load import load_dataset

    name = need(dataset or source.dataset, "link prediction needs edges; give --dataset NAME, or --pairs FILE")
    options: dict[str, Any] = {"metapath": source.metapath}
    if dataset is None and source.transform is not None:
        options["transform"] = source.transform
    data = load_dataset(name, kind=source.kind, data_root=data_root or source.data_root, **options)
    graph, z = data.graph, source.values
    if graph.num_nodes != z.shape[0]:
        raise DataError(f"{data.name} has {graph.num_nodes} nodes, the embeddings {z.shape[0]} rows")
    if file.is_dir():
        from gcl.run.open_run import open_run

        run = open_run(file)
        z = run.outputs.named(spec.get("embedding"))
        training = graph.for_training() if own is None else resolve("evaluator", own).split(graph, seed=0)[0]
        trained_on = run.directory.read_result()["fingerprints"].get("data")
        if trained_on is not None and graph_fingerprint(training) != trained_on:
            raise DataError(
                f"{data.name} is not the graph that {file} was trained on, so what it held out is not known; give the "
                "same data with --dataset or --data-root, or score pairs of your own with --pairs FILE"
            )
        if own is not None and spec.get("protocol") == "reconstruction":
            graph = training
    elif source.ids is not None:
        z = torch.empty_like(z)
        z[order_of(source.ids, data.node_ids, data.name)] = source.values
    evaluator = resolve("evaluator", {**spec, "embedding": None})
    _, held = evaluator.split(graph, seed=0)
    report: Report = evaluator.evaluate(Outputs({"embedding": z}), held, seed=0)
    return report


def _evaluator(file: Path) -> dict[str, Any] | None:
    """The specification by which a run held links out, or ``None``."""
    if not file.is_dir():
        return None
    from gcl.run.open_run import open_run

    found = [dict(spec) for spec in open_run(file).settings["evaluate"].values() if spec["name"] == LINKS]
    held_out = [spec for spec in found if spec.get("protocol") != "reconstruction"]
    return next(iter([*held_out, *found]), None)
