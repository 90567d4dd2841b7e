"""Settings of stages, parameter groups, weights of steps, and the clock."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch
from tiny_method import records, tiny_graph
from torch import nn

from gcl.core.context import Batch, Stage, StepOutput
from gcl.core.errors import ConfigError
from gcl.core.streams import Streams
from gcl.methods.method import Method
from gcl.train.checkpoint import CheckpointStore
from gcl.train.trainer import Trainer


class Pair(Method):
    """Two numbers with gradient 1 each; ``steps`` gives (loss, weight) of every step, ``batch_count`` an epoch."""

    def __init__(self, stages, steps=None, batch_count=1, before_step=None):
        super().__init__()
        self.plan, self.steps, self.batch_count, self.before_step = stages, steps, batch_count, before_step
        self.a, self.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.clocks = []

    def stages(self):
        return self.plan(self) if callable(self.plan) else self.plan

    def batches(self, graph, clock, streams):
        return (Batch(graph) for _ in range(self.batch_count))

    def training_step(self, batch, clock, streams):
        if self.before_step is not None:
            self.before_step(clock)
        self.clocks.append(clock)
        value, weight = self.steps[clock.step] if self.steps else (1.0, 1.0)
        total = self.a + self.b
        parts = {"twice": torch.tensor(2 * value)} | ({"odd": torch.tensor(value)} if clock.batch % 2 else {})
        return StepOutput(total - total.detach() + value, parts, weight)


def train(method, run_dir=None, *, resume=False, validate=None, **settings):
    settings = {"optimizer": "sgd", "learning_rate": 1.0, "device": "cpu", **settings}
    return Trainer(**settings).fit(
        method, tiny_graph(), streams=Streams(0), run_dir=run_dir, resume=resume, validate=validate, progress=False
    )


def interrupt_at(step):
    return lambda clock: os.kill(os.getpid(), signal.SIGINT) if clock.step == step else None


# -- settings of a stage -----------------------------------------------------------------------------------------------


def test_a_stage_has_its_own_optimizer_and_scheduler(tmp_path):
    stages = (Stage("first", epochs=2), Stage("second", epochs=4, optimizer="adam", scheduler="cosine"))
    method = Pair(stages, [(1.0, 1.0)] * 6)
    train(method, tmp_path, checkpoint_every=1)
    rates = [0.5 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    assert [line["lr"] for line in records(tmp_path)] == pytest.approx([1.0, 1.0, *rates])
    # Adam's steps on a constant gradient have the length of the rate.
    assert method.a.item() == pytest.approx(-2 - sum(rates), rel=1e-5)


def test_a_stage_has_its_own_patience_and_selection():
    stages = (Stage("first", epochs=5, patience=2), Stage("second", epochs=3, select="loss"))
    losses = [3.0, 3.0, 3.0, 2.0, 1.0, 2.0]
    method = Pair(stages, [(loss, 1.0) for loss in losses])
    result = train(method)
    assert (result.epochs, result.best_epoch, result.best_metric) == (3 + 3, 2, 1.0)
    assert method.a.item() == -3 - 2


def test_only_the_stage_that_selects_by_validation_is_validated_by_default(tmp_path):
    stages = (Stage("first", epochs=12), Stage("second", epochs=12, select="validation"))
    train(Pair(stages), tmp_path, validate=lambda: 0.5)
    validated = [(line["stage"], line["epoch"]) for line in records(tmp_path) if "validation" in line]
    assert validated == [("second", 10), ("second", 12)]


def test_init_sees_graph_clock_and_streams():
    seen = []

    def init(graph, clock, streams):
        seen.append((graph.num_nodes, clock.stage, clock.stage_index, clock.epoch, clock.step, streams.seed))

    train(Pair((Stage("first", epochs=2), Stage("second", epochs=1, init=init))))
    assert seen == [(tiny_graph().num_nodes, "second", 1, 0, 2, 0)]


def test_init_does_not_depend_on_whether_validation_ran():
    modes = []

    def stages(method):
        return (
            Stage("first", epochs=1, init=lambda *_: modes.append(method.training)),
            Stage("second", epochs=1, init=lambda *_: modes.append(method.training)),
        )

    train(Pair(stages))
    train(Pair(stages), validate_every=1, validate=lambda: 0.0)
    assert modes == [False] * 4


def test_clock_counts_stages_and_keeps_the_count_in_checkpoints(tmp_path):
    stages = (Stage("first", epochs=1), Stage("none", epochs=0), Stage("last", epochs=2))
    method = Pair(stages, batch_count=2, before_step=interrupt_at(3))
    with pytest.raises(KeyboardInterrupt):
        train(method, tmp_path)
    clock = CheckpointStore(tmp_path / "checkpoint").load().state.clock
    assert (clock.stage, clock.stage_index, clock.epoch, clock.step) == ("last", 2, 1, 4)
    again = Pair(stages, batch_count=2)
    train(again, tmp_path, resume=True)
    places = [(clock.stage_index, clock.epoch, clock.batch, clock.step) for clock in method.clocks + again.clocks]
    assert places == [(0, 1, 0, 0), (0, 1, 1, 1), (2, 1, 0, 2), (2, 1, 1, 3), (2, 2, 0, 4), (2, 2, 1, 5)]


# -- parameter groups --------------------------------------------------------------------------------------------------


def grouped(method):
    groups = [{"params": [method.a], "lr": 0.5}, {"params": [method.b], "weight_decay": 0.0}]
    return (Stage(epochs=4, scheduler="cosine", parameters=lambda: groups),)


def test_groups_have_their_own_rates_and_the_schedule_scales_them():
    method = Pair(grouped)
    train(method)
    factors = sum(0.5 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4))
    assert (method.a.item(), method.b.item()) == pytest.approx((-0.5 * factors, -factors))


def test_groups_resume_bit_for_bit(tmp_path):
    whole = Pair(grouped)
    train(whole, optimizer="adamw", weight_decay=0.1)
    for step in (0, 2):
        cut = Pair(grouped, before_step=interrupt_at(step))
        with pytest.raises(KeyboardInterrupt):
            train(cut, tmp_path, resume=step > 0, optimizer="adamw", weight_decay=0.1)
    cut = Pair(grouped)
    train(cut, tmp_path, resume=True, optimizer="adamw", weight_decay=0.1)
    assert torch.equal(cut.a, whole.a)
    assert torch.equal(cut.b, whole.b)


def test_frozen_parameters_are_left_out_of_groups():
    method = Pair(grouped)
    method.a.requires_grad_(False)
    train(method)
    assert method.a.item() == 0
    method.b.requires_grad_(False)
    with pytest.raises(ConfigError, match="no parameters"):
        train(method)


@pytest.mark.parametrize(
    ("groups", "named"),
    [
        (lambda m: [{"params": [m.a], "lr": 0.0}], "learning_rate of a parameter group of stage 'odd'"),
        (lambda m: [{"params": [m.a], "lr": None}], "learning_rate of a parameter group"),
        (lambda m: [{"params": [m.a], "weight_decay": -1.0}], "weight_decay of a parameter group"),
        (lambda m: [{"params": [m.a], "learning_rate": 0.1}], "sets 'learning_rate'"),
        (lambda m: [{"lr": 0.1}], "under 'params'"),
        (lambda m: [{"params": 3}], "under 'params'"),
        (lambda m: [{"params": [m.a]}, m.b], "under 'params'"),
        (lambda m: ["a"], "under 'params'"),
        (lambda m: [{"params": [m.a]}, {"params": [m.a, m.b]}], "does not take"),
        (lambda m: [], "no parameters"),
    ],
)
def test_bad_groups_are_refused(groups, named):
    with pytest.raises(ConfigError, match=named):
        train(Pair(lambda method: (Stage("odd", epochs=1, parameters=lambda: groups(method)),)))


# -- weights of steps --------------------------------------------------------------------------------------------------

UNEQUAL = [(1.0, 9.0), (5.0, 1.0), (3.0, 2.0), (1.0, 6.0)]  # means 1.4 and 1.5; without weights 3 and 2


def test_epoch_means_are_weighted(tmp_path):
    train(Pair((Stage(epochs=2),), UNEQUAL, batch_count=2), tmp_path)
    log = records(tmp_path)
    assert [line["loss"] for line in log] == pytest.approx([1.4, 1.5])
    assert [line["twice"] for line in log] == pytest.approx([2.8, 3.0])
    assert [line["odd"] for line in log] == [5.0, 1.0]  # of the steps that have it


def test_selection_and_early_stopping_follow_the_weighted_loss():
    result = train(Pair((Stage(epochs=2),), UNEQUAL, batch_count=2), select="loss")
    assert (result.best_epoch, result.best_metric) == (1, pytest.approx(1.4))
    result = train(Pair((Stage(epochs=3),), UNEQUAL + [(1.0, 1.0)] * 2, batch_count=2), patience=1)
    assert (result.epochs, result.stopped_early) == (2, True)


def test_weighted_sums_survive_an_interruption_inside_the_epoch(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(Pair((Stage(epochs=2),), UNEQUAL, batch_count=2, before_step=interrupt_at(2)), tmp_path)
    train(Pair((Stage(epochs=2),), UNEQUAL, batch_count=2), tmp_path, resume=True)
    assert [line["loss"] for line in records(tmp_path)] == pytest.approx([1.4, 1.5])


def test_weight_zero_counts_nothing_and_not_everywhere(tmp_path):
    train(Pair((Stage(epochs=1),), [(2.0, 1.0), (9.0, 0.0)], batch_count=2), tmp_path)
    (line,) = records(tmp_path)
    assert (line["loss"], line["odd"]) == (2.0, None)
    with pytest.raises(ConfigError, match="weight 0"):
        train(Pair((Stage(epochs=1),), [(2.0, 0.0), (9.0, 0.0)], batch_count=2))


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_bad_weights_are_refused(weight):
    with pytest.raises(ConfigError, match="weight"):
        train(Pair((Stage(epochs=1),), [(2.0, weight)]))


@pytest.mark.parametrize(("least", "warmup"), [(0.0, 0), (0.3, 0), (0.05, 2)])
def test_an_exponential_rate_falls_by_one_factor_and_not_below_its_least(tmp_path, least, warmup):
    schedule = {"scheduler": "exponential", "decay": 0.5, "min_learning_rate": least, "warmup_epochs": warmup}
    train(Pair((Stage(epochs=6),)), tmp_path, **schedule)
    expected = [epoch / warmup for epoch in range(1, warmup + 1)]
    expected += [max(0.5**power, least) for power in range(6 - warmup)]
    assert [line["lr"] for line in records(tmp_path)] == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [{"decay": 0.0}, {"decay": 1.5}, {"min_learning_rate": -1.0}])
def test_a_decay_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Trainer(scheduler="exponential", **wrong)


def test_patience_counts_validations_where_they_select():
    """Training loss falls all the time; the score stops to rise, and the third validation without a rise ends it."""
    scores = iter([1.0, 3.0, 2.0, 3.0, 1.0, 9.0])
    method = Pair((Stage(epochs=20),), [(20.0 - step, 1.0) for step in range(20)])
    result = train(method, validate=lambda: next(scores), select="validation", validate_every=2, patience=3)
    assert (result.epochs, result.best_epoch, result.stopped_early) == (10, 4, True)
    assert (method.a.item(), result.best_metric) == (-4.0, 3.0)
