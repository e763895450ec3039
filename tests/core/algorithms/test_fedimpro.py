"""FedImpro against closed forms, autograd on slices of the network, and FedAvg."""

import dataclasses
import itertools

import pytest
import torch
from torch import nn

from experiments.core.algorithms import _feature_statistics as statistics
from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.algorithms.fedimpro import FedImpro
from experiments.core.algorithms.numerics.improved import Improved, moments
from experiments.core.engine.algorithm import Batch, Setup, Turn
from experiments.core.engine.examine import examine
from experiments.core.engine.formulations import Sampled, formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.split import feature_shape
from experiments.core.engine.worlds import BASE
from experiments.core.errors import SpecError
from tests.core.engine.test_simulate import MODELS, WORLDS, Watcher, problem, worlds_for

LOOPED = formulations()["looped"]


def run(p, worlds=(BASE,), **options):
    return simulate(p, list(worlds), p.net.flat(), LOOPED(p.net), **options)


def turn(index=1, classes=3, shape=(4,), local=None, seed=0):
    return Turn(
        index, 0.1, local or LocalTraining(0.1, epochs=1, batch_size=8), Setup(9, 5, classes, seed, lambda _: shape)
    )


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_with_weight_0_it_is_fedavg_to_the_last_bit(model, optimiser):
    ours = problem(model, local=optimiser, algorithm=FedImpro(split="1", weight=0))
    worlds = worlds_for(model)
    expected = run(dataclasses.replace(ours, algorithm=FedAvg()), worlds)
    assert torch.equal(run(ours, worlds), expected)
    assert not torch.equal(run(dataclasses.replace(ours, algorithm=FedImpro(split="1"))), expected[:1])


OPTIONS = [
    {"preset": "paper"},
    {"preset": "paper", "momentum": 0.5, "server_momentum": 0.25, "noise": 0.1},
    {"preset": "released", "per_class": 20, "noise": 0.2, "until": 3, "cap": 0.3},
    {"preset": "released", "labels": "batch", "spread": "variance", "schedule": "default"},
    {"preset": "released", "source": "shared", "schedule": "gradual", "until": 4, "clip": True},
    {"preset": "released", "schedule": "gradualhalfhalf", "until": 5},
    {"preset": "released", "schedule": "milestone", "until": 3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("model", ["mlp", "batchnorm", "cnn"])
def test_every_rule_is_the_same_in_the_plain_form(model, options):
    p = problem(model, algorithm=FedImpro(split="2", **options))
    p = dataclasses.replace(p, local=LocalTraining(0.05, epochs=2, batch_size=3 if model == "mlp" else 8, momentum=0.5))
    worlds = worlds_for(model)
    for row, world in zip(run(p, worlds), worlds, strict=True):
        *_, (_, plain) = simulate_plain(p, world, p.net.flat())
        torch.testing.assert_close(row, plain, rtol=1e-9, atol=1e-12)


class Own(nn.Module):
    """A user's module: no Sequential, with dropout on both sides of the split and a frozen layer."""

    def __init__(self):
        super().__init__()
        self.low, self.drop = nn.Linear(6, 5), nn.Dropout(0.3)
        self.high = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 3))
        self.low.weight.requires_grad_(False)

    def forward(self, x):
        return self.high(self.drop(torch.tanh(self.low(x))))


@pytest.mark.parametrize("split", ["drop", "high.1"])
@pytest.mark.parametrize("preset", ["released", "paper"])
def test_a_module_with_dropout_and_a_frozen_layer(split, preset):
    """What it draws is the same in both forms and in every world, those without a sample included."""
    torch.manual_seed(0)
    p = problem(algorithm=FedImpro(split=split, preset=preset, until=2))
    net = examine(Net.of(Own().double()), p.federation)
    assert net.draws and net.frozen == ("low.weight",)
    p = dataclasses.replace(p, net=net, local=LocalTraining(0.05, epochs=2, batch_size=3))
    for row, world in zip(run(p, WORLDS), WORLDS, strict=True):
        *_, (_, plain) = simulate_plain(p, world, net.flat())
        torch.testing.assert_close(row, plain, rtol=1e-9, atol=1e-12)


def test_no_two_rules_are_the_same():
    p = problem(algorithm=FedImpro())
    found = [run(dataclasses.replace(p, algorithm=FedImpro(split="1", **options)))[0] for options in OPTIONS]
    for one, other in itertools.combinations(found, 2):
        assert float((one - other).abs().max()) > 1e-9


def test_statistics_of_many_batches_equal_those_of_two_passes_over_all_samples():
    """Momentum (t - 1) / t in the batch t turns the moving average of means into the mean over equal batches."""
    g = torch.Generator().manual_seed(0)
    features, y = torch.randn(2, 30, 5, generator=g).double(), torch.randint(4, (30,), generator=g)
    weight = torch.ones(2, 30)
    weight[1, ::3] = 0
    count, mean, variance = moments(features, y, weight, 5)
    for world, label in itertools.product(range(2), range(4)):
        of_class = features[world][(y == label) & (weight[world] > 0)]
        assert count[world, label] == len(of_class)
        torch.testing.assert_close(mean[world, label], of_class.mean(0))
        torch.testing.assert_close(variance[world, label], of_class.var(0))
    assert not count[:, 4].any() and not mean[:, 4].any()


class Still:
    """A formulation whose features are handed to it."""

    def __init__(self, *features):
        self.features, self.sampled = list(features), []

    def joint(self, theta, x, y, weight, block, sampled):
        self.sampled.append(sampled)
        return torch.zeros(len(theta), 9).double(), self.features.pop(0)


def statistics_after(rules, server, features, ys):
    part = Improved(rules, turn(), server)
    still = Still(*features)
    for step, y in enumerate(ys):
        part.step(still, torch.zeros(1, 9).double(), Batch(3, step, 0, None, y, None))
    sent = part.finish(torch.zeros(1, 9).double(), len(ys)).sent[:, 9:]
    return sent.view(2, 3, 4), still.sampled


def test_the_moving_average_of_equation_6():
    """Two batches of one class, momentum 0.75: the old, the first and the second weigh 9/16, 3/16 and 1/4."""
    g = torch.Generator().manual_seed(1)
    rules = FedImpro(preset="paper", momentum=0.75).rules
    one, two = torch.randn(1, 6, 4, generator=g).double(), torch.randn(1, 6, 4, generator=g).double()
    server = torch.rand(1, 24, generator=g).double()
    (mean, spread), _ = statistics_after(rules, server, [one, two], [torch.ones(6).long()] * 2)
    old_mean, old_spread = server.view(2, 3, 4)
    torch.testing.assert_close(mean[1], 9 / 16 * old_mean[1] + 3 / 16 * one[0].mean(0) + two[0].mean(0) / 4)
    torch.testing.assert_close(spread[1], 9 / 16 * old_spread[1] + 3 / 16 * one[0].var(0) + two[0].var(0) / 4)
    assert torch.equal(mean[[0, 2]], old_mean[[0, 2]]) and torch.equal(spread[[0, 2]], old_spread[[0, 2]])


def test_the_released_statistics_are_those_of_the_last_batch_and_capped():
    g = torch.Generator().manual_seed(2)
    one, two = torch.randn(1, 6, 4, generator=g).double(), torch.randn(1, 6, 4, generator=g).double()
    rules = FedImpro(per_class=4, cap=0.9).rules
    (mean, spread), _ = statistics_after(rules, torch.rand(1, 24).double(), [one, two], [torch.zeros(6).long()] * 2)
    torch.testing.assert_close(mean[0], two[0].mean(0))
    torch.testing.assert_close(spread[0], two[0].std(0).clamp(max=0.9))
    assert float(spread[0].max()) == 0.9
    assert FedImpro(per_class=5000).rules.kept(512) == pytest.approx(1 - 512 / 5000)  # Table 3's 17th layer


def test_one_sample_of_a_class_moves_its_mean_and_not_its_spread():
    rules, server = FedImpro(per_class=1).rules, torch.full((1, 24), 0.05, dtype=torch.float64)
    (mean, spread), _ = statistics_after(rules, server, [torch.ones(1, 3, 4).double()], [torch.tensor([0, 1, 1])])
    assert bool((mean[:2] == 1).all()) and bool((mean[2] == 0.05).all())
    assert bool((spread[0] == 0.05).all()) and not spread[1].any()


@pytest.mark.parametrize(("source", "moved"), [("shared", False), ("local", True)])
def test_features_are_drawn_from_the_servers_or_the_clients_own_statistics(source, moved):
    rules = FedImpro(preset="released", source=source, per_class=1, schedule="constant").rules
    server = torch.zeros(1, 24).double()  # no spread: what is drawn is the mean
    far, y = torch.full((1, 6, 4), 7.0).double(), torch.zeros(6).long()
    _, sampled = statistics_after(rules, server, [far, far], [y, y])
    assert sampled[0].labels.tolist() == [0, 1, 2] * 3 and not sampled[0].features.any()
    of_zero = sampled[1].features[:, sampled[1].labels == 0]
    assert bool((of_zero == (7 if moved else 0)).all())
    assert not sampled[1].features[:, sampled[1].labels > 0].any()


def test_drawn_features_have_the_mean_and_deviation_of_their_class():
    server = torch.rand(1, 2, 3, 4).double()
    rules = FedImpro(preset="paper").rules
    y = torch.arange(3).repeat(4000)
    _, (sampled,) = statistics_after(rules, server.flatten(1), [torch.zeros(1, len(y), 4).double()], [y])
    for label in range(3):
        drawn = sampled.features[0, y == label]
        torch.testing.assert_close(drawn.mean(0), server[0, 0, label], rtol=0, atol=0.06)
        torch.testing.assert_close(drawn.var(0), server[0, 1, label], rtol=0.12, atol=0.01)


def test_equation_7_each_client_counts_the_same_whatever_its_size():
    p, watcher = problem(algorithm=FedImpro(split="1", server_momentum=0.5)), Watcher()
    run(p, observers=[watcher])
    record, size = watcher.records[0], p.net.size
    start = statistics.start_of(p.algorithm.rules, p.net.flat(), p.setup)
    _, after = p.algorithm.server(
        p.turn(1), record.before[None], torch.cat([record.after, record.uploads[:, size:].mean(0)])[None], None, start
    )
    torch.testing.assert_close(after, 0.5 * start + 0.5 * record.uploads[:, size:].mean(0))
    weights = record.sizes / record.sizes.sum()
    torch.testing.assert_close(record.after, weights @ record.locals)


def test_noise_goes_to_all_that_is_shared_and_to_nothing_else():
    quiet, loud = (problem(algorithm=FedImpro(split="1", noise=s, weight=0)) for s in (0.0, 0.3))
    a, b = Watcher(), Watcher()
    run(quiet, observers=[a])
    run(loud, observers=[b])
    one, two, size = a.records[0], b.records[0], quiet.net.size
    assert torch.equal(one.uploads[:, :size], two.uploads[:, :size])
    noise = two.uploads[:, size:] - one.uploads[:, size:]
    assert float(noise.std()) == pytest.approx(0.3, rel=0.2)
    assert len(noise.unique()) == noise.numel()  # each client and element its own


@pytest.mark.parametrize("model", ["mlp", "batchnorm", "cnn"])
def test_the_joint_gradient_is_autograds_on_the_two_parts(model):
    """Through two slices of the network instead of a hook; BatchNorm above the split sees both."""
    build, shape = MODELS[model]
    torch.manual_seed(0)
    module, cut = build().double(), 1
    net = Net.of(module)
    x, y = torch.randn(5, *shape).double(), torch.tensor([0, 1, 2, 0, 1])
    features = torch.randn(1, 7, *feature_shape(module, str(cut - 1), x[:2])).double()
    sampled = Sampled(features, torch.tensor([0, 1, 2, 0, 1, 2, 0]), None, (0.75, 0.5))
    gradient, seen = LOOPED(net).joint(net.flat()[None].clone(), x, y, None, str(cut - 1), sampled)
    low, high = module[:cut].train(), module[cut:].train()
    h = low(x)
    z = high(torch.cat([h, features[0]]))
    loss = 0.75 * nn.functional.cross_entropy(z[:5], y) + 0.5 * nn.functional.cross_entropy(z[5:], sampled.labels)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])
    torch.testing.assert_close(gradient[0], expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(seen[0], h)


def test_a_split_between_relu_and_pool_sees_what_the_model_says():
    """The looped formulation pools before ReLU where nobody looks between."""
    module = MODELS["cnn"][0]().double()
    net, x = Net.of(module), torch.randn(3, 1, 8, 8).double()
    looped = LOOPED(net)
    for block in ("1", "2", "1"):
        _, seen = looped.joint(net.flat()[None].clone(), x, torch.tensor([0, 1, 2]), None, block, None)
        torch.testing.assert_close(seen[0], module[: int(block) + 1](x))


def test_the_schedules_of_the_released_code():
    local = LocalTraining(0.1, epochs=5, batch_size=8)

    def shares(t, epoch=0, **options):
        return FedImpro(until=50, **options).rules.shares(turn(t, local=local), epoch, 128, 130)

    assert shares(1) == (1, 0) and shares(1, 1) == (1, 1 / 50) and shares(6) == (1, 0.5) and shares(21) == (1, 2)
    assert shares(21, clip=True) == (1, 1) and shares(6, schedule="gradual") == (0.5, 0.5)
    assert shares(6, schedule="gradualhalfhalf") == (0.75, 0.25) and shares(3, schedule="constant") == (1, 1)
    assert shares(10, schedule="milestone") == (1, 0) and shares(11, schedule="milestone") == (0, 1)
    assert shares(3, schedule="default") == pytest.approx((128 / 258, 130 / 258))
    assert shares(21, preset="paper") == (1, 1)


@pytest.mark.parametrize("world", WORLDS[1:3], ids=lambda w: w.label)
def test_a_clients_statistics_leave_with_it(world):
    """Leaving a client out by Round.without is a world without it in that round."""
    p, watcher = problem(algorithm=FedImpro(split="1")), Watcher()
    p = dataclasses.replace(p, schedule=p.schedule[:1])
    run(p, observers=[watcher])
    record = watcher.records[0]
    k = record.participants[0]
    world = dataclasses.replace(world, clients=frozenset({k}), since=1)
    torch.testing.assert_close(record.without(k), run(p, [BASE, world])[1], rtol=1e-12, atol=1e-14)


def test_a_block_that_does_not_exist_is_told_with_those_that_do():
    p = problem(algorithm=FedImpro(split="layer2"))
    with pytest.raises(SpecError, match="layer2") as fault:
        run(p)
    assert "0, 1, 2" in fault.value.todo
    ids = dataclasses.replace(p.federation, x=torch.zeros(27, 6).long())
    with pytest.raises(SpecError, match="token ids"):
        dataclasses.replace(p, algorithm=FedImpro(split="1"), federation=ids).setup.features("1")
    numbers = dataclasses.replace(p.federation, classes=1)
    with pytest.raises(SpecError, match="numbers"):
        run(dataclasses.replace(p, algorithm=FedImpro(split="1"), federation=numbers))
