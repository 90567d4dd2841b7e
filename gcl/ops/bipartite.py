"""Users and items as one graph: the square, symmetric form of a relation between two node types."""

from __future__ import annotations

import torch

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import EDGE, NODE, Graph

SIDE = "side"  # node attribute of a joined graph: 0 for a row of the relation (user), 1 for a column (item)


def joined_adjacency(adjacency: Adjacency) -> Adjacency:
    r"""The adjacency of the bipartite graph, rows first, :math:`\begin{pmatrix} 0 & R \\ R^\top & 0 \end{pmatrix}`.

    Nothing is sorted, and made once for a structure. Weights are left out: every arc that is kept counts 1.

    Args:
        adjacency: R, ``[m, n]``.

    Returns:
        Symmetric, ``[m + n, m + n]``; its first E arcs are those of R in their order.
    """
    if adjacency.keep is not None:
        adjacency = adjacency.masked(adjacency.keep, compact=True)
    if "joined" not in adjacency.derived:
        adjacency.derived["joined"] = _join(adjacency)
    joined: Adjacency = adjacency.derived["joined"]
    return joined


def _join(adjacency: Adjacency) -> Adjacency:
    num_rows, num_cols = adjacency.shape
    num_arcs, size = adjacency.num_arcs, num_rows + num_cols
    wide = max(2 * num_arcs, size) >= 2**31
    dtype = torch.int64 if wide else adjacency.col.dtype
    row_ptr = torch.cat([adjacency.row_ptr.to(dtype), adjacency.t_row_ptr[1:].to(dtype) + num_arcs])
    col = torch.cat([adjacency.col.to(dtype) + num_rows, adjacency.t_col.to(dtype)])
    perm = adjacency.t_perm.long()  # arc of R that each arc of its transpose is
    reverse = torch.empty(2 * num_arcs, dtype=dtype, device=adjacency.device)
    reverse[num_arcs:] = perm
    reverse[perm] = torch.arange(num_arcs, 2 * num_arcs, dtype=dtype, device=adjacency.device)
    return Adjacency(
        row_ptr=row_ptr,
        col=col,
        t_row_ptr=row_ptr,
        t_col=col,
        t_perm=reverse,
        shape=(size, size),
        symmetric=True,
    )


def joined_graph(graph: Graph) -> Graph:
    """The bipartite graph of users and items as a graph of one node type, users first.

    Augmenters, communities and encoders of homogeneous graphs work on it. Node attribute ``side`` says which is which.

    Args:
        graph: two node types and one relation from the other type to the target type.

    Raises:
        DataError: another kind of graph.
    """
    if len(graph.relations) != 1 or len(graph.num_nodes_by_type) != 2:
        raise DataError(
            f"a recommender needs two node types (users and items) and one relation between them, got types "
            f"{sorted(graph.num_nodes_by_type)} and relations {sorted(graph.relations)}"
        )
    adjacency = joined_adjacency(graph.adjacency)
    side = torch.zeros(adjacency.shape[0], dtype=torch.int64, device=adjacency.device)
    side[graph.num_nodes :] = 1
    return Graph(relations={EDGE: adjacency}, node_attrs={NODE: {SIDE: side}})
