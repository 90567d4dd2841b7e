"""Node classification on frozen embeddings."""

from __future__ import annotations

import re
from typing import Literal, get_args

from torch import Generator, Tensor

from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.core.streams import Streams
from gcl.data.splits import get_splits
from gcl.evaluate.embeddings import as_embeddings
from gcl.evaluate.grace_protocol import grace_protocol, grace_validation
from gcl.evaluate.held_labels import Held, SelectionLabels
from gcl.evaluate.linear_adam import fit_heads, linear_adam
from gcl.evaluate.linear_probe import linear_probe, probe_validation

Protocol = Literal["linear", "linear-adam", "grace"]
GRACE_SPLIT = "random-10/0/90"


class NodeClassification:
    """Scores a method's main embeddings by predicting labels from them.

    ================  ==================================================================================================
    ``protocol``      what it is
    ================  ==================================================================================================
    ``linear``        :func:`~gcl.evaluate.linear_probe.linear_probe`: unit rows, logistic regression, C by validation
    ``linear-adam``   :func:`~gcl.evaluate.linear_adam.linear_adam`: the head of GCA, CSGCL and POT
    ``grace``         :func:`~gcl.evaluate.grace_protocol.grace_protocol`: 10/90, liblinear, C by cross-validation
    ================  ==================================================================================================

    Args:
        protocol: see the table.
        num_splits: how many splits, from 1; stored splits are at most as many as there are.
        splits: ``stored``, ``random-10/10/80`` (or other percentages), or ``auto``: stored where there are some, else
            random. Protocol ``grace`` makes its own and takes ``auto`` only.
        steps: steps of Adam, for ``linear-adam``.

    Raises:
        ConfigError: a value outside these.
    """

    def __init__(
        self,
        *,
        protocol: Protocol = "linear",
        num_splits: int = 20,
        splits: str = "auto",
        steps: int = 3000,
    ):
        if protocol not in get_args(Protocol):
            raise ConfigError(unknown("protocol", str(protocol), get_args(Protocol)))
        for name, value in (("num_splits", num_splits), ("steps", steps)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a whole number from 1, got {value!r}")
        if splits not in ("auto", "stored") and not re.fullmatch(r"random-\d+/\d+/\d+", splits):
            raise ConfigError(f"unknown splits {splits!r}; use auto, stored or random-10/10/80")
        if protocol == "grace" and splits != "auto":
            raise ConfigError(f"protocol grace makes its own 10/90 splits; leave out splits={splits!r}")
        self.protocol: Protocol = protocol
        self.num_splits = num_splits
        self.splits = splits
        self.steps = steps

    def split(self, graph: Graph, *, seed: int) -> tuple[Graph, Held]:
        """The graph without labels and splits, and these.

        The splits are the same for every ``seed``, so that training seeds are compared on equal ground.

        Raises:
            DataError: the graph has no labels, or a part of a split is empty.
        """
        y = graph.attr("y")
        if y is None:
            raise DataError(
                f"the graph has no labels on {graph.target!r} nodes and classification needs them; "
                "give labels, or leave the evaluation out"
            )
        is_grace = self.protocol == "grace"
        splits = get_splits(graph, self.num_splits, GRACE_SPLIT if is_grace else self.splits)
        held = Held.of(y, splits, num_nodes=graph.num_nodes, seed=seed, needs_valid=not is_grace)
        return graph.for_training(), held

    def validate(self, outputs: Outputs, held: Held) -> dict[str, float]:
        """``{"accuracy": mean over splits}`` on the validation part.

        Protocol ``grace`` has none and gives the cross-validated accuracy on the training part.

        Raises:
            DataError: embeddings that are not finite or not one a node.
        """
        return self._validate(_main(outputs, held), held.for_selection(), held.seed)

    def _validate(self, z: Tensor, labels: SelectionLabels, seed: int) -> dict[str, float]:
        """Gets no test label."""
        if self.protocol == "linear":
            return probe_validation(z, labels.y, labels.splits)
        if self.protocol == "grace":
            return grace_validation(z, labels.y, labels.splits)
        heads = fit_heads(
            as_embeddings(z),
            labels.y,
            labels.splits,
            num_classes=labels.num_classes,
            steps=self.steps,
            generator=self._generator(seed),
        )
        return {"accuracy": float(heads.valid_accuracy.mean())}

    def evaluate(self, outputs: Outputs, held: Held, *, seed: int) -> Report:
        """Test accuracy and macro-F1 of every split.

        Raises:
            DataError: embeddings that are not finite or not one a node.
        """
        z = _main(outputs, held)
        if self.protocol == "linear":
            return linear_probe(z, held.y, held.splits)
        if self.protocol == "grace":
            return grace_protocol(z, held.y, held.splits)
        return linear_adam(z, held.y, held.splits, steps=self.steps, generator=self._generator(seed))

    @staticmethod
    def _generator(seed: int) -> Generator:
        return Streams(seed).generator("evaluate")


def _main(outputs: Outputs, held: Held) -> Tensor:
    z = outputs.main
    if z.shape[0] != held.y.numel():
        raise DataError(
            f"the embeddings have {z.shape[0]} rows for labels of {held.y.numel()} nodes; give one row a node"
        )
    return z
