"""What MEOW and AdaMEOW share: meta-path views with and without contexts."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from gcl.core.context import Batch, Clock, LossContext, Outputs, Prepared, StepOutput
from gcl.core.errors import ConfigError, unknown
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.last_result import LastResult
from gcl.core.resolve import Slot, resolve
from gcl.core.streams import Streams
from gcl.encoders.metapath_context import MetaPathViews
from gcl.methods.metapath_views import draw_views, make_views, precise_fingerprint
from gcl.methods.metapaths import metapaths_of, say_metapaths
from gcl.methods.method import (
    Method,
    build_loss,
    check_loss,
    check_loss_shares,
    one_number,
    own_anchors,
    projected_channels,
)
from gcl.ops.metapath import MetaPath
from gcl.ops.metapath_graph import Orientation, Ties, check_unused, metapath_graph

AnchorView = Literal["coarse", "fine"]
LOSS = {"name": "weighted_infonce", "temperature": 0.4, "num_clusters": [100, 300]}


class MetaPathContrast(Method):
    r"""Contrasts what a node's meta-path neighbours are with what lies between them.

    The nearest neighbours by PathSim along each meta-path make a graph, and so does what is left of it after some arcs
    were dropped, once and for all. :class:`~gcl.encoders.metapath_context.MetaPathContextEncoder` makes of them a fine
    embedding, which is the result, and a coarse one; the loss contrasts their projections. The defaults are those of
    :class:`~gcl.methods.meow.MEOW`.

    Args:
        metapaths: as ``paper-author-paper``; ``None`` = there and back along every relation of the target type.
        top: neighbours kept for each meta-path, a number for all or one each; ``None`` = all.
        counts: whether neighbours count by the number of path instances, or once.
        ties, keep_self: which of equally similar neighbours are kept, and whether the node itself is in any case; see
            :func:`~gcl.ops.metapath_graph.metapath_graph`. Without ``top`` they decide nothing and are refused.
        num_walks: estimate the counts by so many random walks a node, where products are too large; ``None`` = count.
        orientation: see :func:`~gcl.ops.metapath_graph.metapath_operator`.
        edge_drop: share of the arcs that are dropped in the thinned graphs, from 0 to 1, for all meta-paths or each.
        feature_mask: share of the target's non-zero feature values that are zeroed beside them, from 0 to 1.
        normalize_features: divide rows of features by their sums, but for negative ones and single columns; see
            :func:`~gcl.data.transforms.normalized_features`.
        encoder, projector, loss: specifications.
        anchor_view: which view's nodes are the anchors of the loss; the other view's are its keys.
        anchors: how many anchors the loss averages over in each step, a fresh subset; ``None`` = every node.

    Raises:
        ConfigError: a value out of range.
    """

    kind: ClassVar[str] = "hetero"
    embedding_names: ClassVar[tuple[str, ...] | None] = ("embedding", "last_pass")
    needs_features: ClassVar[bool] = False
    provides: ClassVar[tuple[str, ...]] = ("epoch", "anchors")

    metapaths: Sequence[str | Sequence[str]] | None
    top: Sequence[int | None] | int | None
    counts: bool
    ties: Ties
    keep_self: bool
    num_walks: int | None
    orientation: Orientation
    edge_drop: Sequence[float] | float
    feature_mask: float
    normalize_features: bool
    anchor_view: AnchorView
    anchors: int | None
    last_pass_: Tensor
    trained_: Tensor

    def __init__(
        self,
        *,
        metapaths: Sequence[str | Sequence[str]] | None = None,
        top: Sequence[int | None] | int | None = 100,
        counts: bool = True,
        ties: Ties = "index",
        keep_self: bool = False,
        num_walks: int | None = None,
        orientation: Orientation = "reference",
        edge_drop: Sequence[float] | float = 0.3,
        feature_mask: float = 0.3,
        normalize_features: bool = True,
        encoder: Annotated[Any, Slot("encoder")] = "metapath_context",
        projector: Annotated[Any, Slot("projector")] = "linear",
        loss: Annotated[Any, Slot("loss")] = LOSS,
        anchor_view: AnchorView = "coarse",
        anchors: int | None = None,
    ):
        super().__init__()
        for name, word, words in (
            ("ties", ties, get_args(Ties)),
            ("orientation", orientation, get_args(Orientation)),
            ("anchor_view", anchor_view, get_args(AnchorView)),
        ):
            if word not in words:
                raise ConfigError(unknown(name, str(word), words))
        if isinstance(metapaths, str) or (metapaths is not None and not len(metapaths)):
            raise ConfigError(f"metapaths must be a list such as [paper-author-paper], or null, got {metapaths!r}")
        for share in edge_drop if isinstance(edge_drop, Sequence) else (edge_drop,):
            _check_share("edge_drop", share)
        _check_share("feature_mask", feature_mask)
        tops = top if isinstance(top, Sequence) else (top,)
        for name, value in [("anchors", anchors), ("num_walks", num_walks), *(("top", k) for k in tops)]:
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"{name} must be a whole number from 1, or null, got {value!r}")
        if all(k is None for k in tops):
            check_unused(ties, keep_self)
        self.store(
            metapaths=metapaths,
            top=top,
            counts=counts,
            ties=ties,
            keep_self=keep_self,
            num_walks=num_walks,
            orientation=orientation,
            edge_drop=edge_drop,
            feature_mask=feature_mask,
            normalize_features=normalize_features,
            encoder=encoder,
            projector=projector,
            loss=loss,
            anchor_view=anchor_view,
            anchors=anchors,
        )
        self._last = LastResult[tuple[MetaPathViews, bool]]()
        self._fitted: Mapping[str, Tensor] = {}

    def check(self, spec: GraphSpec) -> None:
        """Makes every part once, and reads the meta-paths."""
        paths = self._paths(spec)
        for name in ("top", "edge_drop"):
            self._each(name, paths)
        encoder = resolve("encoder", self.encoder)
        if "paths" not in inspect.signature(encoder.build).parameters:
            raise ConfigError(f"encoder {type(encoder).__name__} takes no meta-paths; use metapath_context")
        resolve("projector", self.projector)
        check_loss(self, self.loss, self.provides, spec.num_nodes[spec.target])

    def check_shares(self, parts: bool = False) -> None:
        """Each process encodes both views whole, and takes its share of the loss's anchors."""
        check_loss_shares(self, self.loss)

    # -- once, before training ---------------------------------------------------------------------------------------

    def prepare(self, graph: Graph, streams: Streams) -> Prepared:
        """The kept neighbours along each meta-path, and which arcs and feature values the augmentation leaves."""
        say_metapaths(self.metapaths, graph.spec)
        paths = self._paths(graph.spec)
        digest = bytes.fromhex(precise_fingerprint(graph))
        tensors = {
            "graph": torch.tensor(list(digest), dtype=torch.uint8),
            "seed": torch.tensor(streams.seed),
            **self._draws(graph, paths, streams),
        }
        return Prepared(tensors)

    def _draws(self, graph: Graph, paths: Sequence[MetaPath], streams: Streams) -> dict[str, Tensor]:
        kept = []
        for index, (path, top) in enumerate(zip(paths, self._each("top", paths), strict=True)):
            nearest: dict[str, Any] = {} if top is None else {"ties": self.ties, "keep_self": self.keep_self}
            generator = streams.generator("metapath", index)
            kept.append(
                metapath_graph(
                    graph, path, top=top, counts=self.counts, num_walks=self.num_walks, generator=generator, **nearest
                )
            )
        shares = self._each("edge_drop", paths)
        return draw_views(graph, kept, edge_drop=shares, feature_mask=self.feature_mask, streams=streams)

    def build(self, spec: GraphSpec, prepared: Prepared) -> MetaPathContrast:
        """Makes encoder, projector and loss."""
        paths = self._paths(spec)
        self._names = [path.name for path in paths]
        self.encoder_ = resolve("encoder", self.encoder).build(spec, paths)
        channels = self.encoder_.out_channels
        self.projector_ = resolve("projector", self.projector).build(channels)
        self.loss_ = build_loss(self.loss, projected_channels(self.projector_, channels))
        self.register_buffer("last_pass_", torch.zeros(spec.num_nodes[spec.target], channels))
        self.register_buffer("trained_", torch.zeros((), dtype=torch.bool))
        self._fitted = prepared.tensors
        return self

    # -- training ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, clock: Clock, streams: Streams) -> StepOutput:
        """Both embeddings of all target nodes, and the loss of their projections."""
        graph = batch.graph
        fine, coarse, beta = self.encoder_(self.views(graph))
        with torch.no_grad():
            self.last_pass_.copy_(fine)
            self.trained_.fill_(True)
        views = {"fine": self.projector_(fine), "coarse": self.projector_(coarse)}
        keys = "coarse" if self.anchor_view == "fine" else "fine"
        context = LossContext(epoch=clock.epoch, anchors=self._anchors(graph, clock, streams))
        context = own_anchors(context, fine, clock)
        if hasattr(self.loss_, "terms"):
            terms = self.loss_.terms(views[self.anchor_view], views[keys], context=context)
            loss, parts = torch.stack(list(terms.values())).sum(), {name: term.detach() for name, term in terms.items()}
        else:
            loss, parts = one_number(self.loss_(views[self.anchor_view], views[keys], context=context), self.loss_), {}
        attention = beta.detach().view(-1, 2).sum(dim=1) / clock.world  # the same in every process
        shares = {f"attention.{name}": weight for name, weight in zip(self._names, attention, strict=True)}
        return StepOutput(loss, {**parts, **shares})

    def _anchors(self, graph: Graph, clock: Clock, streams: Streams) -> Tensor | None:
        if self.anchors is None or self.anchors >= graph.num_nodes:
            return None
        generator = streams.generator("anchors", clock.stage_index, clock.epoch, clock.batch)
        return torch.randperm(graph.num_nodes, generator=generator)[: self.anchors].sort().values.to(graph.device)

    @torch.no_grad()
    def outputs(self, graph: Graph) -> Outputs:
        """The fine embedding in evaluation mode, ``[N, e]``, and the attention of each meta-path, clean and thinned.

        ``last_pass`` is the fine embedding of the last training step, with its dropout and before its update, which the
        papers evaluate; there is none before training, or on another graph.
        """
        modes = {module: module.training for module in self.modules()}
        try:
            self.eval()
            fine, _, beta = self.encoder_(self.views(graph))
        finally:
            for module, mode in modes.items():
                module.training = mode
        embeddings = {"embedding": fine}
        if bool(self.trained_) and self._known(graph)[1]:
            embeddings["last_pass"] = self.last_pass_.clone()
        return Outputs(embeddings, extras={"attention": beta})

    def diagnostics(self, outputs: Outputs) -> dict[str, float]:
        """The attention of each meta-path, clean and thinned together."""
        weights = outputs.extras["attention"].view(-1, 2).sum(dim=1).tolist()
        return {f"attention of {name}": weight for name, weight in zip(self._names, weights, strict=True)}

    # -- what is made of a graph -------------------------------------------------------------------------------------

    def views(self, graph: Graph) -> MetaPathViews:
        """What the encoder works on; kept for the last graph.

        A graph other than that of :meth:`prepare` gets its own neighbours and, from the same seed, its own
        augmentation.
        """
        return self._known(graph)[0]

    def _known(self, graph: Graph) -> tuple[MetaPathViews, bool]:
        """The views of a graph, and whether it is that of :meth:`prepare`."""
        return self._last.of(graph, lambda: self._make_views(graph))

    def _make_views(self, graph: Graph) -> tuple[MetaPathViews, bool]:
        here, paths = graph.to("cpu"), self._paths(graph.spec)
        drawn = {name: tensor.cpu() for name, tensor in self._fitted.items()}
        is_fitted = bytes(drawn["graph"].tolist()).hex() == precise_fingerprint(here)
        if not is_fitted:
            drawn = self._draws(here, paths, Streams(int(drawn["seed"])))
        views = make_views(
            here,
            paths,
            drawn,
            orientation=self.orientation,
            normalize_features=self.normalize_features,
            device=graph.device,
        )
        return views, is_fitted

    def _paths(self, spec: GraphSpec) -> list[MetaPath]:
        return metapaths_of(self.metapaths, spec)

    def _each(self, name: str, paths: Sequence[MetaPath]) -> list[Any]:
        """An argument for each meta-path."""
        value = getattr(self, name)
        if not isinstance(value, Sequence):
            return [value] * len(paths)
        if len(value) != len(paths):
            raise ConfigError(
                f"{name} has {len(value)} entries for {len(paths)} meta-paths; give one number or one each"
            )
        return list(value)


def _check_share(name: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        raise ConfigError(f"{name} is a share, from 0 to 1, got {value!r}")
