"""The truth of a world is its difference to the base world, in loss, accuracy and parameters."""

import dataclasses

import pytest
import torch
from torch.nn import functional

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.algorithms.fedprox import FedProx
from experiments.core.engine.device import Workers
from experiments.core.engine.formulations import formulations
from experiments.core.engine.privacy import Privacy
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import load, simulate_plain
from experiments.core.engine.truth import moved, parameter_change, truth
from experiments.core.engine.worlds import BASE, leave_one_out, without_client
from tests.core.engine.test_simulate import SIZES, Watcher, problem


def test_truth_is_the_difference_of_two_plain_runs():
    p = problem(rounds=5)
    kind, worlds = formulations()["looped"](p.net), leave_one_out([0, 3, 5])
    with Workers(2) as workers:
        states = simulate(p, worlds, p.net.flat(), kind)
        found = truth(kind, states, p.federation, workers)
    scores = []
    for world in worlds:
        *_, (_, state) = simulate_plain(p, world, p.net.flat())
        with torch.no_grad():
            z = load(p.net, state).eval()(p.federation.test_x)
        y = p.federation.test_y
        scores.append((float(functional.cross_entropy(z, y)), float((z.argmax(1) == y).double().mean()), state))
    (loss, accuracy, base), others = scores[0], scores[1:]
    assert found.base_loss == pytest.approx(loss, rel=1e-12) and found.base_accuracy == accuracy
    assert found.loss.tolist() == pytest.approx([s[0] - loss for s in others], abs=1e-12)
    assert found.accuracy.tolist() == pytest.approx([s[1] - accuracy for s in others], abs=1e-12)
    assert found.loss.abs().min() > 1e-6  # not all the same model
    change = torch.stack([s[2] - base for s in others])
    torch.testing.assert_close(parameter_change(states), change, rtol=1e-9, atol=1e-12)


def test_a_world_equal_to_the_base_world_has_no_influence():
    """Exactly none, in formulations whose products round by the place in the stack too."""
    p = problem()
    for name in ("looped", "dense", "vmapped"):
        states = p.net.flat().repeat(12, 1)
        states[5] += 0.1
        with Workers(1) as workers:
            found = truth(formulations()[name](p.net), states, p.federation, workers)
        assert found.loss.nonzero().tolist() == [[4]]
        assert found.accuracy[[k for k in range(11) if k != 4]].tolist() == [0.0] * 10


class HalfWay(FedAvg):
    """A server that goes half of the way to the mean."""

    def server(self, turn, start, mean, participants, state):
        return start + (mean - start) / 2, state


@pytest.mark.parametrize("model", ["mlp", "batchnorm"])
@pytest.mark.parametrize("algorithm", [None, FedProx(mu=0.5), HalfWay()], ids=["fedavg", "fedprox", "half way"])
@pytest.mark.parametrize("private", [None, Privacy(0.05, 0.3)], ids=["", "private"])
def test_a_round_without_each_participant_is_what_their_worlds_train(model, algorithm, private):
    """Every world trained anew from the round on, against the round's own local models averaged anew."""
    p = dataclasses.replace(problem(model, algorithm=algorithm, rounds=4), privacy=private)
    p = dataclasses.replace(p, schedule=draw_schedule(2, len(SIZES), 4, 4))
    kind, watcher = formulations()["looped"](p.net), Watcher()
    simulate(p, [BASE], p.net.flat(), kind, observers=[watcher])
    for t, record in enumerate(watcher.records, 1):
        worlds = [BASE, *(without_client(k, since=t) for k in record.participants)]
        upto = dataclasses.replace(p, schedule=p.schedule[:t])
        trained = simulate(upto, worlds, p.net.flat(), kind)
        ours = torch.stack([record.without(k) for k in record.participants])
        noise = record.after - record.aggregate
        torch.testing.assert_close(ours, trained[1:] - noise, rtol=1e-9, atol=1e-12)
        assert (ours - record.aggregate).abs().amax(1).min() > 1e-5
        assert (float(noise.abs().max()) > 1e-4) == (private is not None)


@pytest.mark.parametrize("private", [None, Privacy(0.05, 0.3)], ids=["", "private"])
def test_without_its_only_participant_a_round_changes_nothing(private):
    p = dataclasses.replace(problem(rounds=1), schedule=((3,),), privacy=private)
    watcher, kind = Watcher(), formulations()["looped"](p.net)
    states = simulate(p, [BASE, without_client(3)], p.net.flat(), kind, observers=[watcher])
    assert torch.equal(watcher.records[0].without(3), p.net.flat())
    assert torch.equal(states[1], p.net.flat()) and not torch.equal(states[0], states[1])


def test_the_null_world_starts_one_unit_in_the_last_place_away():
    start = torch.tensor([1.0, -2.0, 0.0, 7.0], dtype=torch.float64)
    assert moved(start, 3).tolist() == [1 + 2.0**-52, -2 + 2.0**-52, 5e-324, 7.0]


def test_null_worlds_of_other_draws_move_other_ways():
    start = torch.randn(64, generator=torch.Generator().manual_seed(0))
    first, second = moved(start, 60, 0), moved(start, 60, 1)
    assert (first[:60] != start[:60]).all() and torch.equal(first[60:], start[60:])
    assert (first > start).any() and (first < start).any() and not torch.equal(first, second)
    assert torch.equal(moved(start, 60, 0), first)
