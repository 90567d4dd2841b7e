"""GRACE with all pairs, sampled anchors, clusters in place of negatives, or parts of the graph, at equal epochs.

    python -m benchmarks.negatives_study node/cora --out study [--seeds 3] [--clusters 50]
    python -m benchmarks.negatives_study node/cora --out study --epochs 200 --seeds 5 \
        --variants "all pairs" "1,024 anchors" "512 anchors" "256 anchors"

trains each variant (or those named) with GRACE's settings for the dataset and gives accuracy (linear probe on 20 random
splits), seconds an epoch and peak memory of the process that trained it. Then it trains with all pairs once more, and
at a few epochs compares the gradient of each variant's negative term with the exact one, by cosine, at the projections
of two fresh views (not at their unit rows, for what points along a row is lost when it is normalised). One record a run
goes to ``--records``, by default ``experiments/results/negatives``; what has a record of as many epochs is not run
again, and an unfinished run in ``--out`` is resumed. The method before training is scored for every seed, and what
needs no training once. Times of these runs count only where nothing else runs; then

    python -m benchmarks.negatives_study node/cora --out study --cost 10

takes them apart: in three rounds each variant trains so many epochs in a process of its own, and the table has the
median over the rounds of the median epoch but the first, and the largest peak memory.

    python -m benchmarks.negatives_study node/cora --out study --parts 512 [--cost 10]

does all of it for parts of the graph of so many nodes, without gradients: neighbours, communities, walks, and negatives
from a memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gcl
from benchmarks.study import percent
from gcl.core.context import LossContext
from gcl.core.files import write_json
from gcl.core.resolve import resolve
from gcl.core.streams import Streams
from gcl.data.load import load_dataset
from gcl.methods.grace import GRACE
from gcl.ops.unit_rows import unit_rows
from gcl.report.environment import describe_environment
from gcl.run.run_directory import CONFIG
from gcl.run.settings import experiment_file, read_yaml
from gcl.train.trainer import Trainer

RECORDS = Path(__file__).resolve().parent.parent / "experiments" / "results" / "negatives"
EPOCHS = (1, 10, 50, 100, 200, 400, 800)
EVALUATE = {"classification": {"name": "classification", "splits": "random-10/10/80"}}
ROUNDS = 3
EXACT = "all pairs"


def variants(clusters: int) -> dict[str, dict[str, Any]]:
    """Settings beside the dataset's own, by name."""
    return {
        EXACT: {},
        "1,024 anchors": {"anchors": 1024},
        "512 anchors": {"anchors": 512},
        "256 anchors": {"anchors": 256},
        f"PamC, k-means with {clusters}": {"loss": {"proxy": "meta_nodes", "num_clusters": clusters}},
        "PamC, communities": {"loss": {"proxy": "meta_nodes"}},
        f"blocks, k-means with {clusters}": {"loss": {"num_clusters": clusters}},
        "blocks, communities": {"loss": {}},
    }


def parts(batch_size: int) -> dict[str, dict[str, Any]]:
    """Settings beside the dataset's own, by name, of training on parts of the graph."""

    def batch(name: str, **options: Any) -> dict[str, Any]:
        return {"batch": {"name": name, "batch_size": batch_size, **options}}

    return {
        EXACT: {},
        f"{batch_size} nodes, 10 and 10 neighbours": batch("neighbors"),
        f"{batch_size} nodes, all neighbours": batch("neighbors", fanout=[-1, -1]),
        f"communities of {batch_size} nodes": batch("communities"),
        f"walks of {batch_size} steps": batch("walks"),
        f"{batch_size} nodes, recent memory": batch("neighbors")
        | {"memory": {"name": "recent", "size": 4 * batch_size}},
        f"{batch_size} nodes, memory of communities": batch("neighbors") | {"memory": "clusters"},
    }


def known_variants(given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What a command compares."""
    return variants(given.clusters) if given.parts is None else parts(given.parts)


def main() -> None:
    """Runs what has no record, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clusters", type=int, default=50)
    parser.add_argument("--epochs", type=int, help="in place of the settings'")
    parser.add_argument(
        "--variants", nargs="+", metavar="VARIANT", help="only these, without the comparison of gradients"
    )
    parser.add_argument("--parts", type=int, metavar="NODES", help="compare parts of so many nodes")
    parser.add_argument("--cost", type=int, metavar="EPOCHS", help="only time so many epochs of each variant, by turns")
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "SEED"), help="train this alone and print its record")
    given = parser.parse_args()
    if given.cost is not None and given.cost < 2:
        parser.error("--cost needs at least 2 epochs, for the first does not count")
    if given.one:
        name, seed = given.one[0], int(given.one[1])
        print(json.dumps(train(given, name, seed) if given.cost is None else time(given, name, seed)))
        return
    known_names = known_variants(given)
    for name in given.variants or ():
        if name not in known_names:
            parser.error(f"there is no variant {name!r}; there are: {', '.join(map(repr, known_names))}")
    path = given.records / f"{given.dataset.rpartition('/')[2]}.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"runs": [], "cosines": {}}
    epochs = planned_epochs(given)
    if given.cost is not None:
        names = given.variants or list(known_names)
        costs = [apart(name, seed) for seed in range(ROUNDS) for name in names]
        record["costs"] = [cost for cost in record.get("costs", ()) if cost["variant"] not in names] + costs
        write_json(path, record)
        print("\n".join(table(record, epochs, known_names)))
        return
    done = {(run["variant"], run["seed"], run["planned_epochs"]) for run in record["runs"]}
    for seed in range(given.seeds):
        if str(seed) not in record.setdefault("untrained", {}):
            scores = floors(given, seed)
            record["untrained"][str(seed)] = scores.pop("untrained")
            record.setdefault("floors", {}).update(scores)
        for name in given.variants or known_names:
            if (name, seed, epochs) not in done:
                record["runs"].append(apart(name, seed))
                write_json(path, record)
    known = record["cosines"].setdefault(str(epochs), {})
    if (
        given.variants is None
        and given.parts is None
        and any(name not in known for name in known_names if name != EXACT)
    ):
        known.update(cosines(given))
        record.setdefault("cosines_by", {})[str(epochs)] = machine()
        write_json(path, record)
    print("\n".join(table(record, epochs, known_names)))


def apart(name: str, seed: int) -> dict[str, Any]:
    """One run in a process of its own, for its memory."""
    command = [sys.executable, "-m", "benchmarks.negatives_study", *sys.argv[1:], "--one", name, str(seed)]
    environment = {"THP_MEM_ALLOC_ENABLE": "1", **os.environ}  # as the command gcl does
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def train(given: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Trains and scores one variant."""
    epochs = planned_epochs(given)
    stem = f"{given.dataset.rpartition('/')[2]}-{name}-{epochs}-epochs-{seed}"
    folder = given.out / stem.replace(" ", "-").replace(",", "")
    if (folder / CONFIG).is_file():
        result = gcl.resume(folder)
    else:
        result = gcl.pipeline(
            "grace",
            given.dataset,
            seeds=[seed],
            floors=False,
            evaluate=EVALUATE,
            progress=False,
            out=folder,
            **merged(given, name),
        )
    run = result.runs[0]
    return {
        "variant": name,
        "seed": seed,
        "planned_epochs": epochs,
        "accuracy": run.scores["trained"]["classification"].mean("accuracy"),
        "epochs": run.fit["epochs"],
        "seconds": run.cost["seconds"]["train"],
        "peak_memory_bytes": run.cost["peak_memory_bytes"],
        "environment": machine(),
    }


def machine() -> dict[str, Any]:
    """What a figure depends on beside its command."""
    environment = describe_environment()
    return {key: environment[key] for key in ("commit", "processor", "threads")}


def time(given: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Seconds of an epoch of one variant, and the peak memory of this process."""
    options = merged(given, name)
    options["trainer"]["epochs"] = given.cost
    with tempfile.TemporaryDirectory() as folder:
        result = gcl.pipeline(
            "grace", given.dataset, seeds=[seed], floors=False, evaluate=False, progress=False, out=folder, **options
        )
        (log,) = Path(folder).rglob("metrics.jsonl")
        epochs = [json.loads(line)["timing"]["seconds"] for line in log.read_text(encoding="utf-8").splitlines()]
    return {
        "variant": name,
        "seed": seed,
        "epochs": given.cost,
        "seconds_per_epoch": statistics.median(epochs[1:]),
        "peak_memory_bytes": result.runs[0].cost["peak_memory_bytes"],
        "environment": machine(),
    }


def floors(given: argparse.Namespace, seed: int) -> dict[str, float]:
    """Accuracy of the method before training, and of what needs none."""
    result = gcl.pipeline(
        "grace", given.dataset, seeds=[seed], trainer={"epochs": 0}, evaluate=EVALUATE, progress=False
    )
    return {
        name: report.mean("accuracy") for name, report in result.scores["classification"].items() if name != "trained"
    }


def shipped(dataset: str) -> dict[str, Any]:
    """GRACE's settings for a dataset."""
    preset = experiment_file("grace", load_dataset(dataset).name)
    return {} if preset is None else read_yaml(preset)


def planned_epochs(given: argparse.Namespace) -> int:
    """How many epochs a run has, if nothing ends it before."""
    return given.epochs if given.epochs is not None else Trainer(**(shipped(given.dataset).get("trainer") or {})).epochs


def merged(given: argparse.Namespace, name: str) -> dict[str, Any]:
    """Settings of a variant: the shipped ones of the dataset with another loss."""
    base = shipped(given.dataset)
    change = known_variants(given)[name]
    found: dict[str, Any] = {"anchors": change.get("anchors"), "memory": change.get("memory")}
    found["trainer"] = {"batch": change.get("batch")}
    if given.epochs is not None:
        found["trainer"]["epochs"] = given.epochs
    if "loss" in change:
        temperature = (base.get("loss") or {}).get("temperature", 0.4)
        found["loss"] = {"name": "block_infonce", "temperature": temperature, **change["loss"]}
    return found


def cosines(given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Cosine of the gradient of each variant's negative term with the exact one, by variant and epoch."""
    graph = load_dataset(given.dataset).graph.for_training()
    base = shipped(given.dataset)
    options = {key: base[key] for key in ("augment", "encoder", "projector", "loss") if key in base}
    trainer = dict(base.get("trainer") or {})
    if given.epochs is not None:
        trainer["epochs"] = given.epochs
    streams, method = Streams(0), GRACE(**options)
    torch.manual_seed(0)
    method.build(graph.spec, method.prepare(graph, streams))
    communities = resolve("communities", "communities").fit(graph, generator=streams.generator("communities"))
    clusters = communities.labels_
    exact = method.loss_
    found: dict[str, dict[str, float]] = {name: {} for name in variants(given.clusters) if name != EXACT}

    def compare(clock: Any, record: Any) -> None:
        if clock.epoch not in EPOCHS:
            return
        views = method.two_views(graph, streams)
        assert views is not None
        z = [method.projector_(view).detach().requires_grad_() for view in views]

        def gradient(loss: Any, context: LossContext) -> Tensor:
            # By the rows before they are normalised: what points along them reaches no weight.
            h1, h2 = (unit_rows(rows) for rows in z)
            return torch.cat([part.flatten() for part in torch.autograd.grad(loss.negative_term(h1, h2, context), z)])

        context = LossContext(epoch=clock.epoch, clusters=clusters)
        whole = gradient(exact, context)
        for name, change in variants(given.clusters).items():
            if name == EXACT:
                continue
            if "anchors" in change:
                order = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(clock.epoch))
                part = gradient(exact, LossContext(epoch=clock.epoch, anchors=order[: change["anchors"]].sort().values))
            else:
                loss = resolve("loss", {"name": "block_infonce", "temperature": exact.temperature, **change["loss"]})
                part = gradient(loss, context)
            found[name][str(clock.epoch)] = float(torch.cosine_similarity(whole, part, dim=0))

    Trainer(**trainer).fit(method, graph, streams=streams, progress=False, on_epoch=compare)
    return found


def table(record: dict[str, Any], epochs: int, names: Iterable[str]) -> list[str]:
    """Markdown of the runs of so many epochs of some variants."""
    lines = [
        "| negatives | accuracy | s an epoch | MiB | cosine with the exact gradient, by epoch |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    lines += [f"| {name} | {percent([value])} | | | |" for name, value in record.get("floors", {}).items()]
    if record.get("untrained"):
        lines.append(f"| untrained | {percent(list(record['untrained'].values()))} | | | |")
    chosen = [run for run in record["runs"] if run["planned_epochs"] == epochs]
    cosines_of = record["cosines"].get(str(epochs), {})
    for name in names:
        runs = [run for run in chosen if run["variant"] == name]
        if not runs:
            continue
        seconds = min(run["seconds"] / max(run["epochs"], 1) for run in runs)
        memory = max(run["peak_memory_bytes"] for run in runs) / 2**20
        apart = [cost for cost in record.get("costs", ()) if cost["variant"] == name]
        if apart:
            seconds = statistics.median(cost["seconds_per_epoch"] for cost in apart)
            memory = max(cost["peak_memory_bytes"] for cost in apart) / 2**20
        along = ", ".join(f"{epoch}: {value:.2f}" for epoch, value in cosines_of.get(name, {}).items())
        accuracy = percent([run["accuracy"] for run in runs])
        lines.append(f"| {name} | {accuracy} | {seconds:.3f} | {memory:.0f} | {along} |")
    return lines


if __name__ == "__main__":
    main()
