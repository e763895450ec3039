"""Per-sample gradients against a loop of single backwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from experiments.core.engine import per_sample
from experiments.core.engine.formulations.native import Native
from experiments.core.engine.net import Net
from experiments.core.engine.sample_trial import by_vmap
from tests.core.engine.formulations import cases


def one_by_one(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    module = cases.module_of(net, theta).eval()
    rows = []
    for s in range(len(x)):
        module.zero_grad()
        net.losses(module(x[s : s + 1]), y[s : s + 1]).sum().backward()
        rows.append(torch.cat([p.grad.reshape(-1) for p in module.parameters() if p.grad is not None]))
    return torch.stack(rows)


@pytest.mark.parametrize("case", list(cases.CASES))
def test_every_way_equals_single_backwards(case: str) -> None:
    net = cases.net_of(case)
    for background in cases.BACKGROUNDS:
        x, y = cases.batch(case, background, 6)
        for theta in cases.states(net, 2):
            expected = one_by_one(net, theta, x, y)
            assert cases.close(per_sample.per_sample_gradients(net, theta, x, y), expected, 1e-9)
            assert cases.close(by_vmap(net, theta, x, y), expected, 1e-9)
            assert cases.close(per_sample.by_parts(net, theta, x, y), expected, 1e-9)
            if per_sample.is_layered(net):
                assert cases.close(per_sample.by_layers(net, theta, x, y), expected, 1e-9)
            if Native.supports(net, torch.device("cpu"), theta.dtype):
                assert cases.close(Native(net).per_sample(theta, x, y), expected, 1e-9)


def test_which_nets_are_layered() -> None:
    found = {case for case in cases.CASES if per_sample.is_layered(cases.net_of(case))}
    assert found == set(cases.CASES) - cases.NORMS


def test_in_place_relu_and_strided_convolution() -> None:
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 4)
    ).double()
    net = Net.of(module)
    x, y = torch.randn(5, 2, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0])
    theta = cases.states(net, 2)[0]
    assert per_sample.is_layered(net)
    assert cases.close(per_sample.per_sample_gradients(net, theta, x, y), one_by_one(net, theta, x, y), 1e-9)


def test_a_module_that_is_no_sequential_and_its_mode_is_kept() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 6)
            self.out = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x + torch.tanh(self.inner(x)))

    net = Net.of(Residual().double())
    x, y = torch.randn(4, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    theta = cases.states(net, 2)[0]
    net.module.train()
    assert cases.close(per_sample.per_sample_gradients(net, theta, x, y), one_by_one(net, theta, x, y), 1e-9)
    assert all(part.training for part in net.module.modules())
