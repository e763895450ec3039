"""Clipped sums of the two compiled kernels against one autograd backward a sample."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from torch import Tensor

from experiments.core.engine.formulations import Formulation, _build, formulations
from experiments.core.engine.net import Net
from tests.core.engine.formulations import cases

pytestmark = pytest.mark.skipif(_build.compiler() is None, reason="no C++ compiler")
ALL = formulations()
NATIVE = [c for c in cases.CASES if c not in cases.NORMS - cases.GROUP]
PAIRS = [("native", c) for c in NATIVE] + [("residual", "residual group")]
SHORT = [
    ("native", "tanh 3"),
    ("native", "cnn2 small odd"),
    ("native", "cnn group odd"),
    ("residual", "residual group"),
]


def judged(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of every sample's own loss for every model: [B, n, p]."""
    found = theta.new_zeros(len(theta), len(x), net.p)
    for b, row in enumerate(theta):
        module = cases.module_of(net, row)
        for s in range(len(x)):
            loss = net.losses(module(x[s : s + 1]), y[s : s + 1]).sum()
            found[b, s] = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(module.parameters()))])
    return found


def clipped(gradients: Tensor, weight: Tensor | None, clip: float) -> tuple[Tensor, Tensor]:
    """Sums and norms by their definition."""
    norms = gradients.norm(dim=2)
    factor = (clip / norms.clamp_min(1e-300)).clamp_max(1) * (1 if weight is None else weight)
    return torch.einsum("bs,bsp->bp", factor, gradients), norms if weight is None else norms * (weight != 0)


@pytest.mark.parametrize(("name", "case"), PAIRS)
def test_sums_and_norms_equal_single_backwards(name: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = cases.net_of(case)
    monkeypatch.setattr("experiments.core.engine.clipped.clipped", None)  # the kernel's own, not the general way
    for background in cases.BACKGROUNDS:
        x, y = cases.batch(case, background, 11)
        theta = cases.states(net, 3)
        gradients = judged(net, theta, x, y)
        clip = float(gradients[:2].norm(dim=2).median())
        for kind in cases.WEIGHTS:
            w = cases.weights(kind, 3, len(x))
            total, norms = ALL[name](net).clipped(theta, x, y, w, clip)
            expected, sizes = clipped(gradients, w, clip)
            assert cases.close(total, expected, 1e-9) and cases.close(norms, sizes, 1e-9), (background, kind)


@pytest.mark.parametrize(("name", "case"), SHORT)
def test_a_clip_that_nothing_reaches_leaves_the_gradient_and_a_tight_one_bounds_the_sum(name: str, case: str) -> None:
    net = cases.net_of(case)
    x, y = cases.batch(case, "random", 11)
    theta, w = cases.states(net, 2), cases.weights("zeros", 2, 11)
    assert w is not None
    kernel = ALL[name](net)
    whole = kernel.gradient(theta, x, y, w) * w.sum(1, keepdim=True)
    for loose in (math.inf, 1e9):
        assert cases.close(kernel.clipped(theta, x, y, w, loose)[0], whole, 1e-9)
    one = kernel.clipped(theta, x[:1], y[:1], None, 1e-3)[0]
    assert torch.allclose(one.norm(dim=1), torch.full((2,), 1e-3, dtype=torch.float64), rtol=1e-9)


@pytest.mark.parametrize(("name", "case"), SHORT)
def test_float32_is_float64_to_single_precision(name: str, case: str) -> None:
    net = cases.net_of(case)
    if name == "residual":
        net = Net.of(cases.ResNet(depth=8, width=16, norm="group").build((3, 8, 8), 4).double())
    x, y = cases.batch(case, "random", 20)
    theta, w = cases.states(net, 3)[:2].float(), cases.weights("positive", 2, 20)
    expected = ALL[name](net).clipped(theta.double(), x.float(), y, w, 0.7)
    for found, exact in zip(ALL[name](net).clipped(theta, x.float(), y, w, 0.7), expected, strict=True):
        assert found.dtype == torch.float32 and cases.close(found.double(), exact, 1e-4)


@pytest.mark.parametrize(("name", "case"), SHORT)
def test_models_and_samples_do_not_see_their_neighbours(name: str, case: str) -> None:
    net = cases.net_of(case)
    x, y = cases.batch(case, "random", 300 if name == "native" else 9)
    theta = cases.states(net, 3)
    kernel = ALL[name](net)
    total, norms = kernel.clipped(theta, x, y, None, 0.5)
    assert torch.equal(total[1:2], kernel.clipped(theta[1:2], x, y, None, 0.5)[0])
    parts = [kernel.clipped(theta, x[i : i + 4], y[i : i + 4], None, 0.5) for i in range(0, len(x), 4)]
    assert cases.close(sum(part[0] for part in parts), total, 1e-9)
    assert cases.close(torch.cat([part[1] for part in parts], 1), norms, 1e-9)


@pytest.mark.parametrize(("name", "case"), SHORT)
def test_two_threads_clip_differently_at_once(name: str, case: str) -> None:
    net = cases.net_of(case)
    x, y = cases.batch(case, "random", 11)
    theta, kernel = cases.states(net, 2), ALL[name](net)
    clips = (0.1, 3.0)
    expected = [kernel.clipped(theta, x, y, None, clip) for clip in clips]
    found: dict[int, list[tuple[Tensor, Tensor]]] = {0: [], 1: []}

    def work(which: int) -> None:
        for _ in range(5):
            found[which].append(kernel.clipped(theta, x, y, None, clips[which]))

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found[i]) for i in (0, 1)] == [5, 5]
    assert all(torch.equal(a, b) for i in (0, 1) for got in found[i] for a, b in zip(got, expected[i], strict=True))


@pytest.mark.parametrize(("name", "case"), SHORT)
def test_no_samples_give_zeros_and_a_wrong_label_is_an_error(name: str, case: str) -> None:
    net = cases.net_of(case)
    x, y = cases.batch(case, "random", 3)
    theta, kernel = cases.states(net, 2), ALL[name](net)
    total, norms = kernel.clipped(theta, x[:0], y[:0], None, 1.0)
    assert torch.equal(total, torch.zeros(2, net.p, dtype=torch.float64)) and norms.shape == (2, 0)
    with pytest.raises(IndexError):
        kernel.clipped(theta, x, torch.full_like(y, 99), None, 1.0)


def test_with_batchnorm_the_residual_kernel_takes_the_general_way() -> None:
    net = cases.net_of("residual batch")
    x, y = cases.batch("residual batch", "random", 3)
    theta = cases.states(net, 1)
    expected = Formulation.clipped(ALL["residual"](net), theta.clone(), x, y, None, 0.5)
    for found, judge in zip(ALL["residual"](net).clipped(theta.clone(), x, y, None, 0.5), expected, strict=True):
        assert torch.equal(found, judge)
