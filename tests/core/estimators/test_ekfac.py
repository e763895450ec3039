"""EK-FAC against Kronecker products written out."""

import pytest
import torch
from torch import nn

from experiments.core.engine.objective import Objective
from experiments.core.errors import SpecError
from experiments.core.estimators._ekfac import Ekfac
from experiments.core.estimators.numerics.ggn import ggn
from tests.core.estimators.cases import classes, drawn, normal
from tests.core.estimators.test_ggn import Skip, Twice


def gradients(net, theta, x, y):
    """One sample after another by plain autograd: [n, p]."""
    w = theta[: net.p].clone().requires_grad_()
    state = torch.cat([w, theta[net.p :]])
    rows = [
        torch.autograd.grad(net.losses(net.call(state, x[i : i + 1]), y[i : i + 1]).sum(), w, retain_graph=True)
        for i in range(len(x))
    ]
    return torch.cat([row[None] for (row,) in rows])


def test_one_linear_layer_equals_kronecker_products_written_out():
    x, y = classes()
    net, theta = drawn(nn.Linear(4, 3))
    objective, d = Objective(net, x, y, 0.02, torch.tensor([1.0] * 12 + [0.0] * 3).double(), chunk=5), 0.1
    delta = net.call(theta, x).softmax(1) - nn.functional.one_hot(y, 3)
    inputs = torch.cat([x, torch.ones(24, 1).double()], 1)
    outer, inner = torch.linalg.eigh(delta.T @ delta)[1], torch.linalg.eigh(inputs.T @ inputs)[1]
    basis = torch.kron(outer, inner)
    joint = (delta[:, :, None] * inputs[:, None]).flatten(1)
    moments = (joint @ basis).square().mean(0)
    decay = 0.02 * torch.tensor([[1.0, 1, 1, 1, 0]] * 3).double().flatten()
    whole = basis @ torch.diag(moments + (basis.square() * decay[:, None]).sum(0) + d) @ basis.T
    v = normal(net.p, 2)
    joined = torch.cat([v[:12].reshape(3, 4, 2), v[12:, None]], 1).reshape(15, 2)
    expected = torch.linalg.solve(whole, joined).reshape(3, 5, 2)
    found = Ekfac(objective, theta, d, empirical=True).solve(v).x
    torch.testing.assert_close(found, torch.cat([expected[:, :4].reshape(12, 2), expected[:, 4]]))


def test_exact_where_the_fisher_matrix_is_a_kronecker_product():
    """Squared loss: output gradients are noise independent of the inputs, so F = I x A up to the draws."""
    net, theta = drawn(nn.Linear(3, 2, bias=False), "squared")
    x = normal(20_000, 3) @ torch.diag(torch.tensor([1.0, 2.0, 0.5]).double())
    objective = Objective(net, x, normal(20_000, 2, seed=5), 0.01)
    v = normal(6, 2)
    exact = torch.linalg.solve(ggn(objective, theta) + 0.06 * torch.eye(6), v)
    found = Ekfac(objective, theta, 0.05).solve(v)
    assert ((found.x - exact).norm(dim=0) / exact.norm(dim=0)).max() < 0.05
    assert found.residual.max() < 0.05


def test_labels_drawn_from_the_model_estimate_the_gauss_newton_matrix():
    x, y = classes(2000)
    net, theta = drawn(nn.Linear(4, 3))
    method = Ekfac(Objective(net, x, y), theta, 0.0 + 1e-3)
    (factor,) = method._factors.values()
    order = factor.columns.flatten()
    matrix = ggn(Objective(net, x, y), theta)[order][:, order]
    basis = torch.kron(factor.outer, factor.inner)
    expected = (basis.T @ matrix @ basis).diagonal() + 1e-3
    torch.testing.assert_close(factor.moments.flatten(), expected, rtol=0.15, atol=0.01)


def test_convolutions_skips_and_normalisations_in_the_layers_own_basis():
    net, theta = drawn(Skip())
    x, y = normal(9, 2, 6, 6), torch.arange(9) % 3
    method = Ekfac(Objective(net, x, y, chunk=4), theta, 0.01, empirical=True)
    rows = gradients(net, theta, x, y)
    for name in ("first", "second", "last"):
        factor = method._factors[name]
        own = rows[:, factor.columns]
        expected = (factor.outer.T @ own @ factor.inner).square().mean(0) + 0.01
        torch.testing.assert_close(factor.moments, expected)
    for slot in net.params:
        if slot.name.startswith("norm"):
            own = slice(slot.start, slot.stop)
            torch.testing.assert_close(method._diagonal[own], rows[:, own].square().mean(0) + 0.01)
    v = normal(net.p, 2)
    torch.testing.assert_close(method.solve(2 * v).x, 2 * method.solve(v).x)


def test_modules_it_cannot_factor_are_refused():
    x, y = normal(6, 5), torch.arange(6) % 3
    for module in (Twice(), nn.Sequential(nn.Linear(5, 4), nn.PReLU(), nn.Linear(4, 3))):
        net, theta = drawn(module)
        with pytest.raises(SpecError, match="use method cg"):
            Ekfac(Objective(net, x, y), theta, 0.1)


def test_directions_without_curvature_need_damping():
    net, theta = drawn(nn.Linear(5, 3))
    with pytest.raises(SpecError, match="set damping"):
        Ekfac(Objective(net, torch.zeros(6, 5).double(), torch.arange(6) % 3), theta, 0.0)
