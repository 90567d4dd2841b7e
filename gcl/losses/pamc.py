"""PamC: neighbours as positives, meta-nodes as negatives."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from torch import Tensor, nn

from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, unknown
from gcl.losses.blocks import OwnCluster, block_repulsion, meta_node_repulsion
from gcl.losses.functional import check_scale
from gcl.losses.neighbor_contrast import neighbor_attraction, one_view

Weights = Literal["uniform", "size"]
Assign = Literal["hard", "soft"]
Meta = Literal["sum", "unit-mean"]


class PamCLoss(nn.Module):
    r"""The loss of :class:`~gcl.losses.neighbor_contrast.NeighborContrast` with clusters in place of all pairs.

    .. math:: \mathcal{L} = -\frac1N \sum_i \log \sum_j \Gamma_{ij} e^{\tau S_{ij}} + \mathcal{R}

    ``weights="uniform"`` takes the published proxy :func:`~gcl.losses.blocks.meta_node_repulsion`, ``"size"`` the bound
    :func:`~gcl.losses.blocks.block_repulsion` of the exact term, at the same cost. Empty clusters are left out (the
    program's loss is NaN with one); a single cluster repels nothing.

    Kulatilleke, Portmann, Chandra: *Efficient block contrastive learning via parameter-free meta-node approximation*,
    arXiv 2209.14067.

    Args:
        scale: :math:`\tau`, above 0. It **multiplies** the similarity, where a temperature divides.
        weights: ``uniform`` or ``size``.
        assign: ``hard`` sums the rows of each cluster; ``soft`` sums all rows weighted by the assignment, for
            ``uniform``.
        meta: what a meta-node of ``uniform`` is: ``sum`` of the rows as they are, as in the program, so that long rows
            weigh more, or ``unit-mean``, of rows of length 1, as in ``size`` in any case.
        own_cluster: ``drop`` or ``keep`` the pairs inside a cluster, for ``size``; ``uniform`` always drops them.
        second_order: the correction of the block bound, for ``size``.

    Raises:
        ConfigError: a value out of range, or options that do not go together.
    """

    needs: tuple[str, ...] = ("positives", "clusters")
    views: ClassVar[int] = 1  # that it contrasts

    def __init__(
        self,
        scale: float = 0.5,
        *,
        weights: Weights = "uniform",
        assign: Assign = "hard",
        meta: Meta = "sum",
        own_cluster: OwnCluster = "drop",
        second_order: bool = False,
    ):
        super().__init__()
        check_scale(scale)
        for name, word, words in (
            ("weights", weights, get_args(Weights)),
            ("assign", assign, get_args(Assign)),
            ("meta", meta, get_args(Meta)),
            ("own_cluster", own_cluster, get_args(OwnCluster)),
        ):
            if word not in words:
                raise ConfigError(unknown(name, str(word), words))
        if weights == "uniform" and (own_cluster, second_order) != ("drop", False):
            raise ConfigError("own_cluster='keep' and second_order belong to weights='size'; set it or leave them out")
        if weights == "size" and assign == "soft":
            raise ConfigError("assign='soft' belongs to weights='uniform'; sizes are of hard clusters")
        if assign == "soft":
            self.needs = ("positives", "assignment")
        self.scale = scale
        self.weights = weights
        self.assign = assign
        self.meta = meta
        self.own_cluster = own_cluster
        self.second_order = second_order

    def forward(self, z1: Tensor, z2: Tensor | None = None, *, context: LossContext | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            z1: embeddings as they are, ``[N, d]``: the sums of ``meta="sum"`` are not of unit rows.
            z2: must be ``None``.
            context: ``positives`` ``[N, N]``, and ``clusters`` ``[N]`` or, for ``assign="soft"``, ``assignment``
                ``[N, K]``.

        Raises:
            ConfigError: a second view, anchors, or something needed that is not there.
            DataError: shapes that do not fit together.
        """
        unit, positives = one_view(z1, z2, context, type(self).__name__)
        attraction = neighbor_attraction(unit, positives, scale=self.scale)
        return attraction + self.negative_term(z1, unit, context or LossContext())

    def negative_term(self, z: Tensor, unit: Tensor, context: LossContext) -> Tensor:
        """The proxy of the negatives, a scalar; of embeddings and their unit rows, ``[N, d]``."""
        clusters = context.assignment if self.assign == "soft" else context.clusters
        if clusters is None:
            name = self.needs[1]
            raise ConfigError(f"PamCLoss needs {name} in its context; give LossContext({name}=...)")
        if self.weights == "uniform":
            return meta_node_repulsion(z if self.meta == "sum" else unit, clusters, scale=self.scale)
        return block_repulsion(
            unit, clusters, scale=self.scale, own_cluster=self.own_cluster, second_order=self.second_order
        )

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"scale={self.scale}, weights={self.weights!r}, assign={self.assign!r}, meta={self.meta!r}, "
            f"own_cluster={self.own_cluster!r}, second_order={self.second_order}"
        )
