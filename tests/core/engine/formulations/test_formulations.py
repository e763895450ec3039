"""All formulations on all cases against plain autograd (law 3)."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from experiments.core.engine.formulations import Formulation, formulations
from experiments.core.engine.formulations._build import compiler
from tests.core.engine.formulations import cases

CPU = torch.device("cpu")
TOLERANCE = 1e-9
ALL = formulations()
EXPECTED = {
    "dense": cases.DENSE,
    "grouped": set(cases.CASES) - cases.DENSE - cases.NORMS,
    "im2col": set(cases.CASES) - cases.DENSE - cases.NORMS,
    "looped": set(cases.CASES),
    "vmapped": set(cases.CASES),
}
if compiler() is not None:
    EXPECTED["native"] = set(cases.CASES) - cases.NORMS | cases.GROUP
    EXPECTED["residual"] = cases.RESIDUAL
PAIRS = [(f, c) for f, names in EXPECTED.items() for c in cases.CASES if c in names]
SMALL = {"dense": "mlp relu", "residual": "residual group"}
"""A case for each formulation that does not know "cnn1 small odd"."""
DESCENTS = ("logreg", "tanh 3", "sigmoid 8", "wide", "cnn1 small odd", "batchnorm", "residual batch")


def test_supports_exactly_what_is_expected() -> None:
    for name, expected in EXPECTED.items():
        found = {c for c in cases.CASES if ALL[name].supports(cases.net_of(c), CPU, torch.float64)}
        assert found == expected, name


@pytest.mark.parametrize(("name", "case"), PAIRS)
def test_gradients_equal_plain_autograd(name: str, case: str) -> None:
    check_gradients(ALL[name], case)


@pytest.mark.parametrize(("name", "case"), PAIRS)
def test_outputs_equal_the_module(name: str, case: str) -> None:
    check_outputs(ALL[name], case)


@pytest.mark.parametrize(("name", "case"), [(f, c) for f, c in PAIRS if c in DESCENTS])
@pytest.mark.parametrize("weights", ["none", "zeros", "empty row"])
def test_descents_equal_plain_steps(name: str, case: str, weights: str) -> None:
    net = cases.net_of(case)
    x, y = cases.batch(case, "random", 11)
    theta, w = cases.states(net, 3), cases.weights(weights, 3, len(x))
    decay = None if weights == "none" else torch.linspace(0, 0.4, net.p, dtype=torch.float64)
    before = theta.clone()
    expected = cases.plain_descent(net, theta.clone(), x, y, w, 6, 0.3, decay)
    found = ALL[name](net).descend(theta, x, y, w, 6, 0.3, decay)
    assert cases.close(found, expected, TOLERANCE)
    assert torch.equal(theta, before) and not found.requires_grad
    assert torch.equal(ALL[name](net).descend(theta, x, y, w, 0, 0.3, decay), before)


def check_gradients(kind: type[Formulation], case: str) -> None:
    net = cases.net_of(case)
    formulation = kind(net)
    template = net.flat()
    for background in cases.BACKGROUNDS:
        x, y = cases.batch(case, background, 11)
        for weights in cases.WEIGHTS:
            w = cases.weights(weights, 3, len(x))
            theta = cases.states(net, 3)
            expected, after = cases.plain_gradient(net, theta, x, y, w)
            found = formulation.gradient(theta, x, y, w)
            assert not found.requires_grad
            assert cases.close(found, expected, TOLERANCE), (background, weights)
            assert torch.equal(theta[:, : net.p], after[:, : net.p])
            assert torch.allclose(theta, after, rtol=1e-12, atol=1e-14), (background, weights)
    assert torch.equal(net.flat(), template)


def check_outputs(kind: type[Formulation], case: str) -> None:
    net = cases.net_of(case)
    x, _ = cases.batch(case, "ties", 9)
    theta = cases.states(net, 3)
    before = theta.clone()
    found = kind(net).outputs(theta, x)
    assert not found.requires_grad
    assert cases.close(found, cases.plain_outputs(net, theta, x), TOLERANCE)
    assert torch.equal(theta, before)


@pytest.mark.parametrize("name", sorted(ALL))
def test_two_threads_with_different_modes_do_not_disturb_each_other(name: str) -> None:
    case = SMALL.get(name, "cnn1 small odd")
    net = cases.net_of(case)
    if not ALL[name].supports(net, CPU, torch.float64):
        pytest.skip("no compiler")
    formulation = ALL[name](net)
    x, y = cases.batch(case, "random", 7)
    theta = cases.states(net, 8)
    expected = cases.plain_gradient(net, theta, x, y, None)[0]
    outputs = cases.plain_outputs(net, theta, x)
    results: dict[int, list[bool]] = {0: [], 1: []}

    def work(which: int) -> None:
        rows = slice(4 * which, 4 * which + 4)
        for _ in range(5):
            good = cases.close(formulation.gradient(theta[rows], x, y, None), expected[rows], TOLERANCE)
            results[which].append(good and cases.close(formulation.outputs(theta[rows], x), outputs[rows], TOLERANCE))

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: [True] * 5, 1: [True] * 5}


def test_squared_loss() -> None:
    net = cases.Net.of(cases.mlp(torch.nn.Tanh).double(), "squared")
    x, y = torch.randn(6, 18, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    theta, w = cases.states(net, 2), torch.rand(2, 6, dtype=torch.float64)

    def loss(row: Tensor, ws: Tensor) -> Tensor:
        out = torch.func.functional_call(net.module, net.views(row), (x,))
        return (0.5 * (out - y).square().sum(-1) * ws).sum() / ws.sum()

    expected = torch.stack([torch.func.grad(loss)(row, ws) for row, ws in zip(theta, w, strict=True)])
    for name in ("looped", "vmapped", "dense"):
        assert cases.close(ALL[name](net).gradient(theta, x, y, w), expected, TOLERANCE), name


def test_nan_stays_visible() -> None:
    for name in sorted(ALL):
        case = SMALL.get(name, "cnn1 small odd")
        net = cases.net_of(case)
        if not ALL[name].supports(net, CPU, torch.float64):
            continue
        x, y = cases.batch(case, "random", 5)
        theta = cases.states(net, 2)
        theta[1, 3] = float("nan")
        grad, out = ALL[name](net).gradient(theta, x, y, None), ALL[name](net).outputs(theta, x)
        assert grad[0].isfinite().all() and not grad[1].isfinite().all(), name
        assert out[0].isfinite().all() and not out[1].isfinite().all(), name


@pytest.mark.parametrize("channels", [1, 3])
def test_looped_convolves_with_channels_last(channels: int) -> None:
    net = cases.Net.of(
        torch.nn.Sequential(torch.nn.Conv2d(channels, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    )
    looped, seen = ALL["looped"](net), []
    x, y = torch.randn(5, channels, 8, 8), torch.tensor([0, 1, 1, 0, 1])
    looped.outputs(net.flat()[None], x)
    looped._module(net.flat()[None], x)[0].register_forward_hook(lambda *given: seen.append(given[2]))  # type: ignore[attr-defined]
    found = looped.gradient(net.flat()[None], x, y, None)
    assert seen[0].is_contiguous(memory_format=torch.channels_last) and not seen[0].is_contiguous()
    assert cases.close(found, cases.plain_gradient(net, net.flat()[None], x, y, None)[0], 1e-5)
