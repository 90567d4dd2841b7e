"""HeCo."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from gcl.core.adjacency import Adjacency
from gcl.core.context import Batch, Clock, LossContext, Outputs, Prepared, StepOutput
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import POSITIVE, Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.last_result import LastResult
from gcl.core.operator import LinearMap
from gcl.core.resolve import Slot, resolve
from gcl.core.streams import Streams
from gcl.data.transforms import normalized_features
from gcl.encoders.encoder import check_count, check_dropout
from gcl.encoders.heco import MetaPathEncoder, SchemaEncoder
from gcl.encoders.type_projection import TypeProjection
from gcl.methods.metapaths import metapaths_of, say_metapaths
from gcl.methods.method import Method, build_loss, check_loss, one_number, projected_channels
from gcl.ops.common_metapaths import metapath_positives
from gcl.ops.metapath_graph import metapath_ends, metapath_graph
from gcl.ops.neighbor_sample import sample_neighbors
from gcl.ops.propagation import Propagation

Positives = Literal["stored", "metapaths"]
Features = Literal["target", "all"]
MEND = "HeCo takes all of them; take another meta-path, or method meow, which keeps the nearest of each node"
LOSS = {"name": "multi_positive", "temperature": 0.8}
PROJECTOR = {"name": "mlp", "activation": "elu"}

_Structures = tuple[list[LinearMap], dict[str, Tensor | Adjacency], dict[str, tuple[int, Adjacency]]]


class HeCo(Method):
    r"""HeCo: what is around a node against whom meta-paths join it with.

    .. math:: \mathcal{L} = \lambda \mathcal{L}(z_{mp}, z_{sc}) + (1 - \lambda) \mathcal{L}(z_{sc}, z_{mp})

    with the schema view :class:`~gcl.encoders.heco.SchemaEncoder`, whose neighbours are drawn anew in every epoch, the
    meta-path view :class:`~gcl.encoders.heco.MetaPathEncoder`, which is the result, and several positives a node
    (:class:`~gcl.losses.multi_positive.MultiPositive`). Wang, Liu, Han, Shi: *Self-supervised Heterogeneous Graph
    Neural Network with Co-contrastive Learning*, KDD 2021, arXiv 2105.09111. The defaults are the authors' for ACM,
    without its types and meta-paths.

    With ``trainer.select=loss`` the weights kept are those after the step of the best epoch; the authors' program keeps
    those before it.

    Args:
        metapaths: as ``paper-author-paper``; ``None`` = there and back along every relation of the target type.
        neighbors: how many neighbours of each type the schema view draws, by type; ``None`` = 5 of every type that a
            relation joins with the target type.
        num_positives: positives of a node, at most, where they are not the data's own. See
            :func:`~gcl.ops.common_metapaths.metapath_positives`.
        positives: ``stored`` takes the data's own (relation ``positive``) where it has some, ``metapaths`` never does.
        features: ``target`` takes every other type by the identity, as the authors do, ``all`` what there is.
        normalize_features: divide rows of features by their sums, but for negative ones and single columns; see
            :func:`~gcl.data.transforms.normalized_features`.
        hidden_channels: of both views and the projections.
        feature_dropout, attention_dropout: from 0 and below 1.
        projector, loss: specifications.

    Raises:
        ConfigError: a value out of range.
    """

    kind: ClassVar[str] = "hetero"
    embedding_names: ClassVar[tuple[str, ...] | None] = ("embedding",)
    needs_features: ClassVar[bool] = False
    provides: ClassVar[tuple[str, ...]] = ("epoch", "positives")

    metapaths: Sequence[str | Sequence[str]] | None
    neighbors: Mapping[str, int] | None
    num_positives: int
    positives: Positives
    features: Features
    normalize_features: bool
    hidden_channels: int
    feature_dropout: float
    attention_dropout: float

    def __init__(
        self,
        *,
        metapaths: Sequence[str | Sequence[str]] | None = None,
        neighbors: Mapping[str, int] | None = None,
        num_positives: int = 5,
        positives: Positives = "stored",
        features: Features = "target",
        normalize_features: bool = True,
        hidden_channels: int = 64,
        feature_dropout: float = 0.3,
        attention_dropout: float = 0.5,
        projector: Annotated[Any, Slot("projector")] = PROJECTOR,
        loss: Annotated[Any, Slot("loss")] = LOSS,
    ):
        super().__init__()
        check_count("hidden_channels", hidden_channels)
        check_count("num_positives", num_positives)
        check_dropout(feature_dropout)
        check_dropout(attention_dropout)
        for name, word, words in (
            ("positives", positives, get_args(Positives)),
            ("features", features, get_args(Features)),
        ):
            if word not in words:
                raise ConfigError(unknown(name, str(word), words))
        if isinstance(metapaths, str) or (metapaths is not None and not len(metapaths)):
            raise ConfigError(f"metapaths must be a list such as [paper-author-paper], or null, got {metapaths!r}")
        if neighbors is not None and not neighbors:
            raise ConfigError("neighbors must name a type at least, such as {author: 7}, or be null for every type")
        for kind, count in (neighbors or {}).items():
            check_count(f"neighbors.{kind}", count)
        self.store(
            metapaths=metapaths,
            neighbors=neighbors,
            num_positives=num_positives,
            positives=positives,
            features=features,
            normalize_features=normalize_features,
            hidden_channels=hidden_channels,
            feature_dropout=feature_dropout,
            attention_dropout=attention_dropout,
            projector=projector,
            loss=loss,
        )
        self._made = LastResult[_Structures]()

    def check(self, spec: GraphSpec) -> None:
        """Reads the meta-paths, the types of the schema view, and whose the positives are."""
        metapaths_of(self.metapaths, spec)
        self._schema(spec)
        self._has_positives(spec)
        resolve("projector", self.projector)
        check_loss(self, self.loss, self.provides, spec.num_nodes[spec.target])

    def prepare(self, graph: Graph, streams: Streams) -> Prepared:
        """The positive pairs, ``[2, P]``, each below the node that it is a positive of."""
        say_metapaths(self.metapaths, graph.spec)
        paths = metapaths_of(self.metapaths, graph.spec)
        for path in paths:  # what does not fit is said before the positives, which take longer
            metapath_ends(graph, path, mend=MEND)
        if self._has_positives(graph.spec):
            kept = graph.relations[POSITIVE]
        else:
            kept = metapath_positives(graph, paths, self.num_positives)
        return Prepared({"positives": torch.stack([kept.row, kept.col]).to(torch.int32)})

    def _has_positives(self, spec: GraphSpec) -> bool:
        """Whether the positives are the data's own."""
        if self.positives != "stored" or POSITIVE not in spec.relations:
            return False
        if set(spec.relations[POSITIVE]) != {spec.target}:
            raise DataError(
                f"relation {POSITIVE!r} joins {' and '.join(spec.relations[POSITIVE])}, and positives are pairs of "
                f"{spec.target!r} nodes; give the relation another name, or set positives=metapaths"
            )
        return True

    def build(self, spec: GraphSpec, prepared: Prepared) -> HeCo:
        """Makes the projections, both encoders, the projector and the loss."""
        width, schema = self.hidden_channels, self._schema(spec)
        if self.features == "target":
            spec = dataclasses.replace(
                spec, in_channels={kind: size for kind, size in spec.in_channels.items() if kind == spec.target}
            )
        self.projections_ = nn.ModuleList(
            TypeProjection(spec, kind, width, dropout=self.feature_dropout, initial="xavier")
            for kind in dict.fromkeys([spec.target, *schema])
        )
        paths = metapaths_of(self.metapaths, spec)
        self._names = [path.name for path in paths]
        self.metapath_encoder_ = MetaPathEncoder(width, len(paths), attention_dropout=self.attention_dropout)
        self.schema_encoder_ = SchemaEncoder(width, list(schema), attention_dropout=self.attention_dropout)
        self.projector_ = resolve("projector", self.projector).build(width)
        for layer in self.projector_.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight, gain=1.414)
        self.loss_ = build_loss(self.loss, projected_channels(self.projector_, width))
        arcs, size = prepared.tensors["positives"].long().flip(0), spec.num_nodes[spec.target]
        self._positives = Adjacency.from_edge_index(arcs, (size, size))
        return self

    # -- training ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, clock: Clock, streams: Streams) -> StepOutput:
        """Both views of all target nodes, and the loss of their projections."""
        graph = batch.graph
        operators = self._structures(graph)[0]
        self._positives = self._positives.to(graph.device)
        projected = self._projected(graph, self.projections_)
        h = projected[graph.target]
        drawn = {}
        for index, (kind, (size, adjacency)) in enumerate(self._structures(graph)[2].items()):
            generator = streams.generator("neighbors", clock.stage_index, clock.epoch, index)
            drawn[kind] = sample_neighbors(adjacency, size, generator=generator)
        metapath, paths = self.metapath_encoder_(h, operators)
        schema, kinds = self.schema_encoder_(h, projected, drawn)
        context = LossContext(epoch=clock.epoch, positives=self._positives)
        loss = one_number(self.loss_(self.projector_(metapath), self.projector_(schema), context=context), self.loss_)
        names = [f"attention.{name}" for name in (*self._names, *drawn)]
        return StepOutput(loss, dict(zip(names, torch.cat([paths, kinds]).detach(), strict=True)))

    @torch.no_grad()
    def outputs(self, graph: Graph) -> Outputs:
        """The meta-path view in evaluation mode, ``[N, d]``, and the attention of each meta-path."""
        modes = {module: module.training for module in self.modules()}
        try:
            self.eval()
            operators = self._structures(graph)[0]
            h = self._projected(graph, self.projections_[:1])[graph.target]
            z, beta = self.metapath_encoder_(h, operators)
        finally:
            for module, mode in modes.items():
                module.training = mode
        return Outputs({"embedding": z}, extras={"attention": beta})

    def diagnostics(self, outputs: Outputs) -> dict[str, float]:
        """The attention of each meta-path."""
        weights = outputs.extras["attention"].tolist()
        return {f"attention of {name}": weight for name, weight in zip(self._names, weights, strict=True)}

    def _projected(self, graph: Graph, layers: Any) -> dict[str, Tensor]:
        known, size = self._structures(graph)[1], graph.num_nodes_by_type
        return {layer.kind: layer(known.get(layer.kind), num_nodes=size[layer.kind]) for layer in layers}

    def _structures(self, graph: Graph) -> _Structures:
        """The operators of the meta-paths, the features by type, and what is drawn from; kept for the last graph."""
        return self._made.of(graph, lambda: self._make_structures(graph))

    def _make_structures(self, graph: Graph) -> _Structures:
        here = graph.to("cpu")
        operators: list[LinearMap] = [
            Propagation(metapath_graph(here, path, counts=False, mend=MEND), normalize="symmetric").to(graph.device)
            for path in metapaths_of(self.metapaths, graph.spec)
        ]
        features = {
            kind: normalized_features(matrix) if self.normalize_features else matrix
            for kind, matrix in graph.features.items()
            if self.features == "all" or kind == graph.target
        }
        return operators, features, self._around(graph)

    def _schema(self, spec: GraphSpec) -> dict[str, int]:
        """The neighbouring types of the schema view, and how many neighbours of each are drawn."""
        joined = dict.fromkeys(
            source if receiver == spec.target else receiver
            for source, receiver in spec.relations.values()
            if spec.target in (source, receiver) and source != receiver
        )
        if not joined:
            raise ConfigError(f"no relation joins {spec.target!r} with another type; the schema view needs one")
        for kind in self.neighbors or ():
            if kind not in joined:
                raise ConfigError(f"neighbors: {unknown('type joined with ' + spec.target, kind, joined)}")
        return dict.fromkeys(joined, 5) if self.neighbors is None else dict(self.neighbors)

    def _around(self, graph: Graph) -> dict[str, tuple[int, Adjacency]]:
        """How many neighbours of each type are drawn, and from what, target nodes by nodes of the type."""
        found = {}
        for kind, count in self._schema(graph.spec).items():
            ways = [
                graph.relations[name] if receiver == graph.target else graph.relations[name].t()
                for name, (source, receiver) in graph.relation_types.items()
                if {source, receiver} == {kind, graph.target}
            ]
            if len(ways) > 1:  # one drawing from all relations between the two
                arcs = torch.cat([way.edge_index() for way in ways], dim=1)
                ways = [Adjacency.from_edge_index(arcs, ways[0].shape, duplicates="first")]
            found[kind] = (count, ways[0])
        return found
