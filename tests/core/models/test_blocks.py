"""Where a model may be split: short names of blocks, and the features behind them; the small nets for a CPU."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.functional import conv2d, group_norm, linear, max_pool2d, relu
from torchvision import models

from experiments.core.errors import SpecError
from experiments.core.models import kinds
from experiments.core.models.lenet import LeNet
from experiments.core.models.mlp import Mlp
from experiments.core.models.resnet import ResNet
from experiments.core.models.resnet9 import ResNet9
from experiments.core.models.small_cnn import SmallCnn
from experiments.core.models.vgg import Vgg
from experiments.core.models.vgg9 import Vgg9


def size(module):
    return sum(p.numel() for p in module.parameters())


def features(module, shape):
    """Shape of one sample's features behind every block."""
    found = {}
    for name, path in module.blocks.items():
        module.get_submodule(path).register_forward_hook(
            lambda part, given, out, name=name: found.update({name: tuple(out.shape[1:])})
        )
    module.eval()(torch.zeros(2, *shape))
    return found


def on_meta(build):
    with torch.device("meta"):
        return build()


def test_resnet18_splits_where_table_3_does():
    """5th, 9th, 13th and 17th convolution of FedImpro's Table 3; 65,536 to 512 numbers."""
    module = ResNet(width=8).build((3, 32, 32), 10)
    wide = {"stem": 8, "layer1": 8, "layer2": 16, "layer3": 32, "layer4": 64, "pool": 64}
    sides = {"stem": 32, "layer1": 32, "layer2": 16, "layer3": 8, "layer4": 4, "pool": 1}
    assert features(module, (3, 32, 32)) == {name: (wide[name], sides[name], sides[name]) for name in wide}
    convolutions = [n for n, m in module.named_modules() if isinstance(m, nn.Conv2d) and "downsample" not in n]
    ends = [int(module.blocks[f"layer{stage}"]) for stage in (1, 2, 3, 4)]
    assert [sum(int(n.partition(".")[0]) <= end for n in convolutions) for end in ends] == [5, 9, 13, 17]


@pytest.mark.parametrize(("depth", "blocks", "outputs"), [(8, 1, 64), (20, 3, 64)])
def test_the_nets_of_three_stages(depth, blocks, outputs):
    module = ResNet(depth=depth).build((3, 32, 32), 10)
    assert features(module, (3, 32, 32)) == {
        "stem": (16, 32, 32), "layer1": (16, 32, 32), "layer2": (32, 16, 16), "layer3": (64, 8, 8), "pool": (64, 1, 1),
    }  # fmt: skip
    trained = [m for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in n]
    assert len(trained) == depth == 6 * blocks + 2 and trained[-1].in_features == outputs
    # by hand: a block of c channels from w, without and with a shortcut
    block = {(w, c): 9 * w * c + 9 * c * c + 4 * c + (w != c) * (w * c + 2 * c) for w, c in BLOCKS}
    by_hand = 27 * 16 + 32 + sum(block[c // 2 if c > 16 else c, c] + (blocks - 1) * block[c, c] for c in (16, 32, 64))
    assert size(module) == by_hand + 65 * 10 == {8: 78_042, 20: 272_474}[depth]


BLOCKS = ((16, 16), (16, 32), (32, 32), (32, 64), (64, 64))


DEEP = {
    "resnet18": ResNet(depth=18),
    "resnet50": ResNet(depth=50),
    "resnet101": ResNet(depth=101),
    "resnext101_32x8d": ResNet(depth=101, groups=32, width_per_group=8),
    "wide_resnet50_2": ResNet(depth=50, width_per_group=128),
    "wide_resnet101_2": ResNet(depth=101, width_per_group=128),
}


@pytest.mark.parametrize("name", list(DEEP))
def test_the_deep_nets_are_torchvision_s_but_for_stem_and_head(name):
    """Names and shapes; initial weights are drawn by name, so another name would change every number."""
    theirs, ours = on_meta(getattr(models, name)), on_meta(lambda: DEEP[name].build((3, 8, 8), 10))
    places = {"conv1": "0", "bn1": "1"}
    for stage in range(1, 5):
        for block in range(len(getattr(theirs, f"layer{stage}"))):
            places[f"layer{stage}.{block}"] = str(len(places) + 1)
    places["fc"] = str(len(places) + 3)
    wanted = {}
    for name, tensor in theirs.named_parameters():
        part = next(part for part in places if name.startswith(f"{part}."))
        wanted[name.replace(part, places[part], 1)] = tensor.shape
    wide = theirs.fc.in_features
    wanted |= {"0.weight": (64, 3, 3, 3), f"{places['fc']}.weight": (10, wide), f"{places['fc']}.bias": (10,)}
    assert [(name, tensor.shape) for name, tensor in ours.named_parameters()] == list(wanted.items())
    heads = 10 * (wide + 1) - 1000 * (wide + 1)
    assert size(ours) == size(theirs) - 64 * 3 * 7 * 7 + 64 * 3 * 3 * 3 + heads
    assert f"{size(ours):,}" in " ".join(ResNet.__doc__.split())
    theirs_last, ours_last = theirs.layer4[0], ours[int(ours.blocks["layer4"]) - len(theirs.layer4) + 1]
    assert [convolution(m) for m in ours_last.modules()] == [convolution(m) for m in theirs_last.modules()]


def convolution(part):
    """What a layer's parameters do not tell."""
    return (part.stride, part.padding, part.dilation, part.groups) if isinstance(part, nn.Conv2d) else None


def test_a_thin_resnext_and_what_bottlenecks_need():
    module = ResNet(depth=50, width=16, groups=4, width_per_group=16, norm="group", norm_groups=4).build((1, 8, 8), 3)
    first = module[3]
    assert first.conv2.groups == 4 and first.conv2.weight.shape == (16, 4, 3, 3)
    assert {part.num_groups for part in module.modules() if isinstance(part, nn.GroupNorm)} == {4}
    assert module(torch.rand(2, 1, 8, 8)).shape == (2, 3)
    for wrong, said in (
        ({"depth": 18, "groups": 2}, "bottlenecks, which depth 18 lacks"),
        ({"depth": 8, "width_per_group": 128}, "bottlenecks, which depth 8 lacks"),
        ({"depth": 101, "groups": 32, "width_per_group": 8, "width": 4}, "no whole number"),
        ({"depth": 50, "width": 8, "norm": "group", "norm_groups": 3}, "8 channels do not make the 3 groups"),
        ({"depth": 50, "width_per_group": 1, "norm": "group"}, "1 channels do not make the 2 groups"),
        ({"norm_groups": 0}, "greater than or equal"),
    ):
        with pytest.raises(ValidationError, match=said):
            ResNet.model_validate({"kind": "resnet", **wrong})


def test_the_width_is_the_published_one_of_the_depth():
    for depth, width in ((8, 16), (18, 64), (20, 16), (50, 64), (101, 64)):
        for given in ({"depth": depth}, {"depth": depth, "width": None}, {"depth": depth, "width": width}):
            block = ResNet.model_validate({"kind": "resnet", **given})
            assert block.channels == block.width == width == block.model_dump()["width"]
    assert ResNet().width == 64 and ResNet(depth=20, width=4).channels == 4
    for wrong in ({"width": 0}, {"depth": 34}, {"depth": "8"}, {"depth": [8]}, {"width": "16"}):
        with pytest.raises(ValidationError):
            ResNet.model_validate({"kind": "resnet", **wrong})


def test_group_norm_treats_each_sample_alone():
    module = ResNet(depth=8, width=4, norm="group").build((1, 12, 12), 3).double()
    assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    assert size(module) == size(ResNet(depth=8, width=4).build((1, 12, 12), 3))
    x = torch.rand(3, 1, 12, 12, dtype=torch.float64)
    assert torch.allclose(module(x)[1], module(x[1:2])[0])
    first = relu(group_norm(conv2d(x, module[0].weight, padding=1), 2))  # two groups
    assert torch.allclose(module[:3](x), first)
    with pytest.raises(ValidationError, match="groups of norm: group"):
        ResNet(width=5, norm="group")
    with pytest.raises(ValidationError):
        ResNet(norm="layer")


def resnet9_by_hand(tensors, x):
    """Section "ResNet-9" of Page (2018), with two groups, from the parameters in order."""
    left = iter(tensors)

    def conv(x, pool=False):
        x = relu(group_norm(conv2d(x, next(left), padding=1), 2, next(left), next(left)))
        return max_pool2d(x, 2) if pool else x

    x = conv(conv(x), pool=True)
    x = x + conv(conv(x))
    x = conv(conv(x, pool=True), pool=True)
    x = x + conv(conv(x))
    return linear(x.amax((2, 3)), next(left), next(left))


def test_resnet9_is_the_published_one():
    module = on_meta(lambda: ResNet9().build((3, 32, 32), 10))
    assert size(module) == 6_573_130 and f"{size(module):,}" in ResNet9.__doc__
    assert size(on_meta(lambda: ResNet9(norm="group", norm_groups=32).build((3, 32, 32), 10))) == 6_573_130
    convolutions = [tuple(p.weight.shape[:2]) for p in module.modules() if isinstance(p, nn.Conv2d)]
    assert convolutions == [(64, 3), (128, 64), *[(128, 128)] * 2, (256, 128), (512, 256), *[(512, 512)] * 2]


def test_resnet9_computes_what_is_written():
    module = ResNet9(width=2, norm="group").build((1, 20, 16), 3)
    assert features(module, (1, 20, 16)) == {
        "conv1": (2, 20, 16), "conv2": (4, 10, 8), "res1": (4, 10, 8), "conv3": (8, 5, 4), "conv4": (16, 2, 2),
        "res2": (16, 2, 2), "pool": (16, 1, 1),
    }  # fmt: skip
    x = torch.rand(3, 1, 20, 16, dtype=torch.float64)
    for tensor in module.double().parameters():  # no norm may be left at its initial one and zero
        nn.init.normal_(tensor)
    assert torch.allclose(module(x), resnet9_by_hand(module.parameters(), x))
    with pytest.raises(ValidationError, match="2 channels do not make the 4 groups"):
        ResNet9(width=2, norm="group", norm_groups=4)
    with pytest.raises(SpecError, match="ResNet-9 cannot take"):
        ResNet9(width=2).build((1, 15, 16), 3)


def test_lenet_with_group_norm():
    plain, grouped = LeNet().build((1, 28, 28), 10), LeNet(norm="group").build((1, 28, 28), 10)
    assert [size(plain), size(grouped)] == [44_426, 44_470]
    assert all(f"{size(module):,}" in LeNet.__doc__ for module in (plain, grouped))
    assert features(grouped, (1, 28, 28)) == features(plain, (1, 28, 28))
    for tensor in grouped.double().parameters():
        nn.init.normal_(tensor)
    x, (w1, b1, g1, c1, w2, b2, g2, c2, *dense) = torch.rand(2, 1, 28, 28, dtype=torch.float64), grouped.parameters()
    out = max_pool2d(relu(group_norm(conv2d(x, w1, b1), 2, g1, c1)), 2)
    out = max_pool2d(relu(group_norm(conv2d(out, w2, b2), 2, g2, c2)), 2).flatten(1)
    out = linear(relu(linear(relu(linear(out, *dense[:2])), *dense[2:4])), *dense[4:])
    assert torch.allclose(grouped(x), out)


def test_vgg9_is_the_published_one():
    module = Vgg9().build((3, 32, 32), 10)
    assert size(module) == 3_491_530  # FedMA's table
    convolutions = [p.weight.shape[:2] for p in module if isinstance(p, nn.Conv2d)]
    assert convolutions == [(32, 3), (64, 32), (128, 64), (128, 128), (256, 128), (256, 256)]
    assert [tuple(p.weight.shape) for p in module if isinstance(p, nn.Linear)] == [(512, 4096), (512, 512), (10, 512)]
    dropped = [(type(p).__name__, p.p) for p in module if "Dropout" in type(p).__name__]
    assert dropped == [("Dropout2d", 0.05), ("Dropout", 0.1), ("Dropout", 0.1)]
    assert not any("Dropout" in type(p).__name__ for p in Vgg9(dropout=False).build((3, 32, 32), 10))
    grey = Vgg9(width=2).build((1, 28, 28), 10)
    assert features(grey, (1, 28, 28)) == {
        "conv1": (2, 28, 28), "conv2": (4, 14, 14), "conv3": (8, 14, 14), "conv4": (8, 7, 7), "conv5": (16, 7, 7),
        "conv6": (16, 3, 3), "fc1": (32,), "fc2": (32,),
    }  # fmt: skip


def test_the_places_in_chains_of_layers():
    lenet = LeNet().build((1, 28, 28), 10)
    assert features(lenet, (1, 28, 28)) == {"conv1": (6, 12, 12), "conv2": (16, 4, 4), "fc1": (120,), "fc2": (84,)}
    assert [type(lenet.get_submodule(path)).__name__ for path in lenet.blocks.values()] == ["MaxPool2d"] * 2 + [
        "ReLU"
    ] * 2
    assert features(SmallCnn().build((1, 28, 28), 10), (1, 28, 28))["conv6"] == (10, 1, 1)
    deep = Vgg(name="vgg14", width=2, batch_norm=True).build((1, 32, 32), 10)
    found = features(deep, (1, 32, 32))
    assert list(found) == [f"conv{i}" for i in range(1, 12)] + ["fc1", "fc2"]
    assert found["conv1"] == (2, 32, 32) and found["conv2"] == (2, 16, 16) and found["conv11"] == (16, 1, 1)
    assert features(Mlp(hidden=(5, 4)).build((2, 3), 3), (2, 3)) == {"fc1": (5,), "fc2": (4,)}
    assert Mlp(hidden=()).build((3,), 3).blocks == {}


@pytest.mark.parametrize("kind", ["resnet", "resnet9", "vgg", "vgg9"])
def test_blocks_are_a_copy_s_too(kind):
    """`net.clone` deep-copies: what it makes must be splittable, and its state dict must not know of blocks."""
    import copy

    module = kinds()[kind](width=2).build((1, 32, 32), 3)
    assert copy.deepcopy(module).blocks == module.blocks and module.blocks
    assert not any("blocks" in name for name in module.state_dict())
