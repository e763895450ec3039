"""What only the residual kernel has: chunks of samples, odd and wide nets, features behind blocks, what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from experiments.core.engine.formulations import Sampled, _build
from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.formulations.residual import Residual
from experiments.core.engine.net import Net
from experiments.core.models.resnet import ResNet
from tests.core.engine.formulations import cases

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(_build.compiler() is None, reason="no C++ compiler")
SHAPE, CLASSES = (2, 9, 8), 5


def net_of(norm: str = "batch", width: int = 8, depth: int = 8, shape: tuple[int, ...] = SHAPE) -> Net:
    return Net.of(ResNet(depth=depth, width=width, norm=norm).build(shape, CLASSES).double())


def batch_of(n: int, shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(n)
    return torch.randn(n, *shape, generator=g, dtype=torch.float64), torch.randint(0, CLASSES, (n,), generator=g)


def check(net: Net, x: Tensor, y: Tensor, weight: Tensor | None = None) -> None:
    """Two gradients in a row, what they leave behind, and outputs, against plain autograd."""
    kernel, theta = Residual(net), cases.states(net, 2)
    for _ in range(2):
        expected, after = cases.plain_gradient(net, theta, x, y, weight)
        assert cases.close(kernel.gradient(theta, x, y, weight), expected, 1e-9)
        assert torch.allclose(theta, after, rtol=1e-12, atol=1e-14)
    assert cases.close(kernel.outputs(theta, x), cases.plain_outputs(net, theta, x), 1e-9)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("n", [2, 7, 40, 13])
def test_any_number_of_samples(norm: str, n: int) -> None:
    x, y = batch_of(n)
    check(net_of(norm), x, y, cases.weights("zeros", 2, n))


@pytest.mark.parametrize(("width", "depth", "shape"), [(24, 8, (1, 10, 8)), (32, 8, (3, 8, 11)), (8, 20, (8, 17, 9))])
def test_other_widths_depths_and_sizes(width: int, depth: int, shape: tuple[int, ...]) -> None:
    x, y = batch_of(5, shape)
    check(net_of("batch", width, depth, shape), x, y)


def test_a_first_block_that_widens_without_a_stride_and_norms_of_other_settings() -> None:
    def norm(width: int) -> nn.Module:
        return nn.BatchNorm2d(width, eps=0.01, momentum=0.3)

    shortcut = nn.Sequential(nn.Conv2d(8, 24, 1, bias=False), nn.GroupNorm(3, 24, eps=0.1))
    net = Net.of(
        nn.Sequential(
            nn.Sequential(nn.Conv2d(2, 8, 3, padding=1, bias=False), norm(8), nn.ReLU()),
            BasicBlock(8, 24, 1, shortcut, norm_layer=norm),
            BasicBlock(24, 24, norm_layer=norm),
            *(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(24, CLASSES, bias=False)),
        ).double()
    )
    x, y = batch_of(6)
    assert Residual.supports(net, CPU, torch.float64)
    check(net, x, y)


def test_shapes_may_change_between_calls() -> None:
    net = net_of()
    for n, size in ((3, 8), (9, 8), (2, 8), (4, 13)):
        x, y = batch_of(n, (2, size, size))
        check(net, x, y)


def test_one_sample_and_one_position_is_an_error_as_in_pytorch() -> None:
    net = net_of(shape=(2, 8, 8))
    x, y = batch_of(1, (2, 4, 4))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        Residual(net).gradient(cases.states(net, 1), x, y, None)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_float32_is_as_exact_as_plain_autograd(norm: str) -> None:
    net = net_of(norm, 16, shape=(1, 28, 28))
    x, y = batch_of(16, (1, 28, 28))
    theta = net.flat()[None]
    exact = Looped(net).gradient(theta.clone(), x, y, None)
    error = {
        kind: float((kind(net).gradient(theta.float(), x.float(), y, None) - exact).norm() / exact.norm())
        for kind in (Residual, Looped)
    }
    assert error[Residual] < max(1e-5, 10 * error[Looped])


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("block", ["stem", "layer1", "layer2", "layer3", "pool", "4", "7"])
@pytest.mark.parametrize("weights", ["none", "zeros", "empty row"])
def test_joint_equals_autograd(norm: str, block: str, weights: str) -> None:
    net, (x, y) = net_of(norm), batch_of(7)
    theta, w = cases.states(net, 2), cases.weights(weights, 2, len(x))
    judge, kernel = theta.clone(), theta.clone()
    _, seen = Looped(net).joint(theta.clone(), x, y, None, block, None)
    g = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, *seen.shape[2:], generator=g, dtype=torch.float64)
    for sampled in (
        None,
        Sampled(features, torch.tensor([0, 3, 1, 0]), None, (1.0, 0.7)),
        Sampled(features, torch.tensor([2, 3, 1, 0]), cases.weights("zeros", 2, 4), (0.4, 2.0)),
    ):
        expected = Looped(net).joint(judge, x, y, w, block, sampled)
        found = Residual(net).joint(kernel, x, y, w, block, sampled)
        assert cases.close(found[0], expected[0], 1e-9) and cases.close(found[1], expected[1], 1e-9)
        assert torch.allclose(kernel, judge, rtol=1e-12, atol=1e-14)


def test_labels_outside_the_outputs_are_an_error() -> None:
    net, (x, _) = net_of(), batch_of(3)
    with pytest.raises(IndexError, match=r"0\.\.5 with 5 outputs"):
        Residual(net).gradient(cases.states(net, 1), x, torch.tensor([0, 5, 1]), None)


def test_states_that_are_no_rows_in_memory_and_a_frozen_input() -> None:
    net, (x, y) = net_of(), batch_of(4)
    theta = cases.states(net, 2)
    strided = theta.T.contiguous().T
    assert cases.close(Residual(net).gradient(strided, x, y, None), Residual(net).gradient(theta, x, y, None), 1e-12)
    assert torch.equal(strided, theta)


def changed(change: Callable[[nn.Sequential], object], norm: str = "batch") -> Net:
    module = ResNet(depth=8, width=8, norm=norm).build(SHAPE, CLASSES).double()
    change(module)
    return Net.of(module)


REFUSED: dict[str, Callable[[nn.Sequential], object]] = {
    "a hook": lambda m: m[3].register_forward_hook(lambda *_: None),
    "another activation": lambda m: setattr(m[3], "relu", nn.Tanh()),
    "statistics that are not kept": lambda m: setattr(m[3], "bn1", nn.BatchNorm2d(8, track_running_stats=False)),
    "a mean of statistics": lambda m: setattr(m[3], "bn1", nn.BatchNorm2d(8, momentum=None)),
    "a norm without weights": lambda m: setattr(m[3], "bn1", nn.BatchNorm2d(8, affine=False)),
    "a bias": lambda m: m.__setitem__(0, nn.Conv2d(2, 8, 3, padding=1)),
    "a wide kernel": lambda m: m.__setitem__(0, nn.Conv2d(2, 8, 5, padding=2, bias=False)),
    "a shared block": lambda m: m.insert(3, m[3]),
    "a pool of four": lambda m: m.__setitem__(6, nn.AdaptiveAvgPool2d(2)),
    "a frozen tensor": lambda m: m[0].weight.requires_grad_(False),
    "no head": lambda m: m.__delitem__(-1),
    "a block of its own kind": lambda m: m.__setitem__(3, type("Mine", (BasicBlock,), {})(8, 8)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_it_does_not_know_it_leaves_to_others(what: str) -> None:
    assert Residual.supports(changed(lambda m: None), CPU, torch.float64)
    assert not Residual.supports(changed(REFUSED[what]), CPU, torch.float64)


def test_it_needs_whole_vectors_a_cpu_and_statistics_of_the_batch() -> None:
    net = net_of()
    assert not Residual.supports(net, CPU, torch.float32) and not Residual.supports(net, CPU, torch.bfloat16)
    assert not Residual.supports(net, torch.device("meta"), torch.float64)
    assert not Residual.supports(net.stilled(), CPU, torch.float64)
    assert Residual.supports(net_of("group").stilled(), CPU, torch.float64)
    assert not Residual.supports(Net.of(net.module, "squared"), CPU, torch.float64)


def test_without_a_compiler_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.core.engine.formulations.residual.compiler", lambda: None)
    assert not Residual.supports(net_of(), CPU, torch.float64)
