"""With frozen parameters every estimator sees the function of the others: the part of the whole that is theirs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from experiments.core.engine.net import Net
from experiments.core.engine.objective import Objective
from experiments.core.engine.per_sample import by_layers, by_parts, per_sample_gradients
from experiments.core.engine.sample_trial import by_vmap
from experiments.core.estimators._ekfac import Ekfac
from experiments.core.estimators.numerics.closed_forms import explicit_hessian, keep_blocks
from experiments.core.estimators.numerics.explicit import hessian
from experiments.core.estimators.numerics.hessian import FullHessian, tensor_blocks
from experiments.core.estimators.numerics.tracefl import contributions, first_order, provenance
from experiments.core.estimators.numerics.tracefl_hooked import hooked

FROZEN = {
    "first layer": ("0.weight", "0.bias"),
    "middle weight": ("2.weight",),
    "last layer": ("4.weight", "4.bias"),
    "biases": ("0.bias", "2.bias", "4.bias"),
}


def nets(kind):
    """A net whose parameters are all trained, the same with some of them frozen, and where the trained ones lie."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    some = copy.deepcopy(module)
    for name in FROZEN[kind]:
        some.get_parameter(name).requires_grad_(False)
    whole = Net.of(module)
    columns = torch.cat([torch.arange(s.start, s.stop) for s in whole.params if s.name not in FROZEN[kind]])
    return whole, Net.of(some), columns


def data(n=7):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 6, generator=generator, dtype=torch.float64), torch.arange(n) % 3


@pytest.mark.parametrize("kind", list(FROZEN))
def test_gradients_and_hessians_are_parts_of_the_whole(kind):
    whole, some, columns = nets(kind)
    x, y = data()
    theta = some.flat()
    assert torch.equal(theta, whole.flat()[columns]) and some.frozen == FROZEN[kind]
    every = per_sample_gradients(whole, whole.flat(), x, y)[:, columns]
    for way in (per_sample_gradients, by_layers, by_parts, by_vmap):
        assert torch.allclose(way(some, theta, x, y), every, rtol=1e-9, atol=1e-12)
    expected = explicit_hessian(whole, whole.flat(), x, y)[columns][:, columns]
    vectors = torch.eye(some.p, dtype=torch.float64)
    assert torch.allclose(FullHessian(some, theta, x, y).apply(vectors), expected, rtol=1e-9, atol=1e-12)
    blocks = tensor_blocks(some, theta, x, y).apply(vectors)
    assert torch.allclose(blocks, keep_blocks(some, expected), rtol=1e-9, atol=1e-12)
    objective = Objective(some, x, y, decay=0.1)
    penalised = expected + 0.1 * vectors
    assert torch.allclose(objective.products(theta, vectors), penalised, rtol=1e-9, atol=1e-12)
    assert torch.allclose(hessian(objective, theta), penalised, rtol=1e-9, atol=1e-12)
    assert torch.allclose(objective.gradient(theta), every.mean(0) + 0.1 * theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["first layer", "last layer", "middle weight"])
def test_ekfac_of_whole_layers_is_that_of_the_others(kind):
    """Layers know nothing of one another there; a bias whose weights are frozen keeps the diagonal of its Fisher."""
    whole, some, columns = nets(kind)
    x, y = data()
    vectors = torch.randn(whole.p, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ours = Ekfac(Objective(some, x, y), some.flat(), 0.1, empirical=True).solve(vectors[columns]).x
    theirs = Ekfac(Objective(whole, x, y), whole.flat(), 0.1, empirical=True).solve(vectors).x[columns]
    bias = torch.zeros(some.p, dtype=torch.bool)
    if kind == "middle weight":
        slot = next(s for s in some.params if s.name == "2.bias")
        bias[slot.start : slot.stop] = True
        square = per_sample_gradients(some, some.flat(), x, y)[:, bias].square().mean(0)
        assert torch.allclose(ours[bias], vectors[columns][bias] / (square + 0.1)[:, None], rtol=1e-9)
    assert torch.allclose(ours[~bias], theirs[~bias], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", list(FROZEN))
@pytest.mark.parametrize("active", [False, True])
def test_tracefl_sees_frozen_layers_as_the_paper_does(kind, active):
    whole, some, columns = nets(kind)
    x, _ = data(5)
    theta = some.flat()
    moved = 0.1 * torch.randn(3, some.p, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    clients = theta + moved
    wide = whole.flat().repeat(3, 1)
    wide[:, columns] = clients
    found = contributions(some, theta, clients, x, active=active)
    expected = contributions(whole, whole.flat(), wide, x, active=active)
    shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    literal = hooked(some, theta, clients, x, active=active, decay=0.9, shares=shares)
    assert torch.allclose(provenance(found, shares=shares), literal, rtol=1e-9)
    assert torch.allclose(provenance(found), provenance(expected), rtol=1e-9)
    assert torch.allclose(first_order(found, shares), first_order(expected, shares), rtol=1e-9)
