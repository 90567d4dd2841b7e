"""What storing a graph takes of memory, in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gcl

NODES, EDGES, COLUMNS = 20_000, 1_000_000, 200
RECORD = 16  # bytes of an arc at the very least, of which an undirected edge has two

STORE = """
import sys, tracemalloc
from pathlib import Path
from gcl.data import feature_blocks, text_cells
from gcl.data.store_graph import store_graph

folder, memory, directed = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "directed"
text_cells.BLOCK_BYTES, feature_blocks.ENTRIES = 2**18, 2**16
tracemalloc.start()  # arrays are in it, and pages of files are not: the system takes those back
store_graph(folder / "edges.csv", folder / f"{directed}-{memory}", features=folder / "x.npy", memory=memory,
            directed=directed)
print(tracemalloc.get_traced_memory()[1])
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    edges = draw.integers(NODES, size=(EDGES, 2)).tolist()
    (folder / "edges.csv").write_text("\n".join(f"{source},{target}" for source, target in edges) + "\n")
    np.save(folder / "x.npy", draw.normal(size=(NODES, COLUMNS)))
    return folder


@pytest.mark.parametrize("direction", ["undirected", "directed"])
def test_storing_takes_the_memory_that_it_is_given_and_not_that_of_all_edges(tables, direction):
    def peak(memory):
        done = subprocess.run(
            [sys.executable, "-c", STORE, str(tables), str(memory), direction],
            cwd=Path(gcl.__file__).parents[1], capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(done.stdout)

    bound = 10 * 2**20
    arcs = EDGES * (1 if direction == "directed" else 2)
    assert bound < min(RECORD * arcs, 8 * NODES * COLUMNS)  # less than all arcs, and than all features
    assert peak(2 * 2**20) < bound
    assert peak(2**30) > 2 * bound  # what there is memory for is sorted at once
