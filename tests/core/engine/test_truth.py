"""The truth of a world is its difference to the base world, in loss, accuracy and parameters."""

import pytest
import torch
from torch.nn import functional

from experiments.core.engine.device import Workers
from experiments.core.engine.formulations import formulations
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import load, simulate_plain
from experiments.core.engine.truth import parameter_change, truth
from experiments.core.engine.worlds import leave_one_out
from tests.core.engine.test_simulate import problem


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
