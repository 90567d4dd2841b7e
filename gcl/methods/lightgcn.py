"""LightGCN."""

from __future__ import annotations

from gcl.methods.recommender import Init, Recommender, Sampling


class LightGCN(Recommender):
    r"""The mean of the propagated embeddings, trained to rank: no weights, no activations.

    .. math:: Z = \frac{1}{L+1} \sum_{l=0}^{L} \tilde A^l E

    He, Deng, Wang, Li, Zhang, Wang: *LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation*,
    SIGIR 2020, arXiv 2002.02126. The defaults are those of the authors' program for Gowalla, Yelp2018 and Amazon-Book.

    Args:
        embedding_dim, num_layers, batch_size, l2, sampling, init: see :class:`~gcl.methods.recommender.Recommender`.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        num_layers: int = 3,
        batch_size: int = 2048,
        l2: float = 1e-4,
        sampling: Sampling = "user",
        init: Init = "normal",
    ):
        super().__init__(
            embedding_dim=embedding_dim,
            num_layers=num_layers,
            batch_size=batch_size,
            l2=l2,
            sampling=sampling,
            init=init,
        )
