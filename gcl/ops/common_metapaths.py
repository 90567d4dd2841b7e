"""HeCo's positives: the nodes that most kinds of meta-paths join."""

from __future__ import annotations

from collections.abc import Sequence

import scipy.sparse as sp

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.ops.metapath import MetaPath, chain_ends, estimated_pairs
from gcl.ops.metapath_graph import BLOCK_ENTRIES
from gcl.ops.row_top import row_top
from gcl.ops.scipy_matrix import adjacency_of


def metapath_positives(graph: Graph, paths: Sequence[MetaPath], top: int) -> Adjacency:
    """For each target node, those that the largest number of kinds of meta-paths joins with it.

    All of them where there are no more than ``top``; of equal ones those of the smallest index. The node itself has no
    place of its own among them. Wang et al., HeCo (KDD 2021, arXiv 2105.09111).

    Args:
        graph: with the relations of the paths.
        paths: meta-paths, from 1.
        top: positives of a node, at most, from 1.

    Returns:
        ``[N, N]`` without weights, the positives of node i in row i.

    Raises:
        ConfigError: ``top`` below 1.
        DataError: a meta-path with a product on its way that would not fit.
    """
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ConfigError(f"the number of positives must be a whole number from 1, got {top!r}")
    pairs = [chain_ends(path.steps(graph), f"meta-path {path.name}", "take a shorter one") for path in paths]
    expected = sum(estimated_pairs(pair) for pair in pairs)
    size = max(1, int(BLOCK_ENTRIES * graph.num_nodes / max(expected, 1.0)))
    parts = []
    for start in range(0, max(graph.num_nodes, 1), size):
        total = sum((left[start : start + size] @ right > 0).astype(float) for left, right in pairs)
        total = sp.csr_matrix(total)
        total.sort_indices()
        parts.append(row_top(total, top))
    return adjacency_of(sp.vstack(parts, format="csr"))
