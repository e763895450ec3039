"""The stacked engine against the plain twin, and its laws."""

import pytest
import torch
from torch import nn

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.algorithms.fedprox import FedProx
from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.problem import Problem
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE, World, fork_rounds, leave_one_out
from experiments.core.errors import NumericalError, SpecError

SIZES = (3, 7, 5, 4, 6, 2)


def federation(shape=(6,), classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    n = sum(SIZES)
    offsets = tuple(torch.tensor((0, *SIZES)).cumsum(0).tolist())
    return Federation(
        torch.randn(n, *shape, generator=g, dtype=torch.float64),
        torch.randint(classes, (n,), generator=g),
        offsets,
        torch.randn(11, *shape, generator=g, dtype=torch.float64),
        torch.randint(classes, (11,), generator=g),
        tuple(f"c{k}" for k in range(len(SIZES))),
        classes,
        "toy",
    )


def mlp():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 4),
        nn.ReLU(),
        nn.Linear(4, 3),
    )


def bn():
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


MODELS = {"mlp": (mlp, (6,)), "cnn": (cnn, (1, 8, 8)), "batchnorm": (bn, (6,))}
LOCALS = {
    "full batch": LocalTraining(0.1, steps=3),
    "sgd": LocalTraining(
        0.1, epochs=2, batch_size=2, momentum=0.9, weight_decay=0.01, lr_schedule="step", gamma=0.5, every=3
    ),
    "nesterov": LocalTraining(0.05, epochs=1, batch_size=3, momentum=0.5, nesterov=True, lr_schedule="cosine", every=8),
    "adam": LocalTraining(0.02, epochs=2, batch_size=3, weight_decay=0.1, optimizer="adam"),
    "adamw": LocalTraining(0.02, epochs=1, batch_size=2, weight_decay=0.1, optimizer="adamw", betas=(0.8, 0.9)),
}
WORLDS = [
    BASE,
    World("without:1", frozenset({1})),
    World("late", frozenset({0, 2}), since=4),
    World("sample", samples=frozenset({0, 4, 5})),
    World("pair", frozenset({3, 4})),
    World("most", frozenset({1, 2, 3, 4, 5})),
]


def problem(model="mlp", local="full batch", algorithm=None, rounds=7, seed=0):
    build, shape = MODELS[model]
    module = build().double()
    initialise(module, seed)
    net = Net.of(module)
    data = federation(shape)
    if model == "batchnorm":  # one sample has no variance, and a world may leave out samples: keep the batches whole
        local = "full batch"
    return Problem(net, data, draw_schedule(seed, len(SIZES), 2, rounds), LOCALS[local], algorithm or FedAvg(), seed)


def make(p, name):
    kind = formulations()[name]
    if not kind.supports(p.net, torch.device("cpu"), torch.float64):
        pytest.skip(f"{name} does not support this model here")
    return kind(p.net)


def worlds_for(model):
    return [w for w in WORLDS if not (model == "batchnorm" and w.samples)]


@pytest.mark.parametrize("name", list(formulations()))
@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("local", list(LOCALS))
def test_stacked_equals_plain(name, model, local):
    p = problem(model, local)
    f, worlds = make(p, name), worlds_for(model)
    stacked = simulate(p, worlds, p.net.flat(), f, chunk=2)
    for row, world in zip(stacked, worlds, strict=True):
        *_, (_, plain) = simulate_plain(p, world, p.net.flat())
        torch.testing.assert_close(row, plain, rtol=1e-9, atol=1e-12)
    assert (stacked[1:] - stacked[0]).abs().amax(1).min() > 1e-6  # every world differs from the base world


@pytest.mark.parametrize("local", ["full batch", "adam", "adamw"])
def test_fedprox_equals_plain_and_differs_from_fedavg(local):
    p = problem(local=local, algorithm=FedProx(mu=0.7))
    f = make(p, "looped")
    prox = simulate(p, WORLDS, p.net.flat(), f)
    for row, world in zip(prox, WORLDS, strict=True):
        *_, (_, plain) = simulate_plain(p, world, p.net.flat())
        torch.testing.assert_close(row, plain, rtol=1e-9, atol=1e-12)
    avg = simulate(problem(local=local), [BASE], p.net.flat(), f)
    assert (prox[0] - avg[0]).abs().max() > 1e-4


@pytest.mark.parametrize(("chunk", "threads"), [(1, 1), (3, 1), (None, 2), (None, 1), (2, 2)])
def test_chunks_and_threads_change_nothing(chunk, threads):
    p = problem(local="sgd")
    f = make(p, "looped")
    ours = simulate(p, WORLDS, p.net.flat(), f, chunk=chunk, threads=threads)
    torch.testing.assert_close(ours, simulate(p, WORLDS, p.net.flat(), f), rtol=1e-12, atol=0)


def test_out_of_memory_halves_and_changes_nothing():
    p = problem()
    f = make(p, "looped")
    whole = simulate(p, WORLDS, p.net.flat(), f)
    real, seen = f.gradient, []

    def small(theta, x, y, weight):
        seen.append(len(theta))
        if len(theta) > 2:
            raise torch.cuda.OutOfMemoryError("no room")
        return real(theta, x, y, weight)

    f.gradient = small
    torch.testing.assert_close(simulate(p, WORLDS, p.net.flat(), f), whole, rtol=1e-12, atol=0)
    assert max(seen) > 2


class Watcher:
    needs_iterates = True

    def __init__(self):
        self.records, self.states = [], []

    def observe(self, record):
        self.records.append(record)
        self.states.append(record.states())

    def state(self):
        return {"seen": len(self.states)}

    def restore(self, state):
        self.restored = state["seen"]


def test_observers_see_what_plain_training_saw():
    p = problem(rounds=4)
    watcher = Watcher()
    simulate(p, WORLDS, p.net.flat(), make(p, "looped"), observers=[watcher])
    plain = list(simulate_plain(p, BASE, p.net.flat()))
    for record, states, (t, after) in zip(watcher.records, watcher.states, plain, strict=True):
        assert record.index == t
        torch.testing.assert_close(record.after, after, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(states[0], after, rtol=1e-9, atol=1e-12)
        share = record.sizes / record.sizes.sum()
        torch.testing.assert_close(share @ record.locals, record.after, rtol=1e-9, atol=1e-12)
        assert [len(i) for i in record.iterates] == [3, 3]
        for k, iterates in zip(record.participants, record.iterates, strict=True):
            torch.testing.assert_close(iterates[0], record.before)
            x, y = p.federation.of(k)
            w = iterates[0].clone().requires_grad_()
            views = p.net.views(w)
            loss = p.net.losses(torch.func.functional_call(p.net.module, views, x), y).mean()
            (grad,) = torch.autograd.grad(loss, w)
            torch.testing.assert_close(iterates[1], iterates[0] - 0.1 * grad, rtol=1e-9, atol=1e-12)


def test_a_world_equals_the_base_world_until_it_forks():
    p = problem(rounds=6)
    watcher = Watcher()
    simulate(p, WORLDS, p.net.flat(), make(p, "looped"), observers=[watcher])
    forks = fork_rounds(WORLDS, p.schedule, p.federation.offsets)
    for t, states in enumerate(watcher.states, 1):
        for i, first in enumerate(forks):
            assert bool((states[i] == states[0]).all()) == (t < first or i == 0)


def test_leaving_out_a_client_that_never_takes_part_changes_nothing():
    p = problem(rounds=1)
    absent = next(k for k in range(len(SIZES)) if k not in p.schedule[0])
    states = simulate(p, [BASE, World("absent", frozenset({absent}))], p.net.flat(), make(p, "looped"))
    assert torch.equal(states[0], states[1])


def test_resuming_gives_the_same_numbers(tmp_path):
    p = problem(local="sgd", rounds=7)
    f, whole = make(p, "looped"), Watcher()
    straight = simulate(p, WORLDS, p.net.flat(), f, observers=[whole])

    class KilledError(Exception):
        pass

    class Killer(Watcher):
        def observe(self, record):
            if record.index == 5:
                raise KilledError
            super().observe(record)

    checkpoint = Checkpoint(tmp_path / "a.ckpt", "x", seconds=0)
    with pytest.raises(KilledError):
        simulate(p, WORLDS, p.net.flat(), f, observers=[Killer()], checkpoint=checkpoint)
    again = Watcher()
    resumed = simulate(p, WORLDS, p.net.flat(), f, observers=[again], checkpoint=Checkpoint(tmp_path / "a.ckpt", "x"))
    assert again.restored == 4
    assert [r.index for r in again.records] == [5, 6, 7]
    assert torch.equal(resumed, straight)
    other = Watcher()
    simulate(p, WORLDS, p.net.flat(), f, observers=[other], checkpoint=Checkpoint(tmp_path / "a.ckpt", "another run"))
    assert [r.index for r in other.records] == [1, 2, 3, 4, 5, 6, 7]


def test_a_damaged_checkpoint_is_not_taken_up(tmp_path):
    path = tmp_path / "a.ckpt"
    checkpoint = Checkpoint(path, "x")
    checkpoint.save({"round": 3})
    assert checkpoint.load()["round"] == 3
    path.write_bytes(path.read_bytes()[:-40])
    assert checkpoint.load() is None


def test_training_that_diverges_says_so():
    p = problem()
    huge = Problem(p.net, p.federation, p.schedule, LocalTraining(1e308, steps=3), FedAvg(), 0)
    with pytest.raises(NumericalError, match="no longer finite in round"):
        simulate(huge, [BASE], p.net.flat(), make(p, "looped"))
    with pytest.raises(NumericalError, match="no longer finite"):
        list(simulate_plain(huge, BASE, p.net.flat()))


@pytest.mark.parametrize(
    ("worlds", "message"),
    [
        ([BASE, World("x", frozenset({9}))], "unknown client 9"),
        ([BASE, World("x", frozenset(range(6)))], "every client is left out"),
        ([BASE, World("x", samples=frozenset({99}))], "unknown training sample"),
        ([BASE, World("x", samples=frozenset(range(27)))], "every sample is left out"),
        (leave_one_out([1, 1]), "same label"),
    ],
)
def test_impossible_worlds_are_refused(worlds, message):
    p = problem()
    with pytest.raises(SpecError, match=message):
        simulate(p, worlds, p.net.flat(), make(p, "looped"))


def test_schedules_are_drawn_by_name():
    long, short = draw_schedule(3, 20, 4, 30), draw_schedule(3, 20, 4, 10)
    assert long[:10] == short
    assert draw_schedule(4, 20, 4, 10) != short
    assert all(len(set(r)) == 4 for r in long)
    with pytest.raises(ValueError, match="21 clients per round"):
        draw_schedule(0, 20, 21, 1)
