"""LiSSA: the damping it says, the scale it proposes, divergence."""

import numpy as np
import pytest
import torch

from experiments.core.estimators._lissa import DivergedError, Lissa
from experiments.core.estimators.numerics.explicit import Explicit
from tests.core.estimators.cases import explicit, logistic, normal, tanh_net


def test_one_recursion_written_out():
    objective, theta = logistic()
    v, matrix = normal(objective.net.p, 2), explicit(objective, theta)
    u, scale, shrink = v, 6.0, 0.005
    for _ in range(7):
        u = v + (1 - shrink) * u - matrix @ u / scale
    solution = Lissa(objective, theta, shrink * scale, depth=7, batch_size=24, scale=scale).solve(v)
    torch.testing.assert_close(solution.x, u / scale)
    assert solution.facts["shrink"] == pytest.approx(shrink)
    assert solution.facts["effective_damping"] == pytest.approx(0.03)
    torch.testing.assert_close(solution.curve[-1][1], u.norm(dim=0))
    assert [step for step, _ in solution.curve] == list(range(8))


@pytest.mark.slow
def test_mini_batches_and_repeats_come_near():
    objective, theta = logistic()
    v = normal(objective.net.p, 1)
    exact = Explicit(objective, theta, 0.5).solve(v).x

    def error(repeats):
        x = Lissa(objective, theta, 0.5, depth=60, repeats=repeats, batch_size=6, scale=10.0).solve(v).x
        return float((x - exact).norm() / exact.norm())

    assert error(8) < 0.2
    assert error(8) < error(1)


def test_the_proposed_scale_covers_the_mini_batches():
    objective, theta = logistic()
    scale = Lissa(objective, theta, 0.1, batch_size=24).scale
    assert scale == pytest.approx(1.1 * (float(torch.linalg.eigvalsh(explicit(objective, theta))[-1]) + 0.1), rel=1e-3)
    assert Lissa(objective, theta, 0.1, batch_size=6).scale > scale


def test_default_depth_follows_the_slowest_direction():
    objective, theta = logistic(decay=0.05)
    assert Lissa(objective, theta, 0.05, scale=20.0).depth == 600
    assert Lissa(objective, theta, 0.05, scale=0.1).depth == 24
    assert Lissa(objective, theta, 1e-9, scale=1e4).depth == 10_000


def test_a_small_scale_diverges_and_the_error_says_which_would_do():
    objective, theta = logistic()
    v = normal(objective.net.p, 2)
    top = float(torch.linalg.eigvalsh(explicit(objective, theta))[-1])
    with pytest.raises(DivergedError) as fault:
        Lissa(objective, theta, 0.1, batch_size=24, scale=0.4 * top, depth=300).solve(v)
    assert f"eigenvalues up to {top + 0.1:.2g}"[:-1] in fault.value.what
    scale = float(fault.value.todo.removeprefix("set scale to "))
    assert Lissa(objective, theta, 0.1, batch_size=24, scale=scale, depth=300).solve(v).residual.max() < 1e-2


def test_negative_curvature_is_told_apart_from_a_small_scale():
    objective, theta = tanh_net(decay=0.0)
    least = float(torch.linalg.eigvalsh(explicit(objective, theta))[0])
    with pytest.raises(DivergedError, match="negative eigenvalue") as fault:
        Lissa(objective, theta, 0.0, batch_size=24, depth=3000).solve(normal(objective.net.p, 1))
    assert float(fault.value.todo.split()[3].rstrip(",")) == pytest.approx(-least, rel=0.05)


def test_the_seed_decides():
    objective, theta = logistic()
    v = normal(objective.net.p, 1)
    runs = [Lissa(objective, theta, 0.1, seed, depth=20, batch_size=5, scale=9.0).solve(v).x for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
