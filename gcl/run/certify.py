"""Certificates for a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gcl.core.errors import ConfigError, DataError
from gcl.core.streams import Streams
from gcl.evaluate.compactness import Compactness, compactness
from gcl.ops.propagation_bounds import Deletion
from gcl.run.open_run import Run, open_run
from gcl.run.result import Result
from gcl.run.run_data import load_for_run


def certify(
    run: str | Path | Run | Result,
    dataset: Any = None,
    *,
    drop_prob: float = 0.3,
    deletion: Deletion = "arcs",
    keep_neighbor: bool | None = None,
    coverage: float | None = None,
    num_samples: int = 100,
    paths: bool | None = None,
    seed: int = 0,
    data_root: str | Path | None = None,
) -> Compactness:
    """Bounds of every node's compactness under a trained run's encoder; ``gcl certify`` does exactly this.

    Args:
        run: a run folder, an opened run, or the result of :func:`gcl.pipeline` (its first seed).
        dataset: the graph; ``None`` = the one that the run was trained on, found again by its name.
        drop_prob, deletion, keep_neighbor, coverage, num_samples, paths: see
            :func:`gcl.evaluate.compactness.compactness`.
        seed: of the sampled graphs, from 0.
        data_root: where named datasets lie; ``None`` = where they lay when the run was started.

    Raises:
        ConfigError: no run, an encoder that cannot be bounded, or a value out of range.
        DataError: the graph cannot be had, or its features are not those that the encoder was built for.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed must be a whole number from 0, got {seed!r}")
    if not isinstance(run, str | Path | Run | Result):
        raise ConfigError(f"give a run folder, an opened run or a result to certify, got a {type(run).__name__}")
    if isinstance(run, Result):
        if run.runs[0].method is None:
            raise ConfigError("this result was read from a folder; give that folder in place of it")
        method, settings, name = run.runs[0].method, run.settings, "the result"
    else:
        opened = run if isinstance(run, Run) else open_run(run)
        method, settings, name = opened.method(), opened.settings, str(opened.root)
    encoder = getattr(method, "encoder_", None)
    if encoder is None:
        raise ConfigError(f"{name}: method {type(method).__name__} has no single encoder to certify")
    data = load_for_run(settings, dataset, data_root=data_root, where=name)
    width = data.graph.spec.in_channels.get(data.graph.target)
    built = encoder.affine_layers()[0].weight.shape[0] if hasattr(encoder, "affine_layers") else width
    if width != built:
        raise DataError(f"{data.name} has {width} feature columns and the encoder was built for {built}")
    device = next(encoder.parameters()).device
    return compactness(
        encoder,
        data.graph.to(device),
        drop_prob=drop_prob,
        deletion=deletion,
        keep_neighbor=keep_neighbor,
        coverage=coverage,
        num_samples=num_samples,
        paths=paths,
        generator=Streams(seed).generator("attack", device=device),
    )
