"""Names, cards, data roots and the catalogue."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gcl.data.resources as resources
from gcl.core.errors import DataError
from gcl.data.cards import COLLECTIONS, card_names, parse_card, read_card
from gcl.data.catalog import dataset_info, list_datasets
from gcl.data.names import find_name, resolve_name
from gcl.data.resources import resource_folder
from gcl.data.roots import data_roots, find_archive, require_archive
from gcl.data.transforms import TRANSFORMS


@pytest.mark.parametrize(
    ("given", "kind", "expected"),
    [
        ("cora", None, "node/cora"),
        ("Cora", "cluster", "node/cora"),  # kind prefers, it does not exclude
        ("Amazon-Photo", None, "node/amazon_photo"),
        ("NODE/Amazon-Photo", None, "node/amazon_photo"),
        ("amazon photo", None, "node/amazon_photo"),
        ("acm", "hetero", "hetero/acm"),
        ("ACM", "cluster", "cluster/acm"),
        ("hetero/acm", "cluster", "hetero/acm"),
        ("gowalla", "node", "rec/gowalla"),
        ("ml-1m", None, None),
        ("ml1m", None, "rec/ml1m"),
    ],
)
def test_names_resolve(given, kind, expected):
    assert find_name(given, kind=kind) == expected


@pytest.mark.parametrize("kind", [None, "node", "rec"])
def test_an_ambiguous_stem_lists_the_candidates(kind):
    with pytest.raises(DataError, match=r"cluster/dblp or hetero/dblp"):
        resolve_name("dblp", kind=kind)


@pytest.mark.parametrize(
    ("wrong", "near"), [("corra", "'cora'"), ("cora-mll", "'cora_ml'"), ("node/coar", "node/cora")]
)
def test_an_unknown_name_names_the_nearest(wrong, near):
    with pytest.raises(DataError, match=near) as caught:
        resolve_name(wrong)
    assert "\n" not in str(caught.value)
    assert wrong in str(caught.value)


def test_every_card_is_whole():
    assert len(card_names()) == 41
    for name in card_names():
        card = read_card(name)
        assert card.name == name
        assert card.collection in COLLECTIONS
        assert set(card.transform) <= set(TRANSFORMS)
        assert card.title
        assert card.source
        assert card.licence
        keys = {"users", "items", "interactions"} if card.collection == "rec" else {"nodes", "edges", "classes"}
        assert keys <= set(card.statistics)
        not_in_the_root = (
            "node/wikics",
            "node/amazon_computers",
            "node/blogcatalog",
            "node/ogbn_arxiv",
        )  # known by what PyG or OGB gives, no archive to compare
        assert (card.sha256 is None) == (card.embedded or name in not_in_the_root)
        if card.sha256 is not None:
            assert len(card.sha256) == 64
        assert (
            card.embedded
            or card.obtain == "data root only"
            or card.obtain.startswith(("torch_geometric.datasets.", "ogb "))
        )


@pytest.mark.parametrize("content", ["a: [", "just text", "name: node/x\n", "- 1\n"])
def test_a_damaged_card_is_refused(tmp_path, content):
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(DataError, match=r"x\.yaml"):
        parse_card(path)


def test_a_card_in_the_wrong_place_is_refused(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text((resource_folder("datasets") / "node" / "cora.yaml").read_text())
    with pytest.raises(DataError, match="must be its folder and file name"):
        parse_card(path)


def test_an_installed_package_prefers_its_own_folder(tmp_path, monkeypatch):
    package = tmp_path / "gcl"
    (tmp_path / "datasets").mkdir(parents=True)
    package.mkdir()
    monkeypatch.setattr(resources, "PACKAGE", package)
    assert resource_folder("datasets") == tmp_path / "datasets"
    (package / "_datasets").mkdir()
    assert resource_folder("datasets") == package / "_datasets"
    with pytest.raises(DataError, match="experiments"):
        resource_folder("experiments")


def test_roots_are_searched_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("GCL_DATA", str(tmp_path / "environment"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_roots() == [tmp_path / "environment", tmp_path / "cache" / "gcl" / "data"]
    assert data_roots(tmp_path / "given") == [tmp_path / "given"]
    card = read_card("node/cora")
    cached = tmp_path / "cache" / "gcl" / "data" / "node" / "cora.npz"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert find_archive(card) == cached
    with pytest.raises(DataError, match=r"node/cora\.npz") as caught:
        require_archive(card, tmp_path / "given")
    message = str(caught.value)
    for part in (str(tmp_path / "given"), "--data-root", "GCL_DATA", "Planetoid", "digits and karate"):
        assert part in message
    assert "\n" not in message


def test_the_home_cache_is_the_last_root(monkeypatch):
    monkeypatch.delenv("GCL_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data_roots() == [Path("~/.cache/gcl/data").expanduser()]


def test_the_catalogue_says_what_is_available(tmp_path):
    content = b"anything"
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "cora.npz").write_bytes(content)
    records = {record["name"]: record for record in list_datasets(tmp_path)}
    assert len(records) == 41
    assert records["node/digits"]["available"] == "embedded"
    assert records["node/cora"]["available"] == "found"
    assert records["node/cora"]["path"].endswith("cora.npz")
    assert records["rec/gowalla"]["available"] == "missing"
    assert all(record["collection"] == "rec" for record in list_datasets(tmp_path, kind="rec"))
    info = dataset_info("Cora", tmp_path, verify=True)
    assert info["verified"] is False
    assert info["sha256"] != hashlib.sha256(content).hexdigest()
    assert dataset_info("cora", tmp_path)["verified"] is None
    assert dataset_info("acm", tmp_path, kind="hetero")["statistics"]["target"] == "paper"


def test_listing_imports_no_torch():
    code = "import sys; from gcl.data.catalog import *; list_datasets(); dataset_info('cora'); print('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert result.stdout.strip() == "False"


@pytest.mark.data
def test_every_archive_has_its_checksum(data_root):
    for record in list_datasets(data_root):
        if record["available"] == "found":
            assert dataset_info(record["name"], data_root, verify=True)["verified"], record["name"]
