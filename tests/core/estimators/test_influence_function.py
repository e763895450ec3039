"""Influences against leave-one-out refits."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from experiments.core.engine.objective import Objective
from experiments.core.errors import SpecError
from experiments.core.estimators.numerics.explicit import Explicit
from experiments.core.estimators.numerics.influence_function import changes, group_influence, influences
from experiments.core.estimators.numerics.influence_function import test_gradients as gradients_of_tests
from tests.core.estimators.cases import classes, drawn, explicit, logistic, minimised, normal, tanh_net


def ridge(decay, n=20):
    net, _ = drawn(nn.Linear(3, 1, bias=False), "squared")
    x = normal(n, 3)
    y = x @ normal(3, 1, seed=8) + 0.3 * normal(n, 1, seed=9)
    objective = Objective(net, x, y, decay)
    return objective, torch.linalg.solve(x.T @ x / n + decay * torch.eye(3), x.T @ y[:, 0] / n)


def without(objective, rows):
    keep = [i for i in range(objective.n) if i not in rows]
    return replace(objective, x=objective.x[keep], y=objective.y[keep])


def test_least_squares_leave_one_out_is_the_first_order_over_one_minus_leverage():
    objective, theta = ridge(0.0)
    x, n = objective.x, objective.n
    leverage = (x @ torch.linalg.inv(x.T @ x) * x).sum(1)
    predicted = changes(objective, theta, Explicit(objective, theta, 0.0), range(n))
    for i in range(n):
        rest = without(objective, [i])
        refit = torch.linalg.lstsq(rest.x, rest.y).solution[:, 0]
        torch.testing.assert_close(predicted[:, i] / (1 - leverage[i]), refit - theta)


@pytest.mark.parametrize("over", ["n", "n-1"])
def test_ridge_leave_one_out_in_closed_form(over):
    objective, theta = ridge(0.1, 400)
    predicted = changes(objective, theta, Explicit(objective, theta, 0.0), range(30), over)
    actual = []
    for i in range(30):
        rest = without(objective, [i])
        left = rest.x.T @ rest.x / rest.n + 0.1 * torch.eye(3)
        actual.append(torch.linalg.solve(left, rest.x.T @ rest.y[:, 0] / rest.n) - theta)
    error = (predicted - torch.stack(actual, 1)).norm() / predicted.norm()
    assert error < 0.02


def test_n_minus_one_is_the_exact_derivative_for_a_mean_over_the_rest():
    """As the samples' number grows, the factor 1/(n-1) leaves an error that shrinks faster than that of 1/n."""
    objective, theta = ridge(0.1, 20)
    h = explicit(objective, theta)
    g = -(objective.y[4] - objective.x[4] @ theta) * objective.x[4] + 0.1 * theta
    for over, count in (("n", 20), ("n-1", 19)):
        found = changes(objective, theta, Explicit(objective, theta, 0.0), [4], over)[:, 0]
        torch.testing.assert_close(found, torch.linalg.solve(h, g) / count)


def test_logistic_regression_against_exact_refits():
    objective, theta = logistic(decay=0.1, n=60)
    tx, ty = classes(4, seed=20)
    solved = Explicit(objective, theta, 0.0).solve(gradients_of_tests(objective.net, theta, tx, ty)).x
    predicted = influences(objective, theta, solved, "n-1")
    tests = Objective(objective.net, tx, ty)
    before = tests.losses(theta)
    actual = []
    for i in range(0, 60, 4):
        actual.append(tests.losses(minimised(without(objective, [i]), theta, 4)) - before)
    actual, predicted = torch.stack(actual, 1), predicted[:, ::4]
    assert ((predicted - actual).norm(dim=1) / actual.norm(dim=1)).max() < 0.15
    for a, b in zip(actual, predicted, strict=True):
        assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.99


def test_removing_a_helpful_sample_raises_the_loss():
    """A test sample that is also a training sample: to remove it raises its loss, and its influence is positive."""
    objective, theta = logistic()
    x, y = objective.x[:5], objective.y[:5]
    solved = Explicit(objective, theta, 0.0).solve(gradients_of_tests(objective.net, theta, x, y)).x
    own = influences(objective, theta, solved)[:, :5].diagonal()
    for i in range(5):
        raised = Objective(objective.net, x, y).losses(minimised(without(objective, [i]), theta, 4))[i]
        assert raised > Objective(objective.net, x, y).losses(theta)[i]
        assert own[i] > 0


def test_influences_and_changes_tell_the_same():
    objective, theta = tanh_net(mask=None, chunk=7)
    tx, ty = classes(3, seed=20)
    v = gradients_of_tests(objective.net, theta, tx, ty)
    inverse = Explicit(objective, theta, 0.01)
    torch.testing.assert_close(
        influences(objective, theta, inverse.solve(v).x), v.T @ changes(objective, theta, inverse, range(objective.n))
    )


def test_test_gradients_have_no_penalty():
    objective, theta = tanh_net()
    w = theta.clone().requires_grad_()
    losses = nn.functional.cross_entropy(objective.net.call(w, objective.x), objective.y, reduction="none")
    found = gradients_of_tests(objective.net, theta, objective.x, objective.y)
    for t in range(3):
        torch.testing.assert_close(found[:, t], torch.autograd.grad(losses[t], w, retain_graph=True)[0])


def test_groups_add_up():
    found = group_influence(torch.tensor([[1.0, 2.0, 4.0], [0.0, 1.0, 3.0]]), [[0, 2], [1]])
    torch.testing.assert_close(found, torch.tensor([[5.0, 2.0], [3.0, 1.0]]))


def test_an_unknown_count_is_refused():
    objective, theta = logistic()
    with pytest.raises(SpecError, match="use n or n-1"):
        influences(objective, theta, normal(15, 1), "all")
