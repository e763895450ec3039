"""Learning rates over rounds by their closed forms, batches that cover the data, optimisers against torch.optim."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining, train_stack
from experiments.core.engine.net import Net
from experiments.core.errors import SpecError


def rates(rounds=9, **more):
    local = LocalTraining(0.8, steps=1, **more)
    return [local.lr_at(t) for t in range(1, rounds + 1)]


def test_constant():
    assert rates() == [0.8] * 9


def test_step():
    assert rates(lr_schedule="step", gamma=0.5, every=3) == [0.8] * 3 + [0.4] * 3 + [0.2] * 3


def test_exponential():
    assert rates(lr_schedule="exponential", gamma=0.9) == pytest.approx([0.8 * 0.9**i for i in range(9)], rel=1e-15)


def test_cosine_goes_down_to_zero_and_stays():
    found = rates(lr_schedule="cosine", every=6)
    half = math.sqrt(3) / 2
    assert found == pytest.approx([0.8 * (1 + c) / 2 for c in (1, half, 0.5, 0, -0.5, -half, -1, -1, -1)], abs=1e-15)


@pytest.mark.parametrize("kind", ["step", "exponential", "cosine"])
def test_schedules_are_those_of_torch(kind):
    """Round by round, as torch.optim.lr_scheduler takes it epoch by epoch."""
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], 0.8)
    theirs = {
        "step": lambda: torch.optim.lr_scheduler.StepLR(optimiser, 3, 0.5),
        "exponential": lambda: torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.5),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 8),
    }[kind]()
    expected = []
    for _ in range(8):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        theirs.step()
    every = {"step": 3, "exponential": 1, "cosine": 8}[kind]
    assert rates(8, lr_schedule=kind, gamma=0.5, every=every) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.integers(0, 5), st.integers(1, 9))
def test_every_epoch_sees_every_sample_once(n, size, epochs, client, t):
    local = LocalTraining(0.1, epochs=epochs, batch_size=size)
    found = local.batches(n, 0, client, t)
    an_epoch = math.ceil(n / size)
    assert len(found) == epochs * an_epoch
    for start in range(0, len(found), an_epoch):
        rows = torch.cat(found[start : start + an_epoch]).tolist()
        assert Counter(rows) == Counter(range(n))
        assert {len(b) for b in found[start : start + an_epoch - 1]} <= {size}
    again = local.batches(n, 0, client, t)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_batches_differ_between_epochs_rounds_clients_and_seeds():
    local = LocalTraining(0.1, epochs=2, batch_size=50)
    orders = [local.batches(50, *key) for key in ((0, 1, 1), (0, 1, 2), (0, 2, 1), (1, 1, 1))]
    flat = [tuple(b.tolist()) for order in orders for b in order]
    assert len(set(flat)) == len(flat) == 8


def test_full_batches():
    assert LocalTraining(0.1, steps=4).batches(9, 0, 0, 1) == [None] * 4


@pytest.mark.parametrize("more", [{}, {"momentum": 0.9}, {"momentum": 0.6, "nesterov": True, "weight_decay": 0.1}])
def test_a_stack_is_trained_as_torch_optim_trains_each(more):
    g = torch.Generator().manual_seed(3)
    x, y = torch.randn(7, 4, generator=g, dtype=torch.float64), torch.randint(3, (7,), generator=g)
    local = LocalTraining(0.2, epochs=3, batch_size=3, **more)
    net = Net.of(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double())
    starts = torch.randn(4, net.size, generator=g, dtype=torch.float64)
    batches, kept = local.batches(7, 0, 0, 1), []
    kind = formulations()["looped"](net)
    found = train_stack(kind, starts, x, y, None, batches, local, 0.05, keep=kept)
    for start, ours in zip(starts, found, strict=True):
        module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        nn.utils.vector_to_parameters(start, module.parameters())
        optimiser = torch.optim.SGD(module.parameters(), 0.05, **more)
        seen = []
        for rows in batches:
            seen.append(nn.utils.parameters_to_vector(module.parameters()).detach().clone())
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimiser.step()
        theirs = nn.utils.parameters_to_vector(module.parameters()).detach()
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
        if start is starts[0] or torch.equal(start, starts[0]):
            torch.testing.assert_close(torch.stack(kept), torch.stack(seen), rtol=1e-10, atol=1e-12)
    assert len(kept) == len(batches)


@pytest.mark.parametrize("statistics", [False, True], ids=["parameters only", "with buffers"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("adam", {}),
        ("adam", {"weight_decay": 0.3, "betas": (0.7, 0.95), "eps": 1e-3}),
        ("adamw", {"weight_decay": 0.3}),
    ],
)
def test_a_stack_is_trained_as_adam_trains_each(kind, more, statistics, weighted):
    def module():
        # A bias before BatchNorm has a gradient of rounding errors only, and Adam makes them large.
        first = [nn.Linear(4, 5, bias=False), nn.BatchNorm1d(5)] if statistics else [nn.Linear(4, 5), nn.Tanh()]
        return nn.Sequential(*first, nn.Linear(5, 3)).double()

    g = torch.Generator().manual_seed(3)
    x, y = torch.randn(9, 4, generator=g, dtype=torch.float64), torch.randint(3, (9,), generator=g)
    local = LocalTraining(0.2, epochs=3, batch_size=3, optimizer=kind, **more)
    weight = torch.rand(4, 9, generator=g, dtype=torch.float64) + 0.1 if weighted else None
    net = Net.of(module())
    starts = torch.rand(4, net.size, generator=g, dtype=torch.float64)
    before, batches = starts.clone(), local.batches(9, 0, 0, 1)
    found = train_stack(formulations()["looped"](net), starts, x, y, weight, batches, local, 0.05)
    assert torch.equal(starts, before) and not found.requires_grad
    for b, start in enumerate(starts):
        own = module()
        tensors = dict(own.named_parameters()) | dict(own.named_buffers())
        for name, value in net.views(start.clone()).items():
            tensors[name].data.copy_(value)
        optimiser = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind](own.parameters(), 0.05, **more)
        for rows in batches:
            optimiser.zero_grad()
            losses = nn.functional.cross_entropy(own(x[rows]), y[rows], reduction="none")
            w = torch.ones(3).double() if weight is None else weight[b, rows]
            ((losses * w).sum() / w.sum()).backward()
            optimiser.step()
        torch.testing.assert_close(found[b], Net.of(own).flat(), rtol=1e-9, atol=1e-11)
    assert float((found - starts).abs().max()) > 0.1


def test_optimisers_that_cannot_be():
    with pytest.raises(SpecError, match="unknown optimiser 'lion'"):
        LocalTraining(0.1, steps=1, optimizer="lion")
    with pytest.raises(SpecError, match="adam has no momentum"):
        LocalTraining(0.1, steps=1, optimizer="adam", momentum=0.9)
