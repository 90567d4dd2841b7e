"""GCA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from gcl.core.resolve import Slot
from gcl.methods.two_view import NodeOrder, Parts, TwoView


def adaptive_views(
    edge_drop: tuple[float, float], feature_drop: tuple[float, float], centrality: str = "degree"
) -> dict[str, dict[str, Any]]:
    """Both views' parts from their probabilities."""
    return {
        f"view{index}": {
            "edge": {"name": "adaptive_edge_drop", "drop_prob": edge, "centrality": centrality},
            "feature": {"name": "adaptive_feature_mask", "drop_prob": feature, "centrality": centrality},
        }
        for index, (edge, feature) in enumerate(zip(edge_drop, feature_drop, strict=True), start=1)
    }


VIEWS = adaptive_views((0.3, 0.5), (0.1, 0.1))
GCN = {"name": "gcn", "out_channels": 256}
PROJECTOR = {"name": "mlp", "hidden_channels": 64}
INFONCE = {"name": "infonce", "temperature": 0.3}


class GCA(TwoView):
    """GRACE with views that spare what is central: edges into important nodes, attributes of important nodes.

    Zhu, Xu, Yu, Liu, Wu, Wang: *Graph Contrastive Learning with Adaptive Augmentation*, WWW 2021, arXiv 2010.14945.
    The defaults are the paper's for Amazon-Photo, by degree.

    Args:
        augment, encoder, projector, loss, regularizer, communities, anchors, subset, memory, node_order: see
            :class:`~gcl.methods.two_view.TwoView`.
    """

    def __init__(
        self,
        *,
        augment: Mapping[str, Parts] = VIEWS,
        encoder: Annotated[Any, Slot("encoder")] = GCN,
        projector: Annotated[Any, Slot("projector")] = PROJECTOR,
        loss: Annotated[Any, Slot("loss")] = INFONCE,
        regularizer: Annotated[Any, Slot("regularizer")] | None = None,
        communities: Annotated[Any, Slot("communities")] = "communities",
        anchors: int | None = None,
        subset: int | None = None,
        memory: Annotated[Any, Slot("memory")] | None = None,
        node_order: NodeOrder = "stored",
    ):
        super().__init__(
            augment=augment,
            encoder=encoder,
            projector=projector,
            loss=loss,
            regularizer=regularizer,
            communities=communities,
            anchors=anchors,
            subset=subset,
            memory=memory,
            node_order=node_order,
        )
