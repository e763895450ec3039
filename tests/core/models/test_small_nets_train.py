"""The small residual nets and VGG-9 in the stacked engine, against plain PyTorch: normalisations, dropout, worlds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.algorithms.fedimpro import FedImpro
from experiments.core.engine.augment import Augment
from experiments.core.engine.examine import examine
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE, World
from experiments.core.models.lenet import LeNet
from experiments.core.models.resnet import ResNet
from experiments.core.models.resnet9 import ResNet9
from experiments.core.models.vgg9 import Vgg9
from tests.core.models.test_torchvision_trains import federation

MODELS = {
    "batch norm": ResNet(depth=8, width=2),
    "group norm": ResNet(depth=8, width=2, norm="group"),
    "dropout": Vgg9(width=1),
    "resnet9": ResNet9(width=2, norm="group"),
    "lenet": LeNet(norm="group"),
    "resnext": ResNet(depth=50, width=4, groups=2, width_per_group=16, norm="group"),
}
PLACES = {
    "dropout": {"layer2": "conv4", "pool": "fc1"},
    "lenet": {"layer2": "conv1", "pool": "fc1"},
    "resnet9": {"layer2": "res1"},
}
"""Where nets without these blocks are split."""
WORLDS = [BASE, World("without:1", frozenset({1})), World("sample", samples=frozenset({1}))]


@pytest.mark.parametrize("block", ["", "layer2", "pool"], ids=lambda block: block or "fedavg")
@pytest.mark.parametrize("model", list(MODELS))
def test_the_engine_trains_what_plain_pytorch_trains(model, block):
    """With augmentation; by every formulation that can compute the model."""
    block = PLACES.get(model, {}).get(block, block)
    whole = federation(13, 2, 6)
    data = replace(whole, x=whole.x[..., :16, :16], test_x=whole.test_x[..., :16, :16])
    module = MODELS[model].build((3, 16, 16), 2).double()
    initialise(module, 0, "default")
    net = examine(Net.of(module), data)
    assert net.draws == (model == "dropout")
    local, algorithm = LocalTraining(1e-3, epochs=1, batch_size=3, momentum=0.5), FedImpro(split=block)
    augment = Augment(2, True, 4, (0.0,) * 3)
    problem = Problem(net, data, ((0, 1), (0, 1)), local, algorithm if block else FedAvg(), 0, augment=augment)
    for kind in able(net, bool(block)):
        stacked = simulate(problem, WORLDS, net.flat(), kind)
        for row, world in zip(stacked, WORLDS, strict=True):
            *_, (_, plain) = simulate_plain(problem, world, net.flat())
            torch.testing.assert_close(row, plain, rtol=1e-7, atol=1e-9)
        assert (stacked[1:] - stacked[0]).abs().amax(1).min() > 1e-5


def able(net, splits):
    """The formulations for this model (torch.vmap lets a model draw nothing)."""
    kinds = [f for f in formulations().values() if f.supports(net, torch.device("cpu"), torch.float64)]
    found = [f(net) for f in kinds if (f.splits or not splits) and not (net.draws and f.name == "vmapped")]
    assert "looped" in [f.name for f in found]
    return found
