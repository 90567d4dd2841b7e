from __future__ import annotations

import math
import os
import random
import signal

import numpy as np
import pytest
import torch
from tiny_method import BATCHES, TinyMethod, fit, records, tiny_graph, tiny_trainer, weight_bytes
from torch import nn

from gcl.core.context import Stage, StepOutput
from gcl.core.errors import CheckpointError, ConfigError, NonFiniteError, OutputError
from gcl.core.streams import Streams
from gcl.methods.method import Method
from gcl.train.checkpoint import CheckpointStore
from gcl.train.trainer import Trainer

EPOCHS, STEPS = 7, 7 * BATCHES  # of TinyMethod


class Scripted(Method):
    """Its losses are given: the loss is ``losses[step]`` in value, with gradient 1, so ``weight`` counts the steps."""

    def __init__(self, losses, stages=(Stage(),)):
        super().__init__()
        self.losses, self.plan = losses, stages
        self.weight = nn.Parameter(torch.zeros(()))

    def stages(self):
        return self.plan

    def training_step(self, batch, clock, streams):
        return StepOutput(self.weight - self.weight.detach() + self.losses[clock.step])


def scripted(losses, *, validate=None, run_dir=None, resume=False, stages=(Stage(),), **settings):
    method = Scripted(losses, stages)
    settings = {"epochs": len(losses), "optimizer": "sgd", "learning_rate": 1.0, "device": "cpu", **settings}
    keywords = {"progress": False, "run_dir": run_dir, "resume": resume}
    if validate is not None:
        keywords["validate"] = lambda: validate(method)
    return method, Trainer(**settings).fit(method, tiny_graph(), streams=Streams(0), **keywords)


def interrupt_at(step):
    def before_step(clock):
        if clock.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return before_step


# -- a whole run -----------------------------------------------------------------------------------------------------


def test_two_runs_are_identical(tmp_path):
    results = [fit(tmp_path / name)[1] for name in "ab"]
    assert results[0].steps == results[1].steps == STEPS
    assert results[0].epochs == EPOCHS
    assert results[0].peak_memory_bytes > 0
    assert results[0].resumed_from is None
    assert weight_bytes(tmp_path / "a") == weight_bytes(tmp_path / "b")
    assert records(tmp_path / "a") == records(tmp_path / "b")
    fit(tmp_path / "c", seed=6)
    assert records(tmp_path / "c") != records(tmp_path / "a")


def test_log_has_every_epoch_with_parts(tmp_path):
    fit(tmp_path)
    log = records(tmp_path)
    assert [(line["stage"], line["epoch"]) for line in log] == [
        *(("pretrain", epoch) for epoch in (1, 2, 3)),
        *(("main", epoch) for epoch in (1, 2, 3, 4)),
    ]
    assert [line["step"] for line in log] == [BATCHES * (i + 1) for i in range(EPOCHS)]
    assert list(log[0]) == ["stage", "epoch", "step", "loss", "fit", "pull", "lr"]
    for line in log:
        assert line["loss"] == pytest.approx(line["fit"] + 0.1 * line["pull"], rel=1e-5)
    # Cosine from the stage's own learning rate.
    assert [line["lr"] for line in log[3:]] == pytest.approx(
        [0.02 * 0.5 * (1 + math.cos(math.pi * e / 4)) for e in range(4)]
    )


def test_stage_trains_its_own_parameters_only_and_begins_once():
    method, _ = fit(None, TinyMethod(epochs=(2, 0)).build())
    fresh = TinyMethod().build()
    assert torch.equal(method.head.weight, fresh.head.weight)
    assert not torch.equal(method.linear.weight, fresh.linear.weight)
    assert method.inits == ["main"]  # also of a stage without epochs
    assert not method.training


def test_training_is_not_disturbed_by_validation_and_leaves_the_global_state(tmp_path):
    def nosy():
        torch.rand(3), np.random.rand(), random.random()
        return 0.0

    def seed():
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)

    method = TinyMethod().build()
    seed()
    fit(tmp_path / "a", method)
    drawn = torch.rand(1).item(), np.random.rand(), random.random()
    seed()
    assert drawn == (torch.rand(1).item(), np.random.rand(), random.random())
    torch.rand(5)  # another global state at the beginning
    fit(tmp_path / "b", trainer=tiny_trainer(validate_every=1), validate=nosy, on_epoch=lambda clock, record: nosy())
    assert weight_bytes(tmp_path / "a") == weight_bytes(tmp_path / "b")


def test_warm_up_grows_linearly(tmp_path):
    scripted([1.0] * 5, run_dir=tmp_path, warmup_epochs=4, checkpoint_every=0)
    assert [line["lr"] for line in records(tmp_path)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_gradient_is_clipped():
    method, _ = scripted([1.0] * 4, gradient_clip=0.25)
    assert method.weight.item() == pytest.approx(-1.0, rel=1e-4)


def test_double_precision_reaches_features_noise_and_parameters():
    method = TinyMethod().build()
    seen = []
    method.before_step = lambda clock: seen.append(torch.rand(1).dtype)
    # The method makes its noise and centres in the default type, which is double inside fit.
    trainer = tiny_trainer(precision="64-true")
    fit(None, method, trainer=trainer)
    assert method.linear.weight.dtype == method.average.dtype == torch.float64
    assert set(seen) == {torch.float64}
    assert torch.get_default_dtype() == torch.float32
    assert trainer.place(tiny_graph()).x.dtype == torch.float64


def test_bfloat16_keeps_parameters_in_float32():
    method, result = fit(None, trainer=tiny_trainer(precision="bf16-mixed"))
    assert method.linear.weight.dtype == torch.float32
    assert result.steps == STEPS


def test_nothing_is_printed_on_stdout(capfd):
    fit(None, progress=None)
    assert capfd.readouterr().out == ""


# -- selection and early stopping ------------------------------------------------------------------------------------


def test_selection():
    losses = [5.0, 2.0, 3.0, 4.0]
    method, result = scripted(losses, select="last")
    assert (method.weight.item(), result.best_epoch) == (-4.0, None)
    method, result = scripted(losses, select="loss")
    assert (method.weight.item(), result.best_epoch, result.best_metric) == (-2.0, 2, 2.0)

    def validate(method):
        assert not method.training
        assert not torch.is_grad_enabled()
        return -abs(method.weight.item() + 3)  # best after 3 steps

    method, result = scripted(losses, select="validation", validate_every=1, validate=validate)
    assert (method.weight.item(), result.best_epoch, result.best_metric) == (-3.0, 3, 0.0)
    # Validated at epochs 2 and 4 only; NaN is never the best.
    method, result = scripted(losses, select="validation", validate_every=2, validate=validate)
    assert result.best_epoch == 2
    _, result = scripted(losses, select="validation", validate_every=1, validate=lambda method: float("nan"))
    assert result.best_epoch is None


def test_validation_is_logged_and_runs_at_the_end(tmp_path):
    scripted([1.0] * 5, run_dir=tmp_path, validate_every=2, validate=lambda method: 0.5)
    assert [line["epoch"] for line in records(tmp_path) if "validation" in line] == [2, 4, 5]


def test_best_is_per_stage():
    stages = (Stage("a", epochs=3), Stage("b", epochs=3))
    method, result = scripted([1.0, 2.0, 2.0, 9.0, 8.0, 9.0], stages=stages, select="loss")
    assert method.weight.item() == -3.0  # 1 step of a, then 2 of b
    assert (result.best_epoch, result.best_metric) == (2, 8.0)


def test_early_stopping():
    _, result = scripted([3.0, 2.0, 2.0, 2.0, 1.0], patience=2)
    assert (result.epochs, result.stopped_early) == (4, True)
    _, result = scripted([3.0, 2.0, 2.0, 1.0, 1.0], patience=2)
    assert (result.epochs, result.stopped_early) == (5, False)
    _, result = scripted([3.0, 2.9, 2.8, 2.7, 2.6], patience=2, min_delta=0.5)
    assert (result.epochs, result.stopped_early) == (3, True)


def test_early_stop_ends_the_stage_and_not_the_run():
    stages = (Stage("a", epochs=5), Stage("b", epochs=2))
    _, result = scripted([1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.4], stages=stages, patience=2)
    assert result.epochs == 3 + 2
    assert result.stopped_early


def test_early_stopping_counter_survives_resume(tmp_path):
    losses = [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    interrupted = Scripted(losses)
    step = interrupted.training_step

    def stop_at_three(batch, clock, streams):
        interrupt_at(3)(clock)
        return step(batch, clock, streams)

    interrupted.training_step = stop_at_three
    trainer = Trainer(epochs=7, patience=3, device="cpu", optimizer="sgd", learning_rate=1.0)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(interrupted, tiny_graph(), streams=Streams(0), run_dir=tmp_path, progress=False)
    assert CheckpointStore(tmp_path / "checkpoint").load().state.clock.step == 4
    _, result = scripted(losses, patience=3, run_dir=tmp_path, resume=True)
    assert (result.epochs, result.stopped_early, result.resumed_from) == (5, True, 4)


# -- interruption and resuming -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2, 10, STEPS - 1])
def test_interrupted_run_resumes_bit_for_bit(tmp_path, step):
    fit(tmp_path / "whole")
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(tmp_path / "cut", TinyMethod(before_step=interrupt_at(step)).build())
    stage, epoch = ("pretrain", step // BATCHES + 1) if step < 3 * BATCHES else ("main", step // BATCHES - 2)
    assert str(caught.value) == (
        f"interrupted in stage {stage!r}, epoch {epoch}, after step {step + 1}; resume the run in {tmp_path / 'cut'} "
        "to go on"
    )
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    state = CheckpointStore(tmp_path / "cut" / "checkpoint").load().state
    assert state.clock.step == step + 1
    _, result = fit(tmp_path / "cut", resume=True)
    assert (result.resumed_from, result.steps, result.epochs) == (step + 1, STEPS, EPOCHS)
    assert weight_bytes(tmp_path / "cut") == weight_bytes(tmp_path / "whole")
    assert records(tmp_path / "cut") == records(tmp_path / "whole")


def test_run_interrupted_at_every_step_resumes_bit_for_bit(tmp_path):
    fit(tmp_path / "whole")
    inits = 0
    for step in range(STEPS):
        method = TinyMethod(before_step=interrupt_at(step)).build()
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "cut", method, resume=step > 0)
        inits += len(method.inits)
    method, _ = fit(tmp_path / "cut", resume=True)
    assert inits + len(method.inits) == 1  # a stage begins once
    assert weight_bytes(tmp_path / "cut") == weight_bytes(tmp_path / "whole")
    assert records(tmp_path / "cut") == records(tmp_path / "whole")


def test_second_interrupt_stops_at_once(tmp_path):
    def twice(clock):
        if clock.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="interrupted twice"):
        fit(tmp_path, TinyMethod(before_step=twice).build())
    assert not CheckpointStore(tmp_path / "checkpoint").exists()


def test_finished_run_resumes_to_itself(tmp_path):
    fitted, first = fit(tmp_path)
    before = weight_bytes(tmp_path)
    loaded, again = fit(tmp_path, resume=True)
    assert weight_bytes(tmp_path) == before
    assert len(records(tmp_path)) == EPOCHS
    assert (again.epochs, again.steps, again.best_metric) == (first.epochs, first.steps, first.best_metric)
    for name, value in fitted.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_resume_without_checkpoint_begins_anew(tmp_path):
    fit(tmp_path / "whole")
    cut = tmp_path / "cut"

    def die(clock):
        if clock.step == 13:
            raise RuntimeError("dead")

    with pytest.raises(RuntimeError, match="dead"):
        fit(cut, TinyMethod(before_step=die).build(), trainer=tiny_trainer(checkpoint_every=7))
    assert len(records(cut)) == 4
    assert not CheckpointStore(cut / "checkpoint").exists()
    _, result = fit(cut, resume=True, trainer=tiny_trainer(checkpoint_every=7))
    assert result.resumed_from is None
    assert records(cut) == records(tmp_path / "whole")


def test_a_run_is_not_overwritten(tmp_path):
    fit(tmp_path)
    with pytest.raises(OutputError, match="holds a run"):
        fit(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fingerprints": {"data": "x", "prepared": "p", "config": "c"}}, "another data"),
        ({"fingerprints": {"data": "d", "prepared": "x", "config": "c"}}, "another prepared"),
        ({"fingerprints": {"data": "d", "prepared": "p"}}, "another config"),
        ({"seed": 6}, "another seed"),
    ],
)
def test_resume_on_something_else_is_refused(tmp_path, change, named):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, TinyMethod(before_step=interrupt_at(4)).build())
    before = weight_bytes(tmp_path), (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match=named):
        fit(tmp_path, resume=True, **change)
    assert (weight_bytes(tmp_path), (tmp_path / "metrics.jsonl").read_bytes()) == before


def test_shortened_log_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, TinyMethod(before_step=interrupt_at(10)).build())
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(log.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        fit(tmp_path, resume=True)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_nan_loss_names_the_place_and_leaves_a_checkpoint(tmp_path):
    with pytest.raises(NonFiniteError) as caught:
        fit(tmp_path, TinyMethod(nan_at=13).build())
    message = str(caught.value)
    for word in ("stage 'main'", "epoch 2", "step 13", "pull = nan", "fit = ", "linear.weight", "learning_rate"):
        assert word in message
    crash = CheckpointStore(tmp_path / "checkpoint").load("crash")
    assert crash.state.clock.step == 13
    assert all(value.isfinite().all() for value in crash.model.values())
    # The last good checkpoint is still there, and goes on.
    fit(tmp_path / "whole")
    fit(tmp_path, resume=True)
    assert weight_bytes(tmp_path) == weight_bytes(tmp_path / "whole")


def test_non_finite_gradient_is_found_although_the_loss_is_finite():
    class Root(Scripted):
        def training_step(self, batch, clock, streams):
            return StepOutput(self.weight.abs().sqrt())  # value 0, slope NaN

    with pytest.raises(NonFiniteError, match=r"gradient.*weight"):
        Trainer(epochs=1, device="cpu").fit(Root([0.0]), tiny_graph(), streams=Streams(0), progress=False)


@pytest.mark.parametrize(
    ("loss", "said"),
    [(0.5, "of type float"), (torch.zeros(2), r"of shape \[2\]"), (torch.zeros(()), "without a gradient")],
)
def test_what_is_no_loss_is_said(loss, said):
    class Wrong(Scripted):
        def training_step(self, batch, clock, streams):
            return StepOutput(loss)

    with pytest.raises(ConfigError, match=f"Wrong gave a loss {said}"):
        Trainer(epochs=1, device="cpu").fit(Wrong([0.0]), tiny_graph(), streams=Streams(0), progress=False)


def test_huge_finite_gradient_is_no_error():
    class Huge(Scripted):
        def training_step(self, batch, clock, streams):
            return StepOutput(self.pair.sum() * 3e38)

    method = Huge([0.0])
    method.pair = nn.Parameter(torch.zeros(2))  # the norm of (3e38, 3e38) is above float32
    Trainer(epochs=1, device="cpu").fit(method, tiny_graph(), streams=Streams(0), progress=False)


def test_no_parameters_and_no_batches_are_refused():
    class Empty(Scripted):
        def batches(self, graph, clock, streams):
            return ()

    with pytest.raises(ConfigError, match="made no batch"):
        Trainer(epochs=1, device="cpu").fit(Empty([0.0]), tiny_graph(), streams=Streams(0), progress=False)
    frozen = Scripted([0.0])
    frozen.weight.requires_grad_(False)
    with pytest.raises(ConfigError, match="no parameters"):
        Trainer(epochs=1, device="cpu").fit(frozen, tiny_graph(), streams=Streams(0), progress=False)
    result = Trainer(epochs=0, device="cpu").fit(frozen, tiny_graph(), streams=Streams(0), progress=False)
    assert result.steps == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"epochs": 2.5},
        {"epochs": True},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": True},
        {"learning_rate": "1e-3"},
        {"weight_decay": -0.1},
        {"weight_decay": float("inf")},
        {"optimizer": "lion"},
        {"scheduler": None},
        {"warmup_epochs": -1},
        {"patience": 0},
        {"min_delta": -1.0},
        {"select": "test"},
        {"validate_every": 0},
        {"checkpoint_every": -1},
        {"checkpoint_every": None},
        {"gradient_clip": 0.0},
        {"max_minutes": 0},
        {"max_minutes": float("nan")},
        {"device": "gpu"},
        {"device": 0},
        {"precision": "16-mixed"},
        {"precision": 32},
        {"select": ["last"]},
    ],
)
def test_bad_values_are_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=f"trainer.{next(iter(wrong))}"):
        Trainer(**wrong)


class HalfMinuteSteps(Scripted):
    """Each step takes half a minute of the clock it is given."""

    def __init__(self, losses, now, stages=(Stage(),)):
        super().__init__(losses, stages)
        self.now = now

    def training_step(self, batch, clock, streams):
        self.now[0] += 30.0
        return super().training_step(batch, clock, streams)


def timed(now, *, stages=(Stage(),), run_dir=None, resume=False, epochs=9, **settings):
    trainer = Trainer(epochs=epochs, optimizer="sgd", learning_rate=1.0, device="cpu", max_minutes=2, **settings)
    method = HalfMinuteSteps([1.0] * 20, now, stages)
    options = {"streams": Streams(0), "progress": False, "run_dir": run_dir, "resume": resume}
    return trainer.fit(method, tiny_graph(), validate=lambda: float(method.weight), **options)


def test_the_time_limit_ends_every_stage_after_an_epoch_and_validates_it(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("gcl.train.loop.time.perf_counter", lambda: now[0])
    result = timed(now, select="validation", validate_every=3)
    assert (result.epochs, result.stopped_early) == (4, True)
    assert result.best_epoch == 3  # of epochs 3 and 4: the weight falls by 1 a step
    result = timed(now, stages=(Stage("long"), Stage("next")))
    assert result.epochs == 5  # the second stage gets one
    assert timed(now, epochs=3).stopped_early is False


def test_the_time_limit_counts_what_was_trained_before_an_interruption(monkeypatch, tmp_path):
    now = [100.0]
    monkeypatch.setattr("gcl.train.loop.time.perf_counter", lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(HalfMinuteSteps, "after_step", lambda self, clock: interrupt_at(3)(clock))
        with pytest.raises(KeyboardInterrupt):
            timed(now, run_dir=tmp_path)
    now[0] += 10_000.0  # hours without training
    result = timed(now, run_dir=tmp_path, resume=True)
    assert result.epochs == 4
    assert result.wall_time == 120.0


def test_arguments_are_stored_unchanged():
    settings = {"epochs": 3, "learning_rate": 1, "patience": 4, "device": "auto", "select": "loss"}
    trainer = Trainer(**settings)
    assert {name: getattr(trainer, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"epochs": -1}, "epochs of stage 'odd'"),
        ({"optimizer": "lion"}, "optimizer of stage 'odd'"),
        ({"scheduler": "step"}, "scheduler of stage 'odd'"),
        ({"patience": 0}, "patience of stage 'odd'"),
        ({"select": "test"}, "select of stage 'odd'"),
        ({"select": "validation"}, "nothing to validate on"),
    ],
)
def test_bad_values_of_a_stage_are_refused_by_name(wrong, named):
    with pytest.raises(ConfigError, match=named):
        scripted([1.0], stages=(Stage("odd", **wrong),))


def test_misuse_of_fit_is_refused():
    with pytest.raises(ConfigError, match="validat"):
        fit(None, trainer=tiny_trainer(select="validation"))
    with pytest.raises(ConfigError, match="run_dir"):
        fit(None, resume=True)
    with pytest.raises(ConfigError, match="fingerprints"):
        fit(None, fingerprints={"date": "x"})
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="not available"):
            fit(None, trainer=tiny_trainer(device="cuda"))
