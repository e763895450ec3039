"""DP-SGD: the stacked form against sample-by-sample autograd, its noise, its batches, and its divisor."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.core.algorithms import kinds
from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.engine.augment import Augment
from experiments.core.engine.dpsgd import Mechanism, Private
from experiments.core.engine.formulations import formulations
from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.problem import Problem
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE, World
from experiments.core.errors import SpecError
from tests.core.algorithms.test_contract import KINDS, made
from tests.core.engine.test_simulate import MODELS, SIZES, federation

WORLDS = [
    BASE,
    World("without:1", frozenset({1})),
    World("sample", samples=frozenset({0, 4, 5})),
    World("all of 0", samples=frozenset({0, 1, 2})),
]
LOCALS = {
    "full batch": LocalTraining(0.1, steps=2),
    "small batches": LocalTraining(0.1, epochs=2, batch_size=1, momentum=0.5, weight_decay=0.01),
    "adam": LocalTraining(0.02, epochs=1, batch_size=3, optimizer="adam"),
}


SOME = Mechanism(0.3, 0.7)


def problem(model="mlp", local="small batches", algorithm=None, mechanism=SOME, rounds=4):
    build, shape = MODELS[model]
    module = build().double()
    initialise(module, 0, "default")
    schedule = draw_schedule(0, len(SIZES), 3, rounds)
    net = Net.of(module)
    return Problem(net, federation(shape), schedule, LOCALS[local], algorithm or FedAvg(), 0, mechanism=mechanism)


def spread(a, b):
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("local", LOCALS)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("name", formulations())
def test_every_formulation_equals_the_plain_twin_in_every_world(name, model, local):
    p = problem(model, local)
    kind = formulations()[name]
    if not kind.supports(p.net, torch.device("cpu"), torch.float64):
        pytest.skip(f"{name} cannot compute it")
    states = simulate(p, WORLDS, p.net.flat(), kind(p.net), chunk=3)
    for row, world in zip(states, WORLDS, strict=True):
        *_, (_, plain) = simulate_plain(p, world, p.net.flat())
        assert spread(row, plain) < 1e-9


@pytest.mark.parametrize("kind", [name for name, block in kinds().items() if block.one_gradient])
def test_every_algorithm_that_allows_it_equals_its_plain_twin(kind):
    p = problem(local="full batch", algorithm=made(KINDS[kind]))
    states = simulate(p, WORLDS[:2], p.net.flat(), Looped(p.net))
    for row, world in zip(states, WORLDS, strict=False):
        *_, (_, plain) = simulate_plain(p, world, p.net.flat())
        assert spread(row, plain) < 1e-9


def test_without_noise_and_clipping_full_batches_are_plain_training():
    p = problem(local="full batch", mechanism=Mechanism(1e6, 0.0))
    plain = replace(p, mechanism=None)
    ours, theirs = (simulate(q, WORLDS, q.net.flat(), Looped(q.net)) for q in (p, plain))
    assert spread(ours, theirs) < 1e-9


def test_images_are_changed_alike_in_both_forms_also_where_a_batch_is_empty():
    p = problem("cnn")
    drawn = [len(rows) for t, who in enumerate(p.schedule, 1) for k in who for rows in p.batches(k, t)]
    assert 0 in drawn and max(drawn) > 0
    p = replace(p, augment=Augment.of(p.federation, crop=1, flip=True, cutout=2))
    states = simulate(p, WORLDS, p.net.flat(), Looped(p.net))
    for row, world in zip(states, WORLDS, strict=True):
        *_, (_, plain) = simulate_plain(p, world, p.net.flat())
        assert spread(row, plain) < 1e-9


def test_worlds_share_noise_so_that_a_client_who_never_takes_part_changes_nothing():
    p = problem()
    absent = next(k for k in range(len(SIZES)) if all(k not in drawn for drawn in p.schedule[:2]))
    p = replace(p, schedule=p.schedule[:2])
    # The world is trained on its own: from round 1, though it never differs.
    base, other = simulate(p, [BASE, World("other", frozenset({absent}))], p.net.flat(), Looped(p.net))
    (alone,) = simulate(p, [BASE], p.net.flat(), Looped(p.net))
    assert torch.equal(base, other)
    assert torch.equal(base, alone)


def step(mechanism, n=0, expected=1.0, seed=5, worlds=2):
    p = problem(mechanism=mechanism)
    theta, data = p.net.flat().repeat(worlds, 1), p.federation
    private = Private(Looped(p.net), mechanism, expected).at(seed)
    return private.gradient(theta, data.x[:n], data.y[:n], None)


def test_an_empty_batch_is_a_step_of_noise_alone_the_same_in_all_worlds():
    first, second = step(Mechanism(2.0, 1.5), expected=4.0)
    assert torch.equal(first, second)
    assert 0.5 * 0.75 < float(first.std()) < 1.5 * 0.75


def test_noise_is_sigma_times_clip_over_the_expected_batch():
    drawn = torch.cat([step(Mechanism(2.0, 1.5), expected=4.0, seed=s, worlds=1)[0] for s in range(400)])
    n = len(drawn)
    assert abs(float(drawn.std()) / 0.75 - 1) < 5 / np.sqrt(2 * n)
    assert abs(float(drawn.mean())) < 5 * 0.75 / np.sqrt(n)


def test_steps_of_other_names_have_other_noise():
    assert not torch.equal(step(Mechanism(1.0, 1.0), seed=1), step(Mechanism(1.0, 1.0), seed=2))


def test_one_sample_moves_the_sum_by_the_clip_at_most():
    with_it, without = (step(Mechanism(0.01, 1.0), n) for n in (5, 4))
    assert float((with_it - without).norm(dim=1).max()) <= 0.01 * (1 + 1e-12)
    assert float((with_it - without).norm(dim=1).min()) > 0.0099  # clipped, not lost


def test_a_step_without_a_name_is_refused():
    p = problem()
    with pytest.raises(RuntimeError, match="name"):
        Private(Looped(p.net), Mechanism(1.0, 1.0), 1.0).gradient(
            p.net.flat()[None], p.federation.x, p.federation.y, None
        )


def test_poisson_batches_hold_each_sample_at_the_rate_and_independently():
    local = LocalTraining(0.1, epochs=50, batch_size=8)
    batches = local.poisson_batches(64, 0, 0, 1)
    assert len(batches) == local.count(64) == len(local.batches(64, 0, 0, 1))
    held = np.zeros((len(batches), 64))
    for row, batch in zip(held, batches, strict=True):
        row[batch] = 1
    q, n = local.rate(64), held.size
    assert q == 8 / 64
    assert abs(held.mean() - q) < 5 * np.sqrt(q * (1 - q) / n)
    sizes = held.sum(1)
    assert abs(sizes.var() / (64 * q * (1 - q)) - 1) < 5 * np.sqrt(2 / len(sizes))


def test_batches_of_worlds_and_of_other_runs_are_as_the_names_say():
    local = LocalTraining(0.1, epochs=1, batch_size=3)
    first, again = (local.poisson_batches(9, 0, 2, 1) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = local.poisson_batches(9, 0, 2, 2)
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_divisor_is_the_expected_batch_of_the_samples_that_remain():
    p = problem(local="full batch", mechanism=Mechanism(1e6, 0.0), rounds=1)
    client = p.schedule[0][0]
    weight = torch.ones(2, SIZES[client], dtype=torch.float64)
    weight[1, 0] = 0
    x, y = p.federation.of(client)
    theta = p.net.flat().repeat(2, 1)
    found = p.way(Looped(p.net), client, weight).at(0).gradient(theta, x, y, weight)
    assert spread(found, Looped(p.net).gradient(theta, x, y, weight)) < 1e-9


@pytest.mark.parametrize(("clip", "noise"), [(0.0, 1.0), (-1.0, 1.0), (float("inf"), 1.0), (1.0, -0.1)])
def test_what_is_no_mechanism(clip, noise):
    with pytest.raises(SpecError, match=r"clipped|noise"):
        Mechanism(clip, noise)
