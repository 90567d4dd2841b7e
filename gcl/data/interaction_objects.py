"""Interactions from SciPy matrices and PyG's ``HeteroData``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gcl.core.errors import DataError
from gcl.data.interaction_table import InteractionTable
from gcl.data.splits import TEST, TRAIN


def table_of_matrix(matrix: Any) -> InteractionTable:
    """Interactions of a SciPy sparse matrix of users by items: each entry that is not 0, with its value as rating.

    Rows and columns without an entry are users and items like the others.

    Raises:
        DataError: not a matrix, no rows or columns, no entry, or values that are not finite numbers.
    """
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise DataError(f"a matrix of interactions must be users by items, at least 1 by 1, got {list(matrix.shape)}")
    if matrix.dtype.kind not in "biuf":
        raise DataError(f"a matrix of interactions must hold real numbers, got {matrix.dtype}")
    entries = matrix.tocsr(copy=True)
    entries.sum_duplicates()
    entries.eliminate_zeros()
    entries = entries.tocoo()
    if not entries.nnz:
        raise DataError("the matrix of interactions has no entries; a recommender needs at least one")
    return InteractionTable(
        user=entries.row.astype(np.int64),
        item=entries.col.astype(np.int64),
        shape=(int(matrix.shape[0]), int(matrix.shape[1])),
        rating=entries.data.astype(np.float64),
        where="the SciPy matrix",
    )


def interaction_edge_type(data: Any) -> tuple[str, str, str] | None:
    """The edge type of a ``HeteroData`` that holds interactions, ``None`` where it has another form.

    That is the only edge type between two node types; of two, the reverse of which the other is, the one with
    ``edge_label_index``, else the first.
    """
    types = list(data.edge_types)
    if len(data.node_types) != 2 or len(types) not in (1, 2) or any(source == target for source, _, target in types):
        return None
    if len(types) == 1:
        return types[0]
    if types[0][0] != types[1][2]:
        return None
    forward, backward = (data[kind].edge_index for kind in types)
    if not torch.equal(_sorted(forward), _sorted(backward.flip(0))):
        return None
    return next((kind for kind in types if "edge_label_index" in data[kind]), types[0])


def table_of_hetero(data: Any) -> InteractionTable:
    """Interactions of a PyG ``HeteroData`` with one edge type between two node types, source = user.

    ``edge_index`` is the training part, and ``edge_label_index``, where there is one, the test part, as in PyG's
    AmazonBook; without it there are no parts. A reverse edge type is passed over, as are features. Attributes
    ``rating`` and ``time`` of the edges are read where they cover all interactions; ``edge_label`` are then the ratings
    of the test part, as in PyG's MovieLens100K, and otherwise those labelled 0 are no interactions.

    Raises:
        DataError: another form, or an index out of range.
    """
    kind = interaction_edge_type(data)
    if kind is None:
        raise DataError(
            f"the HeteroData has the edge types {', '.join('-'.join(kind) for kind in data.edge_types)}; interactions "
            "are one edge type between two node types (and perhaps its reverse)"
        )
    store, where = data[kind], f"edge type {'-'.join(kind)}"
    shape = _count(data, kind[0]), _count(data, kind[2])
    pairs = {TRAIN: _pairs(store.edge_index, shape, f"edge_index of {where}")}
    rating = _column(store, "rating", pairs[TRAIN].shape[1])
    time = _column(store, "time", pairs[TRAIN].shape[1])
    if "edge_label_index" in store:
        test = _pairs(store.edge_label_index, shape, f"edge_label_index of {where}")
        label = _column(store, "edge_label", test.shape[1])
        if rating is not None and label is not None:
            rating = np.concatenate([rating, label])
        else:
            test, rating = test if label is None else test[:, label != 0], None
        pairs[TEST], time = test, None  # the test part has no times
    user, item = np.concatenate(list(pairs.values()), axis=1)
    part = np.repeat(np.array(list(pairs), np.uint8), [block.shape[1] for block in pairs.values()])
    held = TEST in pairs
    return InteractionTable(
        user=user,
        item=item,
        shape=shape,
        rating=rating,
        time=time,
        part=part if held else None,
        parts=("test",) if held else (),
        where=where,
    )


def _count(data: Any, kind: str) -> int:
    count = data[kind].num_nodes
    if not count:
        raise DataError(f"nodes of type {kind!r} have no count; set data[{kind!r}].num_nodes or .x")
    return int(count)


def _pairs(index: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    """int64 ``[2, n]``, user above item."""
    pairs = torch.as_tensor(index).detach().cpu().numpy()
    if pairs.ndim != 2 or pairs.shape[0] != 2 or pairs.dtype.kind not in "iu":
        raise DataError(f"{where} must be whole numbers [2, n], got {pairs.dtype} {list(pairs.shape)}")
    for row, size in zip(pairs, shape, strict=True):
        if row.size and not (int(row.min()) >= 0 and int(row.max()) < size):
            wrong = int(row.min()) if int(row.min()) < 0 else int(row.max())
            raise DataError(f"{where} has the id {wrong}, out of range for {size} nodes (valid: 0 to {size - 1})")
    return pairs.astype(np.int64)


def _column(store: Any, name: str, size: int) -> np.ndarray | None:
    """One number for each edge, where the store has them."""
    value = getattr(store, name, None)
    if not isinstance(value, torch.Tensor) or value.shape != (size,):
        return None
    column: np.ndarray = value.detach().cpu().numpy().astype(np.float64 if value.is_floating_point() else np.int64)
    return column


def _sorted(edge_index: Any) -> Any:
    order = np.lexsort(edge_index.cpu().numpy())
    return edge_index.cpu()[:, torch.from_numpy(order)]
