"""The global random generators, for code that draws without a ``generator``."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcl.core.streams import Streams


@contextmanager
def scope(streams: Streams, purpose: str, *counters: int) -> Iterator[None]:
    """Seeds the global generators of torch, NumPy and Python inside the block and restores them after it.

    :meth:`Streams.scope` does so for torch; foreign modules may draw from the other two.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with streams.scope(purpose, *counters):
        seed = streams.integer(purpose, *counters, bits=32)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def get_random_state() -> dict[str, Any]:
    """The states of all global generators, as tensors and numbers only."""
    version, words, gauss = random.getstate()
    name, key, position, has_gauss, cached = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "name": str(name),
            "key": torch.from_numpy(np.asarray(key).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Puts back what :func:`get_random_state` gave. States of GPUs that are not here are left out."""
    torch.set_rng_state(state["torch"])
    cuda: list[Tensor] = state["cuda"]
    if cuda and torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    key = numpy["key"].numpy().astype(np.uint32)
    np.random.set_state((numpy["name"], key, numpy["position"], numpy["has_gauss"], numpy["cached"]))
