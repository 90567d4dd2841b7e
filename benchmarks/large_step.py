"""One whole-graph step of CSGCL at the size of ogbn-arxiv: core seconds and memory.

    python -m benchmarks.large_step [--nodes 169343] [--edges 1157799] [--features 128] [--anchors 512] [--steps 3]

draws a graph of communities, prepares CSGCL on it (128 wide, anchors of each view against all keys of both) and does
some steps, forward, backward and Adam. Core seconds are those of all threads of the process.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import torch

from benchmarks.graphs import community_graph
from gcl.core.adjacency import Adjacency
from gcl.core.context import Batch, Clock
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.methods.csgcl import CSGCL


def main() -> None:
    """Prepares and steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("nodes", 169_343), ("edges", 1_157_799), ("features", 128), ("anchors", 512), ("steps", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    torch.set_num_threads(1)
    x = torch.randn(given.nodes, given.features, generator=torch.Generator().manual_seed(0))
    arcs = Adjacency.from_edge_index(community_graph(given.nodes, given.edges), (given.nodes, given.nodes))
    graph, streams = Graph.homogeneous(x, arcs), Streams(0)
    method = CSGCL(
        anchors=given.anchors,
        encoder={"name": "gcn", "out_channels": 128, "hidden_channels": 128},
        projector={"name": "mlp", "hidden_channels": 128},
        loss={"name": "team_up", "ramp_start": 0},
    )
    started = time.process_time()
    prepared = method.prepare(graph, streams)
    with streams.scope("init"):
        method.build(graph.spec, prepared)
    print(f"prepared in {time.process_time() - started:.1f} core seconds", flush=True)
    optimizer = torch.optim.Adam(method.parameters())
    seconds = []
    for step in range(given.steps):
        started = time.process_time()
        optimizer.zero_grad()
        output = method.training_step(Batch(graph), Clock(epoch=1, batch=step, step=step), streams)
        output.loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - started)
        print(f"step {step + 1}: {seconds[-1]:.2f} core seconds, loss {output.loss.item():.4f}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{given.nodes:,} nodes, {arcs.num_arcs:,} arcs, {given.anchors} anchors: {statistics.median(seconds):.2f} "
        f"core seconds a step (median of {given.steps}), peak {peak:.2f} GiB of the process"
    )


if __name__ == "__main__":
    main()
