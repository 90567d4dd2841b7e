from __future__ import annotations

import pytest


def test_all_runs_what_there_is_time_for_and_prints_the_table(gcl):
    """Without the data nothing can be run, which the table says."""
    done = gcl("reproduce", "grace", "--all", "--budget", "0.01", "--table", "RESULTS.md", "--quiet")
    assert done.code == 0, done.err
    assert done.out.strip() == "RESULTS.md"
    from pathlib import Path

    text = Path("RESULTS.md").read_text()
    assert "- grace on node/cora: its data (node/cora.npz) are not here;" in text
    assert "experiments cannot be run here" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--all",), "--budget HOURS"),
        (("--all", "--budget", "0"), "hours"),
        (("grace", "--budget", "1"), "--budget goes with --all"),
        (("grace",), "give METHOD and DATASET"),
        (("grace", "cora", "trainer.epochs=2", "--all", "--budget", "1"), "leave out settings"),
        (("graze", "--all", "--budget", "1"), "graze"),
    ],
)
def test_options_that_do_not_go_together_are_refused(gcl, arguments, said):
    done = gcl("reproduce", *arguments)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
