"""Minima against closed forms, long gradient descent and explicit Hessians."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from experiments.core.engine import newton
from experiments.core.engine.descent import Descent, descend
from experiments.core.engine.device import Workers
from experiments.core.engine.formulations import formulations
from experiments.core.engine.net import Net
from experiments.core.engine.newton import inverse, minimise, newton_worlds
from experiments.core.engine.objective import Objective
from experiments.core.engine.worlds import BASE, sample_weights, without_sample, without_samples
from experiments.core.errors import NumericalError

N, D = 15, 4
WORLDS = [BASE, *map(without_sample, (0, 4, 14)), without_samples("g", [2, 3, 9])]


def toy(module=None, decay=0.05, loss="cross_entropy"):
    """Three overlapping classes, as in Iris."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(N) % 3
    x = torch.randn(N, D, generator=g, dtype=torch.float64) + y[:, None].double()
    module = module or nn.Sequential(nn.Linear(D, 3), nn.Tanh(), nn.Linear(3, 3))
    net = Net.of(module.double(), loss)
    start = 0.7 * torch.randn(net.size, generator=g, dtype=torch.float64)
    return Objective(net, x, y, decay), start


def hessian(o, theta):
    return torch.func.hessian(lambda t: literal(o, t))(theta)


def literal(o, theta):
    losses = nn.functional.cross_entropy(o.net.call(theta, o.x), o.y, reduction="none")
    w = torch.ones(N, dtype=torch.float64) if o.weight is None else o.weight
    return (w * losses).sum() / w.sum() + 0.5 * o.decay * theta.square().sum()


def ridge():
    """Least squares with a penalty: the minimum is a linear system's solution."""
    o, start = toy(nn.Linear(D, 2, bias=False), decay=0.3, loss="squared")
    y = torch.randn(N, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    o = Objective(o.net, o.x, y, 0.3)

    def solution(w):
        gram = o.x.T @ (w[:, None] * o.x) / w.sum() + 0.3 * torch.eye(D, dtype=torch.float64)
        return torch.linalg.solve(gram, o.x.T @ (w[:, None] * y) / w.sum()).T.reshape(-1)

    return o, start, solution


@pytest.mark.parametrize("explicit", [4096, 0])
def test_least_squares(explicit):
    o, start, solution = ridge()
    found = minimise(o, start, 1e-11, explicit=explicit)
    torch.testing.assert_close(found.theta, solution(torch.ones(N, dtype=torch.float64)), rtol=1e-9, atol=1e-10)
    assert found.gradient_norm <= 1e-11


@pytest.mark.parametrize("explicit", [4096, 0])
@pytest.mark.parametrize("most", [2000, 4])
def test_a_network_ends_in_a_minimum_and_f_never_rises(explicit, most):
    o, start = toy()
    found = minimise(o, start, 1e-10, most, explicit=explicit)
    gradient = torch.func.grad(lambda t: literal(o, t))(found.theta)
    assert float(gradient.norm()) == pytest.approx(found.gradient_norm, rel=1e-2, abs=1e-14)
    assert float(o.value(found.theta)) <= float(o.value(start))
    if most > 4:
        assert found.gradient_norm <= 1e-10
        assert torch.linalg.eigvalsh(hessian(o, found.theta))[0] > 0
    else:
        assert found.gradient_norm > 1e-10
        assert found.steps <= 24 + most  # L-BFGS looks up every twenty steps


def test_newton_steps_alone_leave_a_region_of_negative_curvature():
    o, start = toy(decay=0.01)
    assert torch.linalg.eigvalsh(hessian(o, start))[0] < -0.01
    values, theta = [float(o.value(start))], start
    for _ in range(40):
        theta = newton._newton(o, theta, 1e-10, 1, newton._factorised, lambda done: None).theta
        values.append(float(o.value(theta)))
    assert all(b <= a + 1e-14 for a, b in pairwise(values))
    assert float(o.gradient(theta).norm()) <= 1e-10
    assert torch.linalg.eigvalsh(hessian(o, theta))[0] > 0


def test_an_inverse_with_positive_eigenvalues():
    q, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    values = torch.tensor([-2.0, 0.0, 0.5, 4.0], dtype=torch.float64)
    found = inverse(q @ values.diag() @ q.T)
    expected = q @ torch.tensor([0.5, 1 / 4e-8, 2.0, 0.25], dtype=torch.float64).diag() @ q.T
    torch.testing.assert_close(found(torch.eye(4, dtype=torch.float64)), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found(q[:, 3]), q[:, 3] / 4)


def test_progress_is_told_and_a_loss_that_is_not_finite_refused():
    o, start = toy()
    told = []
    minimise(o, start, 1e-10, 500, progress=lambda *now: told.append(now))
    assert [of for _, of in told] == [1000] * len(told)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    with pytest.raises(NumericalError, match="not finite"):
        minimise(o, start * float("nan"))


def worlds_of(o, start, curvature, kind="dense", threads=1, **more):
    weight = sample_weights(WORLDS, N, o.x)
    with Workers(threads) as workers:
        return newton_worlds(
            formulations()[kind](o.net),
            start.expand(len(WORLDS), -1),
            o.x,
            o.y,
            weight,
            o.decay,
            o.mask,
            curvature,
            workers=workers,
            **more,
        )


def test_least_squares_without_some_samples():
    o, start, solution = ridge()
    found = worlds_of(o, start, inverse(o.products(start, torch.eye(o.net.p).double())))
    for state, w in zip(found.states, sample_weights(WORLDS, N, o.x), strict=True):
        torch.testing.assert_close(state, solution(w), rtol=1e-9, atol=1e-9)
    assert bool((found.gradient_norms <= 1e-10).all())


@pytest.fixture(scope="module")
def retrained():
    """The network's minimum, and where 6000 steps of gradient descent lead from there without the worlds' samples."""
    o, start = toy()
    base = minimise(o, start).theta
    weight = sample_weights(WORLDS, N, o.x)
    with Workers(1) as workers:
        slow = descend(
            formulations()["dense"](o.net),
            base.expand(len(WORLDS), -1),
            o.x,
            o.y,
            weight,
            Descent(0.8, decay=o.decay),
            6000,
            0,
            workers,
        )
    return o, base, slow.states


@pytest.mark.parametrize(
    ("kind", "threads", "small", "patience"),
    [("dense", 1, 256, 4), ("looped", 2, 256, 4), ("dense", 2, 256, 0), ("dense", 1, 0, 0)],
    ids=["side by side", "looped, threads", "each its own Hessian", "each by preconditioned products"],
)
def test_worlds_end_where_long_gradient_descent_ends(retrained, monkeypatch, kind, threads, small, patience):
    o, base, slow = retrained
    monkeypatch.setattr(newton, "_SMALL", small)
    monkeypatch.setattr(newton, "_PATIENCE", patience)
    found = worlds_of(o, base, inverse(hessian(o, base)), kind, threads)
    assert bool((found.gradient_norms <= 1e-10).all())
    torch.testing.assert_close(found.states, slow, rtol=0, atol=1e-6)
    assert float((found.states[1:] - base).norm(dim=1).min()) > 1e-3
    assert int(found.steps[0]) == 0 and int(found.steps[1:].min()) > 0


def test_a_world_that_does_not_converge_says_so(retrained):
    o, base, _ = retrained
    found = worlds_of(o, base, inverse(hessian(o, base)), most=1)
    weight = sample_weights(WORLDS, N, o.x)
    for state, norm, w in zip(found.states, found.gradient_norms, weight, strict=True):
        o_w = Objective(o.net, o.x, o.y, o.decay, weight=w)
        assert float(torch.func.grad(lambda t, o=o_w: literal(o, t))(state).norm()) == pytest.approx(
            float(norm), rel=1e-6, abs=1e-12
        )
    assert bool((found.gradient_norms[1:] > 1e-10).all())


def test_a_useless_curvature_is_found_out(retrained):
    """Steps that go the wrong way: every world falls back on its own Hessian."""
    o, base, slow = retrained
    found = worlds_of(o, base, lambda rows: -30 * rows)
    torch.testing.assert_close(found.states, slow, rtol=0, atol=1e-6)
