"""Stacked training against torch.optim, one world after another; its laws; checkpoints."""

from collections import Counter

import pytest
import torch
from torch import nn

from experiments.core.engine import descent as module
from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.descent import Descent, Moments, descend, mean_gradient
from experiments.core.engine.device import Workers
from experiments.core.engine.formulations import formulations
from experiments.core.engine.net import Net
from experiments.core.engine.worlds import BASE, sample_weights, without_sample, without_samples
from experiments.core.errors import SpecError

N, D, CLASSES = 13, 4, 3
WORLDS = [BASE, without_sample(0), without_sample(5), without_samples("g", [1, 2, 12]), without_sample(12)]
OPTIMIZERS = ("gd", "momentum", "nesterov", "adam", "rmsprop")


def network():
    return nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, CLASSES)).double()


def toy(seed=0):
    g = torch.Generator().manual_seed(seed)
    net = Net.of(network())
    x, y = torch.randn(N, D, generator=g, dtype=torch.float64), torch.randint(CLASSES, (N,), generator=g)
    starts = torch.randn(len(WORLDS), net.size, generator=g, dtype=torch.float64)
    return net, x, y, starts, sample_weights(WORLDS, N, x)


def train(net, *arguments, kind="dense", threads=1, **more):
    with Workers(threads) as workers:
        return descend(formulations()[kind](net), *arguments, workers, **more)


def plain(start, x, y, world, d, steps, seed, first=0, optimiser=None, theirs=None):
    """One world with nn.Module and torch.optim; batches are lists of rows without the world's."""
    theirs = theirs or network()
    nn.utils.vector_to_parameters(start.clone(), theirs.parameters())
    optimiser = optimiser or {
        "gd": lambda p: torch.optim.SGD(p, d.lr),
        "momentum": lambda p: torch.optim.SGD(p, d.lr, momentum=d.momentum),
        "nesterov": lambda p: torch.optim.SGD(p, d.lr, momentum=d.momentum, nesterov=True),
        "adam": lambda p: torch.optim.Adam(p, d.lr),
        "rmsprop": lambda p: torch.optim.RMSprop(p, d.lr),
    }[d.optimizer](theirs.parameters())
    for step, batch in enumerate(d.batches(N, seed, first, steps), first):
        optimiser.param_groups[0]["lr"] = d.lr_at(step)
        rows = [i for i in (range(N) if batch is None else batch.tolist()) if i not in world.samples]
        optimiser.zero_grad()
        mask = torch.ones(len(start)).double() if d.mask is None else d.mask
        w = torch.cat([t.reshape(-1) for t in theirs.parameters()])
        loss = 0.5 * d.decay * (mask * w).square().sum()
        if rows:
            loss = loss + nn.functional.cross_entropy(theirs(x[rows]), y[rows])
        loss.backward()
        optimiser.step()
    return nn.utils.parameters_to_vector(theirs.parameters()).detach().clone(), optimiser, theirs


MASK = torch.arange(35).remainder(3).gt(0).double()
SETTINGS = {
    "full batch": Descent(0.1),
    "batches": Descent(0.1, batch_size=5),
    "single samples": Descent(0.05, batch_size=1, decay=0.1),
    "decay, drops": Descent(0.1, batch_size=4, decay=0.2, mask=MASK, drops=((3, 0.5), (11, 0.1))),
    "full batch, drops": Descent(0.1, decay=0.2, mask=MASK, drops=((3, 0.5), (11, 0.1))),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_world_is_trained_as_torch_optim_trains_it(setting, optimizer):
    net, x, y, starts, weight = toy()
    d = Descent(**{**vars(SETTINGS[setting]), "optimizer": optimizer})
    found = train(net, starts, x, y, weight, d, 20, 7)
    for start, world, ours in zip(starts, WORLDS, found.states, strict=True):
        torch.testing.assert_close(ours, plain(start, x, y, world, d, 20, 7)[0], rtol=1e-12, atol=1e-12)
    assert found.step == 20 and found.finite.all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_retraining_continues_with_the_base_runs_moments(optimizer):
    net, x, y, starts, weight = toy()
    d = Descent(0.1, optimizer, batch_size=4, drops=((6, 0.1),))
    base = train(net, starts[:1], x, y, None, d, 9, 7)
    found = train(
        net,
        base.states.expand(len(WORLDS), -1),
        x,
        y,
        weight,
        d,
        8,
        7,
        moments=base.moments,
        first=base.step,
    )
    for world, ours in zip(WORLDS, found.states, strict=True):
        start, optimiser, theirs = plain(starts[0], x, y, BASE, d, 9, 7)
        expected, *_ = plain(start, x, y, world, d, 8, 7, 9, optimiser, theirs)
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    whole = train(net, starts[:1], x, y, None, d, 17, 7)
    torch.testing.assert_close(found.states[0], whole.states[0], rtol=1e-12, atol=1e-12)
    assert found.step == whole.step == 17 and found.moments.steps == 17
    for ours, theirs in zip(found.moments.means, whole.moments.means, strict=True):
        torch.testing.assert_close(ours[0], theirs[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["gd", "adam"])
@pytest.mark.parametrize("batch_size", [None, 4])
def test_formulations_chunks_and_threads_change_rounding_only(optimizer, batch_size):
    net, x, y, starts, weight = toy()
    d = Descent(0.05, optimizer, batch_size=batch_size, decay=0.01)
    expected = train(net, starts, x, y, weight, d, 15, 3).states
    for more in (
        {"chunk": 1},
        {"chunk": 2, "threads": 2},
        {"threads": 3},
        {"kind": "looped"},
        {"kind": "vmapped", "threads": 2},
    ):
        found = train(net, starts, x, y, weight, d, 15, 3, **more).states
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_memory_errors_halve_a_piece(monkeypatch):
    net, x, y, starts, weight = toy()
    d, seen = Descent(0.05, "adam", batch_size=4), []
    expected = train(net, starts, x, y, weight, d, 6, 3).states
    kind = formulations()["dense"]
    gradient, calls = kind.gradient, []

    def small(self, theta, *rest):
        calls.append(len(theta))
        seen.append(len(theta))
        if len(theta) > 2 and len(calls) > 3:
            raise MemoryError
        return gradient(self, theta, *rest)

    monkeypatch.setattr(kind, "gradient", small)
    torch.testing.assert_close(train(net, starts, x, y, weight, d, 6, 3).states, expected, rtol=1e-10, atol=1e-12)
    assert min(seen) <= 2


@pytest.mark.parametrize("weighted", [True, False])
def test_many_samples_in_passes(monkeypatch, weighted):
    net, x, y, starts, weight = toy()
    kind = formulations()["dense"](net)
    weight = weight if weighted else None
    whole = mean_gradient(kind, starts, x, y, weight)
    d = Descent(0.1, decay=0.1)
    expected = train(net, starts, x, y, weight, d, 9, 0).states
    monkeypatch.setattr(module, "_PASS", 3)
    torch.testing.assert_close(mean_gradient(kind, starts, x, y, weight), whole, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(train(net, starts, x, y, weight, d, 9, 0).states, expected, rtol=1e-10, atol=1e-12)


def test_every_epoch_has_every_sample_once_and_begins_anywhere():
    d = Descent(0.1, batch_size=4)
    found = list(d.batches(N, 1, 0, 12))
    assert [len(b) for b in found] == [4, 4, 4, 1] * 3
    for a in (0, 4, 8):
        assert Counter(torch.cat(found[a : a + 4]).tolist()) == Counter(range(N))
    assert len({tuple(torch.cat(found[a : a + 4]).tolist()) for a in (0, 4, 8)}) == 3
    assert all(torch.equal(a, b) for a, b in zip(d.batches(N, 1, 5, 7), found[5:], strict=True))
    assert [b.tolist() for b in d.batches(N, 2, 0, 4)] != [b.tolist() for b in found[:4]]
    assert list(Descent(0.1, batch_size=N).batches(N, 1, 0, 3)) == [None] * 3


def test_learning_rates():
    drops = Descent(0.8, drops=((3, 0.5), (6, 0.25)))
    assert [drops.lr_at(s) for s in range(8)] == [0.8] * 3 + [0.4] * 3 + [0.2] * 2


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    "d", [Descent(0.1, "adam", batch_size=4), Descent(0.1, drops=((25, 0.5),)), Descent(0.1, decay=0.1)]
)
def test_a_killed_run_ends_in_the_same_bits(tmp_path, d):
    net, x, y, starts, weight = toy()
    expected = train(net, starts, x, y, weight, d, 50, 3)
    told = []

    def progress(done, of):
        told.append((done, of))
        if done > 20:
            raise KilledError

    def again():
        return Checkpoint(tmp_path / "c.pt", "same", 0.0)

    with pytest.raises(KilledError):
        train(net, starts, x, y, weight, d, 50, 3, checkpoint=again(), progress=progress)
    first, told[:] = told[:], []
    found = train(net, starts, x, y, weight, d, 50, 3, checkpoint=again(), progress=lambda *now: told.append(now))
    assert told[0][0] > first[-1][0] and told[-1] == (50, 50)
    assert torch.equal(found.states, expected.states)
    assert all(torch.equal(a, b) for a, b in zip(found.moments.means, expected.moments.means, strict=True))
    assert again().load()["done"] == 50


def test_a_diverged_world_is_told_and_the_others_go_on():
    net, x, y, starts, weight = toy()
    expected = train(net, starts, x, y, weight, Descent(0.1), 9, 0).states
    starts[2] = float("nan")
    found = train(net, starts, x, y, weight, Descent(0.1), 9, 0)
    assert found.finite.tolist() == [True, True, False, True, True]
    kept = found.finite
    assert torch.equal(found.states[kept], expected[kept])


def test_impossible_descents():
    for more, said in (
        ({"optimizer": "lion"}, "unknown optimiser 'lion'"),
        ({"batch_size": 0}, "a batch needs a sample"),
    ):
        with pytest.raises(SpecError, match=said):
            Descent(0.1, **more)
    net, x, y, starts, weight = toy()
    with pytest.raises(SpecError, match="0 moments were handed in where adam has 2"):
        train(net, starts, x, y, weight, Descent(0.1, "adam"), 2, 0, moments=Moments((), 4))


def test_nothing_to_do():
    net, x, y, starts, weight = toy()
    found = train(net, starts, x, y, weight, Descent(0.1, "adam"), 0, 0)
    assert torch.equal(found.states, starts) and found.step == 0
