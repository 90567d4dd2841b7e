"""Names of the parts, as text: listing them imports nothing.

Every other way to name a part works too: a dotted ``package.module:Class``, a class, or an instance.
"""

from __future__ import annotations

PARTS: dict[str, dict[str, str]] = {
    "method": {
        "costa": "gcl.methods.costa:COSTA",
        "csgcl": "gcl.methods.csgcl:CSGCL",
        "gca": "gcl.methods.gca:GCA",
        "grace": "gcl.methods.grace:GRACE",
        "progcl": "gcl.methods.progcl:ProGCL",
        "two_view": "gcl.methods.two_view:TwoView",
    },
    "augmenter": {
        "adaptive_edge_drop": "gcl.augment.adaptive_edge_drop:AdaptiveEdgeDrop",
        "adaptive_feature_mask": "gcl.augment.adaptive_feature_mask:AdaptiveFeatureMask",
        "communal_attribute_voting": "gcl.augment.communal_attribute_voting:CommunalAttributeVoting",
        "communal_edge_drop": "gcl.augment.communal_edge_drop:CommunalEdgeDrop",
        "compose": "gcl.augment.compose:Compose",
        "edge_drop": "gcl.augment.edge_drop:EdgeDrop",
        "feature_mask": "gcl.augment.feature_mask:FeatureMask",
        "identity": "gcl.augment.identity:Identity",
        "pyg": "gcl.augment.pyg_transform:PyGTransform",
    },
    "communities": {"communities": "gcl.augment.communities:Communities"},
    "encoder": {
        "gcn": "gcl.encoders.gcn:GCN",
        "mlp": "gcl.encoders.mlp:MLP",
        "pyg": "gcl.encoders.pyg_encoder:PyGEncoder",
    },
    "projector": {
        "identity": "gcl.encoders.projection_head:IdentityProjector",
        "mlp": "gcl.encoders.projection_head:MLPProjector",
    },
    "loss": {
        "infonce": "gcl.losses.infonce:InfoNCE",
        "nt_xent": "gcl.losses.nt_xent:NTXent",
        "progcl": "gcl.losses.progcl:ProGCLLoss",
        "team_up": "gcl.losses.team_up:TeamUp",
    },
    "regularizer": {"pot": "gcl.regularizers.pot:POT"},
    "evaluator": {
        "classification": "gcl.evaluate.node_classification:NodeClassification",
        "clustering": "gcl.evaluate.clustering:Clustering",
        "ranking": "gcl.evaluate.ranking:Ranking",
    },
    "trainer": {"trainer": "gcl.train.trainer:Trainer"},
}

# One line a method, for `gcl methods`.
METHOD_SUMMARIES = {
    "costa": "COSTA: random sketches of the nodes of two edge-dropped views (Zhang et al., KDD 2022)",
    "csgcl": "CSGCL: community attribute voting, communal edge dropping, Team-up (Chen et al., IJCAI 2023)",
    "gca": "GCA: edges and attributes dropped by centrality (Zhu et al., WWW 2021)",
    "grace": "GRACE: edge dropping and attribute masking with InfoNCE (Zhu et al., arXiv 2006.04131)",
    "progcl": "ProGCL: GCA with negatives weighed by a Beta mixture (Xia et al., ICML 2022)",
    "two_view": "any augmenters, encoder, projector and loss, put together by configuration",
}
