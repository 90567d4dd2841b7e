"""The one call."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil

import networkx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import ToUndirected

import gcl
from gcl.augment.edge_drop import EdgeDrop
from gcl.core.adjacency import Adjacency
from gcl.core.classes import find_class, names
from gcl.core.context import Outputs
from gcl.core.errors import CheckpointError, ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.data.load import load_dataset
from gcl.encoders.gcn import GCN
from gcl.evaluate.clustering import Clustering
from gcl.losses.infonce import InfoNCE
from gcl.losses.nt_xent import NTXent
from gcl.methods.grace import GRACE
from gcl.run.pipeline import resume
from gcl.run.reproduce import reproduce
from gcl.run.run_directory import read_outputs, save_outputs
from gcl.run.settings import experiment_file, experiment_method, parse_overrides, read_yaml, settle

NOTHING = {"classification": None, "clustering": None}
QUICK = {"trainer": {"epochs": 2}, "evaluate": NOTHING, "floors": False}


def random_data(num_nodes=30, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(0, num_nodes, (2, 90), generator=generator)
    edge_index = torch.unique(torch.cat([edge_index, edge_index.flip(0)], dim=1), dim=1)
    y = torch.arange(num_nodes) % 2
    return Data(x=torch.rand(num_nodes, width, generator=generator), edge_index=edge_index, y=y)


def hetero_graph(metapaths, num_nodes=20):
    """A random graph with a relation for every step of some meta-paths, and labels of the target nodes."""
    generator, pairs, target = torch.Generator().manual_seed(0), {}, metapaths[0].split("-")[0]
    for path in metapaths:
        for here, there in itertools.pairwise(path.split("-")):
            if (there, here) not in pairs.values():
                pairs[f"{here}_{there}"] = (here, there)
    relations = {}
    for name in pairs:
        source, receiver = (torch.rand(num_nodes, num_nodes, generator=generator) < 0.2).nonzero().t()
        index = torch.stack([source, receiver])
        relations[name] = Adjacency.from_edge_index(index, (num_nodes, num_nodes))
    return Graph(
        features={target: torch.rand(num_nodes, 6, generator=generator)},
        relations=relations,
        relation_types=pairs,
        node_attrs={target: {"y": torch.arange(num_nodes) % 2}},
        target=target,
    )


NODE_METHODS = [name for name in names("method") if find_class("method", name).kind == "node"]
HETERO_METHODS = [name for name in names("method") if find_class("method", name).kind == "hetero"]
PATHS = ["paper-author-paper", "paper-subject-paper"]


@pytest.mark.parametrize("method", NODE_METHODS)
def test_every_method_of_nodes_gives_finite_embeddings_and_four_rows(method):
    result = gcl.pipeline(method, "karate", trainer={"epochs": 2}, evaluate={"classification": {"num_splits": 2}})
    assert result.outputs.main.shape[0] == 34
    assert result.outputs.main.isfinite().all()
    assert list(result.scores["classification"]) == ["raw features", "A²X", "untrained", "trained"]
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize("method", HETERO_METHODS)
def test_every_method_of_several_node_types_gives_finite_embeddings_and_four_rows(method):
    small = {"loss": {"num_clusters": [2, 5]}} if method == "meow" else {}
    evaluate = {"classification": {"num_splits": 2}, "clustering": None}
    result = gcl.pipeline(
        method, hetero_graph(PATHS), metapaths=PATHS, trainer={"epochs": 2}, evaluate=evaluate, **small
    )
    assert result.outputs.main.shape[0] == 20
    assert result.outputs.main.isfinite().all()
    assert {"raw features", "untrained", "trained"} <= set(result.scores["classification"])
    json.dumps(result.to_json(), allow_nan=False)


def test_the_floor_untrained_is_the_same_encoder_before_training():
    trained = gcl.pipeline("grace", "karate", trainer={"epochs": 3}, evaluate={"classification": None})
    untrained = gcl.pipeline("grace", "karate", trainer={"epochs": 0}, evaluate={"classification": None})
    assert trained.scores["clustering"]["untrained"].values == untrained.scores["clustering"]["trained"].values


def test_names_specifications_classes_and_objects_give_the_same_result():
    by_name = gcl.pipeline("grace", "karate", loss={"name": "infonce", "temperature": 0.3}, **QUICK)
    by_class = gcl.pipeline(GRACE, "karate", loss=NTXent, config={}, **QUICK)
    by_object = gcl.pipeline("grace", "karate", loss=InfoNCE(0.3), **QUICK)
    torch.testing.assert_close(by_name.outputs.main, by_object.outputs.main, rtol=0, atol=0)
    assert by_class.settings["method"]["loss"] == {"name": "nt_xent", "temperature": NTXent().temperature}
    whole = gcl.pipeline(GRACE(encoder=GCN(out_channels=8)), "karate", **QUICK)
    assert whole.outputs.main.shape == (34, 8)


def test_parts_from_elsewhere_take_our_places():
    from torch_geometric.nn.models import GraphSAGE

    from gcl.encoders.pyg_encoder import as_encoder

    module = GraphSAGE(34, 16, 2, 12)
    result = gcl.pipeline(
        "grace",
        "karate",
        encoder=as_encoder(module, out_channels=12),
        augment={"view1": {"edge": EdgeDrop(0.5)}, "view2": {"edge": ToUndirected()}},
        **QUICK,
    )
    assert result.outputs.main.shape == (34, 12)


def test_every_kind_of_graph_comes_in(tmp_path):
    data = random_data()
    dense = np.zeros((30, 30))
    dense[data.edge_index[0], data.edge_index[1]] = 1
    graph = networkx.from_numpy_array(dense)
    for node in graph:
        graph.nodes[node]["x"] = data.x[node].tolist()
    expected = gcl.pipeline("grace", data, **QUICK).outputs.main
    assert expected.shape[0] == 30
    same = load_dataset(data).graph
    assert isinstance(same, Graph)
    torch.testing.assert_close(gcl.pipeline("grace", same, **QUICK).outputs.main, expected, rtol=0, atol=0)


def test_labels_never_reach_training():
    data = random_data()
    other = Data(x=data.x, edge_index=data.edge_index, y=1 - data.y)
    settings = {"trainer": {"epochs": 3}, "floors": False, "evaluate": {"classification": {"num_splits": 2}}}
    first, second = (gcl.pipeline("csgcl", graph, **settings) for graph in (data, other))
    torch.testing.assert_close(first.outputs.main, second.outputs.main, rtol=0, atol=0)


def test_selection_by_validation_never_sees_test_labels():
    data = load_dataset("digits").graph
    part = data.subgraph(torch.arange(200))
    poisoned_y = part.attr("y").clone()
    splits = torch.zeros(200, 1, dtype=torch.uint8)
    splits[40:80], splits[80:] = 1, 2
    poisoned_y[80:] = poisoned_y[80:].flip(0)
    clean = part.with_node_attrs(splits=splits)
    poisoned = clean.with_node_attrs(y=poisoned_y)
    settings = {
        "trainer": {"epochs": 6, "select": "validation", "validate_every": 1},
        "evaluate": {"clustering": None},
        "encoder": {"out_channels": 8},
        "floors": False,
    }
    first, second = (gcl.pipeline("grace", graph, **settings) for graph in (clean, poisoned))
    assert first.runs[0].fit["best_epoch"] == second.runs[0].fit["best_epoch"]
    torch.testing.assert_close(first.outputs.main, second.outputs.main, rtol=0, atol=0)
    assert first.scores["classification"]["trained"].values != second.scores["classification"]["trained"].values


def test_anchors_and_early_stopping_by_configuration():
    result = gcl.pipeline(
        "grace", "karate", anchors=5, trainer={"epochs": 40, "patience": 2}, evaluate=NOTHING, floors=False
    )
    assert result.runs[0].fit["epochs"] <= 40
    with pytest.raises(ConfigError, match="anchors"):
        gcl.pipeline("grace", "karate", anchors=0, **QUICK)


def test_a_saved_result_is_a_run_folder(tmp_path):
    result = gcl.pipeline("csgcl", "karate", seeds=2, **QUICK)
    folder = result.save(tmp_path / "run")
    run = gcl.open_run(folder)
    torch.testing.assert_close(run.embeddings["embedding"], result.outputs.main, rtol=0, atol=0)
    graph = load_dataset("karate").graph
    torch.testing.assert_close(run.embed(graph).main, result.outputs.main, rtol=0, atol=0)
    second = gcl.open_run(folder / "seed-1")
    torch.testing.assert_close(second.embeddings["embedding"], result.runs[1].outputs.main, rtol=0, atol=0)
    assert resume(folder).scores == result.scores


def test_a_run_on_an_object_resumes_on_the_same_object_only(tmp_path):
    data = random_data()
    gcl.pipeline("grace", data, out=tmp_path / "run", **QUICK)
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(ConfigError, match="in memory"):
        resume(tmp_path / "run")
    with pytest.raises(CheckpointError, match="data"):
        resume(tmp_path / "run", dataset=random_data(seed=1))
    resume(tmp_path / "run", dataset=data)


def test_missing_features_and_labels_are_said_before_training():
    data = random_data()
    with pytest.raises(DataError, match="features"):
        gcl.pipeline("grace", Data(edge_index=data.edge_index, num_nodes=30), evaluate=NOTHING, floors=False)
    asked = {"classification": {"num_splits": 3}}
    with pytest.raises(DataError, match="label"):
        gcl.pipeline("grace", Data(x=data.x, edge_index=data.edge_index), evaluate=asked)


def test_a_loss_without_what_it_needs_is_refused_by_name():
    class Needy(InfoNCE):
        needs = ("positives",)

    with pytest.raises(ConfigError, match="Needy needs positives"):
        gcl.pipeline("grace", "karate", loss=Needy(), **QUICK)


def test_overrides_are_read_like_yaml():
    record = parse_overrides(
        ["loss.temperature=1e-1", "encoder=mlp", "encoder.num_layers=3", "anchors=null", "x.y=[1, 2]"]
    )
    assert record == {
        "loss": {"temperature": 0.1},
        "encoder": {"name": "mlp", "num_layers": 3},
        "anchors": None,
        "x": {"y": [1, 2]},
    }
    assert parse_overrides(["encoder.num_layers=3", "encoder=mlp"]) == {"encoder": {"name": "mlp", "num_layers": 3}}
    for bad in ("loss", "=3", "loss..x=1", "loss=[1"):
        with pytest.raises(ConfigError):
            parse_overrides([bad])


def shipped():
    folder = experiment_file("grace", None).parent.parent
    return sorted(folder.glob("*/*.yaml"))


@pytest.mark.parametrize("path", shipped(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_shipped_experiment_runs_for_two_steps(path):
    preset, method = read_yaml(path), experiment_method(path.parent.name)
    assert preset.get("method", method) == method
    settings = settle(method, None, overrides={}, preset=preset)
    described = settle(method, None, overrides={}, preset={**preset, **without_name(settings["method"])})
    assert described["method"] == settings["method"]  # a written configuration is read back to the same
    figures = (preset.get("paper") or {}).get("figures", [])
    assert all(figure["evaluate"] in settings["evaluate"] and figure["source"] for figure in figures)
    kind = find_class("method", method).kind
    metapaths = settings["method"].get("metapaths") or PATHS
    data = {"rec": "davis", "hetero": hetero_graph(metapaths)}.get(kind, "karate")
    small = {"rank": 3} if "rank" in settings["method"] else {}
    if "pretrain_epochs" in settings["method"]:
        small |= {"pretrain_epochs": 0, "hidden_channels": (8,)}
    if isinstance(settings["method"].get("loss", {}).get("num_clusters"), list):
        small |= {"loss": {"num_clusters": [2, 5]}}
    result = gcl.pipeline(
        method, data, config=preset, seeds=1, floors=False,
        trainer={"epochs": 2}, evaluate=dict.fromkeys(settings["evaluate"]), **small,
    )  # fmt: skip
    assert result.runs[0].fit["steps"] == 2


def without_name(record):
    return {key: value for key, value in record.items() if key != "name"}


def test_experiments_of_the_pot_study_mask_no_attributes():
    for path in shipped():
        if path.parent.name.startswith("pot-"):
            settings = settle(experiment_method(path.parent.name), None, overrides={}, preset=read_yaml(path))
            for parts in settings["method"]["augment"].values():
                assert [name for name, part in parts.items() if part is not None] == ["edge"]
            assert settings["method"]["regularizer"]["name"] == "pot"


def test_a_part_that_is_taken_out_is_out_of_training_too(tmp_path):
    result = gcl.pipeline("grace", "karate", augment={"view2": {"feature": None}}, out=tmp_path / "run", **QUICK)
    first, second = result.runs[0].method.augmenters_
    assert (list(first.augmenters), list(second.augmenters)) == (["edge", "feature"], ["edge"])
    again = gcl.pipeline("grace", "karate", config=tmp_path / "run" / "config.yaml", **QUICK)
    assert list(again.runs[0].method.augmenters_[1].augmenters) == ["edge"]


def test_a_family_of_experiments_is_found_by_either_spelling():
    assert experiment_method("pot-grace") == experiment_method("POT_GRACE") == experiment_method("grace") == "grace"
    path = experiment_file("pot_grace", "node/cora")
    assert (path.parent.name, path.stem) == ("pot-grace", "cora")
    with pytest.raises(ConfigError, match="pot-grace"):
        experiment_method("pot-grase")


def test_an_embedding_that_a_method_does_not_give_is_refused_before_training(tmp_path):
    for method, dataset, name in (("grace", "karate", "last_pass"), ("pamc", "karate", "typo")):
        evaluate = {"scored": {"name": "clustering", "embedding": name}}
        with pytest.raises(ConfigError, match=f"evaluate.scored: unknown embedding '{name}'"):
            gcl.pipeline(method, dataset, trainer={"epochs": 1}, evaluate=evaluate, out=tmp_path / method)
        assert not (tmp_path / method).exists()


class Two(GRACE):
    embedding_names = None

    def outputs(self, graph):
        z = super().outputs(graph).main
        return Outputs({"embedding": z, "second": z.flip(1)})


def test_a_method_that_declares_no_names_may_give_any_embedding():
    evaluate = {"of_second": {"name": "clustering", "embedding": "second", "num_seeds": 1}}
    result = gcl.pipeline(Two, "karate", trainer={"epochs": 1}, evaluate=evaluate)
    assert "trained" in result.scores["of_second"]


def test_another_protocol_takes_no_options_of_the_shipped_one():
    preset = {"evaluate": {"head": {"name": "classification", "protocol": "linear-adam", "steps": 5000}}}
    for given, expected in (({"protocol": "linear"}, None), ({"protocol": "heco", "steps": 9}, 9), ({}, 5000)):
        settings = settle("grace", None, overrides={"evaluate": {"head": given}}, preset=preset)
        assert settings["evaluate"]["head"]["steps"] == expected


def test_an_evaluator_that_fails_costs_no_training(tmp_path):
    class Fails(Clustering):
        def evaluate(self, outputs, held, *, seed):
            raise DataError("cannot be scored")

    with pytest.raises(DataError, match="cannot be scored"):
        gcl.pipeline(
            "grace", "karate", trainer={"epochs": 1}, floors=False, evaluate={"own": Fails()}, out=tmp_path / "run"
        )
    run = gcl.open_run(tmp_path / "run")
    assert torch.equal(run.embed(load_dataset("karate").graph).main, run.embeddings["embedding"])


def test_a_reproduction_with_changes_names_them(tmp_path, data_root):
    changes = {"regularizer": {"weight": 0.1}, "trainer": {"epochs": 1}, "evaluate": {"random": {"steps": 20}}}
    result, comparison, path = reproduce(
        "pot-grace", "cora", overrides={**changes, "floors": False}, seeds=1, out=tmp_path / "r", data_root=data_root
    )
    record = json.loads(path.read_text())
    assert record["changed"]["regularizer"] == {"weight": 0.1}
    assert result.settings["method"]["regularizer"]["weight"] == 0.1
    assert [entry["paper"] for entry in comparison] == [79.2, 77.8]


def test_reproducing_without_a_papers_figure_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="grace cora"):
        reproduce("grace", "karate", out=tmp_path / "r")


def test_double_precision_from_training_to_a_reopened_run(tmp_path):
    settings = {**QUICK, "trainer": {"epochs": 2, "precision": "64-true"}}
    result = gcl.pipeline("csgcl", "karate", out=tmp_path / "run", **settings)
    assert result.outputs.main.dtype == torch.float64
    again = gcl.open_run(tmp_path / "run").embed(load_dataset("karate").graph).main
    torch.testing.assert_close(again, result.outputs.main, rtol=0, atol=0)


def test_what_an_evaluator_holds_out_is_absent_from_training():
    seen = {}

    class HoldsOutEdges:
        def __init__(self, count=10):
            self.count = count

        def split(self, graph, *, seed):
            keep = torch.ones(graph.adjacency.num_arcs, dtype=torch.bool)
            keep[: self.count] = False
            part = dataclasses.replace(graph, relations={"edge": graph.adjacency.masked(keep, compact=False)})
            return part, None

        def evaluate(self, outputs, held, *, seed):
            return Report("links", "held-out", 1, {"auc": [0.5]}, [seed])

    class Watching(GRACE):
        def prepare(self, graph, streams):
            seen["kept"] = graph.adjacency.edge_index().shape[1]
            seen["labels"] = graph.attr("y")
            return super().prepare(graph, streams)

    data = load_dataset("karate").graph
    evaluate = {"links": HoldsOutEdges(), **NOTHING}
    gcl.pipeline(Watching(), data, trainer={"epochs": 1}, evaluate=evaluate, floors=False)
    assert seen == {"kept": data.adjacency.num_arcs - 10, "labels": None}
    options = {"trainer": {"epochs": 1}, "floors": False}
    gcl.pipeline("grace", data, evaluate={**evaluate, "the same": HoldsOutEdges()}, **options)
    with pytest.raises(ConfigError, match="take different things out of the graph"):
        gcl.pipeline("grace", data, evaluate={**evaluate, "more": HoldsOutEdges(20)}, **options)


def test_seeds_of_an_object_are_independent(tmp_path):
    together = gcl.pipeline(GRACE(), "karate", seeds=[0, 1], **QUICK)
    alone = gcl.pipeline(GRACE(), "karate", seeds=[1], **QUICK)
    torch.testing.assert_close(together.runs[1].outputs.main, alone.outputs.main, rtol=0, atol=0)
    folder = together.save(tmp_path / "run")
    graph = load_dataset("karate").graph
    for run in together.runs:
        again = gcl.open_run(folder / f"seed-{run.seed}").embed(graph).main
        torch.testing.assert_close(again, run.outputs.main, rtol=0, atol=0)


def test_finished_seeds_of_other_data_are_not_reused(tmp_path):
    gcl.pipeline("grace", random_data(), out=tmp_path / "run", seeds=2, **QUICK)
    shutil.rmtree(tmp_path / "run" / "seed-1")
    with pytest.raises(CheckpointError, match="seed-0 was finished with other data"):
        resume(tmp_path / "run", dataset=random_data(seed=1))
    assert len(resume(tmp_path / "run", dataset=random_data()).runs) == 2


def test_outputs_keep_their_order_assignment_and_extras(tmp_path):
    outputs = Outputs(
        {"user": torch.rand(3, 2), "item": torch.rand(4, 2), "a": torch.rand(1, 2)},
        torch.tensor([0, 1, 1]),
        {"weight": torch.rand(2)},
    )
    save_outputs(tmp_path / "z.safetensors", outputs, ["x", "y", "z"])
    again = read_outputs(tmp_path / "z.safetensors")
    assert list(again.embeddings) == ["user", "item", "a"]
    torch.testing.assert_close(again.main, outputs.main)
    torch.testing.assert_close(again.assignment, outputs.assignment)
    assert list(again.extras) == ["weight"]


def test_a_graph_without_labels_trains_and_says_that_nothing_was_scored():
    data = random_data()
    result = gcl.pipeline("grace", Data(x=data.x, edge_index=data.edge_index), trainer={"epochs": 1})
    assert result.scores == {}
    assert "no labels" in result.notes[0]


def test_alignment_is_among_the_diagnostics():
    result = gcl.pipeline("grace", "karate", **QUICK)
    assert {"alignment", "uniformity", "effective_rank"} <= set(result.runs[0].diagnostics)


def test_floors_beside_several_seeds_have_no_deviation_of_their_own():
    result = gcl.pipeline("grace", "karate", seeds=2, trainer={"epochs": 1}, evaluate={"classification": None})
    rows = result.scores["clustering"]
    assert len(rows["A²X"].values["nmi"]) == 1
    assert len(rows["trained"].values["nmi"]) == len(rows["untrained"].values["nmi"]) == 2


def test_a_runs_own_configuration_is_a_configuration(tmp_path):
    first = gcl.pipeline("csgcl", "karate", out=tmp_path / "run", loss={"temperature": 0.31}, **QUICK)
    again = gcl.pipeline("csgcl", "karate", config=tmp_path / "run" / "config.yaml")
    torch.testing.assert_close(again.outputs.main, first.outputs.main, rtol=0, atol=0)
    with pytest.raises(ConfigError, match="for method 'csgcl'"):
        gcl.pipeline("grace", "karate", config=tmp_path / "run" / "config.yaml")
    with pytest.raises(ConfigError, match="for dataset"):
        gcl.pipeline("csgcl", "digits", config=tmp_path / "run" / "config.yaml")


def test_numpy_scalars_are_numbers():
    settings = settle("grace", None, overrides={"loss": {"temperature": np.float32(0.5)}, "anchors": np.int64(3)})
    assert settings["method"]["loss"]["temperature"] == 0.5
    assert settings["method"]["anchors"] == 3


def test_evaluate_false_in_a_file_of_settings_evaluates_nothing(tmp_path):
    (tmp_path / "own.yaml").write_text("evaluate: false\nfloors: false\ntrainer:\n  epochs: 1\n")
    result = gcl.pipeline("grace", "karate", config=tmp_path / "own.yaml")
    assert result.scores == {}
    again = gcl.pipeline("grace", "karate", config=tmp_path / "own.yaml", evaluate={"clustering": {}})
    assert list(again.runs[0].scores["trained"]) == ["clustering"]
