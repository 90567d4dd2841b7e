"""MEOW."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from gcl.core.resolve import Slot
from gcl.methods.metapath_contrast import AnchorView, MetaPathContrast
from gcl.ops.metapath_graph import Orientation, Ties

LOSS = {"name": "weighted_infonce", "temperature": 0.4, "num_clusters": [100, 300]}


class MEOW(MetaPathContrast):
    r"""MEOW: meta-path contexts, and negatives weighted by clusterings.

    .. math:: \mathcal{L} = -\frac1n \sum_i \Big[ S_{ii} - \log \sum_j \gamma_{ij} e^{S_{ij}} \Big]
        + \lambda \mathcal{L}_{\text{proto}}

    with anchors from the coarse view and keys from the fine one; see
    :class:`~gcl.losses.weighted_infonce.WeightedInfoNCE`. Yu and Li: *Heterogeneous Graph Contrastive Learning with
    Meta-path Contexts and Weighted Negative Samples*, SDM 2023, DOI 10.1137/1.9781611977653.ch5. The defaults are the
    authors' for ACM, but for its meta-paths, the neighbours kept and the shares of arcs dropped along each.

    Args:
        metapaths, top, counts, ties, keep_self, num_walks, orientation, edge_drop, feature_mask, encoder, projector,
            loss, anchor_view, anchors: see :class:`~gcl.methods.metapath_contrast.MetaPathContrast`.

    Raises:
        ConfigError: a value out of range.
    """

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
        encoder: Annotated[Any, Slot("encoder")] = "metapath_context",
        projector: Annotated[Any, Slot("projector")] = "linear",
        loss: Annotated[Any, Slot("loss")] = LOSS,
        anchor_view: AnchorView = "coarse",
        anchors: int | None = None,
    ):
        super().__init__(
            metapaths=metapaths,
            top=top,
            counts=counts,
            ties=ties,
            keep_self=keep_self,
            num_walks=num_walks,
            orientation=orientation,
            edge_drop=edge_drop,
            feature_mask=feature_mask,
            encoder=encoder,
            projector=projector,
            loss=loss,
            anchor_view=anchor_view,
            anchors=anchors,
        )
