"""Fed-Influence where a sample's loss hangs on its batch: BatchNorm and dropout, against the plain trainer itself."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.examine import examine
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining, train_stack
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.problem import Problem
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.training import trained_as
from experiments.core.engine.truth import truth
from experiments.core.engine.worlds import leave_one_out
from experiments.core.estimators.numerics.fed_influence import FedInfluence, Variant, tensor_norms
from experiments.core.scores.correlation import pearson

K, CLASSES = 8, 3
ALL = tuple(range(K))
MODELS = {
    "batch_norm": lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, CLASSES)),
    "cumulative": lambda: nn.Sequential(
        nn.Linear(6, 6), nn.BatchNorm1d(6, momentum=None), nn.Tanh(), nn.Linear(6, CLASSES)
    ),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, CLASSES)),
}


def problem(name, lr=0.1, rounds=4, local=None):
    g = torch.Generator().manual_seed(0)
    sizes = [12, 9, 20, 15, 8, 13, 17, 14]
    rule = torch.randn(6, CLASSES, generator=g, dtype=torch.float64)
    shift = torch.randn(K, 6, generator=g, dtype=torch.float64).repeat_interleave(torch.tensor(sizes), 0)
    x = torch.randn(sum(sizes), 6, generator=g, dtype=torch.float64) + 0.7 * shift
    y = (x @ rule).argmax(1)
    y[: sizes[0]] = torch.randint(CLASSES, (sizes[0],), generator=g)  # labels without sense
    test = torch.randn(200, 6, generator=g, dtype=torch.float64)
    offsets = tuple(torch.tensor([0, *sizes]).cumsum(0).tolist())
    data = Federation(x, y, offsets, test, (test @ rule).argmax(1), tuple(map(str, ALL)), CLASSES, "toy")
    module = MODELS[name]().double()
    initialise(module, 1)
    net = examine(Net.of(module), data)
    local = local or LocalTraining(lr, steps=2)
    return Problem(net, data, draw_schedule(0, K, 4, rounds), local, FedAvg(), 0)


class Recorder:
    needs_iterates = True

    def __init__(self):
        self.records = []

    def observe(self, record):
        self.records.append(record)


def run(p, variants, worlds=(), net=None, gradients=50):
    """The estimator, what it saw, and the states of the worlds."""
    way, recorder = formulations()["looped"](p.net), Recorder()
    x, y = p.federation.of(p.schedule[0][0])
    net = net or trained_as(p.net, way, p.net.flat(), x, y, p.draws_of(p.schedule[0][0], 1))
    with Workers(1) as workers:
        estimator = FedInfluence(net, p.federation, variants, gradients, 0, workers)
        states = simulate(p, leave_one_out(list(worlds)), p.net.flat(), way, observers=[recorder, estimator])
    return estimator, recorder.records, states


def trained(p, record, place, start):
    """The states [C, size] of a participant after its round, from starts [C, size], by the plain trainer."""
    k = record.participants[place]
    way, data = formulations()["looped"](p.net), p.federation.of(k)
    return train_stack(
        way, start, *data, None, record.batches[place], p.local, record.lr, draws=p.draws_of(k, record.index)
    )


def recursion(p, records, h=1e-6):
    """Eq. 10 with finite differences of the plain trainer for the sequential part, statistics included.

    Not in counters, which are rounded where they are used.
    """
    change = torch.zeros(K, p.net.size, dtype=torch.float64)
    for record in records:
        total = torch.zeros_like(change)
        change[:, p.net.real :] = 0
        for place, k in enumerate(record.participants):
            ahead, back = (trained(p, record, place, record.before + s * h * change) for s in (1, -1))
            share = record.sizes[place] / torch.tensor(
                [float(record.sizes.sum() - (p.federation.sizes[c] if c in record.participants else 0)) for c in ALL]
            )
            share[k] = 0
            total += share[:, None] * (ahead - back) / (2 * h)
        for place, c in enumerate(record.participants):
            left = [i for i in range(len(record.participants)) if i != place]
            weights = record.sizes[left] / record.sizes[left].sum()
            total[c] += weights @ record.locals[left] - record.after
        change = total
    return change


@pytest.mark.parametrize("local", [None, LocalTraining(0.1, epochs=1, batch_size=5)], ids=["steps", "batches"])
@pytest.mark.parametrize("name", MODELS)
def test_estimates_are_the_recursion_over_finite_differences_of_training(name, local):
    p = problem(name, local=local)
    estimator, records, _ = run(p, {"basic": Variant("blocks", None, "shared", ALL)})
    expected, found = recursion(p, records), estimator.change("basic")
    torch.testing.assert_close(found[:, : p.net.real], expected[:, : p.net.real], rtol=1e-5, atol=1e-7)
    assert p.net.real == p.net.p or found[:, p.net.p :].abs().max() > 1e-3


def correlation(p, estimator, name, states):
    way = formulations()["looped"](p.net)
    with Workers(1) as workers:
        exact = truth(way, states, p.federation, workers)
        moved = states[0] + estimator.change(name)
        fil = evaluate(way, moved, p.federation.test_x, p.federation.test_y, workers).loss - exact.base_loss
    return pearson(fil.numpy(), exact.loss.numpy()).value


@pytest.mark.slow
@pytest.mark.parametrize("name", ["batch_norm", "dropout"])
def test_estimates_agree_with_leave_one_out(name):
    p = problem(name, lr=0.2, rounds=8)
    variants = {
        "basic": Variant("blocks", None, "shared", ALL),
        "lwet_fisher": Variant("fisher", "iid", "shared", ALL),
        "noniid": Variant("fisher", "noniid", "shared", ALL),
    }
    estimator, _, states = run(p, variants, ALL)
    found = {v: correlation(p, estimator, v, states) for v in variants}
    assert found["basic"] > 0.97 and min(found.values()) > 0.9, found
    if name == "batch_norm":  # with running statistics in the Jacobian it is another model's influence
        other, _, _ = run(p, {"basic": variants["basic"]}, net=p.net)
        exact = states[1:] - states[0]
        errors = [float((e.change("basic") - exact).norm() / exact.norm()) for e in (estimator, other)]
        assert errors[0] < 0.25 * errors[1] and correlation(p, other, "basic", states) < found["basic"] - 0.02


def test_the_fisher_of_a_batch_is_drawn_by_name_and_examined_by_blocks():
    p = problem("batch_norm", lr=2.0, rounds=3)
    variants = {v: Variant("fisher", v, "per_client", ALL) for v in ("iid", "noniid")} | {
        "none": Variant("fisher", None, "shared", ALL)
    }
    few, _, _ = run(p, variants, gradients=3)
    again, _, _ = run(p, variants, gradients=3)
    for name in variants:
        assert torch.equal(few.change(name), again.change(name))
    for lwet in ("iid", "noniid"):
        assert few.flags(lwet).min() < 1, "the case should have truncated something"
        assert not torch.equal(few.change(lwet), few.change("none"))
    assert bool((few.flags("none") == 1).all())


def test_a_state_is_taken_up():
    p = problem("batch_norm")
    variants = {"a": Variant("fisher", "iid", "shared", ALL), "b": Variant("blocks", None, "shared", ALL)}
    whole, records, _ = run(p, variants)
    x, y = p.federation.of(0)
    net = trained_as(p.net, formulations()["looped"](p.net), p.net.flat(), x, y)
    with Workers(2) as workers:
        first, second = (FedInfluence(net, p.federation, variants, 50, 0, workers) for _ in range(2))
        for record in records[:2]:
            first.observe(record)
        second.restore(first.state())
        for record in records[2:]:
            second.observe(replace(record))
    for name in variants:
        torch.testing.assert_close(second.change(name), whole.change(name), rtol=1e-10, atol=1e-12)
    assert tensor_norms(net, whole.change("a").T).min() > 0
