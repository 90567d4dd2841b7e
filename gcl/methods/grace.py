"""GRACE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from gcl.core.resolve import Slot
from gcl.methods.two_view import NodeOrder, Parts, TwoView

VIEWS = {
    "view1": {"edge": {"name": "edge_drop", "drop_prob": 0.2}, "feature": {"name": "feature_mask", "drop_prob": 0.3}},
    "view2": {"edge": {"name": "edge_drop", "drop_prob": 0.4}, "feature": {"name": "feature_mask", "drop_prob": 0.4}},
}
INFONCE = {"name": "infonce", "temperature": 0.4}


class GRACE(TwoView):
    """Edge dropping and attribute masking, a GCN, and InfoNCE over both views' nodes.

    Zhu, Xu, Yu, Liu, Wu, Wang: *Deep Graph Contrastive Representation Learning*, GRL+ 2020, arXiv 2006.04131. The
    defaults are the paper's for Cora. In each view every stored arc is dropped independently (views are directed) and
    whole attribute columns are zeroed.

    Args:
        augment, encoder, projector, loss, regularizer, communities, anchors, subset, memory, node_order: see
            :class:`~gcl.methods.two_view.TwoView`.
    """

    def __init__(
        self,
        *,
        augment: Mapping[str, Parts] = VIEWS,
        encoder: Annotated[Any, Slot("encoder")] = "gcn",
        projector: Annotated[Any, Slot("projector")] = "mlp",
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
