"""A small method that uses everything a trainer offers, shared by the tests of training."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gcl.core.adjacency import Adjacency
from gcl.core.context import Batch, Outputs, Stage, StepOutput
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.methods.method import Method
from gcl.train.checkpoint import CheckpointStore
from gcl.train.trainer import Trainer

NODES, FEATURES, BATCHES = 12, 5, 3


def tiny_graph() -> Graph:
    x = torch.randn(NODES, FEATURES, generator=torch.Generator().manual_seed(7))
    ring = torch.arange(NODES)
    return Graph.homogeneous(x, Adjacency.from_edge_index(torch.stack([ring, (ring + 1) % NODES]), (NODES, NODES)))


class TinyMethod(Method):
    """A linear model with dropout, drawn noise, two stages, shuffled batches and a moving average.

    It also draws from every global generator, as foreign modules do.
    """

    def __init__(self, *, nan_at: int | None = None, epochs: tuple[int | None, int | None] = (3, 4), before_step=None):
        super().__init__()
        self.nan_at, self.epochs, self.before_step = nan_at, epochs, before_step
        self.inits: list[str] = []

    def build(self, spec=None, prepared=None):
        torch.manual_seed(3)
        self.linear = nn.Linear(FEATURES, 4)
        self.head = nn.Linear(4, 4)
        self.tied = self.head  # shared tensors
        self.dropout = nn.Dropout(0.3)
        self.register_buffer("average", torch.zeros(4, FEATURES))
        self.register_buffer("centres", None)
        self.register_buffer("epoch_weight", torch.zeros(NODES))
        return self

    def stages(self):
        def init(graph, clock, streams):
            assert (clock.stage, clock.stage_index, clock.epoch) == ("main", 1, 0)
            assert not self.training
            assert graph.num_nodes == NODES
            self.inits.append("main")
            self.centres = self.linear.weight.detach().clone() + torch.rand(4, FEATURES)
            self.centres += streams.generator("centres", clock.stage_index).initial_seed() % 7 / 100

        return (
            Stage("pretrain", epochs=self.epochs[0], parameters=lambda: list(self.linear.parameters())),
            Stage("main", epochs=self.epochs[1], learning_rate=0.02, init=init),
        )

    def batches(self, graph, clock, streams):
        order = torch.randperm(NODES, generator=streams.generator("shuffle", clock.epoch)) + torch.randint(1, (1,))
        for rows in order.chunk(BATCHES):
            yield Batch(graph, index=rows[torch.randperm(rows.numel())][: 2 + np.random.randint(2)])

    def on_epoch_start(self, graph, clock, streams):
        # Depends on the weights and on the global generator: it must not be made again in the middle of an epoch.
        self.epoch_weight = torch.rand(NODES) + self.linear.weight.detach().sum().sigmoid()

    def training_step(self, batch, clock, streams):
        if self.before_step is not None:
            self.before_step(clock)
        noise = torch.randn(NODES, FEATURES, generator=streams.generator("noise", clock.epoch, clock.batch))
        x = batch.graph.x + 0.1 * noise + 0.01 * (np.random.rand() + random.random())
        h = self.dropout(self.head(self.dropout(self.linear(x))))[batch.index]
        fit = (self.epoch_weight[batch.index, None] * (h - batch.graph.x[batch.index, :4]).square()).mean()
        pull = torch.zeros(()) if self.centres is None else (self.linear.weight - self.centres).square().mean()
        if clock.step == self.nan_at:
            pull = pull * float("nan")
        return StepOutput(fit + 0.1 * pull, {"fit": fit.detach(), "pull": pull.detach()})

    def after_step(self, clock):
        self.average.lerp_(self.linear.weight.detach(), 1 / (1 + clock.step))

    @torch.no_grad()
    def outputs(self, graph):
        return Outputs({"node": self.linear(graph.x)})


def tiny_trainer(**settings) -> Trainer:
    defaults = {"learning_rate": 0.05, "checkpoint_every": 2, "device": "cpu", "scheduler": "cosine", "select": "loss"}
    return Trainer(**{**defaults, **settings})


def fit(run_dir: Path | None, method: TinyMethod | None = None, *, resume=False, seed=5, trainer=None, **keywords):
    method = method or TinyMethod().build()
    keywords = {"progress": False, "fingerprints": {"data": "d", "prepared": "p", "config": "c"}, **keywords}
    trainer = trainer or tiny_trainer()
    result = trainer.fit(method, tiny_graph(), streams=Streams(seed), run_dir=run_dir, resume=resume, **keywords)
    return method, result


def records(run_dir: Path) -> list[dict]:
    """The log without what depends on the clock on the wall."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["timing"]
    return lines


def weight_bytes(run_dir: Path, name: str = "last") -> bytes:
    """The weights' file of a checkpoint, as it is."""
    folder = json.loads((run_dir / "checkpoint" / f"{name}.json").read_text())["folder"]
    CheckpointStore(run_dir / "checkpoint").load(name)  # verifies
    return (run_dir / "checkpoint" / folder / "model.safetensors").read_bytes()
