"""Images kept as bytes give back the floats that a pool made, to the last bit, whatever is asked of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.algorithms.fedimpro import FedImpro
from experiments.core.data._scale import by_channel, scaled
from experiments.core.data.partition import Iid
from experiments.core.data.pool import make_pool
from experiments.core.engine.augment import Augment
from experiments.core.engine.calibrate import choose
from experiments.core.engine.examine import examine
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.packed import Packed, packed
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE, World
from experiments.core.models.lenet import LeNet
from experiments.core.study.federated import fingerprint

WAYS = {
    "0..1": lambda pool: pool,
    "published": lambda pool: scaled(pool, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "own": by_channel,
}


def federation(way="published", dtype=torch.float32, n=60, side=16):
    """Every byte occurs in every channel, made to numbers as the data sets do it."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 3, side, side)).astype(np.uint8)
    images[0].reshape(3, -1)[:, :256] = np.arange(256)[: side * side]
    x = images.astype("float32") / 255
    pool = make_pool("here", (x, np.arange(n) % 4), (x[:5].copy(), np.arange(5) % 4), 4, "toy")
    return Iid(clients=3).split(WAYS[way](pool), 0).to("cpu", dtype)


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_number_comes_back(way, dtype):
    plain = federation(way, dtype)
    kept = packed(plain)
    assert isinstance(kept.x, Packed) and kept.x.raw.nbytes * (4 if dtype == torch.float32 else 8) == plain.x.nbytes
    assert (kept.x.shape, kept.x.dtype, kept.x.device, len(kept.x)) == (plain.x.shape, dtype, plain.x.device, 60)
    assert kept.x.is_floating_point() and kept.x.dim() == 4 and torch.equal(kept.test_x, plain.test_x)
    rows, mask = torch.tensor([3, 59, 3]), torch.arange(60) % 7 == 0
    for of in (
        lambda x: x[4:9], lambda x: x[5], lambda x: x[-1], lambda x: x[rows], lambda x: x[mask], lambda x: x[::3],
        lambda x: x[:0], lambda x: x.index_select(0, rows), lambda x: x[:, 1], lambda x: x[..., 2:4, :],
        lambda x: x + 0, lambda x: x[rows, 0], lambda x: x.flatten(1), lambda x: torch.cat([x, x]),
        lambda x: x.mean((0, 2, 3)),
        lambda x: x.detach().cpu(), lambda x: x.split(25)[1], lambda x: torch.stack(list(x)), lambda x: x.new_zeros(2),
        lambda x: torch.zeros(3, dtype=torch.float16).to(x), lambda x: x.half(), lambda x: x.reshape(-1)[:9],
    ):  # fmt: skip
        found = of(kept.x)
        assert type(found) is torch.Tensor and torch.equal(found, of(plain.x)) and found.dtype == of(plain.x).dtype
    for k in range(3):
        assert torch.equal(kept.of(k)[0], plain.of(k)[0])
    assert fingerprint(kept) == fingerprint(plain)


def test_what_bytes_do_not_give_back_is_left_alone():
    plain = federation()
    moved = plain.x.clone()
    moved[-1, 2, 3, 3] = torch.nextafter(moved[-1, 2, 3, 3], torch.tensor(9.0))
    for x in (moved, torch.rand(60, 3, 4, 4), torch.randint(0, 9, (60, 3, 4, 4)), torch.rand(60, 5)):
        given = replace(plain, x=x)
        assert packed(given) is given
    kept = packed(plain)
    assert packed(kept) is kept


@pytest.mark.parametrize("algorithm", [FedAvg(), FedImpro(split="conv2")], ids=lambda a: a.kind)
@pytest.mark.parametrize("local", [LocalTraining(0.1, steps=2), LocalTraining(0.1, epochs=1, batch_size=8)])
def test_a_run_is_the_same_to_the_last_bit(algorithm, local):
    plain = federation()
    module = LeNet().build((3, 16, 16), 4)
    initialise(module, 0)
    net = Net.of(module)
    worlds = [BASE, World("without:1", frozenset({1})), World("sample", samples=frozenset({0, 7}))]
    runs = []
    for data in (plain, packed(plain)):
        augment = Augment.of(data, 2, True, 4)
        p = Problem(examine(net, data), data, ((0, 1, 2),) * 2, local, algorithm, 0, augment=augment)
        assert choose(net, data, 3, 1, "looped").formulation.name == "looped"
        *_, (_, alone) = simulate_plain(p, worlds[2], net.flat())
        runs.append((simulate(p, worlds, net.flat(), formulations()["looped"](net), threads=2), alone))
    assert torch.equal(runs[0][0], runs[1][0]) and torch.equal(runs[0][1], runs[1][1])
