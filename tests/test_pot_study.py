"""The study of POT: what it takes up from finished runs."""

from __future__ import annotations

import pytest

from benchmarks.pot_study import different


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
