"""CSGCL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from gcl.core.resolve import Slot
from gcl.methods.two_view import NodeOrder, Parts, TwoView


def _view(edge_drop: float, feature_drop: float) -> dict[str, dict[str, Any]]:
    return {
        "edge": {"name": "communal_edge_drop", "drop_prob": edge_drop},
        "feature": {"name": "communal_attribute_voting", "drop_prob": feature_drop},
    }


VIEWS = {"view1": _view(0.3, 0.1), "view2": _view(0.4, 0.0)}
PRELU_GCN = {"name": "gcn", "out_channels": 256, "activation": "prelu"}
PROJECTOR = {"name": "mlp", "hidden_channels": 32}
TEAM_UP = {"name": "team_up", "temperature": 0.4, "ramp_start": 500, "ramp_max": 1.0}


class CSGCL(TwoView):
    """Views by community strength, and the Team-up objective that ramps it into the loss late in training.

    Chen, Zhao, Li, Zou, Li, Zhang: *CSGCL: Community-Strength-Enhanced Graph Contrastive Learning*, IJCAI 2023,
    DOI 10.24963/ijcai.2023/229, arXiv 2305.04658. Communities are found once, without labels; their strength decides
    which edges to drop (Communal Edge Dropping), which attributes to mask (Communal Attribute Voting) and how much a
    node weighs in the denominator (Team-up). The defaults are those of the authors' program.

    Args:
        augment, encoder, projector, loss, regularizer, communities, anchors, subset, memory, node_order: see
            :class:`~gcl.methods.two_view.TwoView`.
    """

    def __init__(
        self,
        *,
        augment: Mapping[str, Parts] = VIEWS,
        encoder: Annotated[Any, Slot("encoder")] = PRELU_GCN,
        projector: Annotated[Any, Slot("projector")] = PROJECTOR,
        loss: Annotated[Any, Slot("loss")] = TEAM_UP,
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
