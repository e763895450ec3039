"""The objective in passes of another size and in another precision is the same function."""

import pytest
import torch
from torch import nn

from experiments.core.engine import objective as module
from experiments.core.engine.net import Net
from experiments.core.engine.objective import Objective


@pytest.fixture
def case():
    g = torch.Generator().manual_seed(0)
    net = Net.of(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double())
    x = torch.randn(90, 4, generator=g, dtype=torch.float64)
    theta = torch.randn(net.size, generator=g, dtype=torch.float64)
    return Objective(net, x, torch.arange(90) % 3, 0.1, torch.ones(net.p).double()), theta


@pytest.mark.parametrize(("columns", "chunk", "width"), [(1, 64, 1), (3, 21, 3), (8, 16, 4)])
def test_fitted_lowers_the_passes_and_changes_no_number(case, monkeypatch, columns, chunk, width):
    objective, theta = case
    monkeypatch.setattr(module, "CACHE", 64 * objective._sample_bytes(theta))
    fitted = objective.fitted(theta, columns)
    assert (fitted.chunk, fitted.width) == (chunk, width)
    vectors = torch.eye(objective.net.p, columns, dtype=torch.float64)
    torch.testing.assert_close(fitted.products(theta, vectors), objective.products(theta, vectors))
    torch.testing.assert_close(fitted.slopes(theta, vectors), objective.slopes(theta, vectors))


def test_sample_bytes_count_activations_and_no_parameters(case):
    objective, _ = case
    wide = Net.of(nn.Sequential(nn.Linear(4, 600), nn.Tanh(), nn.Linear(600, 3)).double())
    many = Objective(wide, objective.x, objective.y)._sample_bytes(torch.zeros(wide.size).double())
    assert 8 * 600 <= many <= 4 * 8 * 600


def test_small_models_keep_their_large_passes(case):
    objective, theta = case
    assert (objective.fitted(theta, 43).chunk, objective.fitted(theta, 43).width) == (512, 43)


def test_another_precision_keeps_labels(case):
    objective, theta = case
    single = objective.to(torch.float32)
    assert (single.x.dtype, single.mask.dtype, single.y.dtype) == (torch.float32, torch.float32, torch.int64)
    torch.testing.assert_close(float(single.value(theta.float())), float(objective.value(theta)), rtol=1e-5, atol=0)
