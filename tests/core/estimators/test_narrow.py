"""The gradient of convolutions of few channels in their inputs, against autograd through nn.Conv2d."""

import copy

import pytest
import torch
from torch import nn

from experiments.core.estimators.numerics import _narrow
from experiments.core.estimators.numerics._narrow import adjoint, narrowed
from tests.core.estimators.cases import normal

SHAPES = {
    "by taps, one channel": (1, 6, (5, 5), (0, 0)),
    "by rows, three channels": (3, 6, (5, 5), (0, 0)),
    "by taps, padded": (3, 16, (3, 3), (1, 1)),
    "by rows, kernel and padding not square": (4, 3, (4, 2), (0, 1)),
    "by taps, kernel and padding not square": (2, 9, (2, 3), (2, 0)),
    "one place": (1, 2, (1, 1), (0, 0)),
}


@pytest.mark.parametrize("block", [1, _narrow._BLOCK])
@pytest.mark.parametrize("name", SHAPES)
def test_the_adjoint_is_that_of_the_convolution(name, block, monkeypatch):
    monkeypatch.setattr(_narrow, "_BLOCK", block)
    channels, out, kernel, padding = SHAPES[name]
    conv = nn.Conv2d(channels, out, kernel, padding=padding).double()
    x = normal(5, channels, 9, 8).requires_grad_()
    y = conv(x)
    d = normal(*y.shape, seed=1).contiguous(memory_format=torch.channels_last)
    wanted = torch.autograd.grad(y, x, d)[0]
    torch.testing.assert_close(adjoint(conv.weight.detach(), d, padding), wanted)
    assert name.startswith("by rows") == (out < channels * kernel[0])


@pytest.mark.parametrize(
    "first",
    [
        lambda: nn.Conv2d(3, 4, 3, padding=1),
        lambda: nn.Conv2d(3, 4, 3, padding=1, bias=False),
        lambda: nn.Conv2d(3, 4, 3, stride=2),
        lambda: nn.Conv2d(3, 6, 3, groups=3),
        lambda: nn.Conv2d(3, 4, 3, padding="same"),
        lambda: nn.Conv2d(3, 4, 3, dilation=2),
    ],
)
def test_a_module_computes_what_it_did_and_its_weights_can_be_swapped(first):
    torch.manual_seed(0)
    module = nn.Sequential(first(), nn.ReLU(inplace=True), nn.Conv2d(first().out_channels, 2, 2), nn.Tanh()).double()
    ours, x = narrowed(copy.deepcopy(module)).requires_grad_(False), normal(4, 3, 8, 8).requires_grad_()
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(1.5)
    y = torch.func.functional_call(ours, {n: p.detach() for n, p in module.named_parameters()}, x)
    torch.testing.assert_close(y, module(x))
    wanted = torch.autograd.grad(module(x).square().sum(), x)[0]
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), x)[0], wanted)


def test_weights_that_are_trained_keep_their_gradient():
    module, x = nn.Conv2d(1, 2, 3), torch.ones(1, 1, 5, 5)
    narrowed(module)(x).sum().backward()
    assert float(module.weight.grad.sum()) == 2 * 9 * 9
