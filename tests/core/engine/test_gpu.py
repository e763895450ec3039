"""The engine on CUDA against the engine on the CPU, in float64; each test also runs CPU against CPU.

Law 3: formulations agree to rounding, wherever they compute.
"""

import copy
from dataclasses import replace

import pytest
import torch

from experiments.core.engine.augment import Augment
from experiments.core.engine.calibrate import choose
from experiments.core.engine.device import Workers, free_bytes, resolve_device
from experiments.core.engine.evaluate import evaluate
from experiments.core.engine.formulations import formulations
from experiments.core.engine.net import Net
from experiments.core.engine.packed import Packed, packed
from experiments.core.engine.privacy import Privacy
from experiments.core.engine.problem import Problem
from experiments.core.engine.seeds import stream
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.estimators.numerics.fed_influence import FedInfluence, Variant
from tests.core.engine.formulations import cases
from tests.core.engine.test_packed import WAYS, federation
from tests.core.engine.test_simulate import MODELS, problem, worlds_for

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, NO_CUDA])
on_each = pytest.mark.parametrize("name", ["cpu", CUDA])


def moved(p: Problem, device: torch.device) -> Problem:
    """The problem with a model and data of its own on `device`."""
    net = Net.of(copy.deepcopy(p.net.module).to(device), p.net.loss)
    return Problem(net, p.federation.to(device, torch.float64), p.schedule, p.local, p.algorithm, p.seed, p.privacy)


def able(net, device):
    return [k(net) for k in formulations().values() if k.supports(net, device, torch.float64)]


@on_each
def test_augmentation_draws_and_gives_the_same_to_the_last_bit(name):
    device, augment = resolve_device(name), Augment(3, True, 4, (-1.5, 0.25))
    x = torch.rand(9, 2, 8, 10)
    there = augment(x.to(device), stream(0, "augment", client=1))
    assert there.device.type == device.type and torch.equal(there.cpu(), augment(x, stream(0, "augment", client=1)))


@on_each
def test_images_kept_as_bytes_are_the_same_numbers_there(name):
    device = resolve_device(name)
    for way in WAYS:
        plain = federation(way).to(device, torch.float32)
        kept = packed(plain)
        assert isinstance(kept.x, Packed) and kept.x.raw.device.type == device.type == kept.x.device.type
        assert torch.equal(kept.of(1)[0], plain.of(1)[0]) and torch.equal(kept.x + 0, plain.x)


@on_each
@pytest.mark.parametrize("case", ["logreg", "mlp relu", "cnn1 small odd", "cnn2 small even", "one conv", "batchnorm"])
@pytest.mark.parametrize("weights", ["none", "zeros"])
def test_gradients_and_outputs(name, case, weights):
    device = resolve_device(name)
    here = cases.net_of(case)
    there = Net.of(copy.deepcopy(here.module).to(device))
    x, y = cases.batch(case, "random", 6)
    theta, weight = cases.states(here, 4), cases.weights(weights, 4, 6)
    expected, _ = cases.plain_gradient(here, theta, x, y, weight)
    outputs = cases.plain_outputs(here, theta, x)
    found = able(there, device)
    assert {"looped"} < {f.name for f in found}
    for kind in found:
        gradient = kind.gradient(theta.to(device, copy=True), x.to(device), y.to(device),
                                 None if weight is None else weight.to(device))  # fmt: skip
        assert gradient.device.type == device.type
        assert cases.close(gradient.cpu(), expected, 1e-9), kind.name
        assert cases.close(kind.outputs(theta.to(device), x.to(device)).cpu(), outputs, 1e-9), kind.name


@pytest.mark.slow
@on_each
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("local", ["full batch", "sgd"])
def test_simulations(name, model, local):
    device = resolve_device(name)
    here = problem(model, local)
    there, worlds = moved(here, device), worlds_for(model)
    plain = []
    for world in worlds:
        *_, (_, state) = simulate_plain(here, world, here.net.flat())
        plain.append(state)
    for kind in able(there.net, device):
        states = simulate(there, worlds, there.net.flat(), kind, chunk=4)
        torch.testing.assert_close(states.cpu(), torch.stack(plain), rtol=1e-8, atol=1e-11)


@on_each
@pytest.mark.parametrize("local", ["adam", "adamw"])
def test_private_simulations(name, local):
    """The noise is drawn by name, not by device."""
    device = resolve_device(name)
    here = replace(problem("cnn", local), privacy=Privacy(0.08, 0.2))
    there, worlds = moved(here, device), worlds_for("cnn")
    states = simulate(there, worlds, there.net.flat(), formulations()["looped"](there.net))
    for row, world in zip(states, worlds, strict=True):
        *_, (_, plain) = simulate_plain(here, world, here.net.flat())
        torch.testing.assert_close(row.cpu(), plain, rtol=1e-7, atol=1e-10)


@on_each
def test_estimates_and_evaluation(name):
    device = resolve_device(name)
    found = []
    for where in (torch.device("cpu"), device):
        p = moved(problem("mlp", rounds=5), where)
        kind = formulations()["looped"](p.net)
        variants = {
            "basic": Variant("blocks", None, "shared", (0, 3, 5)),
            "ours": Variant("fisher", "noniid", "per_client", tuple(range(6))),
        }
        with Workers(1) as workers:
            estimator = FedInfluence(p.net, p.federation, variants, 3, 0, workers)
            states = simulate(p, worlds_for("mlp"), p.net.flat(), kind, observers=[estimator])
            scores = evaluate(kind, states, p.federation.test_x, p.federation.test_y, workers)
        found.append([estimator.change("basic"), estimator.change("ours"), scores.loss, scores.accuracy])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b.cpu(), a, rtol=1e-8, atol=1e-11)
        assert float(a.abs().max()) > 0


@on_each
def test_a_calibration_picks_something_that_works(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    device = resolve_device(name)
    p = moved(problem("cnn"), device)
    choice = choose(p.net, p.federation, 6, 1)
    assert choice.formulation.name in choice.seconds and choice.seconds[choice.formulation.name] < 60
    assert len(choice.seconds) == len(able(p.net, device))
    states = simulate(p, worlds_for("cnn"), p.net.flat(), choice.formulation)
    assert bool(torch.isfinite(states).all()) and free_bytes(device) > 0
