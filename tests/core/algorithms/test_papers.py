"""Each algorithm against its paper's pseudo-code, unrolled client by client in NumPy on a linear model.

Three rounds of four clients of unequal sizes, two or three of whom take part; mini-batches (so that the numbers of
steps differ), a falling learning rate, weight decay as part of each client's objective; the whole federation, a client
left out from the beginning, and one left out after it took part.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from experiments.core.algorithms.fedadam import FedAdam
from experiments.core.algorithms.fedavgm import FedAvgM
from experiments.core.algorithms.feddyn import FedDyn
from experiments.core.algorithms.fednova import FedNova
from experiments.core.algorithms.fedspeed import FedSpeed
from experiments.core.algorithms.fedyogi import FedYogi
from experiments.core.algorithms.scaffold import Scaffold
from experiments.core.engine.algorithm import Setup
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE, World

SIZES = (2, 5, 8, 3)
CLIENTS = len(SIZES)
SCHEDULE = ((0, 1), (1, 2, 3), (0, 1, 2))
WORLDS = [BASE, World("without 1", frozenset({1})), World("without 1 from round 2", frozenset({1}), since=2)]


def problem(algorithm, momentum=0.0):
    g = torch.Generator().manual_seed(1)
    n = sum(SIZES)
    x, y = torch.randn(n, 3, generator=g).double(), torch.randn(n, 1, generator=g).double()
    module = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[0.5, -1.0, 2.0]]))
    offsets = tuple(np.cumsum((0, *SIZES)).tolist())
    data = Federation(x, y, offsets, x, y, tuple("abcd"), 1, "least squares")
    local = LocalTraining(
        0.1, epochs=2, batch_size=2, momentum=momentum, weight_decay=0.05, lr_schedule="exponential", gamma=0.7
    )
    return Problem(Net.of(module, "squared"), data, SCHEDULE, local, algorithm, 0)


@dataclass
class Paper:
    """One world's run in the words of the papers: `p` is the problem, `world` who is left out."""

    p: Problem
    world: World
    x: np.ndarray = field(init=False)

    def __post_init__(self):
        self.x = self.p.net.flat().numpy().copy()

    def participants(self, t):
        return [k for k in SCHEDULE[t - 1] if not (k in self.world.clients and t >= self.world.since)]

    def lr(self, t):
        return 0.1 * 0.7 ** (t - 1)

    def gradients(self, k, t):
        """The gradient of f_k on each batch of round t, with the penalty 0.05 / 2 |w|^2: functions of w."""
        features, targets = (part.numpy() for part in self.p.federation.of(k))
        for rows in self.p.local.batches(len(targets), 0, k, t):
            a, b = features[rows.numpy()], targets[rows.numpy(), 0]
            yield lambda w, a=a, b=b: a.T @ (a @ w - b) / len(b) + 0.05 * w

    def descend(self, k, t, shift=0.0, pull=0.0):
        """Plain SGD from x on f_k + <shift, w> + pull / 2 |w - x|^2; returns where it ends and the number of steps."""
        w, steps = self.x.copy(), 0
        for gradient in self.gradients(k, t):
            w = w - self.lr(t) * (gradient(w) + shift + pull * (w - self.x))
            steps += 1
        return w, steps

    def mean_update(self, t):
        """Delta_t, weighted by samples."""
        here = self.participants(t)
        total = sum(SIZES[k] for k in here)
        return sum(SIZES[k] / total * (self.descend(k, t)[0] - self.x) for k in here)


class Nova(Paper):
    """Wang et al. 2020: d_i = G_i a_i / |a_i|_1 with momentum's a_i, each gradient's weight in the local update."""

    rho = 0.6

    def run(self):
        for t in range(1, len(SCHEDULE) + 1):
            here = self.participants(t)
            total = sum(SIZES[k] for k in here)
            directions, norms = [], []
            for k in here:
                w, velocity, seen = self.x.copy(), 0.0, []
                for gradient in self.gradients(k, t):
                    seen.append(gradient(w))
                    velocity = self.rho * velocity + seen[-1]
                    w = w - self.lr(t) * velocity
                tau = len(seen)
                a = np.array([(1 - self.rho ** (tau - s)) / (1 - self.rho) for s in range(tau)])
                directions.append(np.stack(seen, 1) @ a / a.sum())
                norms.append(a.sum())
            shares = [SIZES[k] / total for k in here]
            effective = sum(share * norm for share, norm in zip(shares, norms, strict=True))
            step = sum(share * d for share, d in zip(shares, directions, strict=True))
            self.x = self.x - effective * self.lr(t) * step
        return self.x


class Controlled(Paper):
    """Karimireddy et al. 2020, Algorithm 1, option II."""

    lr_global = 0.8

    def run(self):
        c, variates = np.zeros(3), np.zeros((CLIENTS, 3))
        for t in range(1, len(SCHEDULE) + 1):
            here, updates, changes = self.participants(t), [], []
            for k in here:
                y, steps = self.descend(k, t, c - variates[k])
                new = variates[k] - c + (self.x - y) / (steps * self.lr(t))
                updates.append(y - self.x)
                changes.append(new - variates[k])
                variates[k] = new
            self.x = self.x + self.lr_global * np.average(updates, 0, self.weights(here))
            c = c + self.moved(here) * np.mean(changes, 0)
        return self.x

    def weights(self, here):
        return [1] * len(here)

    def moved(self, here):
        return len(here) / CLIENTS


class BySamples(Controlled):
    """Models averaged by n_k."""

    def weights(self, here):
        return [SIZES[k] for k in here]


class Released(BySamples):
    """The code of Tang et al. 2024: besides, c moves by the mean change of the participants."""

    def moved(self, here):
        return 1


class Dynamic(Paper):
    """Acar et al. 2021, Algorithm 1, the local minimum replaced by local SGD."""

    alpha = 0.4

    def run(self):
        h, dual = np.zeros(3), np.zeros((CLIENTS, 3))
        for t in range(1, len(SCHEDULE) + 1):
            here, models = self.participants(t), []
            for k in here:
                theta, _ = self.descend(k, t, -dual[k], self.alpha)
                dual[k] = dual[k] - self.alpha * (theta - self.x)
                models.append(theta)
            h = h - self.alpha / CLIENTS * sum(theta - self.x for theta in models)
            self.x = sum(models) / len(here) - h / self.alpha
        return self.x


class Speed(Paper):
    """Sun et al. 2023, Algorithm 1; the penalty 0.05 / 2 |w|^2 beside the two gradients of the loss."""

    lam, rho, alpha = 0.6, 0.3, 0.8

    def run(self):
        dual = np.zeros((CLIENTS, 3))
        for t in range(1, len(SCHEDULE) + 1):
            sent = []
            for k in self.participants(t):
                w = self.x.copy()
                for gradient in self.gradients(k, t):
                    first = gradient(w) - 0.05 * w
                    above = w + self.rho * first / self.norm(first)
                    second = gradient(above) - 0.05 * above
                    mixed = (1 - self.alpha) * first + self.alpha * second
                    w = w - self.lr(t) * (mixed + 0.05 * w - dual[k] + (w - self.x) / self.lam)
                dual[k] = dual[k] - (w - self.x) / self.lam
                sent.append(w - self.lam * dual[k])
            self.x = np.mean(sent, 0)
        return self.x

    def norm(self, gradient):
        return 1.0


class NormedSpeed(Speed):
    """The ascent of the released code: rho along the direction of the gradient."""

    def norm(self, gradient):
        return np.linalg.norm(gradient)


class Momentum(Paper):
    """Hsu et al. 2019: v = beta v + Delta w, w = w - v (there Delta w is the old model minus the new one)."""

    def run(self):
        v = np.zeros(3)
        for t in range(1, len(SCHEDULE) + 1):
            v = 0.7 * v - self.mean_update(t)
            self.x = self.x - v
        return self.x


class Adam(Paper):
    """Reddi et al. 2021, Algorithm 2."""

    def run(self):
        m, v = np.zeros(3), np.full(3, 0.02**2)
        for t in range(1, len(SCHEDULE) + 1):
            delta = self.mean_update(t)
            m = 0.8 * m + 0.2 * delta
            v = self.second(v, delta**2)
            self.x = self.x + 0.3 * m / (np.sqrt(v) + 0.02)
        return self.x

    def second(self, v, square):
        return 0.9 * v + 0.1 * square


class Yogi(Adam):
    """Reddi et al. 2021, Algorithm 2."""

    def second(self, v, square):
        return v - 0.1 * square * np.sign(v - square)


ADAPTIVE = {"lr": 0.3, "beta1": 0.8, "beta2": 0.9, "tau": 0.02}
CASES = {
    "fednova": (FedNova(), Nova, 0.6),
    "scaffold": (Scaffold(lr=0.8), Controlled, 0.0),
    "scaffold by samples": (Scaffold(lr=0.8, average="samples"), BySamples, 0.0),
    "scaffold as released with FedImpro": (
        Scaffold(lr=0.8, average="samples", variates="participants"),
        Released,
        0.0,
    ),
    "feddyn": (FedDyn(alpha=0.4), Dynamic, 0.0),
    "fedspeed": (FedSpeed(lam=0.6, rho=0.3, alpha=0.8, normalised=False), Speed, 0.0),
    "fedspeed, normalised": (FedSpeed(lam=0.6, rho=0.3, alpha=0.8), NormedSpeed, 0.0),
    "fedavgm": (FedAvgM(momentum=0.7), Momentum, 0.0),
    "fedadam": (FedAdam(**ADAPTIVE), Adam, 0.0),
    "fedyogi": (FedYogi(**ADAPTIVE), Yogi, 0.0),
}


@pytest.mark.parametrize("name", list(CASES))
def test_it_is_the_papers_algorithm(name):
    algorithm, paper, momentum = CASES[name]
    p = problem(algorithm, momentum)
    expected = torch.stack([torch.from_numpy(paper(p, world).run()) for world in WORLDS])
    assert min(float((a - b).abs().max()) for a, b in zip(expected, expected.roll(1, 0), strict=True)) > 1e-3
    stacked = simulate(p, WORLDS, p.net.flat(), formulations()["looped"](p.net), chunk=2)
    torch.testing.assert_close(stacked, expected, rtol=1e-10, atol=1e-12)
    for row, world in zip(expected, WORLDS, strict=True):
        *_, (_, plain) = simulate_plain(p, world, p.net.flat())
        torch.testing.assert_close(plain, row, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [FedAdam, FedYogi])
def test_a_square_that_equals_the_second_moment_leaves_yogis_as_it_is(kind):
    """sign(0) = 0, in both forms: a mean update of exactly tau on the one parameter."""
    algorithm = kind(lr=1.0, beta1=0.5, beta2=0.75, tau=0.5)
    delta = torch.full((1, 1), 0.5, dtype=torch.float64)
    setup = Setup(1, 1, 2, 0, lambda block: (1,))
    state = algorithm.init(torch.zeros(1).double(), setup).server
    step, after = algorithm.step(delta, state)
    plain = algorithm.plain(setup)
    torch.testing.assert_close(plain.move(delta[0]), step[0], rtol=0, atol=0)
    assert after[0, 1] == 0.25 == plain.memory["v"][0] and step[0, 0] == 0.25
