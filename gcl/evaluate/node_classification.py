"""Node classification on frozen embeddings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.core.streams import Streams
from gcl.data.splits import get_splits
from gcl.evaluate.grace_protocol import grace_protocol, grace_validation
from gcl.evaluate.heco_protocol import heco_protocol, heco_validation, require_classes
from gcl.evaluate.held_labels import Held, SelectionLabels
from gcl.evaluate.linear_adam import linear_adam, linear_adam_validation
from gcl.evaluate.linear_probe import linear_probe, probe_validation

Protocol = Literal["linear", "linear-adam", "grace", "heco"]
GRACE_SPLIT = "random-10/0/90"


STEPS = {"linear-adam": 3000, "heco": 200}
DEFAULTS: dict[str, Any] = {"steps": None, "learning_rate": 0.01, "weight_decay": 0.0, "num_probes": 50}


@dataclass(frozen=True)
class _Scoring:
    """How a protocol scores, and the options that it takes: those of heads trained by Adam.

    Such heads start at random, so both functions take a ``generator``, and ``validate`` takes ``num_classes``.
    """

    score: Callable[..., Report]
    validate: Callable[..., dict[str, float]]
    options: tuple[str, ...] = ()


SCORING = {
    "linear": _Scoring(linear_probe, probe_validation),
    "grace": _Scoring(grace_protocol, grace_validation),
    "linear-adam": _Scoring(linear_adam, linear_adam_validation, ("steps", "learning_rate")),
    "heco": _Scoring(heco_protocol, heco_validation, tuple(DEFAULTS)),
}


class NodeClassification:
    """Scores a method's main embeddings by predicting labels from them.

    ================  ==================================================================================================
    ``protocol``      what it is
    ================  ==================================================================================================
    ``linear``        :func:`~gcl.evaluate.linear_probe.linear_probe`: unit rows, logistic regression, C by validation
    ``linear-adam``   :func:`~gcl.evaluate.linear_adam.linear_adam`: the head of GCA, CSGCL and POT
    ``grace``         :func:`~gcl.evaluate.grace_protocol.grace_protocol`: 10/90, liblinear, C by cross-validation
    ``heco``          :func:`~gcl.evaluate.heco_protocol.heco_protocol`: 50 heads a split; also AUC; HeCo, MEOW, AdaMEOW
    ================  ==================================================================================================

    Args:
        protocol: see the table.
        num_splits: how many splits, from 1; stored splits are at most as many as there are.
        splits: ``stored``, ``random-10/10/80`` (or other percentages), or ``auto``: stored where there are some, else
            random. Protocol ``grace`` makes its own and takes ``auto`` only.
        split_index: which one of the stored splits is used, from 0, in place of the first ``num_splits``: of sets with
            a split for each label budget, one budget.
        steps: steps of Adam, for ``linear-adam`` (3000 where it is ``None``) and ``heco`` (200).
        learning_rate: of Adam, for these two; positive.
        weight_decay: of Adam, for ``heco``; at least 0.
        num_probes: heads a split, for ``heco``; from 1.
        embedding: which of the method's embeddings is scored, by name; ``None`` = the main one.

    Raises:
        ConfigError: a value outside these, or one other than the default that the protocol has no use for.
    """

    def __init__(
        self,
        *,
        protocol: Protocol = "linear",
        num_splits: int = 20,
        splits: str = "auto",
        split_index: int | None = None,
        steps: int | None = None,
        learning_rate: float = 0.01,
        weight_decay: float = 0.0,
        num_probes: int = 50,
        embedding: str | None = None,
    ):
        if protocol not in get_args(Protocol):
            raise ConfigError(unknown("protocol", str(protocol), get_args(Protocol)))
        for name, value in (("num_splits", num_splits), ("num_probes", num_probes)):
            _require_whole(name, value, 1)
        if steps is not None:
            _require_whole("steps", steps, 1)
        for name, number in (("learning_rate", learning_rate), ("weight_decay", weight_decay)):
            is_number = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
            if not is_number or number < 0 or (number == 0 and name == "learning_rate"):
                least = "above 0" if name == "learning_rate" else "from 0"
                raise ConfigError(f"{name} must be a number {least}, got {number!r}")
        options: dict[str, Any] = {
            "steps": steps,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "num_probes": num_probes,
        }
        for name, option in options.items():
            users = [user for user, scoring in SCORING.items() if name in scoring.options]
            if protocol not in users and option != DEFAULTS[name]:
                default = "null" if DEFAULTS[name] is None else DEFAULTS[name]
                raise ConfigError(
                    f"{name}={option} is for protocol {' and '.join(users)}, not {protocol}; leave it out, or set it "
                    f"to {default}"
                )
        if splits not in ("auto", "stored") and not re.fullmatch(r"random-\d+/\d+/\d+", splits):
            raise ConfigError(f"unknown splits {splits!r}; use auto, stored or random-10/10/80")
        if protocol == "grace" and splits != "auto":
            raise ConfigError(f"protocol grace makes its own 10/90 splits; leave out splits={splits!r}")
        if split_index is not None:
            _require_whole("split_index", split_index, 0)
            if protocol == "grace" or splits.startswith("random"):
                own = "protocol grace makes its own" if protocol == "grace" else f"splits={splits!r} draws them"
                raise ConfigError(f"split_index={split_index} chooses a stored split and {own}; leave it out")
        self.protocol: Protocol = protocol
        self.num_splits = num_splits
        self.splits = splits
        self.split_index = split_index
        self.steps = steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.num_probes = num_probes
        self.embedding = embedding
        self._settings = {name: options[name] for name in SCORING[protocol].options}
        if "steps" in self._settings and steps is None:
            self._settings["steps"] = STEPS[protocol]

    def split(self, graph: Graph, *, seed: int) -> tuple[Graph, Held]:
        """The graph without labels and splits, and these.

        The splits are the same for every ``seed``, so that training seeds are compared on equal ground.

        Raises:
            DataError: the graph has no labels, a part of a split is empty, or (protocol ``heco``) it lacks a class.
            ConfigError: ``split_index`` of a graph without such a stored split.
        """
        y = graph.attr("y")
        if y is None:
            raise DataError(
                f"the graph has no labels on {graph.target!r} nodes and classification needs them; "
                "give labels, or leave the evaluation out"
            )
        is_grace = self.protocol == "grace"
        if self.split_index is None:
            splits = get_splits(graph, self.num_splits, GRACE_SPLIT if is_grace else self.splits)
        else:
            splits = _stored_split(graph, self.split_index)
        held = Held.of(y, splits, num_nodes=graph.num_nodes, seed=seed, needs_valid=not is_grace)
        if self.protocol == "heco":
            require_classes(held, first=self.split_index or 0)
        return graph.for_training(), held

    def validate(self, outputs: Outputs, held: Held) -> dict[str, float]:
        """``{"accuracy": mean over splits}`` on the validation part; of protocol ``heco`` also ``macro_f1``.

        Protocol ``grace`` has none and gives the cross-validated accuracy on the training part.

        Raises:
            DataError: embeddings that are not finite or not one a node.
        """
        return self._validate(_rows(outputs, held, self.embedding), held.for_selection(), held.seed)

    def _validate(self, z: Tensor, labels: SelectionLabels, seed: int) -> dict[str, float]:
        """Gets no test label."""
        options = self._options(seed)
        if options:
            options["num_classes"] = labels.num_classes
        return SCORING[self.protocol].validate(z, labels.y, labels.splits, **options)

    def evaluate(self, outputs: Outputs, held: Held, *, seed: int) -> Report:
        """Test accuracy and macro-F1 of every split; of protocol ``heco`` also micro-F1 and AUC, of every probe.

        Raises:
            DataError: embeddings that are not finite or not one a node.
        """
        z = _rows(outputs, held, self.embedding)
        return SCORING[self.protocol].score(z, held.y, held.splits, **self._options(seed))

    def _options(self, seed: int) -> dict[str, Any]:
        """What the protocol is called with; a new generator each time."""
        return {**self._settings, "generator": Streams(seed).generator("evaluate")} if self._settings else {}


def _require_whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number from {least}, got {value!r}")


def _stored_split(graph: Graph, index: int) -> Tensor:
    """Stored split ``index`` as ``[N, 1]``."""
    stored = graph.attr("splits")
    count = 0 if stored is None else stored.shape[1]
    if index >= count:
        has = f"{count} stored splits, 0 to {count - 1}" if count else "no stored splits"
        raise ConfigError(f"split_index={index} is out of range: the graph has {has}; choose one or leave it out")
    return get_splits(graph, index + 1, "stored")[:, index:]


def _rows(outputs: Outputs, held: Held, embedding: str | None) -> Tensor:
    z = outputs.named(embedding)
    if z.shape[0] != held.y.numel():
        raise DataError(
            f"the embeddings have {z.shape[0]} rows for labels of {held.y.numel()} nodes; give one row a node"
        )
    return z
