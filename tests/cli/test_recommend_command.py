"""``gcl train``, ``recommend``, ``evaluate ranking`` and ``embed`` of a recommender, as processes."""

from __future__ import annotations

import csv
import json

import pytest


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    import gcl

    folder = tmp_path_factory.mktemp("recommend") / "run"
    gcl.pipeline("lightgcl", "davis", rank=3, contrast_weight=0.01, trainer={"epochs": 3}, floors=False, out=folder)
    return folder


def test_from_a_file_to_lists(gcl, tmp_path):
    rows = [f"u{user},i{item}" for user in range(12) for item in range(9) if (user * item) % 4 != 1]
    (tmp_path / "work").mkdir(exist_ok=True)
    path = tmp_path / "taken.csv"
    path.write_text("user,item\n" + "\n".join(rows) + "\n")
    done = gcl(
        "train", "lightgcn", str(path), "trainer.epochs=2", "interactions.split=leave-one-out", "--out", "run", "-q"
    )
    assert done.code == 0, done.err
    assert "popularity" in done.out
    done = gcl("recommend", "run", "--user", "u3", "--user", "u5", "--k", "2", "--seen", "none", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert [entry["query"] for entry in record["lists"]] == ["u3", "u5"]
    assert all(len(entry["items"]) == 2 for entry in record["lists"])
    done = gcl("evaluate", "ranking", "run", "--k", "3", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["n"] == 12


def test_lists_as_files_and_popular_items(gcl, trained, tmp_path):
    out = tmp_path / "lists.csv"
    done = gcl("recommend", str(trained), "--users", "all", "--k", "3", "--out", str(out))
    assert done.code == 0, done.err
    rows = list(csv.DictReader(out.open()))
    assert {row["query"] for row in rows} >= {"Evelyn Jefferson", "Flora Price"}
    assert {row["rank"] for row in rows} == {"1", "2", "3"}
    wanted = tmp_path / "users.txt"
    wanted.write_text("Flora Price\nnobody\n\nFlora Price\n")
    done = gcl("recommend", str(trained), "--users", str(wanted), "--unknown", "popular", "--k", "2")
    assert done.code == 0, done.err
    assert "user nobody is unknown" in " ".join(done.out.split())
    assert done.out.count("user Flora Price") == 1


def test_embeddings_of_users_and_of_items(gcl, trained, tmp_path):
    for name, count in (("user", 18), ("item", 14)):
        out = tmp_path / f"{name}.npz"
        done = gcl("embed", str(trained), "--name", name, "--out", str(out))
        assert done.code == 0, done.err
        assert f"{count} embeddings" in done.out
    files = [str(tmp_path / "user.npz"), str(tmp_path / "item.npz")]
    done = gcl("evaluate", "ranking", *files, "--dataset", "davis", "--k", "5", "--json")
    assert done.code == 0, done.err
    by_files = json.loads(done.out)["metrics"]
    done = gcl("evaluate", "ranking", str(trained), "--k", "5", "--json")
    assert json.loads(done.out)["metrics"] == by_files


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give --user ID"),
        (["--user", "a", "--similar-to", "b"], "give --user ID"),
        (["--user", "Evelyn Jeferson"], "nearest: Evelyn Jefferson"),
        (["--similar-to", "E99"], "no item 'E99'"),
        (["--user", "Flora Price", "--k", "0"], "--k must be"),
        (["--user", "Flora Price", "--out", "lists.txt"], "must end in .csv or .json"),
        (["--users", "none.txt"], "cannot read none.txt"),
    ],
)
def test_misuse_is_one_sentence(gcl, trained, arguments, sentence):
    done = gcl("recommend", str(trained), *arguments)
    assert done.code == 2
    assert sentence in " ".join(done.err.split())
    assert len(done.err.strip().splitlines()) == 1
