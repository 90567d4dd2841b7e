"""LightGCL: a step, its negatives, and the evaluation of a recommender."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from benchmarks.case import Case, Options, Sides, compare
from benchmarks.graphs import interaction_graph
from benchmarks.plain import lightgcl as plain
from gcl.core.context import Clock, Outputs
from gcl.core.streams import Streams
from gcl.evaluate.held_interactions import HeldInteractions
from gcl.evaluate.ranking import Ranking
from gcl.methods.lightgcl import LightGCL
from gcl.ops.negative_sampling import sample_negatives

TITLE = "LightGCL and ranking"
SUMMARY = (
    "At the size of Gowalla (synthetic, heavy-tailed degrees), 64 columns, 2 layers, batches of 4,096 interactions. "
    "The plain step is the released program's: COO products, and dense logits of the batch's users and items against "
    "all; ours without `anchors` computes the same loss and gradient. With 1,024 anchors ours is an unbiased estimate "
    "of it, and the plain side is still the whole step. Plain sampling tests a dictionary of keys in a loop; plain "
    "evaluation sorts all items and loops over users. Sampling is of all interactions, evaluation of 1,024 users."
)
SIZE = {"num_users": 29_858, "num_items": 40_981, "num_pairs": 810_128, "batch_size": 4096}
SMALL = {"num_users": 300, "num_items": 200, "num_pairs": 3000, "batch_size": 256}
QUICK = {"num_users": 400, "num_items": 300, "num_pairs": 4000, "batch_size": 256}
WIDTH, LAYERS, RANK, TEMPERATURE, WEIGHT, L2 = 64, 2, 5, 0.2, 0.2, 1e-7


def cases(options: Options) -> list[Case]:
    size = options.pick(SIZE, QUICK)
    made = []
    for anchors, goals in ((None, {"ratio": 2.5, "memory_ratio": 20}), (options.pick(1024, 64), {"ratio": 10.0})):
        made.append(
            Case(
                label="step, all anchors" if anchors is None else f"step, {anchors:,} anchors",
                build=step_sides,
                arguments={**size, "anchors": anchors},
                small={**SMALL, "anchors": None if anchors is None else 32},
                repeats=3,
                plain_repeats=2,
                plain_bytes=4 * 4.0 * size["batch_size"] * (size["num_users"] + 2 * size["num_items"]),
                memory=anchors is None,
                goals=goals,
            )
        )
    made.append(
        Case("negatives of an epoch", sampling_sides, size, SMALL, repeats=5, plain_repeats=1, goals={"ratio": 50.0})
    )
    made.append(Case("evaluation", evaluation_sides, size, SMALL, repeats=3, plain_repeats=1, goals={"ratio": 10.0}))
    return made


def step_sides(num_users: int, num_items: int, num_pairs: int, batch_size: int, anchors: int | None = None) -> Sides:
    graph = interaction_graph(num_users, num_items, num_pairs)
    shared = {
        "embedding_dim": WIDTH, "num_layers": LAYERS, "batch_size": batch_size, "rank": RANK, "l2": L2,
        "contrast_weight": WEIGHT,
    }  # fmt: skip
    method, streams, clock = LightGCL(anchors=anchors, **shared), Streams(0), Clock(epoch=1)
    method.build(graph.spec, method.prepare(graph, streams))
    method.outputs(graph)  # lays the operator out, as once a training; the plain matrix is made beforehand, too
    batch = next(iter(method.batches(graph, clock, streams)))
    assert method.svd_u_ is not None
    assert method.svd_s_ is not None
    assert method.svd_v_ is not None
    users, items = graph.adjacency.row.long(), graph.adjacency.col.long()
    matrix = plain.normalised(users, items, (num_users, num_items))
    factors = (method.svd_u_, method.svd_s_, method.svd_v_)
    tables = [part.clone().requires_grad_() for part in method.embedding_.detach().split([num_users, num_items])]
    triple = (batch.index, batch.positives, batch.negatives)

    def ours() -> list[Tensor]:
        loss = method.training_step(batch, clock, streams).loss
        return [loss.detach(), *torch.autograd.grad(loss, [method.embedding_])]

    def textbook(nodes: tuple[Tensor, Tensor] | None = None) -> list[Tensor]:
        loss = plain.step(
            matrix, factors, *tables, triple,
            num_layers=LAYERS, temperature=TEMPERATURE, contrast_weight=WEIGHT, l2=L2, anchors=nodes,
        )  # fmt: skip
        return [loss.detach(), torch.cat(torch.autograd.grad(loss, tables))]

    def check() -> float:
        chosen = None
        if anchors is not None:  # the same anchors on both sides, repeats and all
            merged = method.batch_anchors(batch, clock, streams)
            chosen = tuple(nodes.repeat_interleave(counts) for nodes, counts in merged)
        return compare(ours(), textbook(chosen))

    return Sides(ours, textbook, check=check)


def sampling_sides(num_users: int, num_items: int, num_pairs: int, batch_size: int) -> Sides:
    graph = interaction_graph(num_users, num_items, num_pairs)
    rows = graph.adjacency.row.long()
    taken = dict.fromkeys(zip(rows.tolist(), graph.adjacency.col.tolist(), strict=True))
    users = rows.numpy()

    def ours() -> Tensor:
        return sample_negatives(graph.adjacency, rows, generator=torch.Generator().manual_seed(0))

    def check() -> float:
        for drawn in (ours().tolist(), plain.sample_negatives(users, taken, num_items).tolist()):
            assert not any(pair in taken for pair in zip(users.tolist(), drawn, strict=True))
        return 0.0

    return Sides(ours, lambda: plain.sample_negatives(users, taken, num_items), check=check)


def evaluation_sides(num_users: int, num_items: int, num_pairs: int, batch_size: int) -> Sides:
    whole = interaction_graph(num_users, num_items, num_pairs)
    scored = min(1024, num_users)
    generator = torch.Generator().manual_seed(1)
    row, col = whole.adjacency.row.long(), whole.adjacency.col.long()
    test = (torch.rand(row.numel(), generator=generator) < 0.2) & (row < scored)
    graph = interaction_graph(num_users, num_items, num_pairs, keep=~test, test=torch.stack([row[test], col[test]]))
    z = [torch.randn(count, WIDTH, generator=generator) for count in (num_users, num_items)]
    outputs, ranking = Outputs({"user": z[0], "item": z[1]}), Ranking(k=[20], validation=0.0)
    _, held = ranking.split(graph, seed=0)
    assert isinstance(held, HeldInteractions)
    shape = (num_users, num_items)
    kept = ~test
    train = sp.csr_matrix((np.ones(int(kept.sum()), np.float32), (row[kept].numpy(), col[kept].numpy())), shape=shape)
    wanted: list[list[int]] = [[] for _ in range(scored)]
    for user, item in zip(row[test].tolist(), col[test].tolist(), strict=True):
        wanted[user].append(item)

    def ours() -> Tensor:
        report = ranking.evaluate(outputs, held, seed=0)
        return torch.tensor([report.mean("recall@20"), report.mean("ndcg@20")])

    def textbook() -> Tensor:
        return torch.tensor(plain.evaluate(*z, train, wanted))

    return Sides(ours, textbook, check=lambda: compare([ours()], [textbook()]))
