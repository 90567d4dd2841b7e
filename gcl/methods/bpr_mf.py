"""BPR-MF."""

from __future__ import annotations

from gcl.methods.recommender import Init, Recommender, Sampling


class BPRMF(Recommender):
    """Matrix factorisation trained to rank: LightGCN without a layer.

    Rendle, Freudenthaler, Gantner, Schmidt-Thieme: *BPR: Bayesian Personalized Ranking from Implicit Feedback*, UAI
    2009.

    Args:
        embedding_dim, batch_size, l2, sampling, init: see :class:`~gcl.methods.recommender.Recommender`.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        batch_size: int = 2048,
        l2: float = 1e-4,
        sampling: Sampling = "user",
        init: Init = "normal",
    ):
        super().__init__(
            embedding_dim=embedding_dim,
            num_layers=0,
            batch_size=batch_size,
            l2=l2,
            sampling=sampling,
            init=init,
        )
