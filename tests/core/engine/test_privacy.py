"""DP-FedAvg against the plain twin and an explicit clip."""

import dataclasses
import math

import pytest
import torch

from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.privacy import Privacy, distance, effective_noise, weakest_noise
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE, World, fork_rounds
from experiments.core.errors import SpecError
from tests.core.engine.test_simulate import MODELS, WORLDS, Watcher, make, problem, worlds_for

PRIVATE = Privacy(0.08, 0.2)
"""Clips about half of the updates of these models."""


def private(*given, **more):
    return dataclasses.replace(problem(*given, **more), privacy=PRIVATE)


@pytest.mark.parametrize("name", ["looped", "dense", "vmapped"])
@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("local", ["full batch", "adam"])
def test_stacked_equals_plain(name, model, local):
    p = private(model, local)
    f, worlds, watcher = make(p, name), worlds_for(model), Watcher()
    states = simulate(p, worlds, p.net.flat(), f, chunk=2, observers=[watcher])
    for row, world in zip(states, worlds, strict=True):
        *_, (_, plain) = simulate_plain(p, world, p.net.flat())
        torch.testing.assert_close(row, plain, rtol=1e-9, atol=1e-12)
    bare = simulate(dataclasses.replace(p, privacy=None), worlds, p.net.flat(), f)
    assert float((states - bare).abs().amax(1).min()) > 1e-3
    for record in watcher.records:
        assert float((record.locals - record.before).norm(dim=1).max()) <= PRIVATE.clip * (1 + 1e-12)


@pytest.mark.parametrize(("chunk", "threads"), [(1, 1), (None, 2), (2, 2)])
def test_chunks_and_threads_change_nothing(chunk, threads):
    p = private(local="adam")
    f = make(p, "looped")
    ours = simulate(p, WORLDS, p.net.flat(), f, chunk=chunk, threads=threads)
    torch.testing.assert_close(ours, simulate(p, WORLDS, p.net.flat(), f), rtol=1e-12, atol=1e-15)


def test_clipping_scales_what_is_too_long_and_nothing_else():
    g = torch.Generator().manual_seed(0)
    start = torch.randn(6, 9, generator=g)
    update = torch.randn(6, 9, generator=g) * torch.tensor([0, 1e-3, 0.1, 1, 10, 1e4])[:, None]
    trained = start + update
    found = Privacy(0.7, 0).clipped(start, trained.clone())
    for b in range(6):
        length = math.sqrt(sum(float(v) ** 2 for v in trained[b] - start[b]))
        if length <= 0.7:
            assert torch.equal(found[b], trained[b])
        else:
            torch.testing.assert_close(
                found[b] - start[b], (trained[b] - start[b]) * (0.7 / length), rtol=1e-4, atol=1e-6
            )
    assert [torch.equal(a, b) for a, b in zip(found, trained, strict=True)] == [True, True, True, False, False, False]


def test_distances_lose_no_digits_over_millions_of_squares():
    """In float32 one running sum would be off in the fourth digit; several blocks, and a part of one."""
    g = torch.Generator().manual_seed(0)
    start = torch.zeros(2, 3_000_001)
    trained = torch.rand(2, 3_000_001, generator=g)
    exact = trained.double().norm(dim=1)
    torch.testing.assert_close(distance(start, trained).double(), exact, rtol=2e-7, atol=0)
    assert distance(start[:, :3], start[:, :3]).tolist() == [0, 0]


def test_a_wide_clip_without_noise_is_plain_averaging():
    p = problem("batchnorm")
    bare = simulate(p, WORLDS[:3], p.net.flat(), make(p, "looped"))
    wide = dataclasses.replace(p, privacy=Privacy(1e6, 0.0))
    assert torch.equal(simulate(wide, WORLDS[:3], p.net.flat(), make(p, "looped")), bare)


def test_a_round_tells_its_state_before_the_noise():
    watcher, bare = Watcher(), Watcher()
    p = private(rounds=5)
    simulate(p, WORLDS, p.net.flat(), make(p, "looped"), observers=[watcher])
    for record in watcher.records:
        share = record.sizes / record.sizes.sum()
        torch.testing.assert_close(record.aggregate, share @ record.locals, rtol=1e-9, atol=1e-12)
        noise = PRIVATE.draw(record.after, 0, record.index, len(record.participants))
        torch.testing.assert_close(record.after - record.aggregate, noise, rtol=1e-9, atol=1e-12)
    q = problem(rounds=2)
    simulate(q, [BASE], q.net.flat(), make(q, "looped"), observers=[bare])
    assert all(r.aggregate is r.after for r in bare.records)


def test_noise_has_its_deviation_and_a_name():
    privacy, like = Privacy(3.0, 0.4), torch.zeros(200_000, dtype=torch.float64)
    one = privacy.draw(like, 0, 1, 8)
    assert float(one.std()) == pytest.approx(0.4 * 3.0 / 8, rel=0.01) and abs(float(one.mean())) < 2e-3
    assert torch.equal(one, privacy.draw(like, 0, 1, 8))
    others = [privacy.draw(like, 0, 2, 8), privacy.draw(like, 1, 1, 8)]
    assert all(abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.02 for other in others)
    torch.testing.assert_close(privacy.draw(like, 0, 1, 2), one * 4)


def test_worlds_share_the_noise():
    """A world is the base world until it forks, and one round later they differ by means of clipped updates only."""
    p = private(rounds=6)
    watcher = Watcher()
    simulate(p, WORLDS, p.net.flat(), make(p, "looped"), observers=[watcher])
    forks = fork_rounds(WORLDS, p.schedule, p.federation.offsets)
    for t, states in enumerate(watcher.states, 1):
        for i, first in enumerate(forks):
            assert bool((states[i] == states[0]).all()) == (t < first or i == 0)
            if t == first and i:
                assert float((states[i] - states[0]).norm()) <= 2 * PRIVATE.clip


def test_a_world_in_which_nobody_takes_part_gets_no_noise():
    p = private(rounds=1)
    gone = World("gone", frozenset(p.schedule[0]))
    states = simulate(p, [BASE, gone], p.net.flat(), make(p, "looped"))
    *_, (_, plain) = simulate_plain(p, gone, p.net.flat())
    assert torch.equal(states[1], p.net.flat()) and torch.equal(plain, p.net.flat())


def test_resuming_gives_the_same_numbers(tmp_path):
    p = private(local="adam", rounds=7)
    f = make(p, "looped")
    straight = simulate(p, WORLDS, p.net.flat(), f)

    class KilledError(Exception):
        pass

    class Killer(Watcher):
        def observe(self, record):
            if record.index == 4:
                raise KilledError

    with pytest.raises(KilledError):
        simulate(
            p, WORLDS, p.net.flat(), f, observers=[Killer()], checkpoint=Checkpoint(tmp_path / "c", "x", seconds=0)
        )
    again = Watcher()
    resumed = simulate(p, WORLDS, p.net.flat(), f, observers=[again], checkpoint=Checkpoint(tmp_path / "c", "x"))
    assert [r.index for r in again.records] == [4, 5, 6, 7]
    assert torch.equal(resumed, straight)


def test_the_noise_that_protects_the_largest_client():
    """Deviation over what is missing from the mean without its clipped update."""
    privacy, shares = Privacy(2.0, 0.5), [0.5, 0.3, 0.2]
    updates = torch.eye(3, dtype=torch.float64) * privacy.clip
    mean = torch.tensor(shares, dtype=torch.float64) @ updates
    missing = [float((mean - (mean - share * update)).norm()) for share, update in zip(shares, updates, strict=True)]
    deviation = privacy.noise * privacy.clip / 3
    assert effective_noise(0.5, shares) == pytest.approx(deviation / max(missing), rel=1e-12)
    assert effective_noise(0.5, [0.25] * 4) == 0.5
    assert weakest_noise(0.5, [5, 5, 10, 2], ((0, 1), (0, 2), (1, 0))) == pytest.approx(0.5 / (2 * 10 / 15))
    without, rounds = World("without:2", frozenset({2}), since=3), ((0, 1), (0, 2), (2, 3), (2,))
    assert weakest_noise(0.5, [5, 5, 10, 2], rounds[2:3], World("all", frozenset({2}))) == pytest.approx(0.5 / 2)
    assert weakest_noise(0.5, [5, 5, 10, 2], rounds, without) == pytest.approx(0.5 / 2)
    assert weakest_noise(0.5, [5, 5, 10, 2], rounds[3:], World("all", frozenset({2}))) == 0.5


@pytest.mark.parametrize(("clip", "noise"), [(0.0, 1.0), (-1.0, 1.0), (math.inf, 1.0), (1.0, -0.1), (1.0, math.nan)])
def test_privacy_that_cannot_be(clip, noise):
    with pytest.raises(SpecError, match=r"clipped to|noise"):
        Privacy(clip, noise)
