"""What only the native kernel has: chunks of samples, float32, labels, the build cache, a machine without compiler."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from experiments.core.engine.formulations import _build, native
from experiments.core.engine.net import Net
from experiments.core.models.lenet import LeNet
from tests.core.engine.formulations import cases


def normalised(*norms: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), *norms, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 2)
    )


CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(_build.compiler() is None, reason="no C++ compiler")


@needs_compiler
@pytest.mark.parametrize("case", ["cnn1 small odd", "cnn group odd"])
@pytest.mark.parametrize("weights", ["positive", "zeros"])
@pytest.mark.parametrize("n", [1, 8, 128, 129, 300])
def test_any_number_of_samples(case: str, weights: str, n: int) -> None:
    net = cases.net_of(case)
    x, y = cases.batch(case, "ties", n)
    theta, w = cases.states(net, 2), cases.weights(weights, 2, n)
    kernel = native.Native(net)
    assert cases.close(kernel.gradient(theta, x, y, w), cases.plain_gradient(net, theta, x, y, w)[0], 1e-9)
    assert cases.close(kernel.outputs(theta, x), cases.plain_outputs(net, theta, x), 1e-9)


@needs_compiler
def test_a_model_with_few_samples_and_one_with_all_do_not_disturb_each_other() -> None:
    net = cases.net_of("cnn group odd")
    x, y = cases.batch("cnn group odd", "random", 70)
    theta, w = cases.states(net, 3), torch.ones(3, 70, dtype=torch.float64)
    w[1, 3:60] = 0
    kernel = native.Native(net)
    found = kernel.gradient(theta, x, y, w), *kernel.clipped(theta, x, y, w, 0.1)
    for i, kept in ((0, w[0] > 0), (1, w[1] > 0), (2, w[2] > 0)):
        row, own = theta[i : i + 1], (x[kept], y[kept], None)
        total, norms = kernel.clipped(row, *own, 0.1)
        assert cases.close(found[0][i : i + 1], kernel.gradient(row, *own), 1e-12)
        assert cases.close(found[1][i : i + 1], total, 1e-12)
        assert cases.close(found[2][i : i + 1, kept], norms, 1e-12) and not found[2][i, ~kept].any()


@needs_compiler
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_projects_lenets_are_its_own(activation: str) -> None:
    for norm in ("none", "group"):
        net = Net.of(LeNet(activation=activation, norm=norm).build((1, 16, 16), 4))
        assert native.plan(net) is not None


@needs_compiler
def test_float32_is_float64_to_single_precision_and_a_model_does_not_see_its_neighbours() -> None:
    net = cases.net_of("cnn2")
    x, y = cases.batch("cnn2", "random", 20)
    theta = cases.states(net, 3)[:2]
    kernel = native.Native(net)
    single = kernel.gradient(theta.float(), x.float(), y, None)
    assert single.dtype == torch.float32
    assert cases.close(single.double(), kernel.gradient(theta.float().double(), x.float().double(), y, None), 1e-4)
    assert torch.equal(single[1:], kernel.gradient(theta.float()[1:], x.float(), y, None))


@needs_compiler
@pytest.mark.parametrize("case", ["tanh 1", "tanh 3", "tanh 8", "sigmoid 8", "mlp sigmoid"])
@pytest.mark.parametrize("n", [1, 120, 300])
def test_activations_at_any_number_of_samples_and_both_precisions(case: str, n: int) -> None:
    net = cases.net_of(case)
    x, y = cases.batch(case, "random", n)
    theta, w = cases.states(net, 3), cases.weights("zeros", 3, n)
    kernel, expected = native.Native(net), cases.plain_gradient(net, theta, x, y, w)[0]
    assert cases.close(kernel.gradient(theta, x, y, w), expected, 1e-9)
    single = kernel.gradient(theta.float(), x.float(), y, w)
    assert single.dtype == torch.float32 and cases.close(single.double(), expected, 2e-4)


@needs_compiler
@pytest.mark.parametrize(("act", "judge"), [(nn.Tanh, torch.tanh), (nn.Sigmoid, torch.sigmoid)])
def test_activations_are_exact_to_rounding(act: type[nn.Module], judge: Callable[[Tensor], Tensor]) -> None:
    net = Net.of(nn.Sequential(nn.Linear(1, 1), act()))
    places = [0.0, 1e-300, 1e-30, 1e-8, 1e-3, 0.1, 0.17, 0.3, 0.35, 0.5, 1, 2, 5, 9, 19, 20, 31, 400, 1e300, torch.inf]
    some = torch.tensor(places, dtype=torch.float64)
    spread = torch.linspace(-3, 3, 20001, dtype=torch.float64) ** 3
    x = torch.cat([some, -some, spread, torch.tensor([torch.nan], dtype=torch.float64)])
    for dtype, tolerance, tiny in ((torch.float64, 2e-15, 1e-307), (torch.float32, 1e-6, 2e-38)):
        values = x.to(dtype)
        found = native.Native(net).outputs(torch.tensor([[1, 0]], dtype=dtype), values[:, None]).flatten()
        assert torch.allclose(found, judge(values), rtol=tolerance, atol=tiny, equal_nan=True)
        assert act is nn.Sigmoid or torch.equal(found[:-1].sign(), values[:-1].sign())


@needs_compiler
@pytest.mark.parametrize("n", [1, 128, 129, 300])
def test_a_long_descent_of_any_number_of_samples(n: int) -> None:
    net = cases.net_of("tanh 1")
    x, y = cases.batch("tanh 1", "random", n)
    theta, w = cases.states(net, 3).t().contiguous().t(), cases.weights("empty row", 3, n)
    decay = torch.full((net.p,), 0.01)
    kernel = native.Native(net)
    found = kernel.descend(theta, x, y, w, 40, 0.5, decay)
    assert cases.close(found, cases.plain_descent(net, theta.clone(), x, y, w, 40, 0.5, decay), 1e-9)
    assert torch.equal(found, kernel.descend(kernel.descend(theta, x, y, w, 15, 0.5, decay), x, y, w, 25, 0.5, decay))
    assert torch.equal(found[1:2], kernel.descend(theta[1:2], x, y, None if w is None else w[1:2], 40, 0.5, decay))
    single = kernel.descend(theta.float(), x, y, w, 40, 0.5, decay)
    assert single.dtype == torch.float32 and cases.close(single.double(), found, 1e-3)


@needs_compiler
def test_logits_far_apart_do_not_overflow() -> None:
    net = cases.net_of("lone linear")
    x, y = cases.batch("lone linear", "random", 9)
    theta = 1e4 * cases.states(net, 2)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        found = native.Native(net).gradient(theta.to(dtype), x.to(dtype), y, None)
        expected = cases.plain_gradient(net, theta.to(dtype), x.to(dtype), y, None)[0]
        assert cases.close(found, expected, tolerance)


@needs_compiler
def test_labels_and_shapes_that_do_not_fit_are_refused() -> None:
    net = cases.net_of("cnn1 small odd")
    kernel, theta = native.Native(net), cases.states(net, 2)
    x, y = cases.batch("cnn1 small odd", "random", 4)
    for bad in (5, -1):
        with pytest.raises(IndexError, match=f"{bad}"):
            kernel.gradient(theta, x, torch.full_like(y, bad), None)
        with pytest.raises(IndexError):
            kernel.per_sample(theta[0], x, torch.full_like(y, bad))
        with pytest.raises(IndexError):
            kernel.descend(theta, x, torch.full_like(y, bad), None, 1, 0.1)
    with pytest.raises(ValueError, match="shape"):
        kernel.outputs(theta, torch.zeros(2, 1, 28, 28, dtype=torch.float64))
    with pytest.raises(ValueError, match="shape"):
        kernel.outputs(theta, torch.zeros(2, 2, 9, 11, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="expand"):
        kernel.gradient(theta, x, y, torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="expand"):
        kernel.descend(theta, x, y, None, 1, 0.1, torch.ones(3))
    assert not native.Native(cases.net_of("cnn lenet")).plan.fits(torch.zeros(2, 1, 5, 5))


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv2d(1, 2, (3, 5)), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=(1, 0)), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(3), nn.Flatten(), nn.Linear(2, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(2, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2)),
        nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)
        ),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2), nn.Linear(2, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2), nn.SiLU(), nn.Flatten(), nn.Linear(2, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        normalised(nn.BatchNorm2d(4)),
        normalised(nn.GroupNorm(2, 4, affine=False)),
        normalised(nn.GroupNorm(2, 4, eps=0.0)),
        normalised(nn.LayerNorm([4, 4, 4])),
        normalised(nn.GroupNorm(2, 4), nn.GroupNorm(2, 4)),
        nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.Linear(2, 2)),
        nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Sigmoid()),
        nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)),
    ],
)
def test_other_architectures_are_left_to_others(module: nn.Module) -> None:
    assert native.plan(Net.of(module)) is None


def test_without_a_compiler_it_is_quietly_unsupported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _build.compiler.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    try:
        assert not native.Native.supports(cases.net_of("cnn1"), CPU, torch.float32)
    finally:
        _build.compiler.cache_clear()
    assert not caplog.records


@needs_compiler
def test_a_failed_build_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_build, "FLAGS", (*_build.FLAGS, "--no-such-flag"))
    monkeypatch.setattr(_build, "_built", {})
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not native.Native.supports(cases.net_of("logreg"), CPU, torch.float32)
    assert len(caplog.records) == 1 and "no-such-flag" in caplog.text


@needs_compiler
def test_the_cache_is_used_and_a_damaged_file_is_built_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "one.cpp"
    source.write_text('extern "C" int one() { return VALUE; }')
    runs: list[list[str]] = []
    real = subprocess.run

    def counted(command: list[str], **options: object) -> object:
        runs.append(command)
        return real(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(_build.subprocess, "run", counted)

    def build(value: int, folder: str) -> int:
        monkeypatch.setattr(_build, "_built", {})
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / folder))
        found = _build.library(source, (f"VALUE={value}",))
        assert found is not None
        return found.one()

    assert (build(3, "a"), build(3, "a"), len(runs)) == (3, 3, 1)
    assert (build(4, "a"), len(runs)) == (4, 2)
    kept = list((tmp_path / "a" / "fedlab" / "native").iterdir())
    assert len(kept) == 2
    other = tmp_path / "b" / "fedlab" / "native"
    other.mkdir(parents=True)
    for file in kept:
        (other / file.name).write_text("not a library")
    assert (build(3, "b"), len(runs)) == (3, 3)


@needs_compiler
def test_a_changed_header_is_built_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source, header = tmp_path / "one.cpp", tmp_path / "native_value.h"
    source.write_text('#include "native_value.h"\nextern "C" int one() { return VALUE; }')
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for value in (3, 4):
        header.write_text(f"#define VALUE {value}\n")
        monkeypatch.setattr(_build, "_built", {})
        found = _build.library(source, ())
        assert found is not None
        assert found.one() == value
