"""A small federation with unlike clients, and what the engine hands observers after each of its rounds."""

import torch
from torch import nn

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.problem import Problem
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE

SIZES = (24, 10, 14, 8)
CLASSES = 3


def problem(module=None, shape=(6,), per_round=4, rounds=3, algorithm=None, sizes=SIZES):
    """Clients whose inputs are shifted by their number; the last one holds a single class."""
    generator = torch.Generator().manual_seed(0)
    n, offsets = sum(sizes), tuple(torch.tensor((0, *sizes)).cumsum(0).tolist())
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    y = torch.where(owner == len(sizes) - 1, 2, torch.randint(CLASSES, (n,), generator=generator))
    x = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    x += (y + owner.double() / 2).reshape(-1, *[1] * len(shape))
    names = tuple(f"c{k}" for k in range(len(sizes)))
    federation = Federation(x, y, offsets, x[:5], y[:5], names, CLASSES, "toy")
    torch.manual_seed(0)
    module = module or nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    net = Net.of(module.double())
    initialise(net.module, 0)
    schedule = draw_schedule(0, len(sizes), per_round, rounds)
    local = LocalTraining(lr=0.05, epochs=1, batch_size=8)
    return Problem(net, federation, schedule, local, algorithm or FedAvg(), 0)


def watched(one, *observers):
    """Train; returns the observers."""
    simulate(one, [BASE], one.net.flat(), Looped(one.net), observers=observers)
    return observers


class Records:
    """Keeps all rounds."""

    needs_iterates = False

    def __init__(self):
        self.rounds = []

    def observe(self, record):
        self.rounds.append(record)


def values(rows):
    """(metric, subject, round) -> value."""
    found = {(row["metric"], row["subject"], row["round"]): row["value"] for row in rows}
    assert len(found) == len(rows)
    return found
