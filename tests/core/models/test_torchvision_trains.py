"""ResNet-18 and DenseNet-121 at 32x32, whose last maps are 1x1, on batches as the balanced partition leaves them."""

from __future__ import annotations

import pytest
import torch

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.data.dirichlet_balanced import DirichletBalanced
from experiments.core.data.pool import Pool
from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE, World
from experiments.core.models.torchvision import Torchvision


def federation(n, clients, batch_size):
    """Random images, dealt by the balanced partition."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(n, 3, 32, 32, generator=g, dtype=torch.float64), torch.ones(n, dtype=torch.int64)
    pool = Pool(x, y, torch.full((n,), -1), x[:4], y[:4], (), 2, "random")
    block = DirichletBalanced(clients=clients, alpha=1e5, min_label=1, min_size=2, batch_size=batch_size)
    return block.split(pool, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_the_engine_trains_what_plain_pytorch_trains(name):
    data = federation(23, 2, 5)
    # A client of 11 samples lost one, or its last batch would hold a single one; the other's last batch holds two.
    assert sorted(data.sizes) == [10, 12]
    module = Torchvision(name=name).build((3, 32, 32), 2).double()
    initialise(module, 0, "default")
    net = Net.of(module)
    local = LocalTraining(1e-4, epochs=1, batch_size=5, momentum=0.5)
    problem = Problem(net, data, ((0, 1),), local, FedAvg(), 0)
    worlds = [BASE, World("without:1", frozenset({1}))]
    stacked = simulate(problem, worlds, net.flat(), Looped(net))
    for row, world in zip(stacked, worlds, strict=True):
        *_, (_, plain) = simulate_plain(problem, world, net.flat())
        torch.testing.assert_close(row, plain, rtol=1e-7, atol=1e-9)
    moved = (stacked[0] - net.flat()).abs()
    assert moved[: net.p].max() > 1e-5 and moved[net.p :].max() > 1e-2  # parameters, and BatchNorm's statistics


def test_without_the_partition_s_rule_a_single_sample_cannot_be_normalised():
    module = Torchvision(name="resnet18").build((3, 32, 32), 2).double()
    net, x = Net.of(module), torch.rand(1, 3, 32, 32, dtype=torch.float64)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        Looped(net).gradient(net.flat()[None].clone(), x, torch.tensor([0]), None)
