"""Any module trains: every world as in ordinary PyTorch, whatever the module draws, counts, hooks or keeps fixed."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.engine.calibrate import choose
from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.descent import Descent, descend
from experiments.core.engine.device import Workers
from experiments.core.engine.draws import drawing, step_seed
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.examine import examine
from experiments.core.engine.formulations import formulations
from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net
from experiments.core.engine.newton import inverse, minimise, newton_worlds
from experiments.core.engine.objective import Objective
from experiments.core.engine.problem import Problem
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import flatten, load, simulate_plain
from experiments.core.engine.worlds import BASE, World
from experiments.core.estimators.numerics.explicit import hessian
from tests.core.engine.odd_models import DRAWING, STILL
from tests.core.engine.test_simulate import SIZES, federation

LOCAL = LocalTraining(0.1, epochs=2, batch_size=3, momentum=0.5, weight_decay=0.01)
CPU = torch.device("cpu")
WORLDS = [BASE, World("client", frozenset({1})), World("late", frozenset({0, 2}), since=3)]
SAMPLES = World("samples", samples=frozenset({0, 4, 5}))
MOVING = ("batch norm", "cumulative batch norm")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def problem(name, local=LOCAL, rounds=4):
    torch.manual_seed(0)
    module, data = {**DRAWING, **STILL}[name]().double(), federation((6,))
    if name in MOVING:  # a last batch of one sample has no variance
        local = LocalTraining(0.1, steps=3)
    return Problem(
        examine(Net.of(module), data), data, draw_schedule(0, len(SIZES), 2, rounds), local, FedAvg(), 0
    )  # fmt: skip


def in_race(net):
    return {name for name, kind in formulations().items() if kind.runs(net, CPU, torch.float64)}


def worlds_of(name):
    return WORLDS if name in MOVING else [*WORLDS, SAMPLES]


@pytest.mark.parametrize("name", [*DRAWING, *STILL])
def test_every_world_is_that_of_ordinary_pytorch(name):
    p, worlds = problem(name), worlds_of(name)
    ours = simulate(p, worlds, p.net.flat(), choose(p.net, p.federation, 1, 1).formulation)
    for row, world in zip(ours, worlds, strict=True):
        *_, (_, plain) = simulate_plain(p, world, p.net.flat())
        torch.testing.assert_close(row, plain, rtol=1e-9, atol=1e-12)
    assert (ours[1:] - ours[0]).abs().amax(1).min() > 1e-6


@pytest.mark.parametrize("name", list(DRAWING))
def test_what_a_model_draws_depends_on_names_only(name):
    p = problem(name)
    assert p.net.draws and in_race(p.net) == {"looped"}
    found = []
    for seed, chunk, threads in ((1, None, 1), (2, None, 1), (3, 1, 2), (4, 2, 2)):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        found.append(
            simulate(p, worlds_of(name), p.net.flat(), Looped(p.net), chunk=chunk, threads=threads)
        )  # fmt: skip
    assert torch.equal(found[0], found[1])
    for other in found[2:]:  # cut otherwise, sums are added up in another order
        torch.testing.assert_close(other, found[0], rtol=1e-12, atol=1e-14)


def test_a_client_that_never_takes_part_changes_nothing():
    p = problem("Dropout", rounds=1)
    absent = next(k for k in range(len(SIZES)) if k not in p.schedule[0])
    states = simulate(p, [BASE, World("absent", frozenset({absent}))], p.net.flat(), Looped(p.net))
    *_, (_, plain) = simulate_plain(p, World("absent", frozenset({absent})), p.net.flat())
    *_, (_, base) = simulate_plain(p, BASE, p.net.flat())
    assert torch.equal(states[0], states[1]) and torch.equal(plain, base)


def test_every_step_draws_anew():
    """The same client, round and step in every world; another client, round or step draws something else."""
    seeds = {step_seed(s, client=k, round=t, step=i) for s in (0, 1) for k in (0, 1) for t in (1, 2) for i in (0, 1)}
    assert len(seeds) == 16
    p = problem("Dropout")
    x, y = p.federation.of(1)
    gradients = [Looped(p.net).at(seed).gradient(p.net.flat()[None], x, y, None) for seed in sorted(seeds)]
    assert len({g.numpy().tobytes() for g in gradients}) == 16


def test_a_sample_left_out_shifts_nobody_else_s_draws():
    p = problem("Dropout")
    x, y, theta = p.federation.x[:7], p.federation.y[:7], p.net.flat().repeat(2, 1)
    weight = torch.ones(2, 7, dtype=torch.float64)
    weight[1, 2] = 0
    with torch.random.fork_rng():
        torch.manual_seed(5)
        kept = torch.empty(7, 5, dtype=torch.float64).bernoulli_(0.5) * 2
    rows = torch.tensor([0, 1, 3, 4, 5, 6])
    w = theta[0].clone().requires_grad_()
    t = p.net.views(w)
    outputs = (torch.relu(x @ t["0.weight"].T + t["0.bias"]) * kept) @ t["3.weight"].T + t["3.bias"]
    (expected,) = torch.autograd.grad(torch.nn.functional.cross_entropy(outputs[rows], y[rows]), w)
    found = Looped(p.net).at(5).gradient(theta, x, y, weight)
    torch.testing.assert_close(found[1], expected, rtol=1e-9, atol=1e-12)


def test_a_killed_run_ends_in_the_same_numbers(tmp_path):
    p = problem("Dropout", rounds=5)
    straight = simulate(p, WORLDS, p.net.flat(), Looped(p.net))

    class KilledError(Exception):
        pass

    def killer(done, _):
        if done == 3:
            raise KilledError

    saved = Checkpoint(tmp_path / "a.ckpt", "x", seconds=0)
    with pytest.raises(KilledError):
        simulate(p, WORLDS, p.net.flat(), Looped(p.net), checkpoint=saved, progress=killer)
    torch.rand(7)
    assert torch.equal(simulate(p, WORLDS, p.net.flat(), Looped(p.net), checkpoint=saved), straight)


def test_draws_that_nobody_named_are_refused():
    p = problem("Dropout")
    with pytest.raises(RuntimeError, match="nobody named the step"):
        Looped(p.net).gradient(p.net.flat()[None], p.federation.x, p.federation.y, None)


def test_a_model_that_draws_in_evaluation_is_evaluated_with_the_same_draws():
    p = problem("dropout in evaluation")
    assert p.net.restless
    theta = torch.cat([p.net.flat().repeat(5, 1), p.net.flat()[None] * 0.5])
    x, y = p.federation.x.repeat(30, 1), p.federation.y.repeat(30)
    with Workers(2) as two, Workers(1) as one:
        whole, again = (evaluate(Looped(p.net), theta, x, y, workers) for workers in (one, two))
        alone = evaluate(Looped(p.net), theta[-1:], x, y, one)
    assert torch.equal(whole.loss, again.loss) and whole.loss[5] == alone.loss[0]
    assert whole.loss[0] == whole.loss[4] != whole.loss[5]


@pytest.mark.parametrize("name", list(STILL))
def test_models_that_draw_nothing_are_left_to_every_formulation(name):
    p = problem(name)
    assert not p.net.draws and not p.net.restless
    assert {"looped", "vmapped"} <= in_race(p.net)
    assert bool(p.net.counters) == (name in ("cumulative batch norm", "counter"))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of what vmap batches slowly
@pytest.mark.parametrize("name", list(STILL))
@pytest.mark.parametrize("wanted", [name for name in formulations() if name != "looped"])
def test_a_formulation_that_is_chosen_is_right(name, wanted):
    """Whatever says that it can compute a module either does, or is told from plain autograd."""
    p = problem(name, rounds=1)
    if wanted not in in_race(p.net):
        return
    try:
        chosen = choose(p.net, p.federation, 1, 1, wanted).formulation
    except Exception as fault:
        assert f"formulation {wanted!r} cannot compute this model" in str(fault) and "\n" not in str(fault)
        return
    ours, other = simulate(p, [BASE], p.net.flat(), chosen), simulate(p, [BASE], p.net.flat(), Looped(p.net))
    torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-12)


def test_cumulative_batch_norm_is_that_of_a_loop_over_state_dicts():
    """FedAvg as anybody writes it: load the server's state dict, train, average every entry, round the counter."""
    p = problem("cumulative batch norm", LocalTraining(0.1, steps=3), rounds=3)
    server = {name: t.clone() for name, t in p.net.module.state_dict().items()}
    for drawn in p.schedule:
        locals_ = []
        for k in drawn:
            module = STILL["cumulative batch norm"]().double().train()
            module.load_state_dict(server)
            optimiser = torch.optim.SGD(module.parameters(), 0.1)
            x, y = p.federation.of(k)
            for _ in range(3):
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(module(x), y).backward()
                optimiser.step()
            locals_.append((len(y), module.state_dict()))
        total = sum(n for n, _ in locals_)
        mean = {name: sum(s[name].double() * (n / total) for n, s in locals_) for name in server}
        server = {name: t.round().long() if name.endswith("tracked") else t for name, t in mean.items()}
    ours = p.net.views(simulate(p, [BASE], p.net.flat(), Looped(p.net))[0])
    assert int(server["1.num_batches_tracked"]) == 9
    for name, value in server.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-9, atol=1e-12)


def test_frozen_parameters_are_constants():
    p = problem("partly frozen")
    assert p.net.frozen == ("2.weight", "2.bias", "4.bias") and p.net.p == 6 * 5 + 5 + 12
    before = {name: p.net.module.get_parameter(name).clone() for name in p.net.frozen}
    final = simulate(p, [BASE], p.net.flat(), choose(p.net, p.federation, 1, 1).formulation)[0]
    after = p.net.views(final)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not torch.equal(after["0.weight"], p.net.module[0].weight)


@pytest.mark.parametrize("batch", [None, 4])
def test_a_descent_draws_by_step(batch):
    """Central training: every step has a stream of its own, and a sample left out shifts nobody else's draws."""
    p = problem("F.dropout")
    x, y = p.federation.x[:9], p.federation.y[:9]
    weight = torch.ones(2, 9, dtype=torch.float64)
    weight[1, 3] = 0
    descent = Descent(lr=0.1, batch_size=batch)
    with Workers(1) as one:
        found = descend(Looped(p.net), p.net.flat().repeat(2, 1), x, y, weight, descent, 5, 3, one)
    for row, w in zip(found.states, weight, strict=True):
        module = load(p.net, p.net.flat())
        optimiser = torch.optim.SGD(module.parameters(), 0.1)
        for i, rows in enumerate(descent.batches(9, 3, 0, 5)):
            rows = torch.arange(9) if rows is None else rows
            optimiser.zero_grad()
            with drawing(step_seed(3, step=i, first=0), CPU):
                losses = torch.nn.functional.cross_entropy(module(x[rows]), y[rows], reduction="none")
            (losses @ w[rows] / w[rows].sum()).backward()
            optimiser.step()
        torch.testing.assert_close(row, flatten(p.net, module), rtol=1e-9, atol=1e-12)


def test_optima_with_frozen_layers_are_those_of_a_head_on_fixed_features():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double()
    module[0].requires_grad_(False)
    data = federation((6,))
    net, head = examine(Net.of(module), data).stilled(), Net.of(module[2])
    features = torch.tanh(module[0](data.x)).detach()
    weight = torch.ones(3, len(data.y), dtype=torch.float64)
    weight[1, 2] = weight[2, 5] = 0
    found = []
    for n, x in ((net, data.x), (head, features)):
        start = minimise(Objective(n, x, data.y, 0.1), n.flat(), 1e-12, 200).theta
        first = inverse(hessian(Objective(n, x, data.y, 0.1), start))
        with Workers(1) as one:
            ended = newton_worlds(Looped(n), start.repeat(3, 1), x, data.y, weight, 0.1, None, first, 1e-12, 50, one)
        found.append(ended.states)
    torch.testing.assert_close(found[0], found[1], rtol=1e-7, atol=1e-9)
    assert (found[0][1:] - found[0][0]).abs().amax(1).min() > 1e-4
