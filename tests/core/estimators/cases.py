"""Small problems with an explicit answer, shared by the tests of the estimators."""

import torch
from torch import nn

from experiments.core.engine.net import Net
from experiments.core.engine.objective import Objective


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def drawn(module, loss="cross_entropy", scale=0.5, seed=3):
    """A net of `module` in float64, and a state drawn at random."""
    net = Net.of(module.double(), loss)
    return net, scale * normal(net.size, seed=seed)


def explicit(objective, theta):
    """The Hessian by torch.autograd.functional on the objective written down once more, all at once."""
    net = objective.net
    mask = torch.ones(net.p, dtype=theta.dtype) if objective.mask is None else objective.mask

    def value(w):
        state = torch.cat([w, theta[net.p :]])
        outputs = torch.func.functional_call(net.module, net.views(state), objective.x)
        if net.loss == "squared":
            mean = 0.5 * (outputs - objective.y).square().sum(-1).mean()
        else:
            mean = nn.functional.cross_entropy(outputs, objective.y)
        return mean + 0.5 * objective.decay * (mask * w * w).sum()

    return torch.autograd.functional.hessian(value, theta[: net.p])


def minimised(objective, theta, steps=30):
    """The minimum of a convex objective by Newton's method with the explicit Hessian."""
    for _ in range(steps):
        theta = theta - torch.linalg.lstsq(explicit(objective, theta), objective.gradient(theta)).solution
    return theta


def classes(n=24, features=4, kinds=3, seed=0):
    x = normal(n, features, seed=seed)
    y = (x @ normal(features, kinds, seed=seed + 1) + 0.5 * normal(n, kinds, seed=seed + 2)).argmax(1)
    return x, y


def logistic(decay=0.05, n=24):
    """(objective, its exact minimum) of a logistic regression with penalty."""
    x, y = classes(n)
    net, theta = drawn(nn.Linear(4, 3))
    objective = Objective(net, x, y, decay)
    return objective, minimised(objective, torch.zeros_like(theta), 8)


def tanh_net(decay=0.02, **options):
    """(objective, a random point) of a small tanh net: its Hessian is indefinite there."""
    x, y = classes()
    net, theta = drawn(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    return Objective(net, x, y, decay, **options), theta
