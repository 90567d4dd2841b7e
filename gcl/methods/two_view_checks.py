"""What does not go together in a method of two views."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from gcl.core.errors import ConfigError
from gcl.core.graph_spec import GraphSpec
from gcl.core.resolve import resolve
from gcl.methods.method import check_loss, check_loss_shares

if TYPE_CHECKING:
    from gcl.methods.two_view import TwoView


def check_parts(method: TwoView, spec: GraphSpec, augmenters: Sequence[Any]) -> None:
    """Makes every part once.

    Raises:
        ConfigError: parts that do not fit each other or the graph.
    """
    nodes = spec.num_nodes[spec.target]
    if len(spec.relations) > 1:
        raise ConfigError(
            f"{type(method).__name__} takes one relation, and this graph has {len(spec.relations)} "
            f"({', '.join(spec.relations)}); join its {spec.target!r} nodes along a meta-path, as in "
            f"dataset.metapath={spec.target}-...-{spec.target}, or use meow, adameow or heco"
        )
    check_loss(method, method.loss, method.provides, nodes if method.subset is None else min(method.subset, nodes))
    loss = resolve("loss", method.loss)
    if method.memory is not None and not getattr(loss, "takes_more_keys", False):
        raise ConfigError(
            f"loss {type(loss).__name__} takes no negatives from a memory; leave memory out, or choose infonce, "
            "nt_xent or team_up"
        )
    with torch.random.fork_rng(devices=[]):
        # an object is built for the run, not here
        encoder = copy.deepcopy(resolve("encoder", method.encoder)).build(spec)
        copy.deepcopy(resolve("projector", method.projector)).build(encoder.out_channels)
    if method.regularizer is not None:
        regularizer = resolve("regularizer", method.regularizer)
        regularizer.check(encoder, augmenters)
        for sentence in regularizer.caveats(augmenters):
            warnings.warn(sentence, stacklevel=3)


def check_batches(method: TwoView, parts: bool) -> None:
    """Refuses settings that say nothing, or something else, where a step gets a part of the graph, or the whole.

    Raises:
        ConfigError: such a setting.
    """
    if parts and method.node_order != "stored":
        raise ConfigError("node_order is of the whole graph; leave it out with trainer.batch, whose parts have theirs")
    regularizer = None if method.regularizer is None else resolve("regularizer", method.regularizer)
    if parts and regularizer is not None and not getattr(regularizer, "takes_parts", False):
        raise ConfigError(
            f"{type(regularizer).__name__} is made for the whole graph, whose degrees a part does not have; leave "
            "out trainer.batch or the regulariser"
        )
    if not parts and method.memory is not None and method.subset is None:
        raise ConfigError(
            "a memory is of nodes that are not in the step, and the whole graph is; give trainer.batch or subset, "
            "or leave memory out"
        )


def check_shares(method: TwoView, parts: bool) -> None:
    """Refuses what processes cannot share out.

    Raises:
        ConfigError: a loss without shares, or more than nodes to contrast where each process has its own part.
    """
    check_loss_shares(method, method.loss)
    if parts and not method.takes_own_parts:
        raise ConfigError(
            f"{type(method).__name__} contrasts more than rows of nodes, which processes with different parts of the "
            "graph do not have; leave out trainer.batch or trainer.devices"
        )
    if parts and method.subset is not None:
        raise ConfigError(
            "subset is of one part of the graph, and every process has its own; lower trainer.batch.batch_size, or "
            "leave out trainer.devices"
        )
