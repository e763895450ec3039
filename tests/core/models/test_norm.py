"""BatchNorm replaced by GroupNorm, against opacus' own repair and the definition of GroupNorm."""

import copy

import pytest
import torch
from opacus.validators import ModuleValidator
from torch import nn
from torchvision.models import resnet18

from experiments.core.engine.seeds import seeded
from experiments.core.errors import SpecError
from experiments.core.models._norm import batch_norms, group_norms
from experiments.core.models.torchvision import Torchvision
from experiments.core.spec.fields import SgdPrivacy
from experiments.core.study.dpsgd import fit_for_steps


def small():
    with seeded(0, "model"):
        body = nn.Sequential(nn.Conv2d(3, 48, 3), nn.BatchNorm2d(48), nn.ReLU(), nn.Flatten())
        return nn.Sequential(body, nn.LazyLinear(6), nn.BatchNorm1d(6), nn.Linear(6, 4))


@pytest.mark.parametrize("make", [small, lambda: resnet18(num_classes=4)], ids=["small", "resnet18"])
def test_the_same_layers_and_outputs_as_opacus(make):
    module, x = make(), torch.randn(5, 3, 32, 32)
    module(x)
    theirs = ModuleValidator.fix(copy.deepcopy(module))
    weights = {name: tensor.clone() for name, tensor in module.named_parameters()}
    ours = group_norms(module)
    told = {n: (m.num_groups, m.num_channels, m.affine) for n, m in ours.named_modules() if isinstance(m, nn.GroupNorm)}
    assert told == {
        n: (m.num_groups, m.num_channels, m.affine) for n, m in theirs.named_modules() if isinstance(m, nn.GroupNorm)
    }
    assert told and not batch_norms(ours) and not ModuleValidator.validate(ours)
    assert all(torch.equal(weights[name], tensor) for name, tensor in ours.named_parameters())
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=0)


def test_trained_weights_and_what_is_frozen_are_kept():
    layer = nn.BatchNorm2d(48, eps=0.01)
    nn.init.normal_(layer.weight)
    layer.bias.requires_grad_(False)
    fixed = group_norms(layer)
    assert isinstance(fixed, nn.GroupNorm) and fixed.num_groups == 16
    assert fixed.weight is layer.weight and not fixed.bias.requires_grad and fixed.eps == 0.01
    bare = group_norms(nn.Sequential(nn.BatchNorm1d(6, affine=False)))[0]  # opacus leaves it, as it trains nothing
    assert isinstance(bare, nn.GroupNorm) and bare.num_groups == 2 and bare.weight is None
    assert group_norms(nn.InstanceNorm2d(4)).__class__ is nn.InstanceNorm2d
    torch.testing.assert_close(
        fixed(x := torch.randn(3, 48, 5, 5)),
        nn.functional.group_norm(x, 16, layer.weight, layer.bias, 0.01),
    )


def test_batch_norm_is_named_and_refused_unless_it_is_to_be_replaced():
    sgd = {"kind": "sgd", "clip": 1.0, "noise": 1.0}
    with pytest.raises(SpecError, match=r"BatchNorm \('0.1' and 1 more\) mixes samples.*fix_norm=true"):
        fit_for_steps(small(), SgdPrivacy(**sgd))
    assert not batch_norms(fit_for_steps(small(), SgdPrivacy(**sgd, fix_norm=True)))
    assert batch_norms(fit_for_steps(small(), None)) == ["0.1", "2"]
    assert batch_norms(nn.BatchNorm1d(3)) == ["BatchNorm1d"]


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5"])
def test_a_net_of_torchvision_with_group_norm_from_the_start(name):
    """With privacy and without it is then the same net."""
    grey = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with seeded(0, "model"):
        module = Torchvision(name=name, norm="group").build((1, 64, 64), 3).eval()
    with seeded(0, "model"):
        fixed = group_norms(Torchvision(name=name).build((1, 64, 64), 3)).eval()
    assert not batch_norms(module) and batch_norms(Torchvision(name=name).build((1, 64, 64), 3))
    assert torch.equal(module(grey), fixed(grey)) and module(grey).shape == (2, 3)
