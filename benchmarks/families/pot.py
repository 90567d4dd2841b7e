"""POT: the term alone, and a training step with it."""

from __future__ import annotations

import torch

from benchmarks.case import Case, Options, Sides, compare
from benchmarks.families.epoch import SHAPES
from benchmarks.graphs import community_graph, graph_of, real_graph, sparse_features
from benchmarks.plain.pot import PlainPOT
from gcl.core.context import Batch, Clock, StepContext
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.methods.grace import GRACE

TITLE = "POT"
SUMMARY = (
    "POT's term in mode `reference` with its gradient. The plain side keeps dense N by N bounds, made before the clock "
    "starts, and leaves the rest to autograd. *Bound*: from given embeddings to the gradients of weights and "
    "embeddings. *With both encoder passes*: the same with the views' embeddings and their gradient, the memory that "
    "POT alone needs in training, above what the graph, its features and the libraries take. *Step*: GRACE with "
    "edge dropping of 0.4 and 0.3, Adam included, beside the same step without POT, the loss on all nodes and, where "
    "the row says so, on a fresh subset (then scored in block rows, as the study does). Weights and value are compared "
    "with the plain side's."
)
DROP_PROBS = (0.4, 0.3)


def cases(options: Options) -> list[Case]:
    quick = options.quick
    small = {"name": "cora", "num_nodes": 300, "synthetic": True, "width": 16}
    made = []

    def add(label: str, name: str, kind: str, goals: dict[str, float], *, width: int, mode: str = "reference", **extra):  # type: ignore[no-untyped-def]
        n = extra.pop("num_nodes", None)
        there = not quick and n is None and real_graph(name) is not None
        nodes = n or SHAPES[name][0]
        if quick:
            n, nodes = 300, 300
        more = {"kind": kind, "mode": mode, **extra}
        made.append(
            Case(
                label=label + ("" if there or n else ", synthetic"),
                build=sides,
                arguments={
                    "name": name,
                    "num_nodes": n,
                    "synthetic": not there,
                    "width": 16 if quick else width,
                    **more,
                },
                small={**small, **more, "num_edges": None, **({"subset": 100} if extra.get("subset") else {})},
                repeats=options.pick(7 if nodes < 5000 else 3, 1),
                plain_bytes=16 * 4.0 * nodes * nodes,
                plain_only_with_all=nodes > 12_000,
                memory=not quick and (kind != "step" or nodes > 12_000),
                timed=nodes < 100_000,
                goals=goals,
            )
        )

    add("bound, Cora", "cora", "bound", {"ratio": 9.0}, width=128)
    add("step, Cora", "cora", "step", {"of_base": 1.5}, width=128)
    if quick:
        return made
    for mode in ("relaxed", "certified"):
        add(f"step, Cora, mode {mode}", "cora", "step", {}, width=128, mode=mode)
    add("with both encoder passes, PubMed", "pubmed", "passes", {"peak_mib": 1024}, width=256)
    add("step, PubMed", "pubmed", "step", {"of_base": 1.5}, width=256)
    add("step, PubMed, a subset of 4,096", "pubmed", "step", {"of_base": 1.5}, width=256, subset=4096)
    add(
        "with both encoder passes, 170,000 nodes and 1.2 million edges",
        "pubmed", "passes", {"peak_mib": 4096}, width=128, num_nodes=170_000, num_edges=1_200_000,
    )  # fmt: skip
    return made


def sides(
    name: str,
    num_nodes: int | None,
    synthetic: bool,
    width: int,
    kind: str,
    mode: str = "reference",
    subset: int | None = None,
    num_edges: int | None = None,
) -> Sides:
    graph = None if synthetic else real_graph(name)
    if graph is None:
        nodes, edges, columns, density = SHAPES[name]
        n = num_nodes or nodes
        arcs = community_graph(n, num_edges or edges * n // nodes)
        wide = columns if n < 100_000 else 128
        graph = graph_of(arcs, n, sparse_features(n, wide, density))
    method, without = (_method(graph, width, mode if pot else None, subset) for pot in (True, False))
    streams = Streams(0)
    views = method._views(graph, streams, "fixed")
    encoder = method.encoder_
    parameters = [*encoder.layers_.weights, *encoder.layers_.biases]
    with torch.no_grad():
        for bias in encoder.layers_.biases:
            bias.normal_(std=0.1)

    def context(given: list[torch.Tensor] | None = None) -> StepContext:
        traces: tuple[list, list] = ([], [])
        z = given or [encoder(view, trace=trace) for view, trace in zip(views, traces, strict=True)]
        return StepContext(
            graph, views, tuple(z), tuple(z), traces, encoder, None, Clock(epoch=1), method.regularizer_state_
        )

    if kind == "step":
        optimizers = [torch.optim.Adam(m.parameters(), lr=5e-4, weight_decay=1e-5) for m in (method, without)]
        clock = {"epoch": 0}

        def step(index: int) -> None:
            clock["epoch"] += 1
            optimizers[index].zero_grad()
            chosen = (method, without)[index]
            chosen.training_step(Batch(graph), Clock(epoch=clock["epoch"]), streams).loss.backward()
            optimizers[index].step()

        def ours() -> None:
            step(0)

    elif kind == "bound":
        with torch.no_grad():
            leaves = [encoder(view) for view in views]
        leaves = [z.requires_grad_() for z in leaves]

        def ours() -> None:
            torch.autograd.grad(method.regularizer_(context(leaves)), [*parameters, *leaves])

    else:

        def ours() -> None:
            torch.autograd.grad(method.regularizer_(context()), parameters)

    if graph.num_nodes > 12_000 or mode != "reference" or subset is not None:
        return Sides(ours, base=(lambda: step(1)) if kind == "step" else None)
    x = views[0].x
    plain = PlainPOT(graph.adjacency.edge_index(), graph.num_nodes, DROP_PROBS)
    matrices = [plain.normalized(plain.dense(view.edge_index)) for view in views]

    def term(z: list[torch.Tensor]) -> torch.Tensor:
        return plain.term(x, list(encoder.layers_.weights), list(encoder.layers_.biases), matrices, z)

    def plain_step() -> None:
        if kind == "bound":
            torch.autograd.grad(term(leaves), [*parameters, *leaves])
            return
        z = [encoder(view) for view in views]
        value = term(z)
        if kind == "step":
            h = [method.projector_(part) for part in z]
            value = 0.6 * method.loss_(h[0], h[1]) + 0.4 * value
        torch.autograd.grad(value, parameters)

    def check() -> float:
        mine = method.regularizer_(context())
        theirs = term([encoder(view) for view in views])
        return compare(
            [mine, *torch.autograd.grad(mine, parameters)],
            [theirs, *torch.autograd.grad(theirs, parameters)],
            limit=1e-2,
        )

    return Sides(ours, plain_step, base=(lambda: step(1)) if kind == "step" else None, check=check)


def _method(graph: Graph, width: int, mode: str | None, subset: int | None) -> GRACE:
    rows = "block" if subset is not None and mode in ("reference", "target") else "full"
    regularizer = None if mode is None else {"name": "pot", "weight": 0.4, "mode": mode, "rows": rows}
    method = GRACE(
        augment={
            f"view{index}": {"edge": {"name": "edge_drop", "drop_prob": p}, "feature": None}
            for index, p in enumerate(DROP_PROBS, start=1)
        },
        encoder={"name": "gcn", "out_channels": width},
        projector={"name": "mlp", "hidden_channels": width},
        loss={"name": "infonce", "temperature": 0.7},
        regularizer=regularizer,
        subset=subset,
    )
    prepared = method.prepare(graph, Streams(0))
    with Streams(0).scope("build"):
        method.build(graph.spec, prepared)
    return method.train()
