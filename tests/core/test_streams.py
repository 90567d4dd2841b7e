from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gcl.core.streams import Streams, draw_seed


def draw(streams: Streams, purpose: str, *counters: int) -> Tensor:
    return torch.rand(4, generator=streams.generator(purpose, *counters))


NAMES = [("augment", 1, 0, 0), ("augment", 1, 0, 1), ("augment", 2, 0, 0), ("init",), ("dropout", 1)]


def test_draws_do_not_depend_on_what_was_drawn_before():
    streams = Streams(3)
    forward = {name: draw(streams, *name) for name in NAMES}
    torch.rand(100)
    backward = {name: draw(streams, *name) for name in reversed(NAMES)}
    alone = {name: draw(Streams(3), *name) for name in NAMES}
    for name in NAMES:
        assert torch.equal(forward[name], backward[name])
        assert torch.equal(forward[name], alone[name])


def test_every_name_and_seed_has_its_own_draws():
    draws = [draw(Streams(seed), *name) for seed in (0, 1, 2**63 - 1) for name in NAMES]
    assert all(not torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_names_are_never_confused(data):
    name = st.tuples(st.text("a1/'", max_size=4), st.lists(st.integers(0, 12), max_size=3))
    (purpose, counters), (other, others) = data.draw(name), data.draw(name)
    equal = Streams(0).integer(purpose, *counters) == Streams(0).integer(other, *others)
    assert equal == ((purpose, counters) == (other, others))


def test_purpose_and_counters_do_not_run_together():
    streams = Streams(0)
    assert streams.integer("a/1") != streams.integer("a", 1)
    assert streams.integer("a", 1, 2) != streams.integer("a", 12)


def test_same_in_every_process_whatever_the_hash_seed():
    code = "import torch; from gcl.core.streams import Streams; s = Streams(7)\n"
    code += "print(s.integer('augment', 1, 2), torch.rand(2, generator=s.generator('x', 5)).tolist())"
    outputs = set()
    for hash_seed in ("0", "1", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        outputs.add(run.stdout)
    streams = Streams(7)
    here = f"{streams.integer('augment', 1, 2)} {torch.rand(2, generator=streams.generator('x', 5)).tolist()}\n"
    assert outputs == {here}


def test_scope_seeds_and_restores_the_global_state():
    streams = Streams(0)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with streams.scope("init", 1):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(99)
    with streams.scope("init", 1):
        assert torch.equal(torch.rand(3), inside)
    with streams.scope("init", 2):
        assert not torch.equal(torch.rand(3), inside)


def test_scope_restores_after_an_error():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    def fail() -> None:
        with Streams(0).scope("init"):
            torch.rand(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.rand(3), expected)


def test_generators_leave_global_states_alone():
    torch.manual_seed(5)
    before, python = torch.get_rng_state(), random.getstate()
    draw(Streams(0), "augment", 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == python


@pytest.mark.parametrize("bits", [1, 31, 32, 63])
def test_integers_fit_in_their_bits(bits):
    values = [Streams(0).integer("leiden", i, bits=bits) for i in range(200)]
    assert all(0 <= value < 2**bits for value in values)
    assert max(values) >= 2 ** (bits - 1)


def test_draw_seed_follows_its_generator():
    seeds = [draw_seed(Streams(0).generator("kmeans", i)) for i in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, "0", None])
def test_wrong_seeds_are_refused(seed):
    with pytest.raises(ValueError, match="seed must be an integer from 0"):
        Streams(seed)
