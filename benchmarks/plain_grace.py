"""GRACE on Cora as a textbook would write it: PyG layers, dense N x N losses, torch's global generator.

A second opinion on what the method reaches under its settings, independent of this package's augmenters, encoders,
losses and loop; only the data and the evaluation protocol are shared.

    python -m benchmarks.plain_grace --data-root DATA --seeds 5
"""

from __future__ import annotations

import argparse
import statistics

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GCNConv
from torch_geometric.utils import dropout_edge

from gcl.data.load import load_dataset
from gcl.evaluate.grace_protocol import grace_protocol

EPOCHS, TEMPERATURE, VIEWS = 200, 0.4, ((0.2, 0.3), (0.4, 0.4))  # (edge drop, feature drop) of each view


def one_way(a, b):
    a, b = F.normalize(a), F.normalize(b)
    intra, inter = torch.exp(a @ a.T / TEMPERATURE), torch.exp(a @ b.T / TEMPERATURE)
    return -torch.log(inter.diag() / (intra.sum(1) + inter.sum(1) - intra.diag()))


def embeddings(graph, seed):
    torch.manual_seed(seed)
    x, edge_index = graph.x, graph.adjacency.edge_index()
    first, second = GCNConv(x.shape[1], 256), GCNConv(256, 128)
    head1, head2 = nn.Linear(128, 128), nn.Linear(128, 128)
    modules = nn.ModuleList([first, second, head1, head2])
    optimizer = torch.optim.Adam(modules.parameters(), lr=5e-4, weight_decay=1e-5)

    def encode(x, edge_index):
        return F.relu(second(F.relu(first(x, edge_index)), edge_index))

    def project(edge_drop, feature_drop):
        masked = torch.rand(x.shape[1]) < feature_drop
        view = x.clone()
        view[:, masked] = 0
        return head2(F.elu(head1(encode(view, dropout_edge(edge_index, p=edge_drop)[0]))))

    for _ in range(EPOCHS):
        h1, h2 = (project(*view) for view in VIEWS)
        loss = (0.5 * (one_way(h1, h2) + one_way(h2, h1))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return encode(x, edge_index)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    graph = load_dataset("cora", data_root=options.data_root).graph
    scores = []
    for seed in range(options.first, options.first + options.seeds):
        scores.append(100 * grace_protocol(embeddings(graph, seed), graph.attr("y")).mean("accuracy"))
        print(f"seed {seed}: {scores[-1]:.2f}", flush=True)
    if len(scores) > 1:
        print(f"mean {statistics.fmean(scores):.2f}, standard deviation {statistics.stdev(scores):.2f}")


if __name__ == "__main__":
    main()
