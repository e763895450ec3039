"""Fed-Influence against closed forms, explicit products, the algorithms as printed, and SGD-influence."""

import pytest
import torch
from torch import nn

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.engine.device import Workers
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.per_sample import per_sample_gradients
from experiments.core.engine.problem import Problem
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import leave_one_out
from experiments.core.estimators.numerics.closed_forms import (
    explicit_fisher,
    explicit_hessian,
    keep_blocks,
    literal_update,
    naive1,
    naive2,
    transfer_matrix,
)
from experiments.core.estimators.numerics.fed_influence import FedInfluence, Variant, fisher_recursion

K = 6
ALL = tuple(range(K))


def problem(loss="cross_entropy", hidden=True, sizes=(3, 7, 5, 4, 6, 2), per_round=3, rounds=8, lr=0.2, steps=2):
    g = torch.Generator().manual_seed(0)
    n, k = sum(sizes), len(sizes)
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)) if hidden else nn.Sequential(nn.Linear(4, 2))
    module = module.double()
    initialise(module, 1)
    y = (
        torch.randn(n, 2, generator=g, dtype=torch.float64)
        if loss == "squared"
        else torch.randint(2, (n,), generator=g)
    )
    x = torch.randn(n, 4, generator=g, dtype=torch.float64)
    data = Federation(
        x, y, tuple(torch.tensor((0, *sizes)).cumsum(0).tolist()), x, y, tuple(map(str, range(k))), 2, "toy"
    )
    schedule = draw_schedule(0, k, per_round, rounds)
    return Problem(Net.of(module, loss), data, schedule, LocalTraining(lr, steps=steps), FedAvg(), 0)


class Recorder:
    needs_iterates = True

    def __init__(self):
        self.records, self.states = [], []

    def observe(self, record):
        self.records.append(record)
        self.states.append(record.states())


def run(p, variants, gradients=50, worlds=None, seen=()):
    recorder = Recorder()
    with Workers(2) as workers:
        estimator = FedInfluence(p.net, p.federation, variants, gradients, 0, workers)
        count = len(p.federation.sizes)
        simulate(
            p,
            leave_one_out(range(count)) if worlds is None else worlds,
            p.net.flat(),
            formulations()["looped"](p.net),
            observers=[*seen, recorder, estimator],
        )
    return estimator, recorder


def variant(hessian, lwet=None, flags="shared", clients=ALL):
    return Variant(hessian, lwet, flags, clients)


def test_exact_on_a_quadratic_loss():
    p = problem("squared", hidden=False, rounds=20)
    estimator, recorder = run(p, {"basic": variant("full")})
    exact = recorder.states[-1][1:] - recorder.states[-1][0]
    torch.testing.assert_close(estimator.change("basic"), exact, rtol=1e-9, atol=1e-12)
    assert exact.abs().max() > 1e-2


def test_blocks_are_exact_on_a_quadratic_without_bias():
    p = problem("squared", hidden=False)
    module = nn.Sequential(nn.Linear(4, 2, bias=False)).double()
    p = Problem(Net.of(module, "squared"), p.federation, p.schedule, p.local, p.algorithm, 0)
    estimator, recorder = run(p, {"basic": variant("blocks", clients=(4, 1))})
    exact = recorder.states[-1][[5, 2]] - recorder.states[-1][0]
    torch.testing.assert_close(estimator.change("basic"), exact, rtol=1e-9, atol=1e-12)


def test_first_order_error_vanishes_with_the_learning_rate():
    """Theorem 1: the error is little-o of the influence, so it falls faster than the influence itself."""
    ratios = []
    for lr in (0.02, 0.005):
        estimator, recorder = run(problem(lr=lr, rounds=6), {"basic": variant("full")})
        exact = recorder.states[-1][1:] - recorder.states[-1][0]
        ratios.append(float((estimator.change("basic") - exact).norm() / exact.norm()))
    assert ratios[1] < 0.5 * ratios[0]


def test_fisher_recursion_equals_the_explicit_product():
    g = torch.Generator().manual_seed(0)
    blocks = [torch.randn(n, 7, generator=g, dtype=torch.float64) for n in (5, 3, 4)]
    change = torch.randn(7, 6, generator=g, dtype=torch.float64)
    lost = torch.empty_like(change)
    projected, coefficients = fisher_recursion(torch.cat(blocks), [5, 3, 4], change, 0.1, lost)
    growth = lost.square().sum(0) - 2 * (projected * coefficients).sum(0)
    explicit = transfer_matrix([explicit_fisher(b) for b in blocks], 0.1) @ change
    torch.testing.assert_close(change - lost, explicit)
    torch.testing.assert_close(growth, explicit.norm(dim=0) ** 2 - change.norm(dim=0) ** 2)


@pytest.mark.parametrize("lwet", [None, "iid", "noniid"])
@pytest.mark.parametrize("lr", [0.2, 6.0])
def test_estimates_equal_the_algorithms_as_printed(lwet, lr):
    """At the high learning rate tensors do get truncated, so the flags matter."""
    p = problem(lr=lr, rounds=6)
    estimator, recorder = run(p, {"ours": variant("fisher", lwet, clients=(5, 0, 3))})
    change, flags = {c: torch.zeros(p.net.p, dtype=torch.float64) for c in (5, 0, 3)}, {}
    for record in recorder.records:
        gradients = [
            [per_sample_gradients(p.net, w, *p.federation.of(k)) for w in iterates]
            for k, iterates in zip(record.participants, record.iterates, strict=True)
        ]
        change = literal_update(p.net, gradients, record, change, flags, lwet)
    torch.testing.assert_close(
        estimator.change("ours"), torch.stack([change[c] for c in (5, 0, 3)]), rtol=1e-8, atol=1e-10
    )
    if lwet and lr > 1:
        assert flags, "the case should have truncated something"
        off = 1 - estimator.flags("ours").mean()
        assert off > 0


def test_a_client_is_not_examined_for_its_own_world():
    """Algorithm 4 runs over k in C_t minus c: only client 0 is estimated and only it takes part besides client 1."""
    p = problem(lr=50.0, rounds=3, sizes=(4, 4), per_round=2)
    estimator, recorder = run(p, {"own": variant("fisher", "noniid", clients=(0,))}, worlds=leave_one_out([]))
    kept = estimator._tracks["own"].flags
    assert bool(kept[0].all()) and not bool(kept[1].all())
    change, flags = {0: torch.zeros(p.net.p, dtype=torch.float64)}, {}
    for record in recorder.records:
        gradients = [
            [per_sample_gradients(p.net, w, *p.federation.of(k)) for w in iterates]
            for k, iterates in zip(record.participants, record.iterates, strict=True)
        ]
        change = literal_update(p.net, gradients, record, change, flags, "noniid")
    torch.testing.assert_close(estimator.change("own")[0], change[0], rtol=1e-8, atol=1e-8)


def test_per_client_flags_keep_more():
    p = problem(lr=1.5, rounds=8)
    estimator, _ = run(p, {"shared": variant("fisher", "iid"), "own": variant("fisher", "iid", "per_client")})
    assert estimator.flags("own").sum() > estimator.flags("shared").sum()
    assert not torch.equal(estimator.change("own"), estimator.change("shared"))


def test_the_naive_ways_agree_with_the_exact_variant():
    p = problem(rounds=3)
    estimator, recorder = run(p, {"full": variant("full"), "blocks": variant("blocks")})
    for name in ("full", "blocks"):
        change = torch.zeros(p.net.p, K, dtype=torch.float64)
        for record in recorder.records:
            hessians = [
                [explicit_hessian(p.net, w, *p.federation.of(k)) for w in iterates]
                for k, iterates in zip(record.participants, record.iterates, strict=True)
            ]
            if name == "blocks":
                hessians = [[keep_blocks(p.net, h) for h in hs] for hs in hessians]
            left = record.sizes[:, None].repeat(1, K)
            for place, k in enumerate(record.participants):
                left[place, k] = 0
            shares = left / left.sum(0)
            first = naive1([transfer_matrix(h, record.lr) for h in hessians], shares, change)
            torch.testing.assert_close(first, naive2(hessians, record.lr, shares, change))
            for c in record.participants:
                weights = shares[:, c]
                first[:, c] += weights @ record.locals - record.after
            change = first
        torch.testing.assert_close(estimator.change(name).T, change, rtol=1e-8, atol=1e-10)


def test_sgd_influence_is_the_special_case_of_one_sample_and_one_step():
    """Supplement D: with one sample a client and one local step, C_t is a mini-batch and Eq. 10 is SGD-influence
    (Hara et al. 2019): epsilon <- (I - eta H_batch without c) epsilon + eta (mean gradient with c - without c)."""
    p = problem(sizes=(1,) * 10, per_round=4, rounds=12, steps=1, lr=0.3)
    estimator, _ = run(p, {"basic": variant("full", clients=tuple(range(10)))}, worlds=leave_one_out([]))
    x, y, eta = p.federation.x, p.federation.y, 0.3
    for c in range(10):
        w, change = p.net.flat(), torch.zeros(p.net.p, dtype=torch.float64)
        for batch in map(list, p.schedule):
            kept = [k for k in batch if k != c]
            grads = per_sample_gradients(p.net, w, x, y)
            h = explicit_hessian(p.net, w, x[kept], y[kept])
            change = change - eta * (h @ change) + eta * (grads[batch].mean(0) - grads[kept].mean(0))
            w = w - eta * grads[batch].mean(0)
        torch.testing.assert_close(estimator.change("basic")[c], change, rtol=1e-9, atol=1e-12)


def test_a_variant_that_overflows_stops_and_the_others_go_on():
    p = problem(lr=0.2, rounds=8)
    estimator, _ = run(p, {"fine": variant("fisher")})
    with Workers(1) as workers:
        both = FedInfluence(p.net, p.federation, {"bad": variant("fisher"), "fine": variant("fisher")}, 50, 0, workers)
        both._tracks["bad"].change.fill_(float("inf"))
        simulate(p, leave_one_out([]), p.net.flat(), formulations()["looped"](p.net), observers=[both])
    assert both.stopped("bad") == 1 and both.stopped("fine") == 0
    torch.testing.assert_close(both.change("fine"), estimator.change("fine"))


def test_state_and_restore_continue_the_same_estimate():
    p = problem(lr=6.0, rounds=6)
    variants = {"a": variant("fisher", "noniid"), "b": variant("blocks", "iid")}
    whole, recorder = run(p, variants)
    with Workers(1) as workers:
        first = FedInfluence(p.net, p.federation, variants, 50, 0, workers)
        for record in recorder.records[:3]:
            first.observe(record)
        second = FedInfluence(p.net, p.federation, variants, 50, 0, workers)
        second.restore(first.state())
        for record in recorder.records[3:]:
            second.observe(record)
    for name in variants:
        assert torch.equal(second.change(name), whole.change(name))


def test_few_gradients_are_drawn_without_replacement_and_by_name():
    p = problem(rounds=5)
    few, _ = run(p, {"a": variant("fisher")}, gradients=2)
    again, _ = run(p, {"a": variant("fisher")}, gradients=2)
    every, _ = run(p, {"a": variant("fisher")})
    assert torch.equal(few.change("a"), again.change("a"))
    assert not torch.allclose(few.change("a"), every.change("a"))
