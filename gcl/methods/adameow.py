"""AdaMEOW."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from gcl.core.resolve import Slot
from gcl.methods.metapath_contrast import AnchorView, MetaPathContrast
from gcl.ops.metapath_graph import Orientation, Ties

ENCODER = {"name": "metapath_context", "dropout": 0.3}
LOSS = {"name": "adaptive_infonce", "temperature": 1.0}


class AdaMEOW(MetaPathContrast):
    r"""AdaMEOW: MEOW with weights of negatives that a small network learns.

    .. math:: \mathcal{L} = -\frac1n \sum_i \Big[ S_{ii} - \log \sum_j w_{ij} e^{S_{ij}} \Big]

    with anchors from the fine view and keys from the coarse one; see
    :class:`~gcl.losses.adaptive_infonce.AdaptiveInfoNCE`. Its loss has no lower bound, so training stops after a number
    of epochs or by validation, never by the loss. Yu, Ge, Li, Zhou: *Heterogeneous Graph Contrastive Learning with
    Meta-path Contexts and Adaptively Weighted Negative Samples*, TKDE 2024, arXiv 2212.13847. The defaults are the
    authors' for ACM, but for its meta-paths and the neighbours kept along each.

    Args:
        all others: see :class:`~gcl.methods.metapath_contrast.MetaPathContrast`.

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
        edge_drop: Sequence[float] | float = 0.2,
        feature_mask: float = 0.3,
        normalize_features: bool = True,
        encoder: Annotated[Any, Slot("encoder")] = ENCODER,
        projector: Annotated[Any, Slot("projector")] = "linear",
        loss: Annotated[Any, Slot("loss")] = LOSS,
        anchor_view: AnchorView = "fine",
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
            normalize_features=normalize_features,
            encoder=encoder,
            projector=projector,
            loss=loss,
            anchor_view=anchor_view,
            anchors=anchors,
        )
