"""The records that pass between the parts of a training step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, unknown

if TYPE_CHECKING:
    from gcl.core.graph import Graph
    from gcl.core.streams import Streams
    from gcl.core.view import View


@dataclass(frozen=True)
class MoreKeys:
    """Negatives beside the rows of a step: what is remembered of nodes that are not in it. They get no gradient.

    Args:
        rows: of the first and of the second view, ``[m, d]`` each, of length 1 or less.
        counts: how many nodes each row stands for, ``[m]``, above 0; ``None`` = one.
        node_weight: as in :class:`LossContext`, ``[m]``.
    """

    rows: tuple[Tensor, Tensor]
    counts: Tensor | None = None
    node_weight: Tensor | None = None


@dataclass(frozen=True)
class LossContext:
    """What a loss may need beyond embeddings. Every field is optional; a loss names those that it ``needs``.

    Args:
        epoch: from 1 in training, 0 outside.
        anchors: rows that the loss is averaged over, int64 ``[n]``; ``None`` = all. Keys are always all rows.
        counts: how often each anchor counts, ``[n]``; ``None`` = once.
        num_anchors: the global number of anchors that the sum is divided by; ``None`` = those here. Differs from them
            only where anchors are shared out over processes.
        keys: rows that stand for all rows as keys, a uniform sample without repeats, int64 ``[k]``; ``None`` = all.
        more_keys: negatives beside the rows; only losses that say ``takes_more_keys`` read it.
        node_weight: a weight of each node, ``[N]`` (CSGCL: community strength).
        clusters: cluster id of each node, int64 ``[N]`` or ``[N, G]`` for G clusterings.
        assignment: soft assignment, ``[N, K]``, rows sum to 1.
        positives: graph of positive pairs, N by N.
        pair_weight: a ``PairWeight`` of ``gcl.ops``: log weights of pairs by row and column tensors.
        negative_weights: ``NegativeWeights`` of ``gcl.losses.progcl``; ``None`` before they are fitted.
    """

    epoch: int = 0
    anchors: Tensor | None = None
    counts: Tensor | None = None
    num_anchors: int | None = None
    keys: Tensor | None = None
    more_keys: MoreKeys | None = None
    node_weight: Tensor | None = None
    clusters: Tensor | None = None
    assignment: Tensor | None = None
    positives: Adjacency | None = None
    pair_weight: Any = None
    negative_weights: Any = None


@dataclass(frozen=True)
class Clock:
    """Where training stands.

    Random draws are counted by ``stage_index``, ``epoch`` and ``batch``, so that every stage draws afresh.

    Args:
        stage: name of the stage.
        epoch: from 1 in each stage; 0 before its first.
        batch: from 0 in each epoch.
        step: optimiser steps done, over all stages.
        rank, world: number of this process and how many there are.
        stage_index: position of the stage, from 0.
    """

    stage: str = "train"
    epoch: int = 0
    batch: int = 0
    step: int = 0
    rank: int = 0
    world: int = 1
    stage_index: int = 0


@dataclass(frozen=True)
class AffineLayer:
    """One layer ``activation(operator @ x @ weight + bias)`` of an encoder whose output can be bounded.

    ``weight`` is ``[in, out]``; ``negative_slope`` is the slope below 0 (0 for ReLU, 1 for no activation).
    """

    weight: Tensor
    bias: Tensor | None
    activation: str
    negative_slope: Tensor | float


@dataclass
class LayerTrace:
    """What one encoder layer saw, filled in the forward pass.

    Args:
        input: x.
        preactivation: after propagation and bias.
        product: ``x @ weight`` before propagation, with the column mask of the first layer; ``None`` where the layer
            propagates first.
    """

    input: Tensor | Adjacency
    preactivation: Tensor
    product: Tensor | None = None


@dataclass(frozen=True)
class StepContext:
    """What a regulariser gets: both views, what became of them, and its own prepared tensors.

    Args:
        graph: the clean graph of this batch.
        views, embeddings, projections, traces: one entry a view. A regulariser may clear the lists of traces once it
            has taken what it needs.
        encoder: the module that made the embeddings.
        index: rows of the batch that the loss ran on; ``None`` = all.
        clock: where training stands.
        prepared: the tensors that ``Regularizer.prepare`` returned.
        streams: for random draws of the regulariser's own.
    """

    graph: Graph
    views: tuple[View, ...]
    embeddings: tuple[Tensor, ...]
    projections: tuple[Tensor, ...]
    traces: tuple[list[LayerTrace], ...]
    encoder: nn.Module
    index: Tensor | None
    clock: Clock
    prepared: Mapping[str, Tensor] = field(default_factory=dict)
    streams: Streams | None = None


@dataclass(frozen=True)
class StepOutput:
    """What one training step gives.

    Args:
        loss: a number, with gradient. Where the clock has several processes, this one's share of it: the shares add up
            to the loss, and their gradients to its gradient.
        parts: its named parts, detached; shares that add up, too.
        weight: how much the step counts in the means of its epoch, 0 or more: the number of anchors where batches
            differ in size, in all processes. The gradient is that of ``loss`` as it is.
    """

    loss: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Batch:
    """What one training step works on.

    ``index`` are the rows that the loss is about (``None`` = all): its anchors among all rows, or with ``index_only``
    everything that it sees, the others being there for the encoder. ``positives`` and ``negatives`` are index tensors
    of recommenders. ``all_rows`` is how many rows of ``index`` there are in all processes together, where each has a
    part of its own: consecutive ones, process after process; ``None`` = all have the same batch.
    """

    graph: Graph
    index: Tensor | None = None
    positives: Tensor | None = None
    negatives: Tensor | None = None
    index_only: bool = False
    all_rows: int | None = None


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a trained method gives: named embeddings ``[N, d]``, a cluster assignment if it makes one, and extras.

    The first embedding is the method's main one. ``stands_in`` says that these are no result of training: then the main
    one stands for any other, too.
    """

    embeddings: Mapping[str, Tensor]
    assignment: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    stands_in: bool = False

    @property
    def main(self) -> Tensor:
        """The main embedding, ``[N, d]``."""
        return next(iter(self.embeddings.values()))

    def named(self, name: str | None) -> Tensor:
        """An embedding by name, ``[N, d]``; ``None`` = the main one.

        Raises:
            ConfigError: an unknown name.
        """
        if name is None:
            return self.main
        if name not in self.embeddings:
            if self.stands_in:
                return self.main
            raise ConfigError(unknown("embedding", name, self.embeddings))
        return self.embeddings[name]


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a method computed once before training, as tensors that are saved with the run."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One phase of training. A setting that is ``None`` takes the trainer's.

    Args:
        name: the stage's name, in logs and checkpoints.
        epochs: passes over the batches.
        learning_rate, weight_decay: of the optimiser.
        parameters: a callable that gives what to train: a list of parameters, or a list of PyTorch's parameter groups,
            ``{"params": [...], "lr": 0.01}``, where a group may set any argument of the optimiser for itself;
            ``None`` = all of the method's. It is called after ``init``; the schedule scales the rate of every group.
        init: called once when the stage begins (not when it is resumed) with the graph, the clock before the first
            epoch and the streams, in evaluation mode; leaves its result in buffers or parameters.
        optimizer, scheduler: names that the trainer knows.
        patience: epochs without a lower training loss, or validations without a higher score where ``select`` is
            ``validation``, after which the stage ends.
        select: which weights the stage ends with.
    """

    name: str = "train"
    epochs: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    parameters: Callable[[], list[nn.Parameter] | list[dict[str, Any]]] | None = None
    init: Callable[[Graph, Clock, Streams], None] | None = None
    optimizer: str | None = None
    scheduler: str | None = None
    patience: int | None = None
    select: str | None = None
