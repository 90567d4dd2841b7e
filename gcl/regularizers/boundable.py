"""What can be bounded: encoders of affine layers, and augmenters that say what they delete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.ops.compactness import BoundedLayer
from gcl.ops.propagation_bounds import Deletion


def check_encoder(encoder: nn.Module, user: str, *, training: bool = True) -> list[Any]:
    """The affine layers of an encoder that can be bounded.

    Args:
        encoder: built.
        user: who asks, for the error.
        training: whether it is to be bounded in training, where dropout counts.

    Raises:
        ConfigError: it has none, an activation that is not linear below 0, or dropout.
    """
    name = type(encoder).__name__
    if not hasattr(encoder, "affine_layers"):
        raise ConfigError(f"{user} cannot bound the encoder {name}, which gives no affine_layers(); use gcn")
    try:
        layers: list[Any] = encoder.affine_layers()  # type: ignore[operator]
    except ConfigError as error:
        raise ConfigError(f"{user} cannot bound the encoder {name}: {error}") from None
    if not hasattr(encoder, "embed"):
        raise ConfigError(f"{user} cannot bound the encoder {name}, which has no embed(graph); use gcn")
    dropout = getattr(encoder, "dropout", 0.0)
    if training and getattr(dropout, "p", dropout) > 0:
        raise ConfigError(f"{user} bounds an encoder without dropout, and {name} has some; set encoder.dropout=0")
    return layers


def bounded_layers(encoder: nn.Module) -> list[BoundedLayer]:
    """The affine layers of an encoder, with gradient to weights and biases and none to a learnable slope."""
    layers = []
    for layer in encoder.affine_layers():  # type: ignore[operator]
        bias = layer.weight.new_zeros(layer.weight.shape[1]) if layer.bias is None else layer.bias
        slope = layer.negative_slope  # a number is not to pass through float32
        layers.append(BoundedLayer(layer.weight, bias, float(slope.detach() if torch.is_tensor(slope) else slope)))
    return layers


def check_same(encoder: nn.Module, own: Tensor, z: Tensor, so: str, *, limit: float) -> None:
    """Refuses an encoder that does not multiply by GCN's matrix, of which nothing would be bounded.

    Args:
        encoder: for the error.
        own: its embeddings, ``[N, d]``.
        z: what its affine layers give under GCN's matrix. Where either is NaN, nothing is said.
        so: what follows for the user.
        limit: of the largest difference, as a share of the largest entry.

    Raises:
        ConfigError: they differ.
    """
    if own.shape != z.shape or float((own - z).abs().max()) > limit * max(float(z.abs().max()), 1e-30):
        raise ConfigError(
            f"the encoder {type(encoder).__name__} does not give what its affine_layers() give with GCN's matrix (one "
            f"self-loop, symmetric normalisation by in-degrees), so {so}; use gcn"
        )


def named_parts(augmenter: Any, where: str) -> Iterator[tuple[str, Any]]:
    """The parts of an augmenter and of those inside it, each with the name of its place."""
    parts = getattr(augmenter, "augmenters", None)
    if parts is None or getattr(augmenter, "applied_jointly", False):
        yield where, augmenter
        return
    for name, part in parts.items():
        yield from named_parts(part, f"{where}.{name}")


def deletion_of(augmenter: Any) -> Deletion:
    """Whether an augmenter deletes single arcs or whole edges; of several parts, arcs if any deletes them."""
    parts = [part for _, part in named_parts(augmenter, "")]
    deleting = [part for part in parts if hasattr(part, "edge_drop_prob")]
    return "edges" if deleting and all(getattr(part, "symmetric", False) for part in deleting) else "arcs"


def check_part(part: Any, where: str, user: str) -> None:
    """Refuses an augmenter whose deletions are unknown or total.

    Args:
        part: an augmenter.
        where: its place, for the error.
        user: who asks, for the error.

    Raises:
        ConfigError: it cannot say how likely it drops an edge, or drops all, whatever the graph.
    """
    if getattr(part, "keeps_edges", False):
        return
    name = type(part).__name__
    if not hasattr(part, "edge_drop_prob"):
        raise ConfigError(
            f"{user} cannot bound the augmenter {name} at {where}, which cannot say how likely it drops an edge; "
            f"use edge_drop or another that gives edge_drop_prob()"
        )
    if getattr(part, "drops_all", False):
        raise ConfigError(f"{where} ({name}) drops every edge with probability 1; {user} needs drop_prob below 1")


def checked_probability(augmenter: Any, graph: Graph, where: str, user: str) -> Tensor:
    """How likely an augmenter drops each stored arc of a graph, ``[E]``.

    Args:
        augmenter: gives ``edge_drop_prob(graph)``.
        graph: of E arcs.
        where: the augmenter's place, for the error.
        user: who asks, for the error.

    Raises:
        ConfigError: anything but one probability an arc, or certainty for all of them.
    """
    probability, name = augmenter.edge_drop_prob(graph), type(augmenter).__name__
    arcs = graph.adjacency.num_arcs
    if not torch.is_tensor(probability) or not probability.is_floating_point() or probability.shape != (arcs,):
        found = f"{probability.dtype} {list(probability.shape)}" if torch.is_tensor(probability) else type(probability)
        raise ConfigError(f"edge_drop_prob() of {where} ({name}) must give floating point [{arcs}], got {found}")
    if not bool(((probability >= 0) & (probability <= 1)).all()):  # NaN too
        raise ConfigError(f"edge_drop_prob() of {where} ({name}) must give probabilities from 0 to 1 for every arc")
    if arcs and bool((probability >= 1).all()):
        raise ConfigError(f"{where} ({name}) drops every edge with probability 1; {user} needs a probability below 1")
    return probability


def masks_features(part: Any) -> bool:
    """Whether an augmenter leaves the edges alone and masks features."""
    return bool(getattr(part, "keeps_edges", False)) and getattr(part, "drop_prob", 0) > 0
