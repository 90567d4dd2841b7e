"""One augmenter a file."""

from gcl.augment.adaptive_edge_drop import AdaptiveEdgeDrop
from gcl.augment.adaptive_feature_mask import AdaptiveFeatureMask
from gcl.augment.augmenter import Augmenter
from gcl.augment.communal_attribute_voting import CommunalAttributeVoting
from gcl.augment.communal_edge_drop import CommunalEdgeDrop
from gcl.augment.communities import Communities, community_strength
from gcl.augment.compose import Compose
from gcl.augment.diffusion import Diffusion
from gcl.augment.edge_add import EdgeAdd
from gcl.augment.edge_drop import EdgeDrop
from gcl.augment.feature_dropout import FeatureDropout
from gcl.augment.feature_mask import FeatureMask
from gcl.augment.heat_diffusion import HeatDiffusion
from gcl.augment.identity import Identity
from gcl.augment.markov_diffusion import MarkovDiffusion
from gcl.augment.node_drop import NodeDrop
from gcl.augment.ppr_diffusion import PPRDiffusion
from gcl.augment.pyg_transform import PyGTransform
from gcl.augment.random_choice import RandomChoice
from gcl.augment.random_walk_subgraph import RandomWalkSubgraph

__all__ = [
    "AdaptiveEdgeDrop",
    "AdaptiveFeatureMask",
    "Augmenter",
    "CommunalAttributeVoting",
    "CommunalEdgeDrop",
    "Communities",
    "Compose",
    "Diffusion",
    "EdgeAdd",
    "EdgeDrop",
    "FeatureDropout",
    "FeatureMask",
    "HeatDiffusion",
    "Identity",
    "MarkovDiffusion",
    "NodeDrop",
    "PPRDiffusion",
    "PyGTransform",
    "RandomChoice",
    "RandomWalkSubgraph",
    "community_strength",
]
