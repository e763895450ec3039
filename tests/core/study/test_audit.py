"""Canary runs against the engine's own private training; a true guarantee stands, and broken mechanisms are caught."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.core.engine.accounting import epsilon
from experiments.core.engine.dpsgd import Mechanism
from experiments.core.engine.evaluate import sample_losses
from experiments.core.engine.formulations.dense import Dense
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.noise import noise_for
from experiments.core.engine.seeds import stream
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE
from experiments.core.errors import SpecError
from experiments.core.scores.attack import proven, proven_gaussian
from experiments.core.study.audit import attacked, rarest, require_auditable, with_canary
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from tests.vog.test_truth import iris

DELTA = 1e-4
FULL = LocalTraining(0.3, steps=2)
POISSON = LocalTraining(0.3, epochs=1, batch_size=30, momentum=0.5)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A canary among 40 flowers, and the initial state: two rounds of two full-batch steps."""
    built = build(iris(truth=None), 0, Context(tmp_path_factory.mktemp("cell")))
    data = built.problem.federation
    some = torch.arange(0, 120, 3)
    few = replace(data, x=data.x[some], y=data.y[some], offsets=(0, 40))
    p = replace(built.problem, federation=few, local=FULL, schedule=((0,), (0,)), mechanism=Mechanism(1.0, 1.0))
    return with_canary(p, built.start), built.start


@pytest.mark.parametrize("local", [FULL, POISSON], ids=["full batch", "poisson"])
def test_a_run_with_the_canary_is_a_private_training(toy, local):
    """Its last model is the one that the engine trains with the run's seed: same batches, noise, divisor, optimiser."""
    p, start = replace(toy[0], local=local), toy[1]
    f, runs = Dense(p.net), [0, 3, 4]
    seen = attacked(p, start, f, runs)
    for i, run in ((0, 0), (2, 4)):
        own = replace(p, seed=int(stream(p.seed, "audit", run=run).integers(2**31)))
        state = simulate(own, [BASE], start, f)
        loss = sample_losses(f, state, p.federation.x[-1:], p.federation.y[-1:])
        assert seen.loss[i] == pytest.approx(-float(loss), rel=1e-9)
    alone = attacked(p, start, f, [3])
    assert alone.gradient == pytest.approx(seen.gradient[1:2], rel=1e-9) and alone.loss == pytest.approx(seen.loss[1:2])


def test_the_canary_is_clipped_and_unlike_all_others(toy):
    p, start = toy
    data, f = p.federation, Dense(p.net)
    _, norms = f.clipped(start[None], data.x, data.y, None, 1.0)
    own, _ = f.clipped(start[None], data.x[-1:], data.y[-1:], None, 1.0)
    assert float(norms[0, -1]) > 3 and float(own.norm()) == pytest.approx(1, rel=1e-6)
    outputs = p.net.call(start, data.x[-1:])[0]
    assert int(data.y[-1]) == int(outputs.argmin()) and len(data.y) == 40
    x = torch.zeros(5, 4, dtype=torch.float64)
    x[:, :2] = torch.randn(5, 2, dtype=torch.float64)
    assert float(rarest(x)[:2].abs().max()) < 1e-12 and float(rarest(x).norm()) == pytest.approx(1)
    assert torch.equal(rarest(x), rarest(x))


def evidence(toy, formulation, mechanism, runs):
    p, start = replace(toy[0], mechanism=mechanism), toy[1]
    seen = attacked(p, start, formulation, range(2 * runs)).gradient
    return seen[::2], seen[1::2]


class Unclipped(Dense):
    """The fault of a sum that is not clipped."""

    def clipped(self, theta, x, y, weight, clip):
        return super().clipped(theta, x, y, weight, 1e9)


def test_a_true_guarantee_stands_and_broken_ones_are_caught(toy):
    """Four steps of all samples: noise for epsilon 2, the same claimed with a fifth of it, and with nothing clipped."""
    noise = noise_for(2.0, 1.0, 4, DELTA)
    stated = epsilon(noise, 1.0, 4, DELTA, "prv")
    right = evidence(toy, Dense(toy[0].net), Mechanism(1.0, noise), 400)
    assert proven(*right, DELTA).epsilon <= stated and 0 < proven_gaussian(*right, DELTA).epsilon <= stated
    weak = evidence(toy, Dense(toy[0].net), Mechanism(1.0, noise / 5), 400)
    assert proven(*weak, DELTA).epsilon > stated and proven_gaussian(*weak, DELTA).epsilon > stated
    loose = evidence(toy, Unclipped(toy[0].net), Mechanism(1.0, noise), 400)
    assert proven(*loose, DELTA).epsilon > stated


def test_evidence_is_gaussian_with_the_accountant_s_mu(toy):
    """Likelihood ratios of T full steps with a clipped canary: N(+-mu^2/2, mu^2), mu = sqrt(T) / noise."""
    present, absent = evidence(toy, Dense(toy[0].net), Mechanism(1.0, 2.0), 400)
    mu2 = 4 / 2.0**2
    error = 5 * np.sqrt(mu2 / 400)
    assert np.mean(present) == pytest.approx(mu2 / 2, abs=error) and np.mean(absent) == pytest.approx(
        -mu2 / 2, abs=error
    )
    assert np.var(present) == pytest.approx(mu2, rel=0.4) and np.var(absent) == pytest.approx(mu2, rel=0.4)


def test_what_cannot_be_audited(toy):
    p = toy[0]
    for mechanism in (None, Mechanism(1.0, 0.0)):
        with pytest.raises(SpecError, match=r"an audit is of private steps; audit; set privacy.kind=sgd"):
            require_auditable(replace(p, mechanism=mechanism))
    with pytest.raises(SpecError, match="one client's steps, not of 2"):
        require_auditable(replace(p, federation=replace(p.federation, offsets=(0, 20, 40))))
    with pytest.raises(SpecError, match="inputs that are numbers"):
        require_auditable(replace(p, federation=replace(p.federation, x=p.federation.x.long())))
