"""Conjugate gradients: preconditioning, negative curvature, columns of their own."""

import pytest
import torch
from torch import nn

from experiments.core.engine.objective import Objective
from experiments.core.errors import SpecError
from experiments.core.estimators._cg import ConjugateGradient
from tests.core.estimators.cases import drawn, explicit, logistic, normal, tanh_net


def test_the_preconditioner_is_exact_where_the_gauss_newton_matrix_is_the_hessian():
    objective, theta = logistic()
    v = normal(objective.net.p, 3)
    plain = ConjugateGradient(objective, theta, 1e-4, tol=1e-5, precondition="none").solve(v)
    ours = ConjugateGradient(objective, theta, 1e-4, tol=1e-5, precondition="ggn").solve(v)
    assert ours.iterations <= 2 < plain.iterations
    assert max(ours.residual.max(), plain.residual.max()) < 1e-4


def test_columns_do_not_mix():
    objective, theta = logistic()
    v = normal(objective.net.p, 3)
    v[:, 1] *= 1e-6
    method = ConjugateGradient(objective, theta, 0.01, tol=1e-12, precondition="none")
    alone = torch.cat([method.solve(v[:, k : k + 1]).x for k in range(3)], 1)
    torch.testing.assert_close(method.solve(v).x, alone, rtol=1e-8, atol=1e-14)


def test_negative_curvature_stops_or_goes_on():
    objective, theta = tanh_net(decay=0.0)
    p = objective.net.p
    matrix = explicit(objective, theta)
    values, vectors = torch.linalg.eigh(matrix)
    down, up = vectors[:, :1], vectors[:, -1:]
    assert values[0] < -1e-3
    with pytest.raises(SpecError, match=r"not positive definite: 1 of 2.*negative eigenvalue"):
        ConjugateGradient(objective, theta, 0.0, precondition="none").solve(torch.cat([down, up], 1))
    stopped = ConjugateGradient(objective, theta, 0.0, precondition="none").solve(up + 0.1 * down)
    assert stopped.facts["negative_curvature"] == 1
    assert 0 < float(stopped.residual) < 1
    v = normal(p, 2)
    on = ConjugateGradient(objective, theta, 1e-3, tol=1e-9, most=300, negative="continue").solve(v)
    torch.testing.assert_close(on.x, torch.linalg.solve(matrix + 1e-3 * torch.eye(p), v), rtol=1e-5, atol=1e-5)


def test_a_singular_preconditioner_is_mended():
    net, theta = drawn(nn.Linear(4, 2))
    x = normal(6, 1).expand(6, 4).contiguous()
    objective = Objective(net, x, torch.arange(6) % 2)
    v = objective.products(theta, normal(net.p, 2))
    solution = ConjugateGradient(objective, theta, 0.0, tol=1e-6).solve(v)
    assert solution.residual.max() < 1e-5


@pytest.mark.parametrize("wrong", [{"precondition": "jacobi"}, {"negative": "ignore"}])
def test_unknown_words_are_refused(wrong):
    with pytest.raises(SpecError, match="unknown"):
        ConjugateGradient(*logistic(), 0.1, **wrong)


def test_progress_is_told():
    seen = []
    objective, theta = logistic()
    method = ConjugateGradient(objective, theta, 0.1, progress=lambda done, total: seen.append((done, total)), most=9)
    solution = method.solve(normal(objective.net.p, 1))
    assert seen == [(k + 1, 9) for k in range(solution.iterations)]
