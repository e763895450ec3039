"""What is found out about a model before it trains, and the one line where it cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from experiments.core.engine.examine import examine
from experiments.core.engine.net import Net
from experiments.core.errors import SpecError
from tests.core.engine.odd_models import DRAWING, STILL, Own, net
from tests.core.engine.test_simulate import federation


def makes_a_parameter(own, h):
    if not hasattr(own, "scale"):
        own.scale = nn.Parameter(torch.ones(h.shape[1]).to(h))
    return h * own.scale


def own_generator(own, h):
    return h + torch.randn(h.shape, generator=own.__dict__.setdefault("g", torch.Generator())).to(h)


def remembers(own, h):
    own.seen = getattr(own, "seen", 0) + 1
    return h * own.seen


def moves_a_frozen_one(own, h):
    if own.training:
        with torch.no_grad():
            own.below.weight.mul_(0.9)
    return h


class Frozen(Own):
    def __init__(self, between):
        super().__init__(between)
        self.below.requires_grad_(False)


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 3, dtype=torch.complex64))

    def forward(self, x):
        return (x.to(self.w) @ self.w).abs()


class Buffers(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("w", torch.randn(6, 3))

    def forward(self, x):
        return x @ self.w


class Returns(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.body, self.what = nn.Linear(6, 3), what

    def forward(self, x):
        return self.what(self.body(x))


REFUSED = {
    "all frozen": (lambda: net(nn.Tanh()).requires_grad_(False), "all 4 parameters of the model are frozen"),
    "buffers only": (Buffers, "the model has no parameters"),
    "complex": (Complex, "parameter w holds torch.complex64"),
    "tuple": (lambda: Returns(lambda z: (z, z)), "the model returns a tuple, not a tensor; model; return the logits"),
    "dict": (lambda: Returns(lambda z: {"logits": z}), "the model returns a dict, not a tensor"),
    "batch statistics": (
        lambda: net(nn.BatchNorm1d(5, track_running_stats=False)),
        "output for a sample depends on the others of its batch",
    ),
    "batch statistics of images": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 2, 3)),
            nn.BatchNorm2d(1, track_running_stats=False),
            nn.Flatten(),
            nn.Linear(6, 3),
        ),
        "output for a sample depends on the others of its batch",
    ),
    "one output for all": (lambda: Returns(lambda z: z.mean(0, keepdim=True)), "shape (1, 3) for 4 samples"),
    "made in forward": (lambda: Own(makes_a_parameter), "the model makes scale in its forward pass"),
    "a generator of its own": (lambda: Own(own_generator), "something else at a second look at the same samples"),
    "a memory of its own": (lambda: Own(remembers), "something else at a second look at the same samples"),
    "frozen and moved": (lambda: Frozen(moves_a_frozen_one), "changes its frozen parameter below.weight"),
    "fails in training": (lambda: Own(lambda own, h: h.nope if own.training else h), "cannot be trained: 'Tensor'"),
    "no graph": (lambda: Returns(lambda z: z.detach()), "cannot be trained: element 0 of tensors does not require"),
    "too few outputs": (lambda: nn.Linear(6, 2), "the model gives outputs of shape (2,) for 3 classes"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_model_that_cannot_be_trained_says_why_in_one_line(case):
    made, message = REFUSED[case]
    module = made()
    module = module if case == "complex" else module.double()
    with pytest.raises(SpecError) as caught:
        examine(Net.of(module), federation((6,)))
    assert message in str(caught.value) and "\n" not in str(caught.value) and caught.value.todo


def test_what_is_found_out():
    data = federation((6,))
    found = {name: examine(Net.of(make().double()), data) for name, make in {**DRAWING, **STILL}.items()}
    assert {name for name, n in found.items() if n.draws} == set(DRAWING)
    assert {name for name, n in found.items() if n.redraws} == {"checkpointed"}
    assert {name for name, n in found.items() if n.restless} == {"dropout in evaluation"}
    assert {name: [s.name for s in n.counters] for name, n in found.items() if n.counters} == {
        "cumulative batch norm": ["1.num_batches_tracked"],
        "counter": ["steps"],
    }
    counted = found["cumulative batch norm"]
    assert (counted.p, counted.real, counted.size) == (5 * 6 + 5 + 10 + 18, 73, 74)


@pytest.mark.parametrize("name", [*DRAWING, *STILL])
def test_looking_changes_nothing(name):
    torch.manual_seed(3)
    module, data = {**DRAWING, **STILL}[name]().double(), federation((6,))
    before, x = {n: t.clone() for n, t in module.state_dict().items()}, data.x.clone()
    drawn = torch.get_rng_state()
    examine(Net.of(module), data)
    assert torch.equal(torch.get_rng_state(), drawn) and torch.equal(data.x, x) and module.training
    assert all(torch.equal(t, before[n]) for n, t in module.state_dict().items())


def test_float8_is_widened_with_the_rest():
    module = net(nn.Tanh())
    module[0].weight = nn.Parameter(module[0].weight.data.to(torch.float8_e4m3fn), requires_grad=False)
    found = examine(Net.of(module.to(torch.float64)), federation((6,)))
    assert found.frozen == ("0.weight",) and found.flat().dtype == torch.float64


def test_a_frozen_parameter_is_seen_as_a_constant_in_every_arithmetic():
    n = Net.of(STILL["partly frozen"]().float())
    theta = torch.stack([n.flat().double(), 2 * n.flat().double()])
    views = n.views(theta)
    assert views["2.weight"].shape == (2, 4, 5) and views["2.weight"].dtype == torch.float64
    assert torch.equal(views["2.weight"][1].float(), n.module[2].weight)
    whole = n.thawed
    assert whole.p == sum(p.numel() for p in n.module.parameters()) and not whole.frozen
    wide = n.widened(theta)
    x = torch.randn(3, 6, dtype=torch.float64)
    assert torch.equal(whole.call(wide[1], x), n.call(theta[1], x))
    assert torch.equal(replace(whole).views(wide)["0.weight"], views["0.weight"])
