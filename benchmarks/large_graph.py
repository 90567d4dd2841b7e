"""A graph of a million nodes from tables to embeddings, stage by stage, with time and memory along the run.

    python -m benchmarks.large_graph [--nodes 1000000] [--edges 10000000] [--features 100] [--out large.json]

writes tables of edges and features, stores them as mapped arrays, opens them, prepares CSGCL, trains it for one epoch
of 500 batches of sampled neighbours and embeds all nodes, each in a process of its own. Memory is sampled every half
second: the resident set, and what of it is not pages of files. ``--out`` gets the samples, and a picture of the same
name. Times count only where nothing else runs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.graphs import community_graph
from gcl.core.files import atomic_write, write_json

BATCHES, EVERY = 500, 0.5


def main() -> None:
    """Runs all stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--out", type=Path, help="samples of memory, and a picture beside it")
    given = parser.parse_args()
    stages: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, step in (
            ("tables written", lambda: write_tables(folder, given.nodes, given.edges, given.features)),
            ("stored as arrays", lambda: store(folder)),
            ("opened", lambda: open_stored(folder)),
            ("prepared, trained and embedded", lambda: train(folder, given.nodes)),
        ):
            stages[name] = apart(step)
            record = stages[name]
            print(
                f"{name:<34} {record['seconds']:8.1f} s, resident {record['peak_gib']:.2f} GiB at most, of it "
                f"{record['peak_own_gib']:.2f} without files; {record['said']}",
                flush=True,
            )
    if given.out is not None:
        write_json(given.out, {"settings": vars(given) | {"out": str(given.out)}, "stages": stages})
        draw(stages, given.out.with_suffix(".png"))


def apart(step: Callable[[], str]) -> dict[str, Any]:
    """Runs a stage in a fresh process and watches its memory."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_watched, args=(step, sender))
    process.start()
    sender.close()
    try:
        record: dict[str, Any] = receiver.recv()
    except EOFError:
        raise SystemExit("a stage failed") from None
    process.join()
    return record


def _watched(step: Callable[[], str], sender: Any) -> None:
    samples: list[tuple[float, float, float]] = []
    started, over = time.perf_counter(), threading.Event()

    def watch() -> None:
        while True:
            samples.append((round(time.perf_counter() - started, 2), *resident()))
            if over.wait(EVERY):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        said = step()
    finally:
        over.set()
        watcher.join()
    seconds = time.perf_counter() - started
    whole, own = (max(sample[at] for sample in samples) for at in (1, 2))
    sender.send({"seconds": seconds, "peak_gib": whole, "peak_own_gib": own, "said": said, "samples": samples})


def resident() -> tuple[float, float]:
    """GiB of this process in memory, and without pages of files."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon"):
            found[name] = int(value.split()[0]) / 2**20
    return round(found["VmRSS"], 3), round(found["RssAnon"], 3)


def write_tables(folder: Path, nodes: int, edges: int, features: int) -> str:
    """A graph of communities with heavy-tailed degrees; its features are of 5,000 kinds."""
    arcs = community_graph(nodes, edges).numpy()
    arcs = arcs[:, arcs[0] < arcs[1]]
    with open(folder / "edges.csv", "w", encoding="utf-8") as stream:
        stream.write("source,target\n")
        for part in np.array_split(arcs, max(edges // 1_000_000, 1), axis=1):
            stream.write("\n".join(map("{},{}".format, part[0].tolist(), part[1].tolist())) + "\n")
    random = np.random.default_rng(0)
    kinds = [",".join(map("{:.2f}".format, row)) for row in random.normal(size=(5000, features)).tolist()]
    with open(folder / "features.csv", "w", encoding="utf-8") as stream:
        stream.write(",".join(f"f{at}" for at in range(features)) + "\n")
        for part in np.array_split(random.integers(0, len(kinds), nodes), max(nodes // 10_000, 1)):
            stream.write("\n".join(kinds[kind] for kind in part.tolist()) + "\n")
    sizes = [(folder / name).stat().st_size / 2**20 for name in ("edges.csv", "features.csv")]
    return f"{sizes[0]:.0f} and {sizes[1]:.0f} MiB"


def store(folder: Path) -> str:
    """Tables to arrays."""
    from gcl.data.store_graph import store_graph

    said: list[str] = []
    place = folder / "stored"
    store_graph(
        folder / "edges.csv", place, features=folder / "features.csv", memory=2**28, say=lambda line: said.append(line)
    )
    return f"{', '.join(said)}, {sum(path.stat().st_size for path in place.iterdir()) / 2**20:.0f} MiB"


def open_stored(folder: Path) -> str:
    """The graph, none of its values read."""
    from gcl.data.load import load_dataset

    started = time.perf_counter()
    graph = load_dataset(folder / "stored").graph
    return f"{graph.num_nodes:,} nodes in {time.perf_counter() - started:.3f} s after the imports"


def train(folder: Path, nodes: int) -> str:
    """What a user calls."""
    import torch

    import gcl

    torch.set_num_threads(1)
    result = gcl.pipeline(
        "csgcl",
        str(folder / "stored"),
        encoder={"out_channels": 128, "hidden_channels": 128},
        loss={"ramp_start": 0},
        trainer={"epochs": 1, "batch": {"name": "neighbors", "batch_size": -(-nodes // BATCHES), "fanout": [10, 10]}},
        floors=False,
        evaluate=False,
        out=folder / "run",
    )
    run = result.runs[0]
    seconds = run.cost["seconds"]
    return (
        f"{run.fit['steps']} steps in {seconds['train']:.0f} s after {seconds['prepare']:.0f} s of preparation, "
        f"embeddings {list(run.outputs.main.shape)}"
    )


def draw(stages: dict[str, Any], path: Path) -> None:
    """Memory along the last stage."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    seconds, whole, own = zip(*list(stages.values())[-1]["samples"], strict=True)
    axes.plot(seconds, whole, label="resident")
    axes.plot(seconds, own, label="without pages of files")
    axes.set(xlabel="seconds", ylabel="GiB", ylim=(0, None))
    axes.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)


if __name__ == "__main__":
    main()
