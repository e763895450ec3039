"""The objective against plain autograd: value, gradient, explicit Hessian, per-sample slopes; chunks and weights."""

import pytest
import torch
from torch import nn

from experiments.core.engine.net import Net
from experiments.core.engine.objective import Objective

N, D, CLASSES = 11, 4, 3


def toy(**more):
    g = torch.Generator().manual_seed(0)
    net = Net.of(nn.Sequential(nn.Linear(D, 3), nn.Tanh(), nn.Linear(3, CLASSES)).double())
    x, y = torch.randn(N, D, generator=g, dtype=torch.float64), torch.randint(CLASSES, (N,), generator=g)
    theta = torch.randn(net.size, generator=g, dtype=torch.float64)
    return Objective(net, x, y, **more), theta


def literal(o, theta):
    """The formula, written out with autograd on."""
    w = torch.ones(N, dtype=torch.float64) if o.weight is None else o.weight
    losses = nn.functional.cross_entropy(o.net.call(theta, o.x), o.y, reduction="none")
    mask = torch.ones_like(theta) if o.mask is None else o.mask
    return (w * losses).sum() / w.sum() + 0.5 * o.decay * (mask * theta).square().sum()


def weights():
    w = torch.ones(N, dtype=torch.float64)
    w[[2, 7]] = 0
    return w


CASES = {
    "plain": {},
    "decay": {"decay": 0.3},
    "mask": {"decay": 0.3, "mask": torch.arange(27).remainder(2).double()},
    "chunks": {"decay": 0.1, "chunk": 4, "width": 5},
    "weights": {"decay": 0.1, "weight": weights()},
    "weights in chunks": {"weight": weights(), "chunk": 2},
}


@pytest.mark.parametrize("case", CASES)
def test_value_gradient_and_hessian(case):
    o, theta = toy(**CASES[case])
    expected = torch.func.grad(lambda t: literal(o, t))(theta)
    hessian = torch.func.hessian(lambda t: literal(o, t))(theta)
    torch.testing.assert_close(o.value(theta), literal(o, theta), rtol=1e-13, atol=0)
    torch.testing.assert_close(o.gradient(theta), expected, rtol=1e-11, atol=1e-13)
    value, gradient = o.value_and_gradient(theta)
    assert torch.equal(gradient, o.gradient(theta))
    torch.testing.assert_close(value, literal(o, theta), rtol=1e-13, atol=0)
    eye = torch.eye(len(theta), dtype=torch.float64)
    torch.testing.assert_close(o.products(theta, eye), hessian, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(o.products(theta, eye[:, :1]), hessian[:, :1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk", [512, 3])
def test_losses_and_slopes_are_each_samples_own(chunk):
    o, theta = toy(decay=0.5, chunk=chunk, width=1, weight=weights())
    directions = torch.randn(o.net.p, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def losses(t):
        return nn.functional.cross_entropy(o.net.call(t, o.x), o.y, reduction="none")

    torch.testing.assert_close(o.losses(theta), losses(theta))
    jacobian = torch.func.jacrev(losses)(theta)
    torch.testing.assert_close(o.slopes(theta, directions), (jacobian @ directions).T, rtol=1e-10, atol=1e-12)


def test_a_weight_of_zero_is_a_sample_less():
    o, theta = toy(decay=0.2, weight=weights())
    kept = o.weight != 0
    fewer = Objective(o.net, o.x[kept], o.y[kept], decay=0.2)
    torch.testing.assert_close(o.value(theta), fewer.value(theta), rtol=1e-13, atol=0)
    torch.testing.assert_close(o.gradient(theta), fewer.gradient(theta), rtol=1e-12, atol=1e-14)
