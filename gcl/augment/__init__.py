"""One augmenter a file."""

from gcl.augment.adaptive_edge_drop import AdaptiveEdgeDrop
from gcl.augment.adaptive_feature_mask import AdaptiveFeatureMask
from gcl.augment.augmenter import Augmenter
from gcl.augment.communal_attribute_voting import CommunalAttributeVoting
from gcl.augment.communal_edge_drop import CommunalEdgeDrop
from gcl.augment.communities import Communities, community_strength
from gcl.augment.compose import Compose
from gcl.augment.edge_drop import EdgeDrop
from gcl.augment.feature_mask import FeatureMask
from gcl.augment.identity import Identity
from gcl.augment.node_drop import NodeDrop
from gcl.augment.pyg_transform import PyGTransform

__all__ = [
    "AdaptiveEdgeDrop",
    "AdaptiveFeatureMask",
    "Augmenter",
    "CommunalAttributeVoting",
    "CommunalEdgeDrop",
    "Communities",
    "Compose",
    "EdgeDrop",
    "FeatureMask",
    "Identity",
    "NodeDrop",
    "PyGTransform",
    "community_strength",
]
