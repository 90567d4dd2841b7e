"""Training in another order of nodes leaves no trace in what a run gives."""

from __future__ import annotations

import pytest
import torch

import gcl
from gcl.data.load import load_dataset
from gcl.run.pipeline import resume
from gcl.run.run_directory import read_outputs

QUICK = {"trainer": {"epochs": 3}, "floors": False, "evaluate": {"classification": {"num_splits": 2}}}


@pytest.mark.parametrize("method", ["grace", "csgcl"])
def test_rows_ids_and_scores_are_those_of_the_stored_order(method, tmp_path):
    result = gcl.pipeline(method, "karate", node_order="community", out=tmp_path / "run", **QUICK)
    trained = result.runs[0].method
    assert not torch.equal(trained.node_order_, torch.arange(34))
    graph = load_dataset("karate").graph
    assert torch.equal(result.outputs.main, trained.encoder_.embed(graph))  # the encoder on the graph as it is stored
    assert torch.equal(read_outputs(tmp_path / "run" / "embeddings.safetensors").main, result.outputs.main)
    again = resume(tmp_path / "run")
    assert again.scores == result.scores
    repeated = gcl.pipeline(method, "karate", node_order="community", **QUICK)
    assert torch.equal(repeated.outputs.main, result.outputs.main)
