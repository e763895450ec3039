import pytest
import torch
from torch import nn

from experiments.core.engine.halves import Halves
from experiments.core.engine.net import Net
from experiments.core.errors import SpecError


def _convolutional():
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU()), nn.Flatten(), nn.Linear(48, 4)
    ).double()
    module[0][1].running_mean.uniform_(-1, 1)
    module[0][1].running_var.uniform_(0.5, 2)
    return module, Net.of(module), torch.randn(5, 1, 6, 6, dtype=torch.float64)


def test_both_halves_make_the_whole():
    module, net, x = _convolutional()
    halves, theta = Halves.of(net, "0", x), net.flat()
    module.eval()
    features = halves.features(theta, x)
    torch.testing.assert_close(features, module[0](x))
    torch.testing.assert_close(halves.outputs(theta, features), module(x))


def test_the_gradient_above_is_autograds_on_the_upper_module():
    module, net, x = _convolutional()
    halves, theta, y = Halves.of(net, "0", x), net.flat(), torch.tensor([0, 1, 2, 3, 0])
    features = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    loss = nn.functional.cross_entropy(module.eval()[2](features.flatten(1)), y)
    wanted = torch.autograd.grad(loss, list(module[2].parameters()))
    gradient, high = halves.gradient(theta, features, y), halves.high(theta, features)
    torch.testing.assert_close(gradient[high], torch.cat([w.flatten() for w in wanted]))
    assert not gradient[~high].any()
    assert [slot.name for slot in net.params if high[slot.start]] == ["2.weight", "2.bias"]


def test_what_is_above_counts_though_its_gradient_is_zero_here():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    nn.init.constant_(module[1].bias, -100.0)  # every unit is off: all gradients of 1 are zero
    net, x = Net.of(module), torch.zeros(1, 2)
    halves = Halves.of(net, "0", x)
    high = halves.high(net.flat(), torch.zeros(1, 2))
    assert [slot.name for slot in net.params if high[slot.start]] == ["1.weight", "1.bias", "3.weight", "3.bias"]


def test_features_can_be_followed_back_to_the_input():
    module, net, x = _convolutional()
    halves = Halves.of(net, "0", x)
    seen = x.clone().requires_grad_()
    (back,) = torch.autograd.grad(halves.features(net.flat(), seen).square().sum(), seen)
    direct = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(module.eval()[0](direct).square().sum(), direct)
    torch.testing.assert_close(back, wanted)


def test_an_unknown_block_is_refused():
    _, net, x = _convolutional()
    with pytest.raises(SpecError, match="no block 'layer9'"):
        Halves.of(net, "layer9", x)
