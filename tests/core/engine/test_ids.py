"""Integer inputs through the engine: a bag of tokens and small transformers, stacked against the plain twin."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.engine import evaluate as module_under_test
from experiments.core.engine.calibrate import choose
from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.problem import Problem
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.truth import truth
from experiments.core.engine.worlds import BASE, World
from tests.core.engine.test_gpu import CUDA
from tests.core.engine.test_simulate import SIZES, federation

VOCABULARY, LENGTH = 20, 6
WORLDS = [BASE, World("without:1", frozenset({1})), World("sample", samples=frozenset({0, 4, 5}))]


class Bag(nn.Module):
    """The mean of the tokens' vectors, padding left out, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(VOCABULARY, 5), nn.Linear(5, 3)

    def forward(self, ids):
        mask = (ids != 0).unsqueeze(-1).to(self.head.weight.dtype)
        return self.head((self.words(ids) * mask).sum(1) / mask.sum(1).clamp(min=1))


def transformer(arch):
    pytest.importorskip("transformers", reason="the extra [text] is not installed")
    from experiments.core.models.transformer import Transformer

    block = Transformer(arch=arch, layers=1, width=8, heads=2, vocabulary=VOCABULARY)
    return block.build((LENGTH,), 3)


MODELS = {"bag": Bag, "bert": lambda: transformer("bert"), "gpt": lambda: transformer("gpt")}
LOCALS = {
    "sgd": LocalTraining(0.1, epochs=2, batch_size=3, momentum=0.9),
    "adam": LocalTraining(0.01, epochs=1, batch_size=2, optimizer="adam"),
}


def texts():
    """The toy federation with texts of ids, each ending in padding of its own length."""
    g = torch.Generator().manual_seed(5)
    known = federation()
    parts = []
    for n in (len(known.x), len(known.test_x)):
        x = torch.randint(1, VOCABULARY, (n, LENGTH), generator=g)
        lengths = torch.randint(1, LENGTH + 1, (n, 1), generator=g)
        parts.append(torch.where(torch.arange(LENGTH) < lengths, x, 0))
    return replace(known, x=parts[0], test_x=parts[1]).to("cpu", torch.float64)


def problem(model, local):
    module = MODELS[model]().double()
    initialise(module, 0)
    net = Net.of(module)
    return Problem(net, texts(), draw_schedule(0, len(SIZES), 2, 4), LOCALS[local], FedAvg(), 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["looped", "vmapped"])
@pytest.mark.parametrize("local", list(LOCALS))
@pytest.mark.parametrize("model", list(MODELS))
def test_stacked_equals_plain(name, model, local):
    p = problem(model, local)
    f = formulations()[name](p.net)
    stacked = simulate(p, WORLDS, p.net.flat(), f, chunk=2)
    for row, world in zip(stacked, WORLDS, strict=True):
        *_, (_, plain) = simulate_plain(p, world, p.net.flat())
        # Adam divides by the root of gradients near zero, which enlarges the rounding of many an embedding's row.
        torch.testing.assert_close(row, plain, rtol=1e-6 if local == "adam" else 1e-9, atol=1e-9)
    assert (stacked[1:] - stacked[0]).abs().amax(1).min() > 1e-6
    with Workers(2) as workers:
        found = truth(f, stacked, p.federation, workers)
    assert found.loss.abs().min() > 0


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("model", list(MODELS))
def test_another_device_trains_the_same(model, device):
    p = problem(model, "sgd")
    there = Problem(Net.of(copy.deepcopy(p.net.module).to(device)), p.federation.to(device, torch.float64),
                    p.schedule, p.local, p.algorithm, p.seed)  # fmt: skip
    ours = simulate(there, WORLDS, there.net.flat(), formulations()["vmapped"](there.net))
    expected = simulate(p, WORLDS, p.net.flat(), formulations()["looped"](p.net))
    torch.testing.assert_close(ours.cpu(), expected, rtol=1e-8, atol=1e-10)


def test_texts_keep_their_type_and_labels():
    ours = texts()
    assert ours.x.dtype == ours.test_x.dtype == ours.y.dtype == torch.int64
    assert ours.to("cpu", torch.float32).x.dtype == torch.int64


def test_calibration_takes_the_model_s_arithmetic(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    net = problem("bag", "sgd").net
    choice = choose(net, texts(), 4, 2)
    assert {"looped", "vmapped"} <= set(choice.seconds) and max(choice.seconds.values()) < 1
    assert choose(net, texts(), 4, 2, "fixed").formulation.name == "looped"


@pytest.mark.parametrize("room", [1, 4 * LENGTH, 1 << 20])
def test_evaluation_block_by_block(room, monkeypatch):
    monkeypatch.setattr(module_under_test, "_IDS", room)
    p = problem("bag", "sgd")
    f, data = formulations()["looped"](p.net), texts()
    theta = p.net.flat() + 0.1 * torch.randn(3, p.net.size, dtype=torch.float64)
    with Workers(2) as workers:
        found = evaluate(f, theta, data.test_x, data.test_y, workers)
    for row, state in enumerate(theta):
        outputs = p.net.call(state, data.test_x)
        loss = nn.functional.cross_entropy(outputs, data.test_y)
        assert float(found.loss[row]) == pytest.approx(float(loss), rel=1e-12)
        assert float(found.accuracy[row]) == float((outputs.argmax(1) == data.test_y).double().mean())
