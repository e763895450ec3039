"""Each algorithm where the answer is known: limits that are FedAvg, quadratics in closed form, torch.optim's steps."""

import dataclasses

import pytest
import torch
from torch import nn

from experiments.core.algorithms.fedadam import FedAdam
from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.algorithms.fedavgm import FedAvgM
from experiments.core.algorithms.feddyn import FedDyn
from experiments.core.algorithms.fednova import FedNova
from experiments.core.algorithms.fedprox import FedProx
from experiments.core.algorithms.fedspeed import FedSpeed
from experiments.core.algorithms.fedyogi import FedYogi
from experiments.core.algorithms.scaffold import Scaffold
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE
from tests.core.engine.test_simulate import problem

SIZES = (2, 4, 8)


def quadratics(algorithm, local, rounds):
    """Least squares of three clients with other curvatures and other optima: f_k is quadratic."""
    g = torch.Generator().manual_seed(3)
    n = sum(SIZES)
    x, y = torch.randn(n, 2, generator=g).double(), 3 * torch.randn(n, 1, generator=g).double()
    net = Net.of(nn.Linear(2, 1, bias=False).double(), "squared")
    data = Federation(x, y, (0, 2, 6, n), x, y, ("a", "b", "c"), 1, "quadratics")
    return Problem(net, data, ((0, 1, 2),) * rounds, local, algorithm, 0)


def optimum(p, weights):
    """The minimum of sum_k weights_k f_k, each f_k a mean over the client's samples."""
    hessian, right = torch.zeros(2, 2).double(), torch.zeros(2).double()
    for k, weight in enumerate(weights):
        x, y = p.federation.of(k)
        hessian += weight * x.T @ x / len(x)
        right += weight * x.T @ y[:, 0] / len(x)
    return torch.linalg.solve(hessian, right)


def end(p):
    return simulate(p, [BASE], p.net.flat(), formulations()["looped"](p.net))[0]


CORRECTED = {"scaffold": Scaffold(), "feddyn": FedDyn(alpha=1.0), "fedspeed": FedSpeed(lam=1.0, alpha=0.0)}


@pytest.mark.parametrize("algorithm", list(CORRECTED.values()), ids=list(CORRECTED))
def test_drift_is_gone_at_the_optimum_of_heterogeneous_quadratics(algorithm):
    p = quadratics(algorithm, LocalTraining(0.1, steps=5), 200)
    target = optimum(p, [1 / 3] * 3)
    off = float((end(dataclasses.replace(p, algorithm=Alike())) - target).norm())
    assert off > 1e-2  # the same mean without correction
    assert float((end(p) - target).norm()) < 1e-2 * off


class Alike(FedAvg):
    """FedAvg that gives each client the same weight."""

    @property
    def weighting(self):
        return "clients"


def test_unequal_steps_move_fedavg_and_not_fednova():
    """To first order in lr FedNova rests at the minimum of sum_k p_k f_k, FedAvg at that of sum_k p_k tau_k f_k.

    (Wang et al. 2020.) Clients take 2, 4 and 8 steps, whose batches are all of the same size.
    """
    p = quadratics(FedNova(), LocalTraining(1e-5, epochs=2, batch_size=2), 1)
    avg, shares = dataclasses.replace(p, algorithm=FedAvg()), [n / sum(SIZES) for n in SIZES]
    target, biased = optimum(p, shares), optimum(p, [s * n for s, n in zip(shares, SIZES, strict=True)])

    def moved(problem, start):
        return float((simulate(problem, [BASE], start, formulations()["looped"](p.net))[0] - start).norm())

    assert moved(p, target) < 1e-3 * moved(avg, target)
    assert moved(avg, biased) < 1e-3 * moved(p, biased)


SAME = {
    "fedprox, one step": (FedProx(mu=0.7), LocalTraining(0.1, steps=1)),
    "fedprox, mu near 0": (FedProx(mu=1e-14), LocalTraining(0.1, steps=3)),
    "fednova, equal steps": (FedNova(), LocalTraining(0.1, steps=3)),
    "fednova, equal steps, momentum": (FedNova(), LocalTraining(0.1, steps=3, momentum=0.9)),
    "fedavgm, no momentum": (FedAvgM(momentum=0.0), LocalTraining(0.1, steps=3)),
}


@pytest.mark.parametrize("name", list(SAME))
def test_a_limit_is_fedavg(name):
    algorithm, local = SAME[name]
    p = dataclasses.replace(problem(rounds=4), local=local)
    torch.testing.assert_close(end(dataclasses.replace(p, algorithm=algorithm)), end(p), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("algorithm", [Scaffold(), FedDyn(alpha=1e-12)], ids=["scaffold", "feddyn"])
def test_with_zero_variates_the_first_round_is_fedavgs_with_equal_weights(algorithm):
    """The variates begin at zero; FedDyn's server also moves by h / alpha, the participants' share |S| / N."""
    p = dataclasses.replace(problem(rounds=1), local=LocalTraining(0.1, steps=3))
    mean, start = end(dataclasses.replace(p, algorithm=Alike())), p.net.flat()
    moved = (mean - start) * (1 + 2 / 6) if isinstance(algorithm, FedDyn) else mean - start
    ours = end(dataclasses.replace(p, algorithm=algorithm))
    torch.testing.assert_close(ours - start, moved, rtol=1e-9, atol=1e-10)


def test_scaffold_goes_its_servers_step():
    p = dataclasses.replace(problem(rounds=1), local=LocalTraining(0.1, steps=3))
    whole, half = (end(dataclasses.replace(p, algorithm=Scaffold(lr=lr))) for lr in (1.0, 0.5))
    torch.testing.assert_close(half, (p.net.flat() + whole) / 2, rtol=1e-12, atol=1e-14)


def updates(algorithm):
    """States of four rounds, and the mean update of each by FedAvg from the state before it."""
    states, deltas = [problem().net.flat()], []
    for t in range(1, 5):
        p = dataclasses.replace(problem(rounds=t), algorithm=algorithm)
        kind = formulations()["looped"](p.net)
        plain = dataclasses.replace(p, algorithm=FedAvg())
        deltas.append(simulate(plain, [BASE], states[-1], kind, first_round=t)[0] - states[-1])
        states.append(simulate(p, [BASE], states[0], kind)[0])
    return states, deltas


def test_fedavgm_is_torchs_sgd_on_the_mean_update():
    states, deltas = updates(FedAvgM(lr=0.7, momentum=0.6))
    w = nn.Parameter(states[0].clone())
    optimiser = torch.optim.SGD([w], 0.7, momentum=0.6)
    for state, delta in zip(states[1:], deltas, strict=True):
        w.grad = -delta
        optimiser.step()
        torch.testing.assert_close(w.detach(), state, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [FedAdam, FedYogi])
def test_fedadam_and_fedyogi_are_algorithm_2(kind):
    """Number by number in Python floats (Reddi et al. 2021)."""
    lr, one, two, tau = 0.02, 0.8, 0.9, 0.005
    states, deltas = updates(kind(lr=lr, beta1=one, beta2=two, tau=tau))
    for j in (0, 7, 20):
        w, m, v = float(states[0][j]), 0.0, tau**2
        for state, delta in zip(states[1:], deltas, strict=True):
            d = float(delta[j])
            m = one * m + (1 - one) * d
            sign = (v > d * d) - (v < d * d)
            v = two * v + (1 - two) * d * d if kind is FedAdam else v - (1 - two) * d * d * sign
            w += lr * m / (v**0.5 + tau)
            assert float(state[j]) == pytest.approx(w, rel=1e-9, abs=1e-12)
