from __future__ import annotations

from pathlib import Path


def test_the_page_is_written_beside_the_run(gcl):
    assert gcl("train", "grace", "karate", "trainer.epochs=2", "evaluate=none", "--out", "run", "-q").code == 0
    done = gcl("report", "run", "--projection", "pca")
    assert done.code == 0, done.err
    assert done.out.strip() == "run/report.html"
    assert "grace on node/karate" in Path("run/report.html").read_text()
    again = gcl("report", "run")
    assert again.code == 2
    assert "--overwrite" in again.err
    assert again.err.count("\n") == 1
    other = gcl("report", "run", "--out", "other.html", "--projection", "none")
    assert other.code == 0
    assert "nothing" in gcl("report", "nothing").err
