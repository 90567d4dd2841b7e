"""Link prediction: held-out edges told from pairs without one."""

from __future__ import annotations

import math
from typing import Literal, get_args

from torch import Tensor

from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.evaluate.embeddings import as_embeddings
from gcl.evaluate.floors import FLOORS
from gcl.evaluate.held_links import HeldLinks, SelectionLinks, all_links, hold_links_out
from gcl.evaluate.link_scores import LinkDecoder, by_blocks, decoder, heuristics, link_metrics

LinkProtocol = Literal["held-out", "reconstruction"]
MOST_TRAIN = 50_000  # links that the logistic decoder is fitted to


class LinkPrediction:
    """Scores embeddings by how well pairs of nodes that are joined are told from pairs that are not.

    A share of the edges is taken out of the graph before anything is prepared or trained (communities, diffusion,
    everything), the same for every training seed; with each goes a pair without an edge. An edge is a pair of nodes
    with an arc in either direction, since scores of pairs know none. As in Kipf and Welling,
    *Variational Graph Auto-Encoders*, 2016, arXiv 1611.07308, whose shares the defaults are.

    Every other evaluator of the run then scores a method that was trained without these edges.

    Args:
        protocol: ``held-out``, or ``reconstruction``, which holds nothing out and asks whether the edges of the graph
            are found again; no prediction, and only to be compared with its like.
        decoder: how a pair is scored, see :func:`gcl.evaluate.link_scores.decoder`: ``inner_product``, ``cosine`` or
            ``logistic``.
        valid: share of the edges that is held out for validation, from 0 = none.
        test: share of the edges that is held out for the test, above 0.
        negatives: pairs without an edge for each link, above 0; average precision depends on it.
        split_seed: of the edges that are held out and of the pairs that are drawn.
        embedding: which of the method's embeddings is scored, by name; ``None`` = the main one.

    Raises:
        ConfigError: a value outside these.
    """

    def __init__(
        self,
        *,
        protocol: LinkProtocol = "held-out",
        decoder: LinkDecoder = "inner_product",
        valid: float = 0.05,
        test: float = 0.1,
        negatives: float = 1.0,
        split_seed: int = 0,
        embedding: str | None = None,
    ):
        if protocol not in get_args(LinkProtocol):
            raise ConfigError(unknown("protocol", str(protocol), get_args(LinkProtocol)))
        if decoder not in get_args(LinkDecoder):
            raise ConfigError(unknown("decoder", str(decoder), get_args(LinkDecoder)))
        for name, value, least in (("valid", valid, 0), ("test", test, None), ("negatives", negatives, None)):
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or (value < 0 if least == 0 else value <= 0):
                raise ConfigError(f"{name} must be a number {'from' if least == 0 else 'above'} 0, got {value!r}")
        if valid + test >= 1:
            raise ConfigError(f"valid and test are shares of the edges below 1 together, got {valid!r} and {test!r}")
        if isinstance(split_seed, bool) or not isinstance(split_seed, int) or split_seed < 0:
            raise ConfigError(f"split_seed must be a whole number from 0, got {split_seed!r}")
        self.protocol: LinkProtocol = protocol
        self.decoder: LinkDecoder = decoder
        self.valid = valid
        self.test = test
        self.negatives = negatives
        self.split_seed = split_seed
        self.embedding = embedding

    def split(self, graph: Graph, *, seed: int) -> tuple[Graph, HeldLinks]:
        """The graph without the held-out edges (with ``reconstruction`` the whole), and the pairs to score.

        Raises:
            DataError: several node types or relations, or too few edges.
        """
        if self.protocol == "reconstruction":
            held = all_links(graph, negatives=self.negatives, seed=self.split_seed, most_train=MOST_TRAIN)
            return graph.for_training(), held
        training, held = hold_links_out(
            graph,
            valid=self.valid,
            test=self.test,
            negatives=self.negatives,
            seed=self.split_seed,
            most_train=MOST_TRAIN,
        )
        return training.for_training(), held

    def validate(self, outputs: Outputs, held: HeldLinks) -> dict[str, float]:
        """``auc`` and ``ap`` on the validation part; never opens the test part.

        Raises:
            ConfigError: there is no validation part.
            DataError: embeddings that cannot be used.
        """
        return self._validate(self._embeddings(outputs, held), held.for_selection())

    @property
    def no_validation(self) -> str:
        """What to do where there is no validation part."""
        where = "valid=0 holds none out" if self.protocol == "held-out" else "reconstruction holds nothing out"
        return (
            f"links have no validation part to select by, since {where}; give protocol=held-out and valid=0.05, or "
            "select the last weights"
        )

    def _validate(self, z: Tensor, seen: SelectionLinks) -> dict[str, float]:
        """Gets no test pair."""
        if seen.valid is None:
            raise ConfigError(self.no_validation)
        score, _ = decoder(self.decoder, z, seen)
        return link_metrics(by_blocks(score, seen.valid.pairs, z), seen.valid)

    def evaluate(self, outputs: Outputs, held: HeldLinks, *, seed: int) -> Report:
        """``auc`` and ``ap`` on the test part; ``n`` = pairs scored.

        Raises:
            DataError: embeddings that are not finite or not one a node.
        """
        z = self._embeddings(outputs, held)
        score, chosen = decoder(self.decoder, z, held.for_selection())
        return self._report(by_blocks(score, held.test.pairs, z), held, seed, self.decoder, chosen)

    def floor_reports(self, training_graph: Graph, held: HeldLinks, *, seed: int) -> dict[str, Report]:
        """Reports, by name, of what needs no training: features through the decoder, and heuristics of the graph.

        Args:
            training_graph: as :meth:`split` gave it; nothing else is learnt from.
            held: as :meth:`split` gave it.
            seed: goes into the reports; the floors are the same for all.
        """
        found = {}
        for name, make in FLOORS.items():
            try:
                outputs = Outputs({"embedding": make(training_graph)}, stands_in=True)
            except DataError:  # a graph without features
                continue
            found[name] = self.evaluate(outputs, held, seed=seed)
        for name, score in heuristics(training_graph.adjacency).items():
            found[name] = self._report(by_blocks(score, held.test.pairs), held, seed, name, {})
        return found

    def _embeddings(self, outputs: Outputs, held: HeldLinks) -> Tensor:
        z = as_embeddings(outputs.named(self.embedding))
        if z.shape[0] != held.num_nodes:
            raise DataError(f"there are {z.shape[0]} embeddings for {held.num_nodes} nodes; give one row a node")
        return z

    def _report(self, scores: Tensor, held: HeldLinks, seed: int, how: str, chosen: dict[str, float]) -> Report:
        count, links = held.test.is_link.numel(), int(held.test.is_link.sum())
        what = f"{self.test:g} of the edges held out, {self.valid:g} for validation"
        if self.protocol == "reconstruction":
            what = "reconstruction of all edges"
        others = f"{self.negatives:g} other pairs each"
        if count - links < math.ceil(round(self.negatives * links, 6)):
            others = f"all {count - links} other pairs that there are"
        return Report(
            "links",
            f"{what}, {others}, {how.replace('_', ' ')}",
            count,
            {name: [value] for name, value in link_metrics(scores, held.test).items()},
            [seed],
            {"links": links, "others": count - links, "decoder": how, **chosen},
        )
