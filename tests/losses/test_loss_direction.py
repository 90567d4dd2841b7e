"""Every loss of the package scores aligned views lower than unrelated ones, and descent on it aligns them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import nn

import gcl.losses
from gcl.core.adjacency import Adjacency
from gcl.core.context import LossContext
from gcl.losses.adaptive_infonce import AdaptiveInfoNCE
from gcl.losses.block_infonce import BlockInfoNCE
from gcl.losses.infonce import InfoNCE
from gcl.losses.multi_positive import MultiPositive
from gcl.losses.neighbor_contrast import NeighborContrast
from gcl.losses.nt_xent import NTXent
from gcl.losses.one_way_infonce import OneWayInfoNCE
from gcl.losses.pamc import PamCLoss
from gcl.losses.progcl import Direction, NegativeWeights, ProGCLLoss, mean_weight
from gcl.losses.team_up import TeamUp
from gcl.losses.weighted_infonce import WeightedInfoNCE

NUM_NODES, DIM = 30, 8
RAMPED = LossContext(epoch=1000, node_weight=torch.linspace(0, 0.2, NUM_NODES))
UNIT = torch.nn.functional.normalize(torch.randn(NUM_NODES, 4, generator=torch.Generator().manual_seed(9)))
EVEN = Direction(UNIT, UNIT, torch.linspace(0.1, 1, 9), mean_weight(UNIT, UNIT, torch.linspace(0.1, 1, 9)))
CLUSTERED = LossContext(clusters=torch.arange(NUM_NODES) % 6)
NETWORK = AdaptiveInfoNCE(0.5).build(DIM)
with torch.no_grad():
    for index, parameter in enumerate(NETWORK.parameters()):
        parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)) / 3)
OWN = LossContext(positives=Adjacency.from_edge_index(torch.arange(NUM_NODES).repeat(2, 1), (NUM_NODES, NUM_NODES)))
WEIGHED = LossContext(negative_weights=NegativeWeights((EVEN, EVEN)))

# One entry for each way that a loss works; a new class in gcl.losses needs one here.
CASES: dict[str, tuple[nn.Module, LossContext | None]] = {
    "InfoNCE": (InfoNCE(0.5), None),
    "InfoNCE inter-view": (InfoNCE(0.5, intra_view=False), None),
    "InfoNCE compat": (InfoNCE(0.5, compat="pygcl-0.1.2"), None),
    "NTXent": (NTXent(0.5), None),
    "OneWayInfoNCE": (OneWayInfoNCE(0.5), None),
    "OneWayInfoNCE of sampled keys": (OneWayInfoNCE(0.5), LossContext(keys=torch.arange(0, NUM_NODES, 2))),
    "OneWayInfoNCE of inner products": (OneWayInfoNCE(2.0, normalize=False), None),
    "TeamUp": (TeamUp(0.5), RAMPED),
    "ProGCL before its fit": (ProGCLLoss(0.5), None),
    "ProGCL weight": (ProGCLLoss(0.5), WEIGHED),
    "ProGCL mix": (ProGCLLoss(0.5, mode="mix", num_mixed=9), WEIGHED),
    "BlockInfoNCE": (BlockInfoNCE(0.5, num_clusters=6), None),
    "BlockInfoNCE of clusters": (BlockInfoNCE(0.5, rows="clusters", second_order=True), CLUSTERED),
    "BlockInfoNCE of meta-nodes": (BlockInfoNCE(0.5, proxy="meta_nodes"), CLUSTERED),
    "WeightedInfoNCE": (WeightedInfoNCE(0.5, num_clusters=[4, 9]), None),
    "WeightedInfoNCE of clusters": (WeightedInfoNCE(0.5, num_clusters=None), CLUSTERED),
    "WeightedInfoNCE without prototypes": (WeightedInfoNCE(0.5, num_clusters=[4, 9], prototype_weight=0.0), None),
    "AdaptiveInfoNCE": (NETWORK, None),
    "MultiPositive": (MultiPositive(0.5), OWN),
}
# Losses of one view, in which neighbours are positives.
PAIRS = torch.arange(NUM_NODES).view(-1, 2)
NEIGHBORS = LossContext(
    positives=Adjacency.from_edge_index(torch.cat([PAIRS, PAIRS.flip(1)]).t(), (NUM_NODES, NUM_NODES)),
    clusters=torch.arange(NUM_NODES) // 6,
    assignment=torch.nn.functional.one_hot(torch.arange(NUM_NODES) // 6).float(),
)
ONE_VIEW: dict[str, nn.Module] = {
    "NeighborContrast": NeighborContrast(1.0),
    "PamC": PamCLoss(1.0),
    "PamC soft": PamCLoss(1.0, assign="soft"),
    "PamC by size": PamCLoss(1.0, weights="size"),
}


def loss_classes() -> set[type[nn.Module]]:
    found = set()
    for info in pkgutil.walk_packages(gcl.losses.__path__, "gcl.losses."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            is_module = inspect.isclass(value) and issubclass(value, nn.Module)
            base = inspect.isabstract(value) or name.startswith("_")
            if is_module and value.__module__ == info.name and not base:
                found.add(value)
    return found


def test_no_loss_is_missing_here():
    covered = {type(loss) for loss in [*(loss for loss, _ in CASES.values()), *ONE_VIEW.values()]}
    missing = sorted(cls.__name__ for cls in loss_classes() - covered)
    assert not missing, f"add a direction case for {missing}"


def test_every_loss_says_what_it_needs():
    fields = set(LossContext.__dataclass_fields__)
    for cls in loss_classes():
        assert isinstance(cls.needs, tuple)
        assert set(cls.needs) <= fields


def views(seed: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z1 = torch.randn(NUM_NODES, DIM, generator=generator)
    other = torch.randn(NUM_NODES, DIM, generator=generator)
    return z1, (1 - noise) * z1 + noise * other


@pytest.mark.parametrize(("loss", "context"), CASES.values(), ids=CASES)
def test_the_nearer_the_views_the_lower_the_loss(loss, context):
    for seed in range(5):
        values = [loss(*views(seed, noise), context=context).item() for noise in (0.0, 0.3, 0.6, 1.0)]
        assert values == sorted(values)
        assert values[0] < values[-1] - 0.1


@pytest.mark.parametrize(("loss", "context"), CASES.values(), ids=CASES)
def test_descent_aligns_the_views(loss, context):
    z1, z2 = (z.requires_grad_() for z in views(0, 1.0))

    def similarity() -> float:
        return float(torch.cosine_similarity(z1.detach(), z2.detach()).mean())

    before = similarity()
    optimizer = torch.optim.Adam([z1, z2], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss(z1, z2, context=context).backward()
        optimizer.step()
    assert similarity() > before + 0.5


@pytest.mark.parametrize("loss", ONE_VIEW.values(), ids=ONE_VIEW)
def test_descent_on_one_view_gathers_neighbours_more_than_others(loss):
    z = torch.randn(NUM_NODES, DIM, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss(z, context=NEIGHBORS).backward()
        optimizer.step()
    unit = torch.nn.functional.normalize(z.detach())
    neighbours, strangers = (unit[::2] * unit[1::2]).sum(1).mean(), (unit[::2] * unit[1::2].roll(5, 0)).sum(1).mean()
    assert float(neighbours) > 0.9
    assert float(neighbours - strangers) > 0.5
