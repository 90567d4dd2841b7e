"""What ranking protocols hold out of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.data.interactions import INTERACTION, ITEM, USER

Validation = Literal["stored", "carved", "none"]


@dataclass(frozen=True, eq=False)
class SelectionInteractions:
    """The interactions that selection may see: those of training, and the pairs ``[2, n]`` of the validation part."""

    train: Adjacency
    valid: Tensor | None


@dataclass(frozen=True, eq=False)
class HeldInteractions:
    """Held-out pairs, absent from the training graph, and the training interactions to leave out of the lists.

    Args:
        train: users by items, as training sees them.
        valid: int64 ``[2, n]``, user above item, or ``None``.
        test: int64 ``[2, n]``.
        validation: whether ``valid`` came with the graph, was carved from its training part, or is not there.
    """

    train: Adjacency
    valid: Tensor | None
    test: Tensor
    validation: Validation

    @classmethod
    def of(cls, graph: Graph, validation: Validation) -> HeldInteractions:
        """Checks the held pairs of a graph against its training interactions.

        Raises:
            DataError: no relation of users and items, no test pair, pairs of a wrong shape or out of range, or a pair
                in more than one part.
        """
        train = interactions_of(graph)
        parts = {part: pairs for part, pairs in graph.held.items() if part == "test" or validation != "none"}
        for part, pairs in parts.items():
            _check_pairs(pairs, part, train.shape)
        if "test" not in parts or not parts["test"].numel():
            raise DataError(
                "the graph has no held-out test interactions and ranking needs them; "
                "give a test part, or leave the evaluation out"
            )
        keys = {"train": _keys(torch.stack([train.row, train.col]).long(), train.shape[1])}
        for part, pairs in parts.items():
            key = _keys(pairs, train.shape[1])
            for other, known in keys.items():
                shared = key[torch.isin(key, known)]
                if shared.numel():
                    user, item = divmod(int(shared[0]), train.shape[1])
                    raise DataError(
                        f"{shared.numel()} pairs are in both {other} and {part}, the first user {user}, item {item}; "
                        "drop them from one of the two"
                    )
            keys[part] = key
        return cls(train, parts.get("valid"), parts["test"], validation)

    def for_selection(self) -> SelectionInteractions:
        """The same without the test part."""
        return SelectionInteractions(self.train, self.valid)

    def seen(self) -> list[Adjacency]:
        """What a list for the test leaves out: the training and the validation interactions."""
        if self.valid is None:
            return [self.train]
        return [self.train, Adjacency.from_edge_index(self.valid.flip(0), self.train.shape, duplicates="first")]


def interactions_of(graph: Graph) -> Adjacency:
    """The training interactions, users by items.

    Raises:
        DataError: the graph is not one of users and items.
    """
    if graph.target != USER or graph.relation_types.get(INTERACTION) != (ITEM, USER):
        raise DataError(
            f"ranking needs a graph of users and items with a relation {INTERACTION!r}, got one of "
            f"{', '.join(sorted(graph.num_nodes_by_type))} with {', '.join(sorted(graph.relations)) or 'no relation'}; "
            "give a dataset of rec/"
        )
    return graph.relations[INTERACTION]


def _check_pairs(pairs: Tensor, part: str, shape: tuple[int, int]) -> None:
    if pairs.dim() != 2 or pairs.shape[0] != 2 or pairs.dtype != torch.int64:
        raise DataError(f"held {part} pairs must be int64 [2, n], got {pairs.dtype} {list(pairs.shape)}")
    for index, size, kind in zip(pairs, shape, (USER, ITEM), strict=True):
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < size:
            raise DataError(
                f"the {part} part has a {kind} outside of 0 to {size - 1}, the {kind}s of the graph; drop the pair"
            )


def _keys(pairs: Tensor, num_items: int) -> Tensor:
    return pairs[0] * num_items + pairs[1]
