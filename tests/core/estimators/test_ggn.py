"""The Gauss-Newton matrix against Jacobians by plain autograd."""

import pytest
import torch
from torch import nn

from experiments.core.engine.objective import Objective
from experiments.core.estimators.numerics import ggn as module
from experiments.core.estimators.numerics.ggn import ggn
from tests.core.estimators.cases import drawn, normal


class Skip(nn.Module):
    """A module that is no Sequential: a sum of two paths, in-place activations, a normalisation."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm, self.act, self.last = nn.GroupNorm(2, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, x):
        h = self.act(self.first(x))
        h = self.act(self.norm(self.second(h)) + h)
        return self.last(h.mean((2, 3)))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(self.layer(torch.tanh(self.layer(x))))


CASES = {
    "dense": (lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), (5,)),
    "sequence": (lambda: nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)), (4, 2)),
    "skip": (Skip, (2, 6, 6)),
    "twice": (Twice, (5,)),
    "own parameter": (lambda: nn.Sequential(nn.Linear(5, 4), nn.PReLU(), nn.Linear(4, 3)), (5,)),
}


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
@pytest.mark.parametrize("name", CASES)
def test_ggn_equals_jacobians_written_out(name, loss, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 40_000)
    build, shape = CASES[name]
    net, theta = drawn(build(), loss)
    x = normal(11, *shape)
    y = normal(11, 3) if loss == "squared" else torch.arange(11) % 3
    w = theta[: net.p]
    jacobian = torch.autograd.functional.jacobian(lambda w: net.call(torch.cat([w, theta[net.p :]]), x), w)
    q = net.call(theta, x).softmax(1).detach()
    inner = torch.diag_embed(q) - q[:, :, None] * q[:, None] if loss == "cross_entropy" else torch.eye(3).double()
    expected = (jacobian.transpose(1, 2) @ (inner @ jacobian)).mean(0)
    torch.testing.assert_close(ggn(Objective(net, x, y, chunk=4), theta), expected)
