"""Names of the parts, as text: listing them imports nothing.

Every other way to name a part works too: a dotted ``package.module:Class``, a class, or an instance.
"""

from __future__ import annotations

PARTS: dict[str, dict[str, str]] = {
    "method": {
        "bpr_mf": "gcl.methods.bpr_mf:BPRMF",
        "costa": "gcl.methods.costa:COSTA",
        "csgcl": "gcl.methods.csgcl:CSGCL",
        "gca": "gcl.methods.gca:GCA",
        "grace": "gcl.methods.grace:GRACE",
        "lightgcl": "gcl.methods.lightgcl:LightGCL",
        "lightgcl_paper": "gcl.methods.lightgcl_paper:LightGCLPaper",
        "lightgcn": "gcl.methods.lightgcn:LightGCN",
        "pamc": "gcl.methods.pamc:PamC",
        "progcl": "gcl.methods.progcl:ProGCL",
        "scgc": "gcl.methods.scgc:SCGC",
        "scgc_star": "gcl.methods.scgc_star:SCGCStar",
        "sdcn": "gcl.methods.sdcn:SDCN",
        "sgl": "gcl.methods.sgl:SGL",
        "simgcl": "gcl.methods.simgcl:SimGCL",
        "two_view": "gcl.methods.two_view:TwoView",
        "xsimgcl": "gcl.methods.xsimgcl:XSimGCL",
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
        "node_drop": "gcl.augment.node_drop:NodeDrop",
        "pyg": "gcl.augment.pyg_transform:PyGTransform",
    },
    "communities": {"communities": "gcl.augment.communities:Communities"},
    "encoder": {
        "autoencoder": "gcl.encoders.autoencoder:AutoEncoder",
        "gcn": "gcl.encoders.gcn:GCN",
        "mlp": "gcl.encoders.mlp:MLP",
        "pyg": "gcl.encoders.pyg_encoder:PyGEncoder",
    },
    "projector": {
        "identity": "gcl.encoders.projection_head:IdentityProjector",
        "mlp": "gcl.encoders.projection_head:MLPProjector",
    },
    "loss": {
        "block_infonce": "gcl.losses.block_infonce:BlockInfoNCE",
        "infonce": "gcl.losses.infonce:InfoNCE",
        "neighbor_contrast": "gcl.losses.neighbor_contrast:NeighborContrast",
        "nt_xent": "gcl.losses.nt_xent:NTXent",
        "one_way_infonce": "gcl.losses.one_way_infonce:OneWayInfoNCE",
        "pamc": "gcl.losses.pamc:PamCLoss",
        "progcl": "gcl.losses.progcl:ProGCLLoss",
        "team_up": "gcl.losses.team_up:TeamUp",
    },
    "regularizer": {"pot": "gcl.regularizers.pot:POT"},
    "evaluator": {
        "assignment": "gcl.evaluate.assignment:Assignment",
        "classification": "gcl.evaluate.node_classification:NodeClassification",
        "clustering": "gcl.evaluate.clustering:Clustering",
        "ranking": "gcl.evaluate.ranking:Ranking",
    },
    "trainer": {"trainer": "gcl.train.trainer:Trainer"},
}

# One line a method, for `gcl methods`.
METHOD_SUMMARIES = {
    "bpr_mf": "BPR-MF: matrix factorisation trained to rank (Rendle et al., UAI 2009); recommendation",
    "costa": "COSTA: random sketches of the nodes of two edge-dropped views (Zhang et al., KDD 2022)",
    "csgcl": "CSGCL: community attribute voting, communal edge dropping, Team-up (Chen et al., IJCAI 2023)",
    "gca": "GCA: edges and attributes dropped by centrality (Zhu et al., WWW 2021)",
    "grace": "GRACE: edge dropping and attribute masking with InfoNCE (Zhu et al., arXiv 2006.04131)",
    "lightgcl": "LightGCL: a truncated SVD as second view (Cai et al., ICLR 2023); recommendation",
    "lightgcl_paper": "LightGCL's earlier program, which its paper's figures come from; recommendation",
    "lightgcn": "LightGCN: propagation without weights (He et al., SIGIR 2020); recommendation",
    "pamc": "PamC: neighbours against meta-nodes of clusters (Kulatilleke et al., arXiv 2209.14067); clustering",
    "progcl": "ProGCL: GCA with negatives weighed by a Beta mixture (Xia et al., ICML 2022)",
    "scgc": "SCGC: neighbours against all nodes, reconstruction (Kulatilleke et al., arXiv 2204.12656); clustering",
    "scgc_star": "SCGC*: neighbours of several hops against all nodes (Kulatilleke et al., 2022); clustering",
    "sdcn": "SDCN: an auto-encoder and a GCN that take part in each other (Bo et al., WWW 2020); clustering",
    "sgl": "SGL: edges, nodes or walks dropped (Wu et al., SIGIR 2021); recommendation",
    "simgcl": "SimGCL: noise on the embeddings (Yu et al., SIGIR 2022); recommendation",
    "two_view": "any augmenters, encoder, projector and loss, put together by configuration",
    "xsimgcl": "XSimGCL: SimGCL in one pass (Yu et al., TKDE 2023); recommendation",
}
