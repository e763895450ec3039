"""FedDebug: a planted fault, the consensus step against explicit subsets, activations against layers by hand."""

import itertools

import pytest
import torch
from torch import nn

from experiments.core.engine.net import Net
from experiments.core.errors import NumericalError, SpecError
from experiments.core.estimators import _feddebug as module
from experiments.core.estimators._feddebug import activations, consensus, feddebug, random_inputs
from tests.core.estimators.cases import generator, normal


def by_subsets(active, faulty):
    """The test as the paper states it: leave-one-out subsets, neurons active in every member, largest count benign."""
    everyone = set(range(len(active)))
    select = ~active.all(0)
    declared, left = [], everyone
    for _ in range(faulty):
        subsets = list(itertools.combinations(sorted(left), len(left) - 1))
        counts = [int(active[list(s)][:, select].all(0).sum()) for s in subsets]
        (out,) = left - set(subsets[counts.index(max(counts))])
        declared.append(out)
        left = left - {out}
    return tuple(declared)


@pytest.mark.parametrize("clients, faulty", [(2, 1), (5, 1), (6, 3), (9, 8)])
def test_consensus_equals_explicit_subsets(clients, faulty):
    for seed in range(40):
        rate = 0.5 + 0.45 * (seed % 3) / 2
        active = torch.rand(clients, 30, generator=generator(seed)) < rate
        assert consensus(active, faulty) == by_subsets(active, faulty)


def test_without_any_difference_no_client_is_preferred_for_being_first():
    assert consensus(torch.ones(4, 10, dtype=torch.bool), 1) == (3,) == by_subsets(torch.ones(4, 10) > 0, 1)


def net_of():
    layers = [nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3), nn.Flatten()]
    return Net.of(nn.Sequential(*layers, nn.Linear(128, 10)).double())


def clients_of(net, count):
    around = 0.5 * normal(net.size, seed=1)
    variance = next(s for s in net.buffers if s.name.endswith("var"))
    around[variance.start : variance.stop] = 1
    return around + 1e-3 * normal(count, net.size, seed=2)


def plant(net, locals, client, seed):
    """Another first layer: other neurons answer."""
    locals[client, : net.params[1].stop] = 0.5 * normal(net.params[1].stop, seed=seed)


def test_a_planted_fault_is_found_on_every_input():
    net = net_of()
    locals = clients_of(net, 8)
    plant(net, locals, 5, seed=3)
    inputs = random_inputs((1, 8, 8), 10, seed=0).double()
    assert feddebug(net, locals, inputs) == [(5,)] * 10


def test_several_faults_are_found_one_after_another():
    net = net_of()
    locals = clients_of(net, 9)
    for seed, client in enumerate((2, 7), start=3):
        plant(net, locals, client, seed)
    found = feddebug(net, locals, random_inputs((1, 8, 8), 10, seed=0).double(), faulty=2)
    assert [set(f) for f in found] == [{2, 7}] * 10


def test_activations_are_relu_scaled_within_each_layer_and_input():
    net = net_of()
    theta, x = clients_of(net, 1)[0], normal(3, 1, 8, 8, seed=4)
    v = net.views(theta)
    first = nn.functional.conv2d(x, v["0.weight"], v["0.bias"])
    mean, var = (v[f"1.running_{s}"][:, None, None] for s in ("mean", "var"))
    between = (first - mean) / (var + 1e-5).sqrt() * v["1.weight"][:, None, None] + v["1.bias"][:, None, None]
    second = nn.functional.conv2d(between.clamp(min=0), v["3.weight"], v["3.bias"])
    last = second.flatten(1) @ v["5.weight"].T + v["5.bias"]
    expected = []
    for i in range(3):
        parts = [layer[i].flatten().clamp(min=0) for layer in (first, second, last)]
        expected.append(torch.cat([(p - p.min()) / (p.max() - p.min()) for p in parts]))
    torch.testing.assert_close(activations(net, theta, x), torch.stack(expected))


def test_a_silent_layer_is_inactive():
    net = Net.of(nn.Linear(2, 3).double())
    theta = torch.zeros(net.size, dtype=torch.float64) - 1
    assert torch.equal(activations(net, theta, torch.ones(1, 2).double()), torch.zeros(1, 3).double())


def test_small_memory_changes_nothing(monkeypatch):
    net = net_of()
    locals, inputs = clients_of(net, 4), random_inputs((1, 8, 8), 5, seed=0).double()
    whole = feddebug(net, locals, inputs)
    monkeypatch.setattr(module, "free_bytes", lambda device: 1)
    assert feddebug(net, locals, inputs) == whole


def test_random_inputs_are_those_of_kaiming_uniform():
    drawn, again = random_inputs((3, 20, 30), 4, seed=0), random_inputs((3, 20, 30), 6, seed=0)
    assert torch.equal(drawn, again[:4]) and not torch.equal(drawn, random_inputs((3, 20, 30), 4, seed=1))
    torch.manual_seed(0)
    theirs = nn.init.kaiming_uniform_(torch.empty(3, 20, 30))
    assert drawn[0].abs().max() <= (6 / 600) ** 0.5 and drawn.dtype == torch.float32
    assert float(drawn.std()) == pytest.approx(float(theirs.std()), rel=0.05)
    assert len({tuple(d.flatten().tolist()) for d in drawn}) == 4


def test_bad_input_is_told():
    net = net_of()
    locals, inputs = clients_of(net, 3), random_inputs((1, 8, 8), 2, seed=0).double()
    with pytest.raises(SpecError, match="leave nobody"):
        feddebug(net, locals, inputs, faulty=3)
    with pytest.raises(SpecError, match="draws images"):
        random_inputs((128,), 2, seed=0)
    locals[1, 0] = float("nan")
    with pytest.raises(NumericalError, match="client number 1"):
        feddebug(net, locals, inputs)
