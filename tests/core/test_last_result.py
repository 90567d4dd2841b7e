"""One result, kept with the object that it came from."""

from __future__ import annotations

import copy
import pickle

from gcl.core.last_result import LastResult


def test_a_result_is_made_once_for_an_object_and_key():
    made, last = [], LastResult()

    def make():
        made.append(1)
        return len(made)

    source, equal = [1], [1]
    assert [last.of(source, make), last.of(source, make)] == [1, 1]
    assert last.of(equal, make) == 2  # equal is not the same
    assert last.of(equal, make, key=3) == 3
    assert last.of(source, make) == 4  # one is kept


def test_copies_start_empty():
    last = LastResult()
    last.of("graph", lambda: "large")
    for twin in (copy.copy(last), copy.deepcopy(last), pickle.loads(pickle.dumps(last))):
        assert b"large" not in pickle.dumps(twin)
        assert twin.of("graph", lambda: "again") == "again"
    assert last.of("graph", lambda: "again") == "large"
