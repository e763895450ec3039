"""Hessian products against the explicit Hessian."""

import pytest
import torch
from torch import nn

from experiments.core.engine.net import Net, initialise
from experiments.core.estimators.numerics.closed_forms import explicit_hessian, keep_blocks
from experiments.core.estimators.numerics.hessian import FullHessian, GenericBlocks, TensorBlocks, tensor_blocks


def conv(activation):
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        activation,
        nn.MaxPool2d(2),
        nn.Conv2d(2, 2, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 5),
        activation,
        nn.Linear(5, 3),
    )


CASES = {
    "logistic": (lambda: nn.Sequential(nn.Linear(6, 3)), (6,), "cross_entropy", True),
    "logistic with sigmoid": (lambda: nn.Sequential(nn.Linear(6, 3), nn.Sigmoid()), (6,), "cross_entropy", True),
    "squared": (lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), (6,), "squared", True),
    "relu": (lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), (6,), "cross_entropy", True),
    "tanh": (lambda: nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)), (6,), "cross_entropy", False),
    "convolution": (lambda: conv(nn.Identity()), (1, 8, 8), "cross_entropy", True),
    "convolution relu": (lambda: conv(nn.ReLU()), (1, 8, 8), "cross_entropy", True),
    "no bias": (
        lambda: nn.Sequential(nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False)),
        (6,),
        "cross_entropy",
        True,
    ),
}


@pytest.fixture(params=list(CASES))
def case(request):
    build, shape, loss, structured = CASES[request.param]
    module = build().double()
    initialise(module, 3)
    net = Net.of(module, loss)
    g = torch.Generator().manual_seed(1)
    x = torch.randn(9, *shape, generator=g, dtype=torch.float64)
    y = (
        torch.randn(9, 3, generator=g, dtype=torch.float64)
        if loss == "squared"
        else torch.randint(3, (9,), generator=g)
    )
    theta = net.flat() + 0.3 * torch.randn(net.size, generator=g, dtype=torch.float64)
    v = torch.randn(net.p, 4, generator=g, dtype=torch.float64)
    return net, theta, x, y, v, structured


def test_full_products_equal_the_explicit_hessian(case):
    net, theta, x, y, v, _ = case
    torch.testing.assert_close(FullHessian(net, theta, x, y, width=3).apply(v), explicit_hessian(net, theta, x, y) @ v)


def test_blocks_equal_the_explicit_blocks(case):
    net, theta, x, y, v, structured = case
    blocks = keep_blocks(net, explicit_hessian(net, theta, x, y))
    operator = tensor_blocks(net, theta, x, y)
    assert isinstance(operator, TensorBlocks) == structured
    torch.testing.assert_close(operator.apply(v), blocks @ v, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(GenericBlocks(net, theta, x, y).apply(v), blocks @ v, rtol=1e-9, atol=1e-12)
