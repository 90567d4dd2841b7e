"""MEOW, AdaMEOW and HeCo: memory of a step by the number of target nodes, and AMiner's meta-paths."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Case, Options, Point, Sides
from gcl.core.adjacency import Adjacency
from gcl.core.context import Batch, Clock
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.core.resolve import resolve
from gcl.core.streams import Streams
from gcl.data.load import load_dataset

TITLE = "Meta-paths"
SUMMARY = (
    "One training step, forward and backward, of 64 columns on a synthetic graph of papers, 3 authors and 1 venue a "
    "paper; memory above what the graph and the prepared tensors take. MEOW with all anchors and k-means of 100 and "
    "300 clusters (2 iterations), AdaMEOW with 1,024 anchors, HeCo with all pairs. *AMiner*: from the graph to the "
    "end of the first step, the composition of its meta-paths included."
)
NODES = (7_500, 15_000, 30_000, 60_000)
FEW = {"iterations": 2, "restarts": 1}
METHODS: dict[str, dict[str, Any]] = {
    "meow": {"top": 20, "loss": {"name": "weighted_infonce", "temperature": 0.5, **FEW}},
    "adameow": {"top": 20, "anchors": 1024},
    "heco": {},
}


def cases(options: Options) -> list[Case]:
    made = []
    small = {"name": "meow", "num_nodes": 600}
    for name in METHODS:
        curve = f"{name}: MiB of a step by target nodes"
        made.extend(
            Case(
                label=f"{curve}, N={n:,}",
                build=step_sides,
                arguments={"name": name, "num_nodes": n},
                small={**small, "name": name},
                memory=not options.quick,
                timed=options.quick,
                repeats=1,
                point=Point(curve, n, 1, options.pick("mib", "seconds")),
            )
            for n in options.nodes(*NODES, quick=(600, 1200))
        )
    if options.quick:
        return made
    real = aminer() is not None
    made.extend(
        Case(
            label=f"{name}, AMiner{'' if real else ', synthetic'}, from the graph on",
            build=whole_sides,
            arguments={"name": name, "num_nodes": None},
            small={**small, "name": name},
            memory=True,
            timed=False,
            goals={"peak_mib": 4096},
        )
        for name in METHODS
    )
    return made


@functools.lru_cache(maxsize=2)
def problem(num_nodes: int) -> Graph:
    """Papers with authors and venues."""
    generator = torch.Generator().manual_seed(0)
    authors, venues = num_nodes * 3 // 2, num_nodes // 15
    paper = torch.arange(num_nodes).repeat_interleave(3)
    author = torch.randint(authors, (3 * num_nodes,), generator=generator)
    venue = torch.randint(venues, (num_nodes,), generator=generator)
    arcs = {"author": torch.stack([author, paper]), "venue": torch.stack([venue, torch.arange(num_nodes)])}
    counts = {"paper": num_nodes, "author": authors, "venue": venues}
    return Graph(
        features={"paper": torch.rand(num_nodes, 64, generator=generator)},
        relations={
            kind: Adjacency.from_edge_index(index, (num_nodes, counts[kind]), duplicates="first").with_weight(None)
            for kind, index in arcs.items()
        },
        relation_types={kind: (kind, "paper") for kind in arcs},
        num_nodes_by_type=counts,
        target="paper",
    )


def aminer() -> Graph | None:
    """The real one, where it lies in the data root."""
    try:
        return load_dataset("hetero/aminer").graph.for_training()
    except DataError:
        return None


def _ready(name: str, graph: Graph) -> Any:
    settings = dict(METHODS[name])
    other = "venue" if "venue" in graph.num_nodes_by_type else "reference"
    if name == "heco":
        settings["neighbors"] = {"author": 3, other: 1}
    paths = [f"paper-{kind}-paper" for kind in ("author", other)]
    method = resolve("method", {"name": name, "metapaths": paths, **settings})
    streams = Streams(0)
    prepared = method.prepare(graph, streams)
    with streams.scope("build"):
        method.build(graph.spec, prepared)
    return method.train()


def _step(method: Any, graph: Graph) -> list[Tensor]:
    loss = method.training_step(Batch(graph), Clock(epoch=1), Streams(0)).loss
    return list(torch.autograd.grad(loss, [p for p in method.parameters() if p.requires_grad], allow_unused=True))


def step_sides(name: str, num_nodes: int) -> Sides:
    graph = problem(num_nodes)
    method = _ready(name, graph)
    with torch.no_grad():
        method.outputs(graph)  # operators are made once
    return Sides(lambda: _step(method, graph))


def whole_sides(name: str, num_nodes: int | None) -> Sides:
    graph = (aminer() or problem(6_564)) if num_nodes is None else problem(num_nodes)
    return Sides(lambda: _step(_ready(name, graph), graph))
