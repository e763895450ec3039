"""The explicit Hessian and its inverse, and the residual of every method, against plain autograd."""

import pytest
import torch
from torch import nn

from experiments.core.engine.objective import Objective
from experiments.core.errors import SpecError
from experiments.core.estimators.cg import CgMethod
from experiments.core.estimators.gradient import GradientMethod
from experiments.core.estimators.numerics.explicit import Explicit, hessian
from tests.core.estimators.cases import classes, drawn, explicit, logistic, normal, tanh_net


@pytest.mark.parametrize("width", [1, 7, 64])
def test_explicit_hessian_equals_plain_autograd(width):
    objective, theta = tanh_net(width=width, chunk=5)
    torch.testing.assert_close(hessian(objective, theta), explicit(objective, theta))


def test_explicit_inverts_an_indefinite_hessian_and_says_so():
    objective, theta = tanh_net()
    v = normal(objective.net.p, 3)
    matrix = explicit(objective, theta) + 0.01 * torch.eye(objective.net.p)
    method = Explicit(objective, theta, 0.01)
    solution = method.solve(v)
    torch.testing.assert_close(solution.x, torch.linalg.solve(matrix, v))
    torch.testing.assert_close(method.apply(v.T).T, solution.x)
    assert solution.residual.max() < 1e-9
    values = torch.linalg.eigvalsh(matrix)
    assert solution.facts["negative_eigenvalues"] == (values < 0).sum() > 0
    assert solution.facts["top_eigenvalue"] == pytest.approx(float(values[-1]) - 0.01)
    assert solution.facts["smallest_eigenvalue"] == pytest.approx(float(values[0]) - 0.01)


def test_explicit_of_a_float32_net_is_computed_in_float64():
    objective, theta = tanh_net()
    single = objective.to(torch.float32)
    method = Explicit(single, theta.float(), 0.01)
    assert method.eigenvalues.dtype == torch.float64
    v = normal(objective.net.p, 2).float()
    found = method.solve(v).x
    assert found.dtype == torch.float32
    matrix = explicit(objective, theta.float().double()) + 0.01 * torch.eye(objective.net.p)
    torch.testing.assert_close(found.double(), torch.linalg.solve(matrix, v.double()), rtol=1e-3, atol=1e-3)


def test_collinear_relu_units_are_singular_even_with_decay_on_the_weights():
    net, theta = drawn(nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)), "squared")
    x = normal(30, 2).abs()
    first = torch.tensor([0.6, 0.8], dtype=torch.float64)
    theta = torch.cat([first, first, torch.ones(2, dtype=torch.float64)])
    objective = Objective(net, x, (x @ (2 * first))[:, None])
    zeros = int((torch.linalg.eigvalsh(explicit(objective, theta)).abs() < 1e-12).sum())
    with pytest.raises(SpecError, match=rf"singular: {zeros} of 6 eigenvalues are zero.*set damping"):
        Explicit(objective, theta, 0.0)
    assert Explicit(objective, theta, 0.001).solve(normal(6, 1)).residual.max() < 1e-9


def test_too_many_parameters_name_the_way_out(monkeypatch):
    monkeypatch.setattr(Explicit, "LIMIT", 10)
    with pytest.raises(SpecError, match="use method cg"):
        Explicit(*tanh_net(), 0.1)


def test_the_residual_is_that_of_the_whole_system():
    objective, theta = logistic()
    v = normal(objective.net.p, 2)
    matrix = explicit(objective, theta) + 0.03 * torch.eye(objective.net.p)
    solution = GradientMethod().solver(objective, theta, 0.03).solve(v)
    torch.testing.assert_close(solution.x, v)
    torch.testing.assert_close(solution.residual, (matrix @ v - v).norm(dim=0) / v.norm(dim=0))
    assert CgMethod().solver(objective, theta, 0.03).solve(torch.zeros_like(v)).residual.max() == 0


def test_penalty_of_masked_parameters_only():
    x, y = classes()
    net, theta = drawn(nn.Linear(4, 3))
    mask = torch.tensor([1.0] * 12 + [0.0] * 3, dtype=torch.float64)
    objective = Objective(net, x, y, 0.3, mask)
    torch.testing.assert_close(hessian(objective, theta), explicit(objective, theta))
