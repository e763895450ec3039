"""Clipped sums and norms against explicit autograd of single samples."""

import pytest
import torch
from torch import nn

from experiments.core.engine.clipped import clipped, sample_norms
from experiments.core.engine.net import Net


def single_gradients(net, theta, x, y):
    """[n, p]: the module itself, one sample and one backward at a time."""
    module = net.module.eval()
    names = {s.name for s in net.params}
    rows = []
    with torch.no_grad():
        for name, tensor in {**dict(module.named_parameters()), **dict(module.named_buffers())}.items():
            if name in net.views(theta):
                tensor.copy_(net.views(theta)[name])
    for s in range(len(x)):
        loss = net.losses(module(x[s : s + 1]), y[s : s + 1]).sum()
        leaves = [t for n, t in module.named_parameters() if n in names]
        grads = torch.autograd.grad(loss, leaves, allow_unused=True)
        rows.append(
            torch.cat([(torch.zeros_like(t) if g is None else g).flatten() for t, g in zip(leaves, grads, strict=True)])
        )
    return torch.stack(rows)


def toy():
    torch.manual_seed(0)
    net = Net.of(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double())
    return net, net.flat(), torch.randn(6, 4, dtype=torch.float64), torch.randint(3, (6,))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_clipped_is_the_sum_of_clipped_rows(share):
    net, theta, x, y = toy()
    rows = single_gradients(net, theta, x, y)
    clip = float(rows.norm(dim=1).quantile(share))
    weight = torch.tensor([[1.0, 0.0, 2.0, 1.0, 0.5, 1.0], [0.0] * 6], dtype=torch.float64)
    total, norms = clipped(net, theta.repeat(2, 1), x, y, weight, clip)
    factor = (clip / rows.norm(dim=1)).clamp(max=1.0)
    assert torch.allclose(total, (weight * factor) @ rows, rtol=1e-9, atol=1e-12)
    assert torch.allclose(norms, rows.norm(dim=1).expand(2, -1), rtol=1e-9)
    assert torch.allclose(sample_norms(net, theta, x, y), rows.norm(dim=1), rtol=1e-9)
