"""The study of POT: what it takes up from finished runs."""

from __future__ import annotations

import pytest

from benchmarks.pot_study import Study, different
from gcl.run.run_directory import CONFIG, writable
from gcl.run.settings import write_yaml


@pytest.mark.parametrize(
    ("found", "wanted", "names"),
    [
        ({"epochs": 400}, {"epochs": 400}, []),
        ({"epochs": 400}, {"epochs": 1000}, ["epochs"]),
        ({"epochs": 400}, {"epochs": 400, "newer": 1}, []),  # an option that the older version did not have
        ({"loss": {"temperature": 0.4}}, {"loss": {"temperature": 0.7}}, ["loss.temperature"]),
        ({"regularizer": None}, {"regularizer": {"name": "pot"}}, ["regularizer"]),
    ],
)
def test_runs_of_other_settings_are_told_apart(found, wanted, names):
    assert list(different(found, wanted)) == names


def test_a_folder_of_other_settings_is_not_recorded(tmp_path):
    def study(dataset="node/cora", **changes):
        return Study("grace", dataset, out=tmp_path / "runs", records=tmp_path / "records", **changes)

    folder = tmp_path / "runs" / "cora-grace-none"
    folder.mkdir(parents=True)
    write_yaml(folder / CONFIG, writable({**study(epochs=7)._settings(None), "transform": [], "data_root": None}))
    study(epochs=7).collect(1, [], [])
    (tmp_path / "records" / "cora-grace.json").unlink()
    for other, text in ((study(epochs=8), r"trainer\.epochs"), (study(epochs=7, subset=64), r"method\.subset")):
        with pytest.raises(SystemExit, match=text):
            other.collect(1, [], [])
    assert not (tmp_path / "records" / "cora-grace.json").exists()
