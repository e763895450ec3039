"""Derivatives of layers whose kernels lack one, or have a wrong one: against finite differences of plain gradients."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from experiments.core.engine.net import Net
from experiments.core.engine.objective import Objective
from experiments.core.estimators.numerics.hessian import FullHessian

G = torch.Generator().manual_seed(0)
X = torch.randn(9, 1, 2, 2, generator=G, dtype=torch.float64)
Y = torch.randint(3, (9,), generator=G)


def of_old(layer, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer, **more)


class Backward(torch.autograd.Function):
    """tanh with a reverse-mode derivative, differentiable itself, and none in forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return torch.tanh(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, g):
        return g * (1 - torch.tanh(ctx.saved_tensors[0]) ** 2)


class NoForwardMode(nn.Module):
    def forward(self, x):
        return Backward.apply(x)


def net(first, *between):
    return nn.Sequential(nn.Flatten(), first, *between, nn.Tanh(), nn.Linear(5, 3))


MODELS = {
    "weight_norm": lambda: net(parametrizations.weight_norm(nn.Linear(4, 5))),
    "columns": lambda: net(parametrizations.weight_norm(nn.Linear(4, 5), dim=1)),
    "whole": lambda: net(parametrizations.weight_norm(nn.Linear(4, 5), dim=None)),
    "of_old": lambda: net(of_old(nn.Linear(4, 5))),
    "of_old_whole": lambda: net(of_old(nn.Linear(4, 5), dim=None)),
    "convolution": lambda: nn.Sequential(
        parametrizations.weight_norm(nn.Conv2d(1, 3, 2)), nn.Tanh(), nn.Flatten(), nn.Linear(3, 3)
    ),
    "no_forward_mode": lambda: net(nn.Linear(4, 5), NoForwardMode()),
}


def gradient(module, w, losses=False):
    """Of the mean loss (or every loss) at flat parameters w, by PyTorch's own first derivative."""
    tensors = list(module.parameters())
    nn.utils.vector_to_parameters(w, tensors)
    found = nn.functional.cross_entropy(module(X), Y, reduction="none")
    if losses:
        return found.detach()
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(found.mean(), tensors)])


@pytest.mark.parametrize("name", MODELS)
def test_second_derivatives_and_slopes_are_finite_differences(name):
    torch.manual_seed(0)
    module = MODELS[name]().double()
    built = Net.of(module)
    theta, h = built.flat(), 1e-6
    vectors = torch.randn(built.p, 3, generator=G, dtype=torch.float64)
    both = [
        [gradient(module, theta + s * h * v, wanted) for s in (1, -1)] for wanted in (False, True) for v in vectors.T
    ]
    difference = [(a - b) / (2 * h) for a, b in both]
    objective = Objective(built, X, Y)
    for columns in (vectors, vectors[:, :1]):
        n = columns.shape[1]
        for product in (objective.products(theta, columns), FullHessian(built, theta, X, Y).apply(columns)):
            torch.testing.assert_close(product, torch.stack(difference[:n], 1), rtol=1e-6, atol=1e-8)
        slopes = torch.stack(difference[3 : 3 + n])
        torch.testing.assert_close(objective.slopes(theta, columns), slopes, rtol=1e-6, atol=1e-8)
