from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gcl.core.errors import ConfigError, DataError
from gcl.evaluate import linear_adam as module
from gcl.evaluate.linear_adam import fit_heads, linear_adam


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_split_with_modules(z, y, split, weight, steps, every):
    """The papers' loop as anyone would write it: nn.Linear, log_softmax, NLL, one split."""
    train, valid, test = ((split == part) & (y >= 0) for part in (0, 1, 2))
    layer = torch.nn.Linear(z.shape[1], weight.shape[0]).to(z.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.zero_()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01, weight_decay=0.0)
    best = (-1.0, 0, 0.0)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        F.nll_loss(F.log_softmax(layer(z[train]), dim=1), y[train]).backward()
        optimizer.step()
        if step % every == 0:
            right = layer(z).argmax(dim=1) == y
            accuracy = float(right[valid].double().mean())
            if accuracy > best[0]:
                best = (accuracy, step, float(right[test].double().mean()))
    return best


def xavier(width: int, num_classes: int, count: int, seed: int) -> list[torch.Tensor]:
    draw = generator(seed)
    weights = [torch.empty(num_classes, width, dtype=torch.float64) for _ in range(count)]
    return [torch.nn.init.xavier_uniform_(weight, generator=draw) for weight in weights]


def test_batched_heads_equal_the_papers_loop_split_by_split(make_task):
    z, y, splits = make_task(noise=1.5)
    z = z.double()
    splits[:10, 1] = 3  # parts of unequal size
    y[5] = -1
    report = linear_adam(z, y, splits, steps=200, generator=generator(4))
    for index, weight in enumerate(xavier(z.shape[1], 3, 3, seed=4)):
        valid, step, test = one_split_with_modules(z, y, splits[:, index], weight, 200, 20)
        assert report.details["step"][index] == step
        assert report.details["valid_accuracy"][index] == pytest.approx(valid)
        assert report.values["accuracy"][index] == pytest.approx(test)


def test_batched_heads_equal_one_split_at_a_time(make_task, monkeypatch):
    z, y, splits = make_task(num_splits=4)
    z = z.double()
    together = linear_adam(z, y, splits, steps=60, generator=generator())
    draw = generator()
    alone = [linear_adam(z, y, splits[:, s], steps=60, generator=draw) for s in range(4)]
    assert together.values["accuracy"] == pytest.approx([report.values["accuracy"][0] for report in alone])
    assert together.details["step"] == [report.details["step"][0] for report in alone]
    monkeypatch.setattr(module, "MEMORY", 1)  # groups of a single split
    assert linear_adam(z, y, splits, steps=60, generator=generator()) == together


def test_initial_weights_are_xavier(make_task):
    z, y, splits = make_task(width=50)
    visible = torch.where(splits < 2, y.unsqueeze(1), -1)
    heads = fit_heads(z, visible, splits, num_classes=3, steps=1, learning_rate=1e-12, generator=generator())
    bound = math.sqrt(6 / 53)
    assert heads.weight.abs().max() <= bound + 1e-6
    assert heads.weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert heads.bias.abs().max() < 1e-9


def test_the_first_of_equal_readings_is_kept(make_task):
    z, y, splits = make_task(noise=0.01)
    report = linear_adam(10 * z, y, splits, steps=200, generator=generator())
    assert report.mean("accuracy") == 1.0
    assert max(report.details["step"]) < 200


def test_permuted_test_labels_change_neither_step_nor_validation(make_task):
    z, y, splits = make_task(num_splits=1)
    clean = linear_adam(z, y, splits, steps=100, generator=generator())
    poisoned = y.clone()
    test = (splits[:, 0] == 2).nonzero().squeeze(1)
    poisoned[test] = y[test].roll(1)
    dirty = linear_adam(z, poisoned, splits, steps=100, generator=generator())
    assert clean.details == dirty.details
    assert clean.values != dirty.values


def test_last_step_is_read_and_seeds_decide(make_task):
    z, y, splits = make_task()
    short = linear_adam(z, y, splits, steps=5, generator=generator())
    assert short.details["step"] == [5, 5, 5]
    assert linear_adam(z, y, splits, steps=5, generator=generator()) == short
    assert linear_adam(z, y, splits, steps=5, generator=generator(1)) != short


def test_works_inside_no_grad(make_task):
    z, y, splits = make_task()
    with torch.no_grad():
        inside = linear_adam(z, y, splits, steps=20, generator=generator())
    assert inside == linear_adam(z, y, splits, steps=20, generator=generator())


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"learning_rate": -1.0}, {"every": 0}, {"learning_rate": math.nan}])
def test_numbers_that_are_not_positive_are_refused(make_task, wrong):
    with pytest.raises(ConfigError, match="must be positive"):
        linear_adam(*make_task(), **wrong)


def test_bad_embeddings_are_refused(make_task):
    z, y, splits = make_task()
    with pytest.raises(DataError, match="NaN"):
        linear_adam(torch.full_like(z, float("inf")), y, splits)
