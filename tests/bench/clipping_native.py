"""Clipped sums of single samples' gradients by the compiled kernels, against opacus, autograd and a plain step.

Run: python -m tests.bench.clipping_native [model ...]

One thread, float32. The sides take turns in one process, CPU time counts, and the best of the turns. opacus runs in
each of its modes as its optimisers use them: gradients of all samples by hooks, by functorch, by expanded weights, and
ghost norms with a second backward. "single backwards" is a loop over samples. The floors: LeNet at least 3x the best
mode of opacus, a clipped sum at most 1.5x the kernel's gradient of the mean loss.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models.resnet import BasicBlock

from experiments.core.engine.formulations import formulations
from experiments.core.engine.net import Net
from experiments.core.models.lenet import LeNet
from experiments.core.models.resnet import ResNet
from tests.bench.impro import best
from tests.core.engine.formulations.cases import module_of

CLIP, CPU = 1.0, torch.device("cpu")
SMALL, COLOUR = (1, 28, 28), (3, 32, 32)
# name -> (model, input shape, batches, turns)
CASES: dict[str, tuple[LeNet | ResNet, tuple[int, ...], tuple[int, ...], int]] = {
    "LeNet, GroupNorm, 1x28x28": (LeNet(norm="group"), SMALL, (64, 256), 3),
    "LeNet, GroupNorm, 3x32x32": (LeNet(norm="group"), COLOUR, (64, 256), 3),
    "LeNet, 3x32x32": (LeNet(), COLOUR, (64,), 3),
    "ResNet-8, GroupNorm, 3x32x32": (ResNet(depth=8, norm="group"), COLOUR, (64,), 1),
}


class Additive(BasicBlock):
    """A block that adds its shortcut into a new tensor: opacus' hooks allow nothing in place."""

    def forward(self, x: Tensor) -> Tensor:
        """See torchvision's."""
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(inner + (x if self.downsample is None else self.downsample(x)))


def for_opacus(net: Net, theta: Tensor) -> nn.Module:
    """The model as opacus can take it; the same function."""
    module = module_of(net, theta)
    for part in module.modules():
        if isinstance(part, BasicBlock):
            part.__class__ = Additive
        if isinstance(part, nn.ReLU):
            part.inplace = False
    return module


def materialised(module: nn.Module, x: Tensor, y: Tensor) -> Callable[[], list[Tensor]]:
    """opacus' modes that hold all samples' gradients: `module` is wrapped by one of its GradSampleModules."""
    trained = list(module.parameters())

    def step() -> list[Tensor]:
        module.zero_grad()
        cross_entropy(module(x), y, reduction="sum").backward()
        each: list[Tensor] = [p.grad_sample for p in trained]  # type: ignore[misc]
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in each], 1).norm(dim=1)
        factor = (CLIP / (norms + 1e-6)).clamp(max=1)
        return [torch.einsum("n,n...->...", factor, g) for g in each]

    return step


def ghost(module: nn.Module, x: Tensor, y: Tensor) -> Callable[[], list[Tensor]]:
    """opacus' fast gradient clipping: norms without gradients, then a second backward of the weighted losses."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    wrapped = GradSampleModuleFastGradientClipping(
        module, loss_reduction="mean", max_grad_norm=CLIP, use_ghost_clipping=True
    )
    trained = list(wrapped.parameters())

    def step() -> list[Tensor]:
        wrapped.zero_grad()
        losses = cross_entropy(wrapped(x), y, reduction="none")
        losses.mean().backward(retain_graph=True)
        factor = wrapped.get_clipping_coef()
        wrapped.zero_grad()
        wrapped.disable_hooks()
        (factor * losses).sum().backward()
        wrapped.enable_hooks()
        return [p.grad for p in trained if p.grad is not None]

    return step


def modes(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> dict[str, Callable[[], list[Tensor]]]:
    """opacus' ways by name; those that cannot take the model are left out."""
    from opacus.grad_sample import GradSampleModule, GradSampleModuleExpandedWeights

    made: dict[str, Callable[[], Callable[[], list[Tensor]]]] = {
        "hooks": lambda: materialised(GradSampleModule(for_opacus(net, theta), loss_reduction="sum"), x, y),
        "functorch": lambda: materialised(
            GradSampleModule(for_opacus(net, theta), loss_reduction="sum", force_functorch=True), x, y
        ),
        "expanded weights": lambda: materialised(
            GradSampleModuleExpandedWeights(for_opacus(net, theta), loss_reduction="sum"), x, y
        ),
        "ghost": lambda: ghost(for_opacus(net, theta), x, y),
    }
    return {f"opacus, {name}": make() for name, make in made.items()}


def single(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A loop of single backwards, clipped and added up."""
    trained = list(module.parameters())
    total = torch.zeros(sum(p.numel() for p in trained))
    for s in range(len(x)):
        found = torch.autograd.grad(cross_entropy(module(x[s : s + 1]), y[s : s + 1]), trained)
        g = torch.cat([part.reshape(-1) for part in found])
        total += g * (CLIP / (g.norm() + 1e-6)).clamp(max=1)
    return total


def agree(name: str, found: Tensor, expected: Tensor) -> None:
    """All ways must compute the same before they are timed.

    Raises:
        AssertionError: they do not.
    """
    error = float((found - expected).norm() / expected.norm())
    assert error < 1e-4, f"{name} is {error:.1e} away from single backwards"


def compare(name: str, n: int) -> tuple[float, float]:
    """Ratios of the kernel's clipped sum: to the best mode of opacus (faster), to its own gradient (slower)."""
    model, shape, _, turns = CASES[name]
    torch.manual_seed(0)
    net = Net.of(model.build(shape, 10))
    theta, x, y = net.flat(), torch.rand(n, *shape), torch.randint(0, 10, (n,))
    stack, module = theta[None].clone(), module_of(net, theta)
    kernel = next(
        kind(net)
        for label, kind in formulations().items()
        if label in ("native", "residual") and kind.supports(net, CPU, torch.float32)
    )
    peers = modes(net, theta, x, y)
    expected = single(module, x, y)
    agree(kernel.name, kernel.clipped(stack, x, y, None, CLIP)[0][0], expected)
    for label, way in peers.items():
        agree(label, torch.cat([g.reshape(-1) for g in way()]), expected)
    ways: dict[str, Callable[[], object]] = {
        f"{kernel.name}, clipped": lambda: kernel.clipped(stack, x, y, None, CLIP),
        f"{kernel.name}, gradient": lambda: kernel.gradient(stack, x, y, None),
        "autograd, gradient": lambda: torch.autograd.grad(cross_entropy(module(x), y), list(module.parameters())),
        **peers,
        "single backwards": lambda: single(module, x, y),
    }
    times = dict(zip(ways, best(list(ways.values()), turns), strict=True))
    ours = times[f"{kernel.name}, clipped"]
    print(f"\n{name}, {n} samples, one thread: ms a sample, and times of the clipped sum")
    for label, seconds in times.items():
        print(f"  {label:<26} {1e3 * seconds / n:8.4f} {seconds / ours:8.2f}")
    return min(times[label] for label in peers) / ours, ours / times[f"{kernel.name}, gradient"]


def main(only: list[str] | None = None) -> None:
    """Print all tables; `only`: words in the names of models."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # opacus' own hooks
    for name, (_, _, batches, _) in CASES.items():
        if only and not any(word in name for word in only):
            continue
        for n in batches:
            faster, dearer = compare(name, n)
            print(f"  {faster:.1f}x the best mode of opacus; {dearer:.2f}x the kernel's gradient")


if __name__ == "__main__":
    main(sys.argv[1:])
