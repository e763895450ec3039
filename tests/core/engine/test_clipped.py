"""Clipped sums and norms against explicit autograd of single samples, and against opacus."""

import warnings
from itertools import accumulate

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from experiments.core.engine import sample_plan
from experiments.core.engine.clipped import clipped, sample_norms
from experiments.core.engine.formulations import vmapped
from experiments.core.engine.formulations.dense import Dense
from experiments.core.engine.formulations.vmapped import Vmapped
from experiments.core.engine.net import Net, clone
from experiments.core.engine.per_sample import by_parts
from experiments.core.engine.sample_plan import plan_of
from experiments.core.models.lenet import LeNet
from experiments.core.models.resnet import ResNet
from experiments.core.models.small_cnn import SmallCnn
from tests.core.engine.odd_models import DRAWING, STILL


class Text(nn.Module):
    """Words and places, normalised, mixed and read out, as transformers do."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(11, 6, padding_idx=0), nn.Embedding(5, 6)
        self.norm, self.mix, self.out = nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, ids):
        h = self.words(ids) + self.places(torch.arange(ids.shape[1])[None])
        seen = torch.softmax(h @ h.transpose(1, 2), -1) @ h
        return self.out(torch.tanh(self.mix(self.norm(seen))).mean(1))


class Twice(nn.Module):
    """One layer called twice."""

    def __init__(self):
        super().__init__()
        self.body, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(torch.tanh(self.body(torch.tanh(self.body(x)))))


class Sorting(nn.Module):
    """A layer that sees the samples of a batch in another order than they come in."""

    def __init__(self):
        super().__init__()
        self.below, self.out = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        order = x[:, 0].argsort()
        return self.out(torch.tanh(self.below(x[order]))[order.argsort()])


class Bare(nn.Module):
    """A parameter that belongs to no layer."""

    def __init__(self):
        super().__init__()
        self.shift, self.out = nn.Parameter(torch.ones(6)), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(torch.tanh(x + self.shift))


def tied():
    module = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    module[2].weight = module[0].weight
    return module


def convolutions():
    """Grouped, dilated, strided, without bias, rectangular, padded unevenly, 1x1; many channels after few places."""
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        nn.GroupNorm(3, 6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 8, 3, dilation=2, padding=(2, 0), bias=False),
        nn.Tanh(),
        nn.Conv2d(8, 32, (3, 2), stride=2, padding=(1, 0)),
        nn.ELU(),
        nn.Conv2d(32, 48, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(48, 4, 1),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


def along_one_axis():
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv1d(4, 4, 2, groups=2), nn.Flatten(), nn.LazyLinear(3)
    )


def space():
    return nn.Sequential(nn.Conv3d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3))


def frozen():
    module = LeNet().build((1, 16, 16), 3)
    module[0].requires_grad_(False)
    module[9].bias.requires_grad_(False)
    return module


def sequences():
    """Matrices after places that are many (written out) and few (pairs)."""
    return nn.Sequential(
        nn.Linear(2, 3), nn.Tanh(), nn.Unflatten(1, (2, 10)), nn.Linear(3, 20), nn.LayerNorm((10, 20)), nn.Flatten(1),
        nn.Linear(400, 3),
    )  # fmt: skip


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), (2, 3), "layered"),
    "lenet": (lambda: LeNet().build((1, 20, 20), 3), (1, 20, 20), "layered"),
    "small cnn": (lambda: SmallCnn().build((1, 21, 21), 3), (1, 21, 21), "layered"),
    "resnet": (lambda: ResNet(depth=8, norm="group", width=4).build((3, 12, 12), 3), (3, 12, 12), "layered"),
    "batch norm": (lambda: ResNet(depth=8, width=4).build((3, 8, 8), 3), (3, 8, 8), "layered"),
    "convolutions": (convolutions, (4, 11, 11), "layered"),
    "one axis": (along_one_axis, (2, 9), "layered"),
    "space": (space, (1, 3, 3, 3), "layered"),
    "frozen": (frozen, (1, 16, 16), "layered"),
    "sequences": (sequences, (20, 2), "layered"),
    "text": (Text, "ids", "layered"),
    "tied": (tied, (6,), "vmapped"),
    "twice": (Twice, (6,), "vmapped"),
    "sorting": (Sorting, (6,), "vmapped"),
    "bare": (Bare, (6,), "vmapped"),
}


UNKNOWN = {"dropout in evaluation", "wrapped"}
"""Without a gradient that is a function of the sample; not for Net.call, which DataParallel forbids."""


def case(name, n=7):
    """A model in float64, a state that is not the template's, samples and labels."""
    build, shape, way = MODELS[name]
    torch.manual_seed(0)
    if shape == "ids":
        x = torch.randint(11, (n, 5))
        x[0, :2] = 0
        module = build().double()
    else:
        x = torch.randn(n, *shape, dtype=torch.float64)
        module = build().double().eval()
        module(x[:2].clone())
    net = Net.of(module)
    theta = net.flat() + 0.05 * torch.randn(net.size, dtype=torch.float64).abs()
    return net, theta, x, torch.randint(3, (n,)), way


def single_gradients(net, theta, x, y):
    """[n, p]: the module itself, one sample and one backward at a time."""
    module = clone(net.module).eval()
    tensors, views = {**dict(module.named_parameters()), **dict(module.named_buffers())}, net.views(theta)
    with torch.no_grad():
        for slot in net.slots:
            tensors[slot.name].copy_(views[slot.name])
    rows = []
    for s in range(len(x)):
        loss = net.losses(module(x[s : s + 1].clone()), y[s : s + 1]).sum()
        wanted = [tensors[slot.name] for slot in net.params]
        found = torch.autograd.grad(loss, wanted, allow_unused=True)
        whole = [torch.zeros_like(t) if g is None else g for t, g in zip(wanted, found, strict=True)]
        rows.append(torch.cat([g.flatten() for g in whole]))
    return torch.stack(rows)


def assert_clipped(net, theta, x, y, by=None):
    """Sums for some weightings and norms, of two models, against single gradients."""
    states = torch.stack([theta, 0.9 * theta])
    weight = torch.linspace(0, 2, 2 * len(x), dtype=torch.float64).view(2, -1).flip(0)
    weight[1, 2] = 0
    rows = torch.stack([single_gradients(net, state, x, y) for state in states])
    norms = rows.norm(dim=2)
    clip = float(norms[0].quantile(0.4))
    for w, limit in ((weight, clip), (None, clip), (0 * weight, clip), (weight, float(norms.max()))):
        total, found = by.clipped(states, x, y, w, limit) if by else clipped(net, states, x, y, w, limit)
        factors = (limit / norms).clamp(max=1) * (1 if w is None else w)
        expected = torch.einsum("bs,bsp->bp", factors, rows)
        seen = torch.ones_like(norms) if w is None else (w != 0).to(norms)
        assert torch.allclose(found * seen, norms * seen, rtol=1e-9, atol=1e-14)
        assert torch.allclose(total, expected, rtol=1e-9, atol=1e-9 * float(norms.max()))
    assert torch.allclose(sample_norms(net, theta, x, y), norms[0], rtol=1e-9)


@pytest.mark.parametrize("name", list(MODELS))
def test_clipped_sums_are_those_of_single_backwards(name):
    net, theta, x, y, way = case(name)
    assert plan_of(net, theta[None], x, y).way == way
    assert_clipped(net, theta, x, y)
    assert torch.allclose(by_parts(net, theta, x, y), single_gradients(net, theta, x, y), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", sorted({*STILL, *DRAWING} - UNKNOWN))
@pytest.mark.filterwarnings("ignore")
def test_odd_modules(name):
    torch.manual_seed(0)
    net = Net.of({**STILL, **DRAWING}[name]().double())
    x, y = torch.randn(5, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    assert_clipped(net, net.flat(), x, y)


@pytest.mark.parametrize("name", ["mlp", "partly frozen", "squared", "one layer"])
def test_stacked_products(name):
    net, _, x, y, _ = case("mlp")
    if name == "partly frozen":
        module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 3)).double()
        module[2].weight.requires_grad_(False)
        module[4].bias.requires_grad_(False)
        net, x = Net.of(module), x.flatten(1)
    elif name == "one layer":
        net, x = Net.of(nn.Sequential(nn.Linear(6, 3, bias=False)).double()), x.flatten(1)
    elif name == "squared":
        net, y = Net.of(net.module, "squared"), torch.nn.functional.one_hot(y, 3).double()
    assert_clipped(net, net.flat(), x, y, Dense(net))


@pytest.mark.parametrize("name", ["mlp", "convolutions", "text", "twice"])
def test_stacked_by_vmap(name, monkeypatch):
    net, theta, x, y, _ = case(name)
    assert_clipped(net, theta, x, y, Vmapped(net))
    whole = Vmapped(net).clipped(theta.repeat(5, 1), x, y, None, 0.2)
    for samples in (3, 17):  # some samples of one model, two models
        monkeypatch.setattr(vmapped, "_WRITTEN", samples * 8 * net.p)
        for ours, theirs in zip(Vmapped(net).clipped(theta.repeat(5, 1), x, y, None, 0.2), whole, strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-13)


def test_squared_loss():
    net, theta, x, y, _ = case("mlp")
    net = Net.of(net.module, "squared")
    assert_clipped(net, theta, x, torch.nn.functional.one_hot(y, 3).double())


def test_a_limit_above_all_norms_gives_the_sum_of_gradients():
    net, theta, x, y, _ = case("resnet")
    total, _ = clipped(net, theta[None], x, y, None, float("inf"))
    leaf = theta.clone().requires_grad_()
    net.losses(net.call(leaf, x), y).mean().backward()
    assert torch.allclose(total[0], len(x) * leaf.grad[: net.p], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["resnet", "convolutions", "text", "twice"])
def test_chunks_change_nothing_but_rounding(name, monkeypatch):
    net, theta, x, y, way = case(name)
    whole = clipped(net, theta[None], x, y, None, 0.3)
    memory = plan_of(net, theta[None], x, y).memory
    monkeypatch.setitem(sample_plan.MEMORY, "cpu", 3 * memory)
    plan = plan_of(net, theta[None], x, y)
    assert plan.way == way and [rows.stop - rows.start for rows in plan.chunks(len(x))] == [3, 3, 1]
    for ours, theirs in zip(clipped(net, theta[None], x, y, None, 0.3), whole, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-13)


def test_a_fresh_head_of_zeros_does_not_hide_what_is_below():
    net, theta, x, y, _ = case("mlp")
    for slot in net.params[2:]:
        theta[slot.start : slot.stop] = 0
    assert plan_of(net, theta[None], x, y).way == "layered"
    assert_clipped(net, theta, x, y)


def test_another_path_for_later_samples_is_noticed():
    class Turning(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            h = torch.tanh(self.body(x))
            return self.out(torch.tanh(self.body(h)) if len(x) and bool((x[:, 0] > 50).any()) else h)

    torch.manual_seed(0)
    net = Net.of(Turning().double())
    x, y = torch.randn(6, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0, 2])
    assert plan_of(net, net.flat()[None], x, y).way == "layered"
    x[:, 0] = 100.0
    assert_clipped(net, net.flat(), x, y)


class Single(nn.Module):
    """A model that takes float32 alone."""

    def __init__(self):
        super().__init__()
        self.body, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        if x.dtype != torch.float32:
            raise ValueError("float32, please")
        return self.out(torch.tanh(self.body(x)))


def test_a_model_that_takes_float32_alone():
    torch.manual_seed(0)
    net, x, y = Net.of(Single()), torch.randn(5, 6), torch.tensor([0, 1, 2, 1, 0])
    assert plan_of(net, net.flat()[None], x, y).way == "layered"
    rows = single_gradients(net, net.flat(), x, y)
    total, norms = clipped(net, net.flat()[None], x, y, None, 0.5)
    assert torch.allclose(norms[0], rows.norm(dim=1), rtol=1e-5)
    assert torch.allclose(total[0], (0.5 / rows.norm(dim=1)).clamp(max=1) @ rows, rtol=1e-4, atol=1e-6)


def test_no_samples():
    net, theta, x, y, _ = case("mlp")
    total, norms = clipped(net, theta[None], x[:0], y[:0], None, 1.0)
    assert not total.any() and total.shape == (1, net.p) and norms.shape == (1, 0)
    assert sample_norms(net, theta, x[:0], y[:0]).shape == (0,)


@pytest.mark.parametrize("name", ["mlp", "lenet", "convolutions"])
def test_opacus_agrees(name):
    with warnings.catch_warnings(action="ignore"):
        from opacus.grad_sample import GradSampleModule

        net, theta, x, y, _ = case(name)
        module = clone(net.module).train()  # in evaluation it records nothing; nothing here is random
        for part in module.modules():
            if getattr(part, "inplace", False):
                part.inplace = False
        with torch.no_grad():
            for slot, tensor in zip(net.params, module.parameters(), strict=True):
                tensor.copy_(net.views(theta)[slot.name])
        theirs = GradSampleModule(module, loss_reduction="sum")
        net.losses(theirs(x), y).sum().backward()
    rows = torch.cat([p.grad_sample.flatten(1) for p in theirs.parameters()], 1)
    total, norms = clipped(net, theta[None], x, y, None, 0.5)
    assert torch.allclose(norms[0], rows.norm(dim=1), rtol=1e-9)
    assert torch.allclose(total[0], (0.5 / rows.norm(dim=1)).clamp(max=1) @ rows, rtol=1e-9, atol=1e-12)


def peak(work):
    """Most bytes of tensors alive at once while `work` runs, beyond those alive before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))


@pytest.mark.parametrize("name", ["resnet", "twice"])
def test_memory_does_not_grow_with_the_batch(name, monkeypatch):
    net, theta, x, y, _ = case(name, 48)
    memory = plan_of(net, theta[None], x, y).memory

    def peaks(limit):
        monkeypatch.setitem(sample_plan.MEMORY, "cpu", limit)
        plan_of(net, theta[None], x, y)
        works = [lambda n=n: clipped(net, theta[None], x[:n], y[:n], None, 1.0) for n in (8, 48)]
        works += [lambda n=n: sample_norms(net, theta, x[:n], y[:n]) for n in (8, 48)]
        return [peak(work) for work in works]

    few, many, few_norms, many_norms = peaks(8 * memory)
    assert many < 1.05 * few + 4096 and many_norms < 1.05 * few_norms + 4096
    assert few < 2 * 8 * memory + 16 * 8 * net.size
    assert peaks(1 << 30)[1] > 2 * many
