"""The name of a block to split behind: short names, paths, and models of other people."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from experiments.core.engine.split import behind, feature_shape, path_of
from experiments.core.errors import SpecError
from experiments.core.models.lenet import LeNet
from experiments.core.models.resnet import ResNet
from experiments.core.models.torchvision import Torchvision
from experiments.core.models.vgg9 import Vgg9

OWN = [ResNet(depth=8, width=2), ResNet(width=2), ResNet(depth=50, width=2), Vgg9(width=2), LeNet()]


@pytest.mark.parametrize("block", OWN, ids=lambda b: f"{b.kind}{getattr(b, 'depth', '')}")
def test_every_named_block_cuts_the_network_in_two(block):
    """What lies above the block, given the features below it, returns the whole network's outputs."""
    module = block.build((3, 16, 16), 5).eval()
    x = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        whole = module(x)
        for name, path in module.blocks.items():
            below = module[: int(path) + 1](x)
            assert feature_shape(module, name, x[:2]) == tuple(below.shape[1:])
            with behind(module, path_of(module, name), below.flip(0)):
                joint = module(x)  # the real samples, then the same ones backwards as features
            torch.testing.assert_close(joint, torch.cat([whole, whole.flip(0)]), rtol=1e-4, atol=1e-5)


def test_torchvision_s_models_are_split_by_their_own_names():
    module = Torchvision(name="resnet18").build((3, 32, 32), 10)
    assert path_of(module, "layer2") == "layer2"
    assert feature_shape(module, "layer2", torch.rand(2, 3, 32, 32)) == (128, 4, 4)
    assert feature_shape(module, "avgpool", torch.rand(2, 3, 32, 32)) == (512, 1, 1)
    with pytest.raises(SpecError, match="no block 'layer5'") as caught:
        path_of(module, "layer5")
    assert "layer1" in caught.value.todo


class Own(nn.Module):
    """A user's module that keeps its layers under the name of our short names, as transformers do."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 6), nn.Linear(6, 5)])

    def forward(self, x):
        return self.blocks[1](torch.relu(self.blocks[0](x)))


def test_layers_called_blocks_are_no_short_names():
    assert path_of(Own(), "blocks.0") == "blocks.0"
    assert feature_shape(Own(), "blocks.0", torch.rand(2, 4)) == (6,)
    with pytest.raises(SpecError, match="no block 'layer1'") as caught:
        path_of(Own(), "layer1")
    assert caught.value.todo == "use one of blocks, blocks.0, blocks.1"
    with torch.device("meta"):
        assert path_of(models.maxvit_t(), "blocks.0") == "blocks.0"


def test_a_block_that_runs_twice_in_a_pass_is_refused():
    module = Torchvision(name="resnet18").build((3, 32, 32), 10)
    with pytest.raises(SpecError, match="once a pass"):
        feature_shape(module, "layer1.0.relu", torch.rand(2, 3, 32, 32))
