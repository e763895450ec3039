"""What is FedSpeed's own: two passes a step, of which the second leaves no trace but its gradient."""

import dataclasses

import pytest
import torch
from torch import nn

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.algorithms.fedspeed import FedSpeed
from experiments.core.engine.examine import examine
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE
from tests.core.engine.test_simulate import WORLDS, problem


def end(p, worlds=(BASE,)):
    return simulate(p, list(worlds), p.net.flat(), formulations()["looped"](p.net))


def test_both_passes_of_a_model_that_draws_draw_the_same():
    p = problem(algorithm=FedSpeed(lam=0.5, rho=0.5, alpha=0.7), rounds=4)
    module = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    initialise(module, 0)
    net = examine(Net.of(module), p.federation)
    assert net.draws
    p = dataclasses.replace(p, net=net, local=LocalTraining(0.1, steps=2))
    for row, world in zip(end(p, WORLDS[:3]), WORLDS[:3], strict=True):
        *_, (_, plain) = simulate_plain(p, world, net.flat())
        torch.testing.assert_close(row, plain, rtol=1e-9, atol=1e-12)


def test_statistics_are_moved_by_the_first_pass_alone():
    """After one step of one client they are FedAvg's."""
    p = dataclasses.replace(problem("batchnorm", rounds=1), schedule=((1,),), local=LocalTraining(0.1, steps=1))
    speed = end(dataclasses.replace(p, algorithm=FedSpeed(lam=0.5, rho=0.5)))[0]
    average = end(p)[0]
    assert torch.equal(speed[p.net.p :], average[p.net.p :])
    assert float((speed - average)[: p.net.p].abs().max()) > 1e-4


@pytest.mark.parametrize("same", [{"alpha": 0.0}, {"rho": 0.0}])
def test_without_the_second_gradient_a_first_round_goes_twice_as_far_as_fedavgs_step(same):
    """theta_K - lambda c with c = -(theta_K - w) / lambda is w + 2 (theta_K - w)."""
    p = dataclasses.replace(problem(rounds=1), schedule=((1,),), local=LocalTraining(0.1, steps=1))
    speed = end(dataclasses.replace(p, algorithm=FedSpeed(lam=0.5, **same)))[0]
    torch.testing.assert_close(speed - p.net.flat(), 2 * (end(p)[0] - p.net.flat()), rtol=1e-10, atol=1e-12)
    assert isinstance(p.algorithm, FedAvg)
