"""Frozen normalisation, and what needs it: Hessian products of every model."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.formulations.vmapped import Vmapped
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.objective import Objective
from experiments.core.errors import SpecError
from experiments.core.models import kinds
from experiments.core.models.frozen import freeze_normalisation
from experiments.core.models.resnet import ResNet

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


def test_training_mode_computes_what_evaluation_mode_does():
    module, (x, _) = built("resnet"), data()
    frozen = freeze_normalisation(module)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with torch.no_grad():
        expected = module.eval()(x)
        for copied in (frozen, copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
            assert torch.equal(copied.train()(x), expected) and torch.equal(copied.eval()(x), expected)
    after = frozen.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    with torch.no_grad():
        assert not torch.allclose(module.train()(x), expected)  # the template itself is not frozen


def test_scale_and_shift_are_still_trained():
    module = freeze_normalisation(built("resnet")).train()
    x, y = data()
    nn.functional.cross_entropy(module(x), y).backward()
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms and all(part.weight.grad.abs().max() > 0 and part.bias.grad.abs().max() > 0 for part in norms)


def test_each_sample_s_loss_depends_on_that_sample_alone():
    x, y = data(5)
    net = Net.of(freeze_normalisation(built("resnet")).train())
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
    net = Net.of(freeze_normalisation(built(kind, shape)).train())
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
    net = Net.of(freeze_normalisation(built(kind)))
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
    net = Net.of(freeze_normalisation(built("resnet", depth=18)))
    theta, weight = net.flat().repeat(2, 1), torch.ones(2, 4, dtype=torch.float64)
    weight[1, 2] = 0
    kept = torch.tensor([0, 1, 3])
    gradients = formulation(net).gradient(theta, x, y, weight)
    expected = torch.stack([Objective(net, *part).gradient(net.flat()) for part in ((x, y), (x[kept], y[kept]))])
    assert torch.allclose(gradients, expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(theta, net.flat().repeat(2, 1))  # the statistics have not moved


def test_dropout_and_stochastic_depth_are_off():
    module = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), StochasticDepth(0.5, "row"), nn.Linear(6, 2))
    frozen, x = freeze_normalisation(module).train(), torch.rand(9, 6)
    assert torch.equal(frozen(x), module.eval()(x))


def test_normalisation_without_statistics_cannot_be_frozen():
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False))
    with pytest.raises(SpecError, match="the normalisation 1 keeps no running statistics"):
        freeze_normalisation(module)


def test_the_resnet_of_the_paper_has_a_state_without_gaps():
    with torch.device("meta"):
        module = ResNet().build((3, 32, 32), 100)
    assert Net.of(freeze_normalisation(module)).params == Net.of(module).params
