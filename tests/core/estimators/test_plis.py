"""PLIS against a closed form, finite differences and double backward, whatever way it takes."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import profile

from experiments.core.engine.net import Net
from experiments.core.errors import SpecError
from experiments.core.estimators.numerics import plis as numerics
from experiments.core.estimators.numerics._plis_layered import Layered, Unfit
from experiments.core.estimators.numerics._plis_products import WideConvolution, convolution
from experiments.core.estimators.numerics.plis import fits, forward_over_reverse, plis
from experiments.core.estimators.numerics.plis_double import double_backward
from experiments.core.estimators.plis import PlisScore
from tests.core.estimators.plis_cases import LAYERED, OTHERS, lenet, problem, smooth
from tests.core.estimators.sample_cases import linear, trail


def close(found, wanted, tolerance=1e-10):
    assert found.shape == wanted.shape
    assert (found - wanted).norm() <= tolerance * wanted.norm() and (wanted != 0).any()


def squared_norms(net, theta, x, y):
    """||grad_theta loss||^2 of each sample, from a module with the weights loaded: [n]."""
    found = []
    for one, label in zip(x, y, strict=True):
        state = theta.clone().requires_grad_()
        outputs = torch.func.functional_call(net.module.eval(), net.views(state), one[None])
        loss = nn.functional.cross_entropy(outputs, label[None])
        found.append(torch.autograd.grad(loss, state)[0][: net.p].square().sum())
    return torch.stack(found)


@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_plis_of_a_softmax_regression_has_a_closed_form(sigma):
    told = trail(linear())
    theta = told.states[-1].numpy()
    weight, bias, wanted = theta[:216].reshape(3, 72), theta[216:], []
    for image, label in zip(told.x.numpy(), told.y.tolist(), strict=True):
        x = image.ravel()
        logits = weight @ x + bias
        p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        d = p - np.eye(3)[label]  # ||g||^2 = ||d||^2 (||x||^2 + 1), and d d/dx = (diag(p) - p p^T) W
        gradient = 2 * x * (d @ d) + 2 * (x @ x + 1) * weight.T @ (p * d - p * (p @ d))
        wanted.append(np.linalg.norm(gradient) / sigma**2)
    close(PlisScore(sigma=sigma).scores(told), torch.tensor(wanted))


@pytest.mark.parametrize("way", [numerics.double_backward, forward_over_reverse, None])
def test_plis_of_a_smooth_net_is_that_of_finite_differences(way):
    net, theta, x, y = problem(smooth(), (2, 6, 6), n=3)
    step, wanted = 1e-5, torch.empty_like(x)
    for i in np.ndindex(*x.shape[1:]):
        ahead, behind = x.clone(), x.clone()
        ahead[(slice(None), *i)] += step
        behind[(slice(None), *i)] -= step
        moved = squared_norms(net, theta, ahead, y) - squared_norms(net, theta, behind, y)
        wanted[(slice(None), *i)] = moved / (2 * step)
    found = way(net, theta, x, y) if way else Layered(net).gradients(theta, x, y)
    close(found, wanted, 1e-7)


@pytest.mark.parametrize("name", LAYERED)
def test_all_samples_at_once_is_a_double_backward_of_each(name):
    module, shape = LAYERED[name]
    net, theta, x, y = problem(module(), shape)
    assert fits(net, theta, x, y)
    wanted = double_backward(net, theta, x, y)
    close(Layered(net).gradients(theta, x, y), wanted)
    close(plis(net, theta, x, y), wanted.flatten(1).norm(dim=1))


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_that_cannot_be_taken_at_once_is_told_and_taken_one_by_one(name):
    module, shape = OTHERS[name]
    net, theta, x, y = problem(module(), shape)
    assert not fits(net, theta, x, y)
    wanted = double_backward(net, theta, x, y).flatten(1).norm(dim=1)
    torch.testing.assert_close(plis(net, theta, x, y), wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["mlp", "lenet group", "resnet batch", "rows", "shared", "experts"])
def test_forward_over_reverse_is_a_double_backward(name):
    module, shape = (LAYERED | OTHERS)[name]
    net, theta, x, y = problem(module(), shape)
    close(forward_over_reverse(net, theta, x, y), double_backward(net, theta, x, y))


def test_ties_in_a_pool_and_units_at_their_kink_are_treated_as_autograd_does():
    net, theta, x, y = problem(lenet(norm=True), (2, 16, 16))
    x[:2], x[2:, :, :9] = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), 1.0
    theta = (4 * theta).round() / 4
    close(Layered(net).gradients(theta, x, y), double_backward(net, theta, x, y))


def test_frozen_parameters_do_not_count_and_zero_weights_hide_nothing():
    net, theta, x, y = problem(LAYERED["partly frozen"][0](), (6,))
    close(plis(net, theta, x, y), double_backward(net, theta, x, y).norm(dim=1))
    net, theta, x, y = problem(smooth(), (2, 6, 6))
    at = next(s for s in net.params if s.name == "8.weight")
    theta[at.start : at.stop] = 0  # no gradient below the head
    assert fits(net, theta, x, y)
    close(Layered(net).gradients(theta, x, y), double_backward(net, theta, x, y))


@pytest.mark.parametrize("bias", [True, False])
def test_wide_convolutions_in_single_precision(bias):
    module = nn.Sequential(
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=bias), nn.Tanh(),
        nn.Conv2d(32, 64, 3, padding=1, groups=2, bias=bias), nn.Tanh(), nn.Flatten(), nn.Linear(64 * 36, 3),
    )  # fmt: skip
    net, theta, x, y = problem(module, (16, 12, 12), scale=0.05, dtype=torch.float32)
    assert convolution(module[0], x) is WideConvolution or not torch.backends.mkldnn.is_available()
    wanted = double_backward(Net.of(module.double()), theta.double(), x.double(), y)
    module.float()
    close(Layered(net).gradients(theta, x, y).double(), wanted, 1e-5)


def test_plis_does_not_depend_on_how_many_samples_go_together(monkeypatch):
    net, theta, x, y = problem(lenet(norm=True), (2, 16, 16), n=13)
    whole, seen = plis(net, theta, x, y), []
    monkeypatch.setattr(numerics, "_PASS", {})
    monkeypatch.setattr(numerics, "_FEWEST", 3)
    torch.testing.assert_close(
        plis(net, theta, x, y, progress=lambda *done: seen.append(done)), whole, rtol=1e-12, atol=0
    )
    assert seen == [(3, 13), (6, 13), (9, 13), (12, 13), (13, 13)]
    order = torch.arange(12, -1, -1)
    torch.testing.assert_close(plis(net, theta, x[order], y[order])[order], whole, rtol=1e-12, atol=0)
    assert plis(net, theta, x[:0], y[:0]).shape == (0,)


def test_memory_stays_below_what_one_pass_may_take(monkeypatch):
    net, theta, x, y = problem(lenet(norm=True), (2, 16, 16), n=300)
    theta, x = theta.float(), x.float()
    monkeypatch.setattr(numerics, "_PASS", {"cpu": 4 << 20})
    plis(net, theta, x[:8], y[:8])  # finds out how, once
    with profile(profile_memory=True) as seen:
        plis(net, theta, x, y)
    held = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    assert 1 << 20 < most < 4 << 20


def test_many_parameters_go_forward_over_reverse_unless_an_operation_has_no_forward_derivative(monkeypatch):
    net, theta, x, y = problem(OTHERS["shared"][0](), (5,))
    wanted, calls = double_backward(net, theta, x, y).norm(dim=1), []
    monkeypatch.setattr(numerics, "LARGE", 1)
    counted = lambda *given: calls.append(1) or forward_over_reverse(*given)  # noqa: E731
    monkeypatch.setattr(numerics, "forward_over_reverse", counted)
    close(plis(net, theta, x, y), wanted)
    assert len(calls) >= 5
    net, theta, x, y = problem(nn.Sequential(nn.Linear(6, 4), NoForward(), nn.Linear(4, 3)), (6,), n=2)
    with pytest.raises(NotImplementedError):
        forward_over_reverse(net, theta, x, y)
    close(plis(net, theta, x, y), double_backward(net, theta, x, y).norm(dim=1))


class _Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, d):
        return 3 * ctx.saved_tensors[0] ** 2 * d


class _Once(_Cube):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d):
        return 3 * ctx.saved_tensors[0] ** 2 * d


class NoForward(nn.Module):
    def forward(self, x):
        return _Cube.apply(x)


class OnlyOnce(nn.Module):
    def forward(self, x):
        return _Once.apply(x)


def test_a_model_that_cannot_be_derived_twice_is_refused_in_a_line():
    net, theta, x, y = problem(nn.Sequential(nn.Linear(6, 4), OnlyOnce(), nn.Linear(4, 3)), (6,))
    with pytest.raises(SpecError, match="cannot be derived twice"):
        plis(net, theta, x, y)


def test_tokens_are_refused():
    module = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(8, 3))
    net = Net.of(module.double())
    with pytest.raises(SpecError, match="tokens"):
        plis(net, net.flat(), torch.ones(5, 2, dtype=torch.long), torch.zeros(5, dtype=torch.long))


def test_an_unknown_parameter_is_named():
    with pytest.raises(Unfit, match=r"self_attn\.in_proj"):
        Layered(Net.of(nn.TransformerEncoderLayer(4, 2)))
