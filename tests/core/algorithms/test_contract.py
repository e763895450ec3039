"""What holds for every algorithm, found in its folder: the stacked form against the plain one, and laws."""

import dataclasses

import pytest
import torch

from experiments.core.algorithms import kinds
from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.remembered import Memory
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE, without_client
from tests.core.engine.test_simulate import SIZES, WORLDS, Watcher, problem, worlds_for

KINDS = kinds()


def made(kind):
    """An algorithm with every required number at 0.3."""
    needed = {name: 0.3 for name, field in kind.model_fields.items() if field.is_required()}
    if kind.splits:
        needed["split"] = "1"
    return kind(**needed)


@pytest.fixture(params=list(KINDS))
def algorithm(request):
    return made(KINDS[request.param])


def run(p, worlds, **options):
    return simulate(p, worlds, p.net.flat(), formulations()["looped"](p.net), **options)


@pytest.mark.parametrize("model", ["mlp", "batchnorm"])
@pytest.mark.parametrize("epochs", [False, True], ids=["full batch", "mini-batches"])
def test_stacked_equals_plain(algorithm, model, epochs):
    p = problem(model, algorithm=algorithm)
    if epochs and model == "mlp":  # unequal numbers of steps
        p = dataclasses.replace(
            p, local=LocalTraining(0.05, epochs=2, batch_size=2, lr_schedule="exponential", gamma=0.9)
        )
    worlds = worlds_for(model)
    for row, world in zip(run(p, worlds), worlds, strict=True):
        *_, (_, plain) = simulate_plain(p, world, p.net.flat())
        torch.testing.assert_close(row, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("chunk", "threads"), [(1, 1), (3, 1), (2, 2)])
def test_chunks_and_threads_change_nothing(algorithm, chunk, threads):
    p = problem(algorithm=algorithm)
    torch.testing.assert_close(run(p, WORLDS, chunk=chunk, threads=threads), run(p, WORLDS), rtol=1e-12, atol=1e-14)


def test_work_that_runs_again_in_smaller_pieces_changes_nothing(algorithm, monkeypatch):
    """Memory fails when half of the job is done, again and again: no state may have been written by then."""
    p = problem(algorithm=algorithm)
    expected, kind = run(p, WORLDS), formulations()["looped"]

    class Scarce(kind):
        calls = 0

        def gradient(self, theta, *batch):
            self.fail(theta)
            return super().gradient(theta, *batch)

        def joint(self, theta, *batch):
            self.fail(theta)
            return super().joint(theta, *batch)

        def fail(self, theta):
            Scarce.calls += 1
            if len(theta) > 2 and Scarce.calls % 3 == 0:
                raise MemoryError

    states = simulate(p, WORLDS, p.net.flat(), Scarce(p.net))
    torch.testing.assert_close(states, expected, rtol=1e-12, atol=1e-14)


class KilledError(Exception):
    pass


def test_killed_and_resumed_equals_uninterrupted(algorithm, tmp_path):
    p = problem(algorithm=algorithm)
    expected = run(p, WORLDS)

    def kill(done, total):
        if done == 5:
            raise KilledError

    file = tmp_path / "c"
    with pytest.raises(KilledError):
        run(p, WORLDS, checkpoint=Checkpoint(file, "f", seconds=0), progress=kill)
    assert torch.equal(run(p, WORLDS, checkpoint=Checkpoint(file, "f", seconds=0)), expected)


def test_the_plain_form_resumes_from_its_memory(algorithm):
    p, memory = problem(algorithm=algorithm), {}
    whole = dict(simulate_plain(p, WORLDS[1], p.net.flat()))
    rounds = simulate_plain(p, WORLDS[1], p.net.flat(), 1, memory)
    *_, (_, state) = (next(rounds) for _ in range(4))
    rest = dict(simulate_plain(p, WORLDS[1], state, 5, {name: x.clone() for name, x in memory.items()}))
    assert torch.equal(rest[7], whole[7])


@pytest.mark.parametrize("model", ["mlp", "batchnorm"])
def test_a_round_without_a_participant_is_what_its_forked_world_trains(algorithm, model):
    p = problem(model, algorithm=algorithm, rounds=4)
    p = dataclasses.replace(p, schedule=draw_schedule(2, len(SIZES), 4, 4))
    watcher = Watcher()
    run(p, [BASE], observers=[watcher])
    for t, record in enumerate(watcher.records, 1):
        worlds = [BASE, *(without_client(k, since=t) for k in record.participants)]
        trained = run(dataclasses.replace(p, schedule=p.schedule[:t]), worlds)
        for row, k in zip(trained[1:], record.participants, strict=True):
            torch.testing.assert_close(record.without(k), row, rtol=1e-9, atol=1e-12)
        assert (trained[1:] - trained[0]).abs().amax(1).min() > 1e-6


def test_leaving_out_a_client_that_never_takes_part_changes_nothing(algorithm):
    p = dataclasses.replace(problem(algorithm=algorithm), schedule=((0, 1), (2, 3), (1, 4)) * 2)
    base, other = run(p, [BASE, without_client(5)])
    assert torch.equal(base, other)
    *_, (_, plain_base) = simulate_plain(p, BASE, p.net.flat())
    *_, (_, plain_other) = simulate_plain(p, without_client(5), p.net.flat())
    assert torch.equal(plain_base, plain_other)


def test_the_state_of_a_client_that_is_left_out_is_never_used(algorithm, monkeypatch):
    """Whatever client 2 remembers, its own world does not change; the base world does, if clients remember anything."""
    p = problem(algorithm=algorithm)
    expected, of = run(p, [BASE, without_client(2)]), Memory.of

    def other(self, client, worlds):
        return of(self, client, worlds) + 0.1 * (client == 2)

    monkeypatch.setattr(Memory, "of", other)
    base, left_out = run(p, [BASE, without_client(2)])
    assert torch.equal(left_out, expected[1])
    assert torch.equal(base, expected[0]) != bool(algorithm.init(p.net.flat(), p.setup).client.numel())


def test_buffers_are_averaged_by_the_weights_of_the_uploads(algorithm):
    p, watcher = problem("batchnorm", algorithm=algorithm), Watcher()
    run(p, [BASE], observers=[watcher])
    assert p.net.size > p.net.p
    for record in watcher.records:
        sizes = [len(p.federation.of(k)[1]) for k in record.participants]
        weights = torch.tensor(sizes if algorithm.weighting == "samples" else [1] * len(sizes)).double()
        mean = weights @ record.locals[:, p.net.p :] / weights.sum()
        torch.testing.assert_close(record.after[p.net.p :], mean, rtol=1e-12, atol=1e-14)


def test_privacy_is_for_algorithms_that_send_models_and_remember_nothing(algorithm):
    """Clipping reaches the local model, and noise the next global one: nothing else may be sent or kept."""
    p, watcher = problem(algorithm=algorithm), Watcher()
    run(p, [BASE], observers=[watcher])
    state = algorithm.init(p.net.flat(), p.setup)
    sends_models = all(torch.equal(record.uploads, record.locals) for record in watcher.records)
    assert algorithm.private == (sends_models and not state.numbers(1))


def test_no_two_algorithms_are_the_same():
    """None of them is another one in disguise."""
    p, states = problem(local="sgd"), {}
    p = dataclasses.replace(p, local=LocalTraining(0.05, epochs=2, batch_size=2))
    for name, kind in KINDS.items():
        states[name] = run(dataclasses.replace(p, algorithm=made(kind)), [BASE])[0]
    for one in states:
        for other in states:
            assert one == other or float((states[one] - states[other]).abs().max()) > 1e-6, (one, other)
