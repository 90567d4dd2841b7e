"""Graphs stored as mapped arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import edge_indices

import gcl
from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, OutputError
from gcl.data import arc_files
from gcl.data.arc_files import ArcFiles
from gcl.data.edge_blocks import EdgeBlock
from gcl.data.fingerprint import graph_fingerprint
from gcl.data.from_arrays import from_arrays
from gcl.data.load import load_dataset
from gcl.data.store_graph import store_graph
from gcl.data.stored_graph import read_stored_graph


def files(folder):
    return {path.stem: np.load(path) for path in folder.glob("*.npy")}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_sorted_on_disk_equals_sorted_in_memory(tmp_path_factory, data):
    edge_index, (num_nodes, _) = data.draw(edge_indices())
    if not edge_index.shape[1]:
        return
    directed, weighted = data.draw(st.booleans()), data.draw(st.booleans())
    code = edge_index.sort(0).values if not directed else edge_index  # one weight an edge, whichever way it is listed
    weight = ((code[0] * 7 + code[1] * 3 + 1) % 5).double().numpy() / 4 if weighted else None
    if weighted and not weight.any():
        return
    repeats = data.draw(st.lists(st.integers(0, edge_index.shape[1] - 1), max_size=5))
    order = np.array([*range(edge_index.shape[1]), *repeats])
    folder = tmp_path_factory.mktemp("arcs")
    size = data.draw(st.integers(1, 9))
    blocks = [
        EdgeBlock(*edge_index.numpy()[:, part], None if weight is None else weight[part])
        for part in np.array_split(order, -(-order.size // size))
    ]
    memory = arc_files.ARC_BYTES * data.draw(st.integers(1, 30))
    found = ArcFiles(folder, directed=directed, memory=memory).write(blocks, num_nodes)
    expected = from_arrays(
        edge_index, num_nodes=num_nodes, directed=directed, edge_weight=weight, duplicates="merge"
    ).adjacency
    assert found == (num_nodes, expected.num_arcs)
    arrays = files(folder)
    names = {"row_ptr", "col", "t_perm"} | ({"t_row_ptr", "t_col"} if not expected.symmetric else set())
    assert set(arrays) == names | ({"weight"} if weighted else set())
    for name in sorted(arrays):
        np.testing.assert_array_equal(arrays[name], getattr(expected, name).numpy(), err_msg=name)
        assert arrays[name].dtype == getattr(expected, name).numpy().dtype
    assert {path.suffix for path in folder.iterdir()} == {".npy"}  # nothing is left over


def write(folder, *, header=True, weighted=False, parquet=False):
    """A ring of 20 nodes with chords, features and labels, as files, and what they hold."""
    folder.mkdir(exist_ok=True)
    ring = np.arange(20)
    edges = np.stack([np.concatenate([ring, ring]), np.concatenate([(ring + 1) % 20, (ring + 6) % 20])])
    weight = (edges.sum(0) % 4 + 1) / 2
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    y = ring % 3
    if parquet:
        import pyarrow
        import pyarrow.parquet

        columns = {"source": edges[0], "target": edges[1], **({"weight": weight} if weighted else {})}
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / "edges.parquet")
        pyarrow.parquet.write_table(pyarrow.table({f"f{at}": x[:, at] for at in range(3)}), folder / "features.parquet")
    else:
        lines = [f"{a},{b}" + (f",{w}" if weighted else "") for a, b, w in zip(*edges, weight, strict=True)]
        head = ["source,target" + (",weight" if weighted else "")] if header else []
        (folder / "edges.csv").write_text("\n".join([*head, *lines]) + "\n")
        (folder / "features.csv").write_text(
            "\n".join([*(["a,b,c"] if header else []), *(",".join(repr(float(v)) for v in row) for row in x)]) + "\n"
        )
    (folder / "labels.csv").write_text("\n".join(["label", *(("red", "green", "blue")[c] for c in y)]) + "\n")
    return from_arrays(edges, x, y, edge_weight=weight if weighted else None)


def same(graph, other):
    assert torch.equal(graph.x, other.x)
    for name in ("row_ptr", "col", "t_row_ptr", "t_col", "t_perm"):
        assert torch.equal(getattr(graph.adjacency, name), getattr(other.adjacency, name)), name
    assert graph.adjacency.symmetric == other.adjacency.symmetric
    assert torch.equal(graph.adjacency.values(), other.adjacency.values())
    assert graph_fingerprint(graph) == graph_fingerprint(other)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", ["csv", "bare csv", "parquet"])
def test_a_stored_graph_is_the_graph_of_its_tables(tmp_path, form, weighted):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    expected = write(tmp_path / "raw", header=form == "csv", weighted=weighted, parquet=form == "parquet")
    suffix = "parquet" if form == "parquet" else "csv"
    raw = tmp_path / "raw"
    store_graph(
        raw / f"edges.{suffix}", tmp_path / "made", features=raw / f"features.{suffix}", labels=raw / "labels.csv"
    )
    data = load_dataset(tmp_path / "made")
    same(data.graph, expected)
    assert data.class_names == ("blue", "green", "red")
    assert [data.class_names[c] for c in data.y.tolist()][:3] == ["red", "green", "blue"]


def test_several_files_npy_features_and_splits(tmp_path):
    expected = write(tmp_path / "raw")
    raw = tmp_path / "raw"
    lines = (raw / "edges.csv").read_text().splitlines()
    (raw / "first.csv").write_text("\n".join(lines[:10]) + "\n")
    (raw / "second.csv").write_text("\n".join([lines[0], *lines[5:]]) + "\n")  # some edges twice
    np.save(raw / "x.npy", expected.x.numpy().astype(np.float64))
    (raw / "splits.csv").write_text("\n".join(["split", *["train", "val", "test", "unused"] * 5]) + "\n")
    store_graph(
        [raw / "first.csv", raw / "second.csv"], tmp_path / "made", features=raw / "x.npy", splits=raw / "splits.csv"
    )
    graph, _ = read_stored_graph(tmp_path / "made")
    same(graph, expected)
    assert graph.attr("splits")[:4, 0].tolist() == [0, 1, 2, 3]


def test_features_with_a_column_of_ids_come_in_any_order(tmp_path):
    expected = write(tmp_path / "raw")
    raw, order = tmp_path / "raw", np.random.default_rng(1).permutation(20)
    rows = (raw / "features.csv").read_text().splitlines()[1:]
    (raw / "features.csv").write_text("\n".join(["id,a,b,c", *(f"{at},{rows[at]}" for at in order)]) + "\n")
    store_graph(raw / "edges.csv", tmp_path / "made", features=raw / "features.csv")
    same(load_dataset(tmp_path / "made").graph, expected)


def test_directed_edges_that_all_have_their_reverse_are_symmetric(tmp_path):
    (tmp_path / "edges.csv").write_text("0,1\n1,0\n1,2\n2,1\n")
    store_graph(tmp_path / "edges.csv", tmp_path / "made", directed=True)
    graph = load_dataset(tmp_path / "made").graph
    same_structure = from_arrays(np.array([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3, directed=True).adjacency
    assert graph.adjacency.symmetric
    assert same_structure.symmetric
    assert torch.equal(graph.adjacency.t_perm, same_structure.t_perm)


def test_isolated_nodes_are_there_where_their_number_is_given(tmp_path):
    (tmp_path / "edges.csv").write_text("0,1\n1,2\n")
    store_graph(tmp_path / "edges.csv", tmp_path / "made", num_nodes=6, directed=True)
    graph = load_dataset(tmp_path / "made").graph
    assert graph.num_nodes == 6
    assert graph.adjacency.to_dense().nonzero().tolist() == [[1, 0], [2, 1]]
    assert not graph.adjacency.symmetric


def test_training_on_a_stored_graph_is_training_on_the_graph(tmp_path):
    expected = write(tmp_path / "raw")
    raw = tmp_path / "raw"
    store_graph(raw / "edges.csv", tmp_path / "made", features=raw / "features.csv")
    options = {"trainer": {"epochs": 2, "batch": {"name": "neighbors", "batch_size": 8}}, "evaluate": False}
    first, second = (
        gcl.pipeline("csgcl", source, floors=False, **options) for source in (str(tmp_path / "made"), expected)
    )
    assert torch.equal(first.runs[0].outputs.main, second.runs[0].outputs.main)


def test_what_is_written_to_a_mapped_graph_stays_in_the_process(tmp_path):
    write(tmp_path / "raw")
    store_graph(tmp_path / "raw" / "edges.csv", tmp_path / "made", features=tmp_path / "raw" / "features.csv")
    before = (tmp_path / "made" / "x.npy").read_bytes()
    load_dataset(tmp_path / "made").graph.x[0] = 7.0
    assert (tmp_path / "made" / "x.npy").read_bytes() == before


@pytest.mark.parametrize(
    ("edges", "options", "message"),
    [
        ("0,1\n1,x\n", {}, "line 2 has the node id 'x'.*number the nodes"),
        ("0,1\n1,-2\n", {}, "line 2 has the node id '-2'"),
        ("0,1\n1,9\n", {"num_nodes": 5}, "node 9, out of range for 5 nodes"),
        ("", {}, "is empty"),
        ("source,target\n", {}, "no line below"),
        ("source,target,weight\n0,1,nan\n", {}, "line 2 has the weight 'nan'"),
        ("source,target,weight\n0,1,-1\n", {}, "line 2 has the weight '-1'"),
        ("source,target,weight\n0,1,1\n1,0,2\n", {}, "has the weight 2 and the weight 1"),
        ("source,target,weight\n0,1,0\n", {}, "has no edges"),
        ("0,1\n1,2,3\n", {}, "line 2 has 3 cells, expected 2"),
        ("source,target,weight\n0,1,1e300\n", {}, "line 2 has the weight '1e300'"),
        ("source,target,weight\n0,1,1\n1,2,1e-60\n", {}, "line 3 has the weight '1e-60', which in float32 is 0"),
        ("0,99999999999999\n", {}, "number the nodes"),
        ("source,target,weight\n0,1,1\n1,9,0\n", {"num_nodes": 5}, "node 9, out of range"),
        ("0,1\n", {"memory": 5}, "memory must be at least 1 MiB"),
        ("0,1\n", {"num_nodes": 0}, "whole number from 1"),
        ("0,1\n", {"features": "1,2\n3,4\n5,6\n"}, "features of more than the 2 nodes"),
        ("0,1\n", {"features": "1,2\n"}, "features of 1 nodes, and the graph has 2"),
        ("0,1\n", {"features": "1,2\n3,inf\n"}, "line 2 has 'inf' in column 2"),
        ("0,1\n", {"features": "id,a,b\n0,1,2\n0,3,4\n"}, "has a node twice"),
        ("0,1\n", {"labels": "label\n0\n1\n2\n"}, "3"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, edges, options, message):
    (tmp_path / "edges.csv").write_text(edges)
    for name in ("features", "labels"):
        if name in options:
            (tmp_path / f"{name}.csv").write_text(options[name])
            options = {**options, name: tmp_path / f"{name}.csv"}
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises((DataError, ConfigError), match=message):
        store_graph(tmp_path / "edges.csv", tmp_path / "made", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_folder_is_never_overwritten(tmp_path):
    write(tmp_path / "raw")
    store_graph(tmp_path / "raw" / "edges.csv", tmp_path / "made")
    with pytest.raises(OutputError, match="made exists"):
        store_graph(tmp_path / "raw" / "edges.csv", tmp_path / "made")
    with pytest.raises(DataError, match="there is no file"):
        store_graph(tmp_path / "raw" / "edgs.csv", tmp_path / "other")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", r"t_perm\.npy cannot be read \(No such file or directory\); store the graph again"),
        ("truncated", r"x\.npy is truncated or damaged \(360 bytes, its header says 368\); store the graph again"),
        ("longer", r"x\.npy is truncated or damaged \(372 bytes, its header says 368\); store the graph again"),
        ("shape", r"col\.npy holds int32 \[3\], expected \[80\]; store the graph again"),
        ("type", r"x\.npy holds int32 \[20, 3\], expected \[20, 3\]; store the graph again"),
        ("objects", r"x\.npy holds Python objects, which are not read; store the graph again"),
        ("header", r"x\.npy is no \.npy array, or its header is damaged; store the graph again"),
        ("end", r"row_ptr\.npy does not end with the 80 arcs; store the graph again"),
        ("format", r"the format 'gcl stored graph 2', and this version reads 'gcl stored graph 1'; store it again"),
    ],
)
def test_a_damaged_folder_is_one_sentence(tmp_path, damage, message):
    write(tmp_path / "raw")
    made = store_graph(tmp_path / "raw" / "edges.csv", tmp_path / "made", features=tmp_path / "raw" / "features.csv")
    if damage == "missing":
        (made / "t_perm.npy").unlink()
    elif damage == "truncated":
        (made / "x.npy").write_bytes((made / "x.npy").read_bytes()[:-8])
    elif damage == "longer":
        (made / "x.npy").write_bytes((made / "x.npy").read_bytes() + bytes(4))
    elif damage == "header":
        (made / "x.npy").write_bytes(bytes(8) + (made / "x.npy").read_bytes()[8:])
    elif damage == "type":
        np.save(made / "x.npy", np.zeros((20, 3), dtype=np.int32))
    elif damage == "objects":
        np.save(made / "x.npy", np.full((20, 3), None), allow_pickle=True)
    elif damage == "shape":
        np.save(made / "col.npy", np.zeros(3, dtype=np.int32))
    elif damage == "end":
        np.save(made / "row_ptr.npy", np.zeros(21, dtype=np.int32))
    else:
        record = json.loads((made / "graph.json").read_text())
        (made / "graph.json").write_text(json.dumps({**record, "format": "gcl stored graph 2"}))
    with pytest.raises(DataError, match=f"{message}$"):
        load_dataset(made)


def test_the_adjacency_of_a_stored_graph_works_as_any(tmp_path):
    expected = write(tmp_path / "raw").adjacency
    store_graph(tmp_path / "raw" / "edges.csv", tmp_path / "made")
    found = load_dataset(tmp_path / "made").graph.adjacency
    assert isinstance(found, Adjacency)
    keep = torch.arange(found.num_arcs) % 3 > 0
    assert torch.equal(found.masked(keep, compact=True).to_dense(), expected.masked(keep, compact=True).to_dense())
    assert torch.equal(found.subgraph(torch.tensor([3, 9, 4])).to_dense(), expected.to_dense()[[3, 9, 4]][:, [3, 9, 4]])


@pytest.mark.parametrize(
    ("lines", "directed", "message"),
    [
        ("0,1,2\n1,0,1\n", False, "the edge 1 - 0 has the weight 1 and the weight 2; keep one of them, or say that "
         "edges are directed if directions differ"),
        ("0,1,2\n2,1,1\n0,1,1\n", True, "the edge 0 -> 1 has the weight 2 and the weight 1; keep one of them"),
        ("0,1,2\n1,0,1\n1,2,1\n", True, None),
        ("0,1,0\n1,2,1\n0,1,2\n", True, "the edge 0 -> 1 has the weight 0 and the weight 2; keep one of them"),
        ("0,1,2\n1,2,1\n1,0,0\n", False, "the edge 1 - 0 has the weight 0 and the weight 2; keep one of them, or say "
         "that edges are directed if directions differ"),
        ("0,1,2\n1,2,1\n1,0,0\n", True, None),
        ("0,1,0\n1,2,1\n0,1,0\n", False, None),
    ],
)  # fmt: skip
def test_an_edge_has_one_weight_and_0_is_one(tmp_path, lines, directed, message):
    """As in a folder of tables, and of arrays in memory."""
    raw = tmp_path / "raw"
    raw.mkdir()
    path = raw / ("arcs.csv" if directed else "edges.csv")
    path.write_text("source,target,weight\n" + lines)
    (raw / "features.csv").write_text("1\n2\n3\n")
    options = {"directed": directed, "num_nodes": 3}
    if message is None:
        store_graph(path, tmp_path / "made", features=raw / "features.csv", **options)
        same(load_dataset(tmp_path / "made").graph, load_dataset(raw).graph)
        return
    with pytest.raises(DataError, match=f"^{message}$"):
        store_graph(path, tmp_path / "made", **options)
    with pytest.raises(DataError, match="the weight"):
        load_dataset(raw)


def test_an_edge_without_weight_is_none_but_its_nodes_are_there(tmp_path):
    (tmp_path / "edges.csv").write_text("source,target,weight\n0,1,1\n1,5,0\n2,3,1e-40\n")
    store_graph(tmp_path / "edges.csv", tmp_path / "made")
    graph = load_dataset(tmp_path / "made").graph
    assert (graph.num_nodes, graph.adjacency.num_arcs) == (6, 4)  # the smallest of float32 count


@pytest.mark.parametrize(
    ("ids", "message"),
    [([0, -1, 1], "has -1 in row 1"), ([0.0, 2.0, 1.0], "number the nodes"), (["0", "2", "1"], "number the nodes"),
     ([0, None, 1], "has no id in row 1"), ([0, 7, 1], "more than the 3 nodes")],
)  # fmt: skip
def test_ids_of_parquet_features_are_positions(tmp_path, ids, message):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    (tmp_path / "edges.csv").write_text("0,1\n1,2\n")
    pyarrow.parquet.write_table(pyarrow.table({"id": ids, "a": [1.0, 2.0, 3.0]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=message):
        store_graph(tmp_path / "edges.csv", tmp_path / "made", features=tmp_path / "x.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"id": [0, 2, 1], "a": [1.0, 2.0, 3.0]}), tmp_path / "x.parquet")
    store_graph(tmp_path / "edges.csv", tmp_path / "made", features=tmp_path / "x.parquet")
    assert load_dataset(tmp_path / "made").graph.x.tolist() == [[1.0], [3.0], [2.0]]
    pyarrow.parquet.write_table(pyarrow.table({"id": [0, 2, 1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="no features"):
        store_graph(tmp_path / "edges.csv", tmp_path / "other", features=tmp_path / "x.parquet")


def test_a_record_without_its_entries_is_one_sentence(tmp_path):
    write(tmp_path / "raw")
    made = store_graph(tmp_path / "raw" / "edges.csv", tmp_path / "made")
    (made / "graph.json").write_text(json.dumps({"format": "gcl stored graph 1"}))
    with pytest.raises(DataError, match="is damaged"):
        load_dataset(made)
