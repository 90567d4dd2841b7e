"""The page of a run."""

from __future__ import annotations

import html.parser
import re
import shutil

import numpy as np
import pytest
import torch
import yaml

import gcl
from gcl.core.errors import CheckpointError, ConfigError, MissingDependencyError, OutputError
from gcl.data.write_archive import write_archive
from gcl.report.projection import project
from gcl.run.report import write_report


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on one graph, the first with two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    quick = {"classification": {"num_splits": 3}}
    options = {"trainer": {"epochs": 4, "select": "validation", "validate_every": 2}, "evaluate": quick}
    first = gcl.pipeline("csgcl", "karate", seeds=2, out=folder / "first", **options)
    second = gcl.pipeline("grace", "karate", seeds=1, out=folder / "second", loss={"temperature": 0.9}, **options)
    return folder, first, second


class Page(html.parser.HTMLParser):
    """Headings, table rows, and every reference that a page makes."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.rows, self.references, self.tags, self._cell = [], [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]
        if tag == "tr":
            self.rows.append([])
        self._cell = tag if tag in ("td", "th", "h1", "h2", "h3") else self._cell
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._cell = None if tag == self._cell else self._cell

    def handle_data(self, data):
        if self._cell in ("td", "th"):
            self.rows[-1][-1] += data
        elif self._cell:
            self.headings.append(data.strip())


def read(path):
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_a_run_of_several_seeds(runs, tmp_path):
    folder, first, _ = runs
    text, page = read(write_report([folder / "first"], tmp_path / "page.html", projection="pca"))
    assert page.headings[0] == "csgcl on node/karate"
    assert {"Scores", "Training", "Embeddings", "Communities", "Diagnostics and cost", "Configuration"} <= {
        *page.headings
    }
    assert {"by label", "by community", "loss", "validation"} <= {*page.headings}
    assert "What differs between the configurations" not in page.headings
    rows = {row[0]: row[1:] for row in page.rows}
    report = first.scores["classification"]["trained"]
    # the first table is of the first evaluator
    (trained, _clusters) = [row for row in page.rows if row[0] == "trained"]
    assert trained[1] == f"{100 * report.mean('accuracy'):.2f} ± {100 * report.std('accuracy'):.2f}"
    floor = first.scores["classification"]["A²X"]
    assert f"{100 * floor.mean('accuracy'):.2f}" in next(row for row in page.rows if row[0] == "A²X")[1]
    assert rows["seed 1"][-1].isdigit()
    assert text.count("data:image/png;base64,") == 2
    assert len([tag for tag in page.tags if tag == "svg"]) == 3
    assert "drop_prob: 0.3" in text  # the configuration
    assert "torch-geometric" in text


def test_the_page_needs_nothing_else_and_is_the_same_every_time(runs, tmp_path):
    folder, _, _ = runs
    text, page = read(write_report([folder / "first", folder / "second"], tmp_path / "page.html", projection="pca"))
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not re.findall(r"url\((?!#)", text)
    again = write_report([folder / "first", folder / "second"], tmp_path / "again.html", projection="pca")
    assert again.read_text(encoding="utf-8") == text
    pages = [write_report([folder / "second"], tmp_path / f"{name}.html").read_bytes() for name in ("one", "two")]
    assert pages[0] == pages[1]
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert ids
    assert len(set(ids)) == len(ids)


def test_two_runs_side_by_side(runs, tmp_path):
    folder, _, _ = runs
    _, page = read(write_report([folder / "first", folder / "second"], tmp_path / "page.html", projection="none"))
    names = [row[0] for row in page.rows]
    assert names.count("raw features") == 2  # once for each evaluator, since both have the same
    for name in ("trained, first", "trained, second", "untrained, first"):
        assert names.count(name) == 2, name
    assert "What differs between the configurations" in page.headings
    differs = {row[0]: row[1:] for row in page.rows}
    assert differs["method.loss.temperature"][1].strip() == "0.9"
    assert "trainer.epochs" not in differs
    assert "Embeddings" not in page.headings
    assert page.headings[0] == "csgcl on node/karate and grace on node/karate"


def test_without_the_data_it_has_the_rest_and_says_so(tmp_path):
    graph = tmp_path / "mine.npz"
    np.savez(graph, edge_index=np.array([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]), x=np.eye(6, dtype=np.float32))
    gcl.pipeline("grace", graph, trainer={"epochs": 2}, out=tmp_path / "run")
    graph.unlink()
    text, page = read(write_report([tmp_path / "run"]))
    assert (tmp_path / "run" / "report.html").is_file()
    assert "have no labels and no communities" in text
    assert "Nothing was scored." in text
    assert "by label" not in page.headings
    assert "Embeddings" in page.headings


def test_words_of_the_data_are_escaped(tmp_path):
    graph = tmp_path / "<script>alert(1)<" / "script>.npz"
    graph.parent.mkdir(parents=True)
    np.savez(graph, edge_index=np.array([[0, 1, 2, 3], [1, 2, 3, 0]]), x=np.eye(4, dtype=np.float32))
    gcl.pipeline("grace", graph, trainer={"epochs": 1}, out=tmp_path / "run")
    text, page = read(write_report([tmp_path / "run"], projection="none"))
    assert "script" not in page.tags
    assert "&lt;script&gt;" in text


def test_a_recommender_and_its_users_and_items(tmp_path):
    gcl.pipeline("bpr_mf", "davis", trainer={"epochs": 2}, out=tmp_path / "run")
    _, page = read(write_report([tmp_path / "run"], projection="pca"))
    assert "users and items" in page.headings
    assert any(row[0] == "popularity" for row in page.rows)


def test_the_papers_figure_of_a_shipped_experiment(tmp_path, monkeypatch):
    config = {
        "trainer": {"epochs": 1},
        "evaluate": {"acc": {"name": "classification", "num_splits": 2}},
        "paper": {
            "figures": [{"evaluate": "acc", "value": 90.0, "std": 0.5, "source": "a table", "note": "other nodes"}]
        },
    }
    result = gcl.pipeline("grace", "karate", config=config, out=tmp_path / "run")
    text, page = read(write_report([tmp_path / "run"], projection="none"))
    (row,) = [row for row in page.rows if row[0] == "acc, accuracy"]
    ours = 100 * result.scores["acc"]["trained"].mean("accuracy")
    assert row[1:] == ["90.00 ± 0.50", f"{ours:.2f} (one seed)", f"{ours - 90:+.2f}"]
    assert "a table; other nodes" in text
    assert "no shipped experiment has these figures" in text


def test_a_paper_is_not_shown_beside_other_settings_without_a_word(tmp_path, monkeypatch):
    from gcl.run import reproduce, settings
    from gcl.run.settings import settle

    config = {
        "trainer": {"epochs": 1},
        "evaluate": {"acc": {"name": "classification", "num_splits": 2}},
        "paper": {"figures": [{"evaluate": "acc", "value": 90.0}]},
    }
    shipped = tmp_path / "experiments"
    (shipped / "grace").mkdir(parents=True)
    (shipped / "grace" / "karate.yaml").write_text(yaml.safe_dump(config))
    for place in (reproduce, settings):
        monkeypatch.setattr(place, "resource_folder", lambda name: shipped)
    gcl.pipeline("grace", "karate", out=tmp_path / "same")
    gcl.pipeline("grace", "karate", out=tmp_path / "other", loss={"temperature": 9.0})
    assert settle("grace", "node/karate", overrides={})["paper"]
    same, _ = read(write_report([tmp_path / "same"], projection="none"))
    other, _ = read(write_report([tmp_path / "other"], projection="none"))
    assert "Beside the paper" in same
    assert "other settings than the experiment" not in same
    assert "other has other settings than the experiment: method.loss.temperature=9.0." in other
    gcl.pipeline("grace", "karate", out=tmp_path / "links", evaluate={"links": {"test": 0.2}})
    links, _ = read(write_report([tmp_path / "links"], projection="none"))
    assert "than the experiment: evaluate.links added (its edges were held out of training)." in links
    # a folder that is called as a named set is, even as two
    graph = gcl.load_dataset("karate").graph
    for name in ("acm", "cora"):
        write_archive(graph, tmp_path / f"{name}.npz")
        gcl.pipeline("grace", tmp_path / f"{name}.npz", config=config, out=tmp_path / f"run_{name}")
        text, _ = read(write_report([tmp_path / f"run_{name}"], projection="none"))
        assert "Beside the paper" in text
        assert "has other settings" not in text
    # a run without figures of a paper is not said to have some, wherever it stands
    gcl.pipeline("grace", "digits", out=tmp_path / "own", trainer={"epochs": 1}, evaluate={"clustering": None})
    for order in (["same", "own"], ["own", "same"]):
        text, _ = read(
            write_report([tmp_path / name for name in order], tmp_path / f"{order[0]}.html", projection="none")
        )
        assert "Beside the paper" in text
        assert "no shipped experiment has these figures" not in text


def test_a_recommender_is_not_shown_beside_another_split_without_a_word(tmp_path, monkeypatch):
    from gcl.run import reproduce, settings

    config = {
        "trainer": {"epochs": 1},
        "interactions": {"split": "leave-one-out"},
        "paper": {"figures": [{"evaluate": "ranking", "metric": "recall@20", "value": 30.0}]},
    }
    shipped = tmp_path / "experiments"
    (shipped / "bpr_mf").mkdir(parents=True)
    (shipped / "bpr_mf" / "davis.yaml").write_text(yaml.safe_dump(config))
    for place in (reproduce, settings):
        monkeypatch.setattr(place, "resource_folder", lambda name: shipped)
    said = {}
    for name, interactions in (("same", {}), ("ratio", {"split": "ratio"}), ("core", {"k_core": 2})):
        gcl.pipeline("bpr_mf", "rec/davis", out=tmp_path / name, interactions=interactions)
        said[name], _ = read(write_report([tmp_path / name], projection="none"))
        assert "Beside the paper" in said[name]
    assert "than the experiment" not in said["same"]
    assert "ratio has other settings than the experiment: interactions.split=&#34;ratio&#34;" in said["ratio"]
    assert "core has other settings than the experiment: interactions.k_core=2." in said["core"]


def test_many_nodes_are_sampled(runs, tmp_path):
    folder, _, _ = runs
    text, _ = read(write_report([folder / "second"], tmp_path / "page.html", projection="pca", max_nodes=10))
    assert "10 of 34 drawn" in text


@pytest.mark.parametrize("kind", ["tsne", "pca"])
@pytest.mark.parametrize("shape", [(1, 4), (2, 1), (3, 5), (50, 8), (50, 1)])
def test_projections(kind, shape):
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    flat = project(z, kind)
    assert flat.shape == (shape[0], 2)
    assert np.isfinite(flat).all()
    assert np.array_equal(flat, project(z, kind))


def test_what_cannot_be_shown_is_refused(runs, tmp_path, monkeypatch):
    folder, _, _ = runs
    with pytest.raises(ConfigError, match="at least"):
        write_report([])
    with pytest.raises(ConfigError, match="twice"):
        write_report([folder / "first", folder / "first"], tmp_path / "page.html")
    with pytest.raises(ConfigError, match="tsne"):
        write_report([folder / "first"], tmp_path / "page.html", projection="umap")
    with pytest.raises(ConfigError, match="max_nodes"):
        write_report([folder / "first"], tmp_path / "page.html", max_nodes=1)
    with pytest.raises(ConfigError, match="not a run folder"):
        write_report([tmp_path / "nothing"], tmp_path / "page.html")
    with pytest.raises(OutputError, match="is a folder"):
        write_report([folder / "first"], tmp_path, overwrite=True)
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write_report([folder / "first"], tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "mine"
    write_report([folder / "first"], tmp_path / "mine.html", projection="none", overwrite=True)
    shutil.copytree(folder / "second", tmp_path / "unfinished")
    (tmp_path / "unfinished" / "report.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        write_report([tmp_path / "unfinished"])
    (tmp_path / "unfinished" / "report.json").unlink()
    with pytest.raises(ConfigError, match="let the run end"):
        write_report([tmp_path / "unfinished"])
    (tmp_path / "unfinished" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="not trained to the end"):
        write_report([tmp_path / "unfinished"])
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match="pip install matplotlib"):
        write_report([folder / "first"], tmp_path / "page.html")


def test_a_seed_that_is_not_finished_is_not_claimed(runs, tmp_path):
    folder, _, _ = runs
    shutil.copytree(folder / "first", tmp_path / "first")
    half = tmp_path / "first" / "seed-2"
    half.mkdir()
    (half / "metrics.jsonl").write_text('{"stage": "train", "epoch": 1, "loss": 4.0, "timing": {"elapsed": 1')
    text, page = read(write_report([tmp_path / "first"], projection="none"))
    assert "seeds that are not scored yet, and not shown: 2" in text
    assert "2 seeds" in text
    assert "seed 2" not in {row[0] for row in page.rows}
    with open(tmp_path / "first" / "seed-1" / "metrics.jsonl", "a") as stream:
        stream.write('{"stage": "tra')
    write_report([tmp_path / "first"], projection="none", overwrite=True)


def test_another_graph_under_the_same_name_is_not_drawn(tmp_path):
    def write(path, step):
        ring = np.stack([np.arange(20), (np.arange(20) + step) % 20])
        path.parent.mkdir(exist_ok=True)
        np.savez(path, edge_index=ring, x=np.eye(20, dtype=np.float32), y=np.arange(20) % 2)

    for name, step in (("a", 1), ("b", 3)):
        write(tmp_path / name / "graph.npz", step)
        gcl.pipeline(
            "grace", tmp_path / name / "graph.npz", trainer={"epochs": 1}, evaluate=False, out=tmp_path / name / "run"
        )
    both = [tmp_path / name / "run" for name in "ab"]
    text, page = read(write_report(both, tmp_path / "both.html", projection="pca"))
    assert len([name for name in page.headings if name.startswith("strength of the communities")]) == 2
    write(tmp_path / "a" / "graph.npz", 7)
    text, page = read(write_report(both[:1], tmp_path / "one.html", projection="pca"))
    assert "is another graph now than it was trained on" in text
    assert "by label" not in page.headings


def test_runs_on_two_datasets_have_tables_of_their_own(runs, tmp_path):
    folder, _, _ = runs
    (tmp_path / "novel").mkdir()
    edges = [f"{node},{(node + step) % 30}" for node in range(30) for step in (1, 4)]
    (tmp_path / "novel" / "edges.csv").write_text("\n".join(["source,target", *edges]))
    (tmp_path / "novel" / "labels.csv").write_text("\n".join(["label", *("xy"[node % 2] for node in range(30))]))
    (tmp_path / "novel" / "features.csv").write_text("\n".join(f"{node % 3},1" for node in range(30)))
    gcl.pipeline("grace", tmp_path / "novel", trainer={"epochs": 1}, out=tmp_path / "run")
    _, page = read(write_report([folder / "first", tmp_path / "run"], tmp_path / "page.html", projection="none"))
    tables = [name for name in page.headings if name.startswith("classification of")]
    assert sorted(tables) == ["classification of node/karate", "classification of novel"]


def test_one_seed_of_several_is_the_run(runs, tmp_path):
    folder, _, _ = runs
    whole, _ = read(write_report([folder / "first"], tmp_path / "whole.html", projection="none"))
    text, page = read(write_report([folder / "first" / "seed-1"], tmp_path / "page.html", projection="none"))
    assert text == whole
    with pytest.raises(ConfigError, match="twice"):
        write_report([folder / "first" / "seed-0", folder / "first" / "seed-1"], tmp_path / "two.html")
    assert {"seed 0", "seed 1"} <= {row[0] for row in page.rows}
