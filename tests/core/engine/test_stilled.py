"""Models whose loss is a fixed function of each sample, and what needs them: Hessian products of every model."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.formulations.vmapped import Vmapped
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.objective import Objective
from experiments.core.models import kinds
from experiments.core.models.resnet import ResNet
from tests.core.engine.odd_models import DRAWING

THIN = {
    "cnn": {"first": 2, "second": 2, "hidden": 4},
    "mlp": {"activation": "tanh"},
    "resnet": {"width": 2, "depth": 50},
    "transformer": {"layers": 1, "width": 8, "heads": 2, "vocabulary": 30},
    "torchvision": {"name": "squeezenet1_1"},
    "vgg": {"width": 2, "batch_norm": True, "name": "vgg14"},
}


def built(kind, shape=(1, 32, 32), **options):
    """A model in float64 with statistics as training might have left them."""
    module = kinds()[kind](**{**THIN.get(kind, {}), **options}).build(shape, 4).double()
    initialise(module, 0)
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.copy_(0.1 * torch.randn(part.num_features, generator=generator))
            part.running_var.copy_(0.5 + torch.rand(part.num_features, generator=generator))
    return module


def data(n=3, shape=(1, 32, 32)):
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(n, *shape, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 4, (n,), generator=generator)


@pytest.mark.parametrize("formulation", [Looped, Vmapped])
def test_training_computes_what_evaluation_does(formulation):
    """The gradient is that of the losses in evaluation mode, normalisation's scale and shift included."""
    net, (x, y) = Net.of(built("resnet", depth=18)), data()
    theta = net.flat()
    module = copy.deepcopy(net.module).eval()
    nn.functional.cross_entropy(module(x), y).backward()
    expected = torch.cat([p.grad.reshape(-1) for p in module.parameters()])
    states = theta[None].clone()
    found = formulation(net.stilled()).gradient(states, x, y, None)[0]
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12) and torch.equal(states[0], theta)
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms and all(part.weight.grad.abs().max() > 0 and part.bias.grad.abs().max() > 0 for part in norms)
    moving = formulation(net).gradient(states, x, y, None)[0]
    assert not torch.allclose(moving, expected, rtol=1e-3) and not torch.equal(states[0], theta)


def test_each_sample_s_loss_depends_on_that_sample_alone():
    x, y = data(5)
    net = Net.of(built("resnet").train()).stilled()
    theta = net.flat()
    together = net.losses(net.call(theta, x), y)
    alone = torch.cat([net.losses(net.call(theta, x[i : i + 1]), y[i : i + 1]) for i in range(5)])
    assert torch.allclose(together, alone, rtol=1e-12)
    gradient = Objective(net, x, y).gradient(theta)
    parts = [Objective(net, x[i : i + 1], y[i : i + 1]).gradient(theta) for i in range(5)]
    assert torch.allclose(gradient, torch.stack(parts).mean(0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_hessian_products_of_every_model(kind):
    shape = {"torchvision": (3, 32, 32), "transformer": (6,)}.get(kind, (1, 32, 32))
    x, y = data(shape=shape)
    if kind == "transformer":
        pytest.importorskip("transformers", reason="the extra [text] is not installed")
        x = (30 * x).long()
    net = Net.of(built(kind, shape).train()).stilled()
    objective, theta = Objective(net, x, y, decay=0.01), net.flat()
    vectors = torch.randn(net.p, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    products = objective.products(theta, vectors)
    assert products.isfinite().all() and products.abs().max() > 0
    assert torch.allclose(objective.products(theta, vectors[:, :1]), products[:, :1], rtol=1e-9, atol=1e-12)
    expected = reverse_over_reverse(net, theta, x, y, vectors[:, 1]) + 0.01 * vectors[:, 1]
    assert torch.allclose(products[:, 1], expected, rtol=1e-9, atol=1e-11)


def reverse_over_reverse(net, theta, x, y, vector):
    """The Hessian of the mean loss times a vector, by differentiating the gradient backwards once more."""
    w = theta[: net.p].clone().requires_grad_()
    loss = net.losses(net.call(torch.cat([w, theta[net.p :]]), x), y).mean()
    (gradient,) = torch.autograd.grad(loss, w, create_graph=True)
    (product,) = torch.autograd.grad(gradient @ vector, w, allow_unused=True)
    return product


@pytest.mark.parametrize("kind", ["resnet", "vgg", "lenet", "small_cnn"])
def test_hessian_products_are_differences_of_gradients(kind):
    x, y = data()
    net = Net.of(built(kind)).stilled()
    objective, theta = Objective(net, x, y), net.flat()
    vector = torch.randn(net.p, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    vector = vector / vector.norm()
    step = torch.zeros_like(theta)
    step[: net.p] = 1e-6 * vector
    difference = (objective.gradient(theta + step) - objective.gradient(theta - step)) / 2e-6
    product = objective.products(theta, vector[:, None])[:, 0]
    assert (product - difference).norm() < 1e-6 * product.norm() + 1e-8


@pytest.mark.parametrize("formulation", [Looped, Vmapped])
def test_worlds_without_a_sample_train_frozen(formulation):
    x, y = data(4)
    net = Net.of(built("resnet", depth=18)).stilled()
    theta, weight = net.flat().repeat(2, 1), torch.ones(2, 4, dtype=torch.float64)
    weight[1, 2] = 0
    kept = torch.tensor([0, 1, 3])
    gradients = formulation(net).gradient(theta, x, y, weight)
    expected = torch.stack([Objective(net, *part).gradient(net.flat()) for part in ((x, y), (x[kept], y[kept]))])
    assert torch.allclose(gradients, expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(theta, net.flat().repeat(2, 1))  # the statistics have not moved


@pytest.mark.parametrize("name", ["Dropout", "F.dropout", "stochastic depth", "attention", "rnn"])
def test_nothing_is_dropped(name):
    """Whichever way a module drops: a layer, a function that asks whether it trains, an argument of another layer."""
    net, (x, y) = Net.of(DRAWING[name]().double()), (torch.rand(9, 6, dtype=torch.float64), torch.arange(9) % 3)
    still = replace(net, draws=True).stilled()
    module = copy.deepcopy(net.module).eval()
    nn.functional.cross_entropy(module(x), y).backward()
    expected = torch.cat([p.grad.reshape(-1) for p in module.parameters()])
    assert torch.allclose(Looped(still).gradient(net.flat()[None], x, y, None)[0], expected, rtol=1e-9, atol=1e-12)
    assert torch.allclose(Objective(still, x, y).gradient(net.flat()), expected, rtol=1e-9, atol=1e-12)


def test_the_resnet_of_the_paper_has_a_state_without_gaps():
    with torch.device("meta"):
        net = Net.of(ResNet().build((3, 32, 32), 100))
    assert net.stilled().params == net.params and net.params[-1].stop == net.p
