from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import tracemalloc

import pytest

from gcl.core import errors
from gcl.core.errors import GCLError, OutputError, nearest, unknown
from gcl.core.files import atomic_write, sha256_of, write_json, write_text


def test_a_block_that_fails_leaves_the_old_content(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyError("disk on fire")

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]  # nothing is left behind


def test_content_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "weights.safetensors"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()
        assert temporary.parent == path.parent  # a rename inside one file system
        assert temporary.suffix == path.suffix
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_replaces_by_default_and_refuses_when_told(tmp_path):
    path = tmp_path / "out.txt"
    write_text(path, "first")
    write_text(path, "second")
    assert path.read_text() == "second"
    with pytest.raises(OutputError, match="exists; choose another name"):
        write_text(path, "third", overwrite=False)
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]
    write_text(tmp_path / "fresh.txt", "text", overwrite=False)


def test_checksums_are_made_without_the_whole_file_in_memory(tmp_path):
    path, block = tmp_path / "large.bin", bytes(range(256)) * 4096  # 1 MiB
    with open(path, "wb") as stream:
        for _ in range(32):
            stream.write(block)
        stream.write(b"end")
    tracemalloc.start()
    try:
        found = sha256_of(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == hashlib.sha256(block * 32 + b"end").hexdigest()
    assert peak < 4 * 2**20
    from gcl.run import run_directory

    assert run_directory.sha256_of is sha256_of


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "out.txt", "text")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out.txt").stat().st_mode) == 0o640


def test_json_keeps_its_order_and_refuses_nan(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, {"b": 1, "a": [0.1, None, "Å"]})
    assert list(json.loads(path.read_text(encoding="utf-8"))) == ["b", "a"]
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"loss": math.nan})
    assert json.loads(path.read_text(encoding="utf-8"))["b"] == 1


def test_unknown_names_the_nearest_first():
    assert nearest("infonec", ["bpr", "infonce", "team_up"]) == ["infonce"]
    assert nearest("Team-Up", ["bpr", "infonce", "team_up"]) == ["team_up"]
    assert nearest("zzz", ["bpr"]) == []
    assert unknown("loss", "infonec", ["infonce", "bpr"]) == (
        "unknown loss 'infonec'; did you mean 'infonce'? (known: bpr, infonce)"
    )
    assert unknown("loss", "zzz", ["infonce", "bpr"]) == "unknown loss 'zzz'; known: bpr, infonce"
    assert unknown("key", "zzz", []) == "unknown key 'zzz'; it takes none"


def test_long_lists_are_left_out_where_something_is_near():
    names = [f"dataset{i}" for i in range(20)] + ["cora"]
    assert unknown("dataset", "corra", names) == "unknown dataset 'corra'; did you mean 'cora'?"
    assert "known: cora" in unknown("dataset", "zzz", names)


def test_every_error_is_ours_and_has_an_exit_code():
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(kinds) >= 7
    for kind in kinds:
        assert issubclass(kind, GCLError)
        assert kind.exit_code in (1, 2)
    assert errors.NonFiniteError.exit_code == 1
    assert issubclass(errors.DataError, ValueError)  # so that callers may catch the builtin
    assert issubclass(errors.MissingDependencyError, ImportError)
