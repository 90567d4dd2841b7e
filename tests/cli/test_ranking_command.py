from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import yaml

from gcl.core.context import Outputs
from gcl.data.load import load_dataset
from gcl.evaluate.ranking import Ranking
from gcl.run.run_directory import save_outputs

M, N = 12, 15


@pytest.fixture
def files(gcl):
    """``shop.npz``, ``u.npy`` and ``v.npy`` in the folder that the command runs in."""
    rng = np.random.default_rng(0)
    part = np.where(rng.random((M, N)) < 0.7, rng.integers(0, 3, (M, N)), -1)
    arrays = {"num_users": M, "num_items": N}
    for name, codes in (("train", [0, 1]), ("test", [2])):
        matrix = sp.csr_matrix(np.isin(part, codes))
        arrays |= {f"{name}_indptr": matrix.indptr, f"{name}_indices": matrix.indices}
    np.savez("shop.npz", **arrays)
    u, v = rng.normal(size=(M, 4)).astype(np.float32), rng.normal(size=(N, 4)).astype(np.float32)
    np.save("u.npy", u)
    np.save("v.npy", v)
    return gcl, u, v


def expected(u, v, **options) -> dict:
    evaluator = Ranking(**options)
    _, held = evaluator.split(load_dataset("shop.npz").graph, seed=0)
    outputs = Outputs({"user": torch.from_numpy(u), "item": torch.from_numpy(v)})
    return evaluator.evaluate(outputs, held, seed=0).to_json()


def refused(done, *words):
    assert done.code == 2, (done.code, done.out, done.err)
    assert len(done.err.strip().splitlines()) == 1, done.err
    for word in words:
        assert word in done.err, (word, done.err)


def test_two_files(files):
    gcl, u, v = files
    done = gcl("evaluate", "ranking", "u.npy", "v.npy", "--dataset", "shop.npz", "--k", "2, 5", "--json")
    assert done.code == 0, done.err
    assert set(done.json) == {"task", "n", "protocol", "seeds", "metrics", "details"}
    assert done.json == expected(u, v, k=[2, 5], validation=0.0)
    assert "train masked, no validation" in done.json["protocol"]
    batched = gcl("evaluate", "ranking", "u.npy", "v.npy", "--dataset", "shop.npz", "--batch-mean", "5", "--json")
    assert batched.json == expected(u, v, validation=0.0, batch_mean=5)
    table = gcl("evaluate", "ranking", "u.npy", "v.npy", "--dataset", "shop.npz", "--k", "2,5")
    for word in (
        "recall@2",
        "NDCG@5",
        "hit rate@5",
        "12 users",
        f"{100 * done.json['metrics']['recall@5']['mean']:.2f}",
    ):
        assert word in " ".join(table.out.split()), word


def test_rows_are_joined_by_ids(files):
    gcl, u, v = files
    order = np.random.default_rng(1).permutation(M)
    np.savez("mixed.npz", embeddings=u[order], ids=order.astype(str))  # a dataset without ids has its positions
    done = gcl("evaluate", "ranking", "mixed.npz", "v.npy", "--dataset", "shop.npz", "--json")
    assert done.json == expected(u, v, validation=0.0)
    np.savez("mixed.npz", embeddings=u, ids=[f"u{i}" for i in range(M)])
    refused(gcl("evaluate", "ranking", "mixed.npz", "v.npy", "--dataset", "shop.npz"), "shop (users)", "first 'u0'")


def test_a_run_folder(files):
    gcl, u, v = files
    options = ["trainer.epochs=1", "--seeds", "1", "--quiet", "--out", "run"]
    assert gcl("train", "grace", "karate", *options).code == 0
    refused(gcl("evaluate", "ranking", "run"), "no embeddings 'user'", "recommender")
    path = Path("run/config.yaml")  # made into the run of a recommender
    config = yaml.safe_load(path.read_text())
    own = {"name": "ranking", "k": [3], "validation": 0.2, "batch_mean": None, "select": "ndcg@3"}
    config |= {"dataset": str(Path("shop.npz").resolve()), "evaluate": {"mine": own}}
    path.write_text(yaml.safe_dump(config))
    embeddings = {"user": torch.from_numpy(u), "item": torch.from_numpy(v)}
    save_outputs(Path("run/embeddings.safetensors"), Outputs(embeddings), None)
    done = gcl("evaluate", "ranking", "run", "--json")
    assert done.code == 0, done.err
    assert done.json == expected(u, v, k=[3], validation=0.2)
    assert "carved, 0.2" in done.json["protocol"]
    assert gcl("evaluate", "ranking", "run", "--k", "4", "--json").json == expected(u, v, k=[4], validation=0.2)
    refused(gcl("evaluate", "ranking", "run", "v.npy"), "leave v.npy out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("u.npy",), ["give ITEMS"]),
        (("u.npy", "v.npy"), ["--dataset"]),
        (("u.npy", "w.npy", "--dataset", "shop.npz"), ["w.npy does not exist"]),
        (("v.npy", "v.npy", "--dataset", "shop.npz"), ["12 users", "15 rows"]),
        (("u.npy", "u.npy", "--dataset", "shop.npz"), ["15 items", "12 rows"]),
        (("u.npy", "v.npy", "--dataset", "karate"), ["users and items", "rec/"]),
        (("u.npy", "v.npy", "--dataset", "shop.npz", "--k", "20,x"), ["--k", "'20,x'"]),
        (("u.npy", "v.npy", "--dataset", "shop.npz", "--k", "0"), ["k must list", "[0]"]),
        (("u.npy", "v.npy", "--dataset", "shop.npz", "--batch-mean", "0"), ["batch_mean"]),
        (("u.npy", "v.npy", "--dataset", "gowala"), ["gowalla"]),
    ],
)
def test_bad_input_is_one_sentence(files, arguments, words):
    gcl, _, _ = files
    refused(gcl("evaluate", "ranking", *arguments), *words)
