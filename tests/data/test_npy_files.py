"""Arrays that are mapped into memory, and what is said where they cannot be read or written."""

from __future__ import annotations

import errno
import os
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from children import in_a_child

from gcl.core.errors import DataError, OutputError
from gcl.data.npy_files import mapped_array, save_array
from gcl.data.store_graph import store_graph
from gcl.data.stored_graph import read_stored_graph

OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
COLUMNS = 2**36  # of 20 nodes, 5.5 TB


def ring(folder):
    """Edges of a ring of 20 nodes."""
    path = folder / "edges.csv"
    path.write_text("".join(f"{at},{(at + 1) % 20}\n" for at in range(20)))
    return path


def huge(folder):
    """A stored graph whose features are larger than any memory, all 0."""
    np.save(folder / "x.npy", np.zeros((20, 2), dtype=np.float32))
    made = store_graph(ring(folder), folder / "made", features=folder / "x.npy")
    record = (made / "graph.json").read_text()
    (made / "graph.json").write_text(record.replace('"num_features": 2', f'"num_features": {COLUMNS}'))
    with open(made / "x.npy", "wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (20, COLUMNS)}
        np.lib.format.write_array_header_1_0(stream, header)
        size = stream.tell() + 20 * COLUMNS * 4
    try:
        os.truncate(made / "x.npy", size)
    except OSError as error:
        pytest.skip(f"no file of {size} bytes here ({error.strerror})")
    return made


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or (OVERCOMMIT.exists() and OVERCOMMIT.read_text().strip() == "2"),
    reason="needs a system that sets no memory aside",
)
def test_features_larger_than_memory_are_mapped_and_stay_as_they_are(tmp_path):
    made = huge(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph, _ = read_stored_graph(made)
    assert graph.x.shape == (20, COLUMNS)
    graph.x[19, -1] = 7.0
    assert float(graph.x[19, -1]) == 7.0
    with open(made / "x.npy", "rb") as stream:
        stream.seek(-4, os.SEEK_END)
        assert stream.read() == bytes(4)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is limited on Linux alone")
def test_what_the_system_does_not_let_a_process_map_is_one_sentence(tmp_path):
    made = huge(tmp_path)

    def work():
        import resource

        limit = 2**40
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        with pytest.raises(DataError, match=r"x\.npy has 5\.12e\+03 GiB, more than the system lets this process map; "):
            read_stored_graph(made)

    done = in_a_child(work, tmp_path)
    assert done.code == 0, done.err


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (4, 3)])
def test_an_array_is_that_of_numpy(tmp_path, shape, order):
    array = np.asarray(np.random.default_rng(0).normal(size=shape), order=order)
    np.save(tmp_path / "a.npy", array)
    save_array(tmp_path / "b.npy", array)
    for name in ("a.npy", "b.npy"):
        found = mapped_array(tmp_path / name, "write it again")
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.flags.writeable
        np.testing.assert_array_equal(found, array)
    if order == "C":
        assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_a_damaged_file_is_one_sentence_whatever_the_damage(tmp_path):
    path, draw = tmp_path / "a.npy", random.Random(0)
    np.save(path, np.arange(6.0).reshape(2, 3))
    good, said = path.read_bytes(), []
    for _ in range(500):
        bad = bytearray(good)
        for _ in range(draw.choice([1, 2, 5])):
            bad[draw.randrange(128)] = draw.choice([draw.randrange(256), *b"(){}[],:'0123456789<>fiO \n-"])
        path.write_bytes(bad[: draw.randrange(len(bad))] if draw.random() < 0.2 else bad)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of headers that an old version may have written
                mapped_array(path, "write it again")
        except DataError as error:
            said.append(str(error))
    assert len(said) > 400
    assert {(text.startswith(f"{path} "), text.endswith("; write it again")) for text in said} == {(True, True)}


def pickled(path):
    np.save(path, np.array([[1, "a"], [None, 2]], dtype=object), allow_pickle=True)


def cut(path):
    np.save(path, np.zeros((20, 3)))
    path.write_bytes(path.read_bytes()[:-8])


def archive(path):
    np.savez(path.with_suffix(""), x=np.zeros((20, 3)))
    path.with_suffix(".npz").rename(path)


@pytest.mark.parametrize("num_nodes", [None, 20])
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: np.save(path, np.float64(3)), r"must hold numbers \[N, F\].* got float64 \[\]"),
        (lambda path: np.save(path, np.zeros(20)), r"must hold numbers \[N, F\].* got float64 \[20\]"),
        (lambda path: np.save(path, np.zeros((0, 3))), r"must hold numbers \[N, F\].* got float64 \[0, 3\]"),
        (lambda path: np.save(path, np.full((20, 2), "a")), r"must hold numbers \[N, F\].* got <U1"),
        (lambda path: np.save(path, np.zeros((20, 2), dtype=complex)), r"must hold numbers \[N, F\]"),
        (pickled, "holds Python objects, which are not read; write numbers"),
        (cut, r"is truncated or damaged \(600 bytes, its header says 608\); write numbers"),
        (archive, "is no .npy array, or its header is damaged; write numbers"),
        (lambda path: path.touch(), "is no .npy array, or its header is damaged; write numbers"),
    ],
)
def test_features_that_are_none_are_one_sentence_and_leave_nothing(tmp_path, write, message, num_nodes):
    ring(tmp_path)
    write(tmp_path / "x.npy")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(DataError, match=rf"x\.npy {message}") as caught:
        store_graph(tmp_path / "edges.csv", tmp_path / "made", features=tmp_path / "x.npy", num_nodes=num_nodes)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


# -- a full disk -------------------------------------------------------------------------------------------------------


def large(folder):
    """The edges of 1000 nodes, with features, labels and splits, to be stored in several ranges."""
    draw = np.random.default_rng(0)
    np.savetxt(folder / "edges.csv", draw.integers(1000, size=(30_000, 2)), fmt="%d", delimiter=",")
    np.save(folder / "x.npy", draw.normal(size=(1000, 1000)))
    np.save(folder / "y.npy", draw.integers(3, size=1000))
    names = {"features": "x.npy", "labels": "y.npy"}
    return {"edges": folder / "edges.csv", **{key: folder / name for key, name in names.items()}, "memory": 2**20}


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("size", [1000, 100_000, 230_000, 800_000, 2_000_000])
def test_a_disk_without_room_is_one_sentence_and_leaves_nothing(tmp_path, size, directed):
    options = large(tmp_path)
    (tmp_path / "disk").mkdir()

    def work():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        with pytest.raises(OutputError) as caught:
            store_graph(folder=tmp_path / "disk" / "made", directed=directed, **options)
        print(caught.value)

    done = in_a_child(work, tmp_path)
    assert done.code == 0, done.err
    assert done.out.startswith(f"{tmp_path / 'disk' / 'made'} cannot be written (File too large); it needs at least ")
    assert done.out.endswith(f" GiB in {tmp_path / 'disk'}, so make room there or choose another place\n")
    assert not list((tmp_path / "disk").iterdir())


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot take room on the disk beforehand")
def test_room_on_the_disk_is_taken_before_pages_are_written(tmp_path, monkeypatch):
    options = large(tmp_path)
    (tmp_path / "disk").mkdir()
    take = os.posix_fallocate

    def full(descriptor, start, size):
        if size >= 4_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        take(descriptor, start, size)

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"made cannot be written \(No space left on device\); it needs at least "):
        store_graph(folder=tmp_path / "disk" / "made", **options)
    assert not list((tmp_path / "disk").iterdir())

    def unable(descriptor, start, size):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unable)
    made = store_graph(folder=tmp_path / "disk" / "made", **options)
    graph, _ = read_stored_graph(made)
    assert torch.equal(graph.x, torch.from_numpy(np.load(tmp_path / "x.npy")).float())
