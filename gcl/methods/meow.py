"""MEOW."""

from __future__ import annotations

from gcl.methods.metapath_contrast import MetaPathContrast


class MEOW(MetaPathContrast):
    r"""MEOW: meta-path contexts, and negatives weighted by clusterings.

    .. math:: \mathcal{L} = -\frac1n \sum_i \Big[ S_{ii} - \log \sum_j \gamma_{ij} e^{S_{ij}} \Big]
        + \lambda \mathcal{L}_{\text{proto}}

    with anchors from the coarse view and keys from the fine one; see
    :class:`~gcl.losses.weighted_infonce.WeightedInfoNCE`. Yu and Li: *Heterogeneous Graph Contrastive Learning with
    Meta-path Contexts and Weighted Negative Samples*, SDM 2023, DOI 10.1137/1.9781611977653.ch5. The defaults are the
    authors' for ACM, but for its meta-paths, the neighbours kept and the shares of arcs dropped along each.

    Args:
        all others: see :class:`~gcl.methods.metapath_contrast.MetaPathContrast`.

    Raises:
        ConfigError: a value out of range.
    """
