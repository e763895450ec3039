"""What is remembered exists once a client has taken part, and once for all worlds that have not written it."""

import dataclasses

import pytest
import torch

from experiments.core.algorithms.feddyn import FedDyn
from experiments.core.algorithms.scaffold import Scaffold
from experiments.core.engine import remembered
from experiments.core.engine.algorithm import State
from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net
from experiments.core.engine.problem import Problem
from experiments.core.engine.remembered import Memory
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE, without_client

MANY, P = 20_000, 6


@pytest.fixture
def memory():
    """Three worlds, two numbers of the server, three of a client that start at 7."""
    return Memory(State(torch.zeros(1, 2), torch.full((1, 3), 7.0)), 3)


@pytest.fixture
def memories(monkeypatch):
    """The memories that the engine makes from here on."""
    made, init = [], Memory.__init__

    def noted(self, *arguments):
        init(self, *arguments)
        made.append(self)

    monkeypatch.setattr(Memory, "__init__", noted)
    return made


def many(algorithm, rounds=6, per_round=50):
    """Least squares of 20,000 clients with a sample each."""
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(MANY, P, generator=g), torch.randn(MANY, 1, generator=g)
    names = tuple(map(str, range(MANY)))
    data = Federation(x, y, tuple(range(MANY + 1)), x[:5], y[:5], names, 1, "many")
    net = Net.of(torch.nn.Linear(P, 1, bias=False), "squared")
    schedule = draw_schedule(0, MANY, per_round, rounds)
    return Problem(net, data, schedule, LocalTraining(0.01, steps=2), algorithm, 0)


def run(p, worlds, **options):
    return simulate(p, worlds, p.net.flat(), formulations()["looped"](p.net), **options)


@pytest.mark.parametrize("algorithm", [Scaffold(), FedDyn(alpha=0.1)], ids=["scaffold", "feddyn"])
def test_of_many_clients_those_that_took_part_are_held_and_saved(algorithm, memories, tmp_path):
    p, file = many(algorithm), tmp_path / "c"
    run(p, [BASE], checkpoint=Checkpoint(file, "f", seconds=0))
    participants = len(set().union(*p.schedule))
    assert 200 < participants <= 300
    assert memories[0].bytes == 4 * P * (1 + participants)
    assert file.stat().st_size < 20_000 + 4 * P * participants < 4 * P * MANY / 10


def test_a_world_has_rows_of_its_own_for_clients_that_wrote_since_it_forked(memories):
    p = many(Scaffold(), rounds=6)
    late = without_client(p.schedule[4][0], since=5)
    run(p, [BASE, late])
    participants, since = len(set().union(*p.schedule)), len(set().union(*p.schedule[4:]) - late.clients)
    assert memories[0].bytes == 4 * P * (2 + participants + since)


def test_a_client_begins_with_what_the_algorithm_says(memory):
    assert memory.of(5, [0, 2]).tolist() == [[7.0] * 3] * 2
    assert memory.bytes == 4 * 2 * 3


def test_a_write_is_seen_by_its_worlds_alone(memory):
    memory.write(5, [0], torch.ones(1, 3))
    memory.fork(1)
    memory.write(5, [0, 2], torch.tensor([[2.0] * 3, [3.0] * 3]))
    assert memory.of(5, [0, 1, 2])[:, 0].tolist() == [2.0, 1.0, 3.0]
    assert memory.of(4, [1])[:, 0].tolist() == [7.0]


def test_what_was_handed_over_may_be_overwritten(memory):
    new = torch.ones(1, 3)
    memory.write(5, [0], new)
    new.fill_(4.0)
    assert memory.of(5, [0])[0, 0] == 1.0


@pytest.mark.parametrize("small", [1, 100], ids=["row by row", "joined"])
def test_shared_rows_are_saved_once_and_shared_again(memory, small, monkeypatch, tmp_path):
    monkeypatch.setattr(remembered, "_SMALL", small)
    for client in range(4):
        memory.write(client, [0], torch.full((1, 3), float(client)))
    memory.server[0] = 9.0
    memory.fork(1)
    memory.write(2, [1], torch.full((1, 3), 8.0))
    checkpoint = Checkpoint(tmp_path / "c", "f")
    checkpoint.save(memory.saved())
    other = Memory(State(torch.zeros(1, 2), torch.full((1, 3), 7.0)), 3)
    other.restore(checkpoint.load())
    for client in range(5):
        assert torch.equal(other.of(client, range(3)), memory.of(client, range(3)))
    assert torch.equal(other.server, memory.server)
    assert other.bytes == memory.bytes == 4 * (2 * 3 + 3 * 5)


def test_killed_and_resumed_remembers_what_it_did(memories, tmp_path):
    p = many(Scaffold())
    worlds, expected = [BASE, without_client(p.schedule[1][0])], None
    expected = run(p, worlds)
    first = dataclasses.replace(p, schedule=p.schedule[:3])
    run(first, worlds, checkpoint=Checkpoint(tmp_path / "c", "f"))
    assert torch.equal(run(p, worlds, checkpoint=Checkpoint(tmp_path / "c", "f")), expected)
    assert memories[2].bytes == memories[0].bytes
