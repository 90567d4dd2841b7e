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
        what = (
            f"{file} was trained with every edge"
            if file.is_dir()
            else f"nobody knows which edges {file} was trained on"
        )
        raise ConfigError(
            f"{what}, so none is held out; train with evaluate.links.test=0.1, score pairs of your own with --pairs "
            "FILE, or ask for --protocol reconstruction"
        )
    if held_out and dataset is not None:
        raise ConfigError("the edges that a run held out are those of its own dataset; leave out --dataset")
    return _of_dataset(source, dataset, spec, data_root, own if dataset is None else None)


def _of_pairs(source: Source, path: Path, decoder: str) -> Report:
    from gcl.core.report import Report
    from gcl.evaluate.link_scores import by_blocks, link_metrics, pair_scores
    from gcl.evaluate.pair_files import read_pairs

    if decoder == "logistic":
        raise ConfigError("the logistic decoder needs training edges, which --pairs has none of; use another decoder")
    labelled = read_pairs(path, source.ids, source.values.shape[0])
    scores = by_blocks(pair_scores(decoder, source.values), labelled.pairs)
    count = labelled.is_link.numel()
    details = {"links": int(labelled.is_link.sum()), "others": count - int(labelled.is_link.sum()), "decoder": decoder}
    values = {name: [value] for name, value in link_metrics(scores, labelled).items()}
    return Report(LINKS, f"pairs of {path.name}, {decoder.replace('_', ' ')}", count, values, [0], details)


def _of_dataset(
    source: Source, dataset: str | None, spec: dict[str, Any], data_root: Path | None, own: dict[str, Any] | None
) -> Report:
    """``own`` is by what the run held links out: what it is to reconstruct is what it was trained on."""
    import torch

    from gcl.core.context import Outputs
    from gcl.core.errors import DataError
    from gcl.core.resolve import resolve
    from gcl.data.load import load_dataset

    name = need(dataset or source.dataset, "link prediction needs edges; give --dataset NAME, or --pairs FILE")
    data = load_dataset(name, kind=source.kind, data_root=data_root or source.data_root, metapath=source.metapath)
    if data.graph.num_nodes != source.values.shape[0]:
        raise DataError(f"{data.name} has {data.graph.num_nodes} nodes, the embeddings {source.values.shape[0]} rows")
    z = source.values
    if source.ids is not None:
        z = torch.empty_like(z)
        z[order_of(source.ids, data.node_ids, data.name)] = source.values
    evaluator, graph = resolve("evaluator", {**spec, "embedding": None}), data.graph
    if own is not None and evaluator.protocol == "reconstruction":
        graph, _ = resolve("evaluator", own).split(graph, seed=0)
    _, held = evaluator.split(graph, seed=0)
    report: Report = evaluator.evaluate(Outputs({"embedding": z}), held, seed=0)
    return report


def _evaluator(file: Path) -> dict[str, Any] | None:
    """The specification by which a run held links out, or ``None``."""
    if not file.is_dir():
        return None
    from gcl.run.run_directory import open_run

    return next((dict(spec) for spec in open_run(file).settings["evaluate"].values() if spec["name"] == LINKS), None)
