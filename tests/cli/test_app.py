from __future__ import annotations

import os
import sys

import pytest

from gcl.cli.app import main


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_large_pages_unless_the_user_says_otherwise(before, after, monkeypatch):
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0" if before is None else before)  # restored afterwards
    if before is None:
        del os.environ["THP_MEM_ALLOC_ENABLE"]
    monkeypatch.setattr(sys, "argv", ["gcl", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == after
