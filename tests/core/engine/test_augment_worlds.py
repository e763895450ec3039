"""Augmentation inside a run: the stacked engine against the plain twin, and a left-out sample that moves no draw."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.algorithms.fedimpro import FedImpro
from experiments.core.algorithms.scaffold import Scaffold
from experiments.core.engine.augment import Augment
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.problem import Problem
from experiments.core.engine.seeds import stream
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE, World
from tests.core.engine.test_simulate import WORLDS, make, problem

AUGMENT = Augment(2, True, 4, (-1.5,))


def augmented(local="sgd", algorithm=None):
    return replace(problem("cnn", local, algorithm, rounds=5), augment=AUGMENT)


@pytest.mark.parametrize("name", list(formulations()))
@pytest.mark.parametrize("local", ["full batch", "sgd"])
def test_stacked_equals_plain(name, local):
    p = augmented(local)
    stacked = simulate(p, WORLDS, p.net.flat(), make(p, name), chunk=2)
    for row, world in zip(stacked, WORLDS, strict=True):
        *_, (_, plain) = simulate_plain(p, world, p.net.flat())
        torch.testing.assert_close(row, plain, rtol=1e-9, atol=1e-12)
    as_they_are = simulate(replace(p, augment=None), [BASE], p.net.flat(), make(p, name))
    assert (stacked[0] - as_they_are[0]).abs().max() > 1e-4


@pytest.mark.parametrize("algorithm", [Scaffold(), FedImpro(split="2")], ids=lambda a: a.kind)
def test_an_algorithm_with_memory_and_chunks(algorithm):
    p = augmented(algorithm=algorithm)
    f = make(p, "looped")
    whole = simulate(p, WORLDS, p.net.flat(), f)
    torch.testing.assert_close(simulate(p, WORLDS, p.net.flat(), f, chunk=1, threads=2), whole, rtol=1e-12, atol=0)
    *_, (_, plain) = simulate_plain(p, WORLDS[3], p.net.flat())
    torch.testing.assert_close(whole[3], plain, rtol=1e-9, atol=1e-12)


def test_a_left_out_sample_shifts_nobody_s_draws():
    """One step of a linear model, by hand: the others are changed as in the whole batch."""
    p = problem("cnn")
    data = replace(p.federation, y=torch.nn.functional.one_hot(p.federation.y, 3).double())
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False)).double()
    initialise(module, 0)
    net, local = Net.of(module, "squared"), LocalTraining(0.1, steps=1)
    p = Problem(net, data, ((1,),), local, FedAvg(), 5, augment=AUGMENT)
    x, y = data.of(1)
    inputs = AUGMENT(x, stream(5, "augment", client=1, round=1, step=0)).flatten(1)
    weight = module[1].weight.detach()
    for gone in ((), (0,), (2, 4)):
        world = World("gone", samples=frozenset(data.offsets[1] + s for s in gone))
        left = [i for i in range(len(y)) if i not in gone]
        gradient = (inputs[left] @ weight.T - y[left]).T @ inputs[left] / len(left)
        found = simulate(p, [BASE, world] if gone else [BASE], net.flat(), make(p, "looped"))[-1]
        torch.testing.assert_close(found.reshape(3, 64), weight - 0.1 * gradient, rtol=1e-9, atol=1e-12)


def test_every_client_round_and_step_has_draws_of_its_own():
    p, x = augmented(), torch.rand(4, 1, 8, 8, dtype=torch.float64)
    first = p.shown(0, 1, 0, x)
    assert torch.equal(first, p.shown(0, 1, 0, x))
    others = [(1, 1, 0), (0, 2, 0), (0, 1, 1)]
    assert not any(torch.equal(first, p.shown(*names, x)) for names in others)
    assert not torch.equal(first, replace(p, seed=1).shown(0, 1, 0, x))
    assert replace(p, augment=None).shown(0, 1, 0, x) is x
