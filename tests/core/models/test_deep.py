"""The convolutional models of Basu et al. (2021): sizes, layers, and twins elsewhere."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torchvision import models

from experiments.core.errors import SpecError
from experiments.core.models.lenet import LeNet
from experiments.core.models.resnet import ResNet
from experiments.core.models.small_cnn import SmallCnn
from experiments.core.models.vgg import Vgg
from experiments.core.models.vgg9 import Vgg9


def size(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(build):
    with torch.device("meta"):
        return build()


def test_small_cnn_computes_what_the_published_one_does():
    module = SmallCnn().build((1, 28, 28), 10).double()
    assert size(module) == 2616
    weights = [p.detach() for p in module.parameters()]
    assert [tuple(w.shape) for w in weights[::2]] == [(8, 1, 3, 3), *[(8, 8, 3, 3)] * 4, (10, 8, 1, 1), (10, 10)]
    x = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    hidden = x
    for layer, stride in enumerate((1, 2, 1, 2, 1, 1)):
        hidden = torch.tanh(nn.functional.conv2d(hidden, weights[2 * layer], weights[2 * layer + 1], stride))
    assert hidden.shape[2:] == (2, 2)
    assert torch.allclose(module(x), hidden.mean((2, 3)) @ weights[12].T + weights[13])


def test_lenet():
    assert size(LeNet().build((1, 28, 28), 10)) == 44_426
    assert size(LeNet().build((3, 32, 32), 10)) == 62_006
    kinds = [type(part).__name__ for part in LeNet(activation="tanh").build((1, 28, 28), 10)]
    assert kinds.count("Tanh") == 4 and "ReLU" not in kinds and isinstance(LeNet().build((1, 16, 16), 3)[1], nn.ReLU)


def test_vgg_has_the_convolutions_of_torchvision():
    module, theirs = on_meta(lambda: Vgg().build((3, 32, 32), 10)), on_meta(models.vgg13)
    ours = [p.shape for part in module for p in part.parameters() if isinstance(part, nn.Conv2d)]
    assert ours == [p.shape for p in theirs.features.parameters()]
    assert size(module) == 9_935_434 == size(theirs.features) + 2 * 512 * 513 + 10 * 513
    more = on_meta(lambda: Vgg(name="vgg14").build((3, 32, 32), 10))
    assert size(more) - size(module) == 9 * 512 * 512 + 512
    assert [type(p).__name__ for p in more][-13:-5] == ["Conv2d", "ReLU"] * 3 + ["MaxPool2d", "Flatten"]
    normal = on_meta(lambda: Vgg(batch_norm=True).build((3, 32, 32), 10))
    assert size(normal) - size(module) == 2 * 2 * (64 + 128 + 256 + 512 + 512)
    assert Vgg(width=2).build((1, 64, 32), 5)(torch.zeros(2, 1, 64, 32)).shape == (2, 5)


def test_resnet_is_torchvision_s_behind_a_stem_without_pool():
    ours = ResNet().build((3, 32, 32), 10).eval()
    theirs = models.resnet18(num_classes=10).eval()
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    state = dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True))
    ours.load_state_dict(state)
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    assert size(ours) == 11_173_962
    deep = on_meta(lambda: ResNet(depth=50).build((3, 32, 32), 10))
    stem, head = 3 * 64 * 49 - 3 * 64 * 9, 2049 * 1000 - 2049 * 10
    assert size(deep) == 23_520_842 == size(on_meta(models.resnet50)) - stem - head
    assert not any(getattr(part, "inplace", False) for part in deep.modules())


@pytest.mark.parametrize("depth", [8, 18, 20, 50])
def test_thin_resnets(depth):
    module = ResNet(depth=depth, width=4).build((1, 28, 28), 10)
    assert next(module.parameters()).shape[0] == 4
    assert module[-1].in_features == {8: 4 * 4, 18: 8 * 4, 20: 4 * 4, 50: 8 * 4 * 4}[depth]
    with pytest.raises(ValidationError):
        ResNet(depth=34)


@pytest.mark.parametrize(
    ("block", "least"),
    [(SmallCnn(), 21), (LeNet(), 16), (Vgg(width=2), 32), (ResNet(width=2), 8), (Vgg9(width=2), 8)],
    ids=lambda v: str(v),
)
def test_the_smallest_images_and_inputs_that_do_not_fit(block, least):
    module = block.build((2, least, least), 3).eval()
    assert module(torch.zeros(1, 2, least, least)).shape == (1, 3)
    for shape in ((4,), (2, least - 1, least), (2, least, least - 1), (least, least)):
        with pytest.raises(SpecError, match="cannot take inputs of shape") as caught:
            block.build(shape, 3)
        assert caught.value.where == "model.kind" and str(least) in caught.value.todo
