"""Lanczos and the low-rank inverse against the explicit spectrum."""

import pytest
import torch
from torch import nn

from experiments.core.engine.objective import Objective
from experiments.core.errors import SpecError
from experiments.core.estimators._low_rank import LowRank
from experiments.core.estimators.numerics.lanczos import extremes, top_eigenvalue
from tests.core.estimators.cases import classes, drawn, explicit, normal, tanh_net


def test_extreme_eigenvalues_equal_the_explicit_ones():
    objective, theta = tanh_net()
    values = torch.linalg.eigvalsh(explicit(objective, theta))
    least, most, products = extremes(objective, theta, 1e-6)
    assert least == pytest.approx(float(values[0]), rel=1e-5)
    assert most == pytest.approx(float(values[-1]), rel=1e-5)
    top, fewer = top_eigenvalue(objective, theta, 1e-3)
    assert top == pytest.approx(float(values[-1]), rel=1e-3)
    assert fewer < products <= objective.net.p


def test_most_bounds_the_products():
    assert extremes(*tanh_net(), tol=0.0, most=4)[2] == 4


def test_an_exhausted_space_goes_on_in_a_new_direction():
    net, theta = drawn(nn.Linear(4, 2))
    objective = Objective(net, torch.zeros(6, 4).double(), torch.arange(6) % 2, 0.5)
    least, most, _ = extremes(objective, theta, 1e-9)
    assert (least, most) == pytest.approx((0.5, float(torch.linalg.eigvalsh(explicit(objective, theta))[-1])))


def test_rank_keeps_the_largest_magnitudes():
    objective, theta = tanh_net()
    p, v = objective.net.p, normal(objective.net.p, 2)
    values, vectors = torch.linalg.eigh(explicit(objective, theta))
    kept = values.abs().topk(4).indices
    span = vectors[:, kept] @ ((vectors[:, kept].T @ v) / (values[kept] + 0.1)[:, None])
    rest = v - vectors[:, kept] @ (vectors[:, kept].T @ v)
    ours = LowRank(objective, theta, 0.1, rank=4, steps=p).solve(v)
    torch.testing.assert_close(ours.x, span + rest / 0.1, rtol=1e-6, atol=1e-6)
    inside = LowRank(objective, theta, 0.1, rank=4, steps=p, outside=False).solve(v)
    torch.testing.assert_close(inside.x, span, rtol=1e-6, atol=1e-6)
    assert ours.facts["least_kept"] == pytest.approx(float(values[kept].abs().min()), rel=1e-6)


def test_zero_eigenvalues_need_damping():
    x, y = classes()
    net, theta = drawn(nn.Linear(4, 3))
    with pytest.raises(SpecError, match="zero"):
        LowRank(Objective(net, x, y), theta, 0.0, rank=net.p)
    with pytest.raises(SpecError, match="rank 0"):
        LowRank(Objective(net, x, y), theta, 0.1, rank=0)
