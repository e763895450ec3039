"""Per-sample clipped gradients against opacus and a loop of single backwards: python -m tests.bench.clipping.

One thread, CPU seconds, the best of a few turns in which all contestants take part. The nets have GroupNorm of two
groups and no sum in place, which opacus' hooks do not allow. The kernels for whole families of models are not asked
here (see clipping_native): these are the ways that serve any module. The last lines tell what a private step costs.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from experiments.core.engine.clipped import clipped, sample_norms
from experiments.core.engine.dpsgd import Mechanism, Private
from experiments.core.engine.formulations.dense import Dense
from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.net import Net
from experiments.core.engine.sample_trial import by_vmap

CLIP, BATCH, GROUPS = 1.0, 64, 2
_Work = Callable[[], object]


class Block(nn.Module):
    """A basic residual block (He et al. 2016) with GroupNorm."""

    def __init__(self, wide: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(wide, out, 3, stride, 1, bias=False), nn.GroupNorm(GROUPS, out)
        self.conv2, self.norm2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.GroupNorm(GROUPS, out)
        short = nn.Sequential(nn.Conv2d(wide, out, 1, stride, bias=False), nn.GroupNorm(GROUPS, out))
        self.short = short if stride > 1 or wide != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[n, wide, h, w] -> [n, out, h / stride, w / stride]."""
        inner = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(inner + self.short(x))


def residual(stages: tuple[int, ...], wide: int) -> nn.Module:
    """ResNet-18 and the like for 3x32x32: blocks of each stage, channels of the first."""
    parts: list[nn.Module] = [nn.Conv2d(3, wide, 3, 1, 1, bias=False), nn.GroupNorm(GROUPS, wide), nn.ReLU()]
    for stage, count in enumerate(stages):
        out = wide * 2 if stage else wide
        for block in range(count):
            parts.append(Block(out if block else wide, out, 2 if stage and not block else 1))
        wide = out
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, 10))


def lenet() -> nn.Module:
    """LeNet-5 for 3x32x32 with GroupNorm."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.GroupNorm(GROUPS, 6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.GroupNorm(GROUPS, 16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


class Peers:
    """Opacus' ways to the sum of clipped gradients of one batch."""

    def __init__(self, module: nn.Module, x: Tensor, y: Tensor) -> None:
        self._module, self._x, self._y = module, x, y

    def works(self) -> dict[str, _Work]:
        """By the names that opacus gives its modes."""
        from opacus.grad_sample import GradSampleModule, GradSampleModuleExpandedWeights

        return {
            "opacus hooks": self._written(GradSampleModule(self._copy())),
            "opacus functorch": self._written(GradSampleModule(self._copy(), force_functorch=True)),
            "opacus ew": self._written(GradSampleModuleExpandedWeights(self._copy())),
            "opacus ghost": self._ghost(),
        }

    def _copy(self) -> nn.Module:
        return copy.deepcopy(self._module)

    def _written(self, module: Any) -> _Work:
        def work() -> Tensor:
            cross_entropy(module(self._x), self._y).backward()
            rows = [p.grad_sample.flatten(1) for p in module.parameters()]
            factor = (CLIP / torch.stack([r.norm(dim=1) for r in rows]).norm(dim=0)).clamp(max=1)
            for p in module.parameters():
                p.grad_sample = p.grad = None
            return torch.cat([factor @ r for r in rows])

        return work

    def _ghost(self) -> _Work:
        from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
        from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

        module: Any = GradSampleModuleFastGradientClipping(self._copy(), max_grad_norm=CLIP, use_ghost_clipping=True)

        class Optimizer:
            loss_reduction = "mean"

            def zero_grad(self) -> None:
                for p in module.parameters():
                    p.grad = None

        loss = DPLossFastGradientClipping(module, Optimizer(), nn.CrossEntropyLoss())

        def work() -> Tensor:
            loss(module(self._x), self._y).backward()
            total = torch.cat([p.grad.flatten() for p in module.parameters()])
            Optimizer().zero_grad()
            return total

        return work


def plain_works(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, _Work]:
    """What is not clipped by sample: one backward of the batch; and the loop."""
    last = x.contiguous(memory_format=torch.channels_last)

    def batch(x: Tensor) -> None:
        module.zero_grad()
        cross_entropy(module(x), y).backward()

    def loop() -> Tensor:
        total = [torch.zeros_like(p) for p in module.parameters()]
        for s in range(len(x)):
            grads = torch.autograd.grad(cross_entropy(module(x[s : s + 1]), y[s : s + 1]), list(module.parameters()))
            factor = min(1.0, CLIP / float(torch.stack([g.norm() for g in grads]).norm()))
            torch._foreach_add_(total, grads, alpha=factor)
        return torch.cat([t.flatten() for t in total])

    return {
        "batch backward, not clipped": lambda: batch(x),
        "the same, channels last": lambda: batch(last),
        "loop of single backwards": loop,
    }


def seconds(works: dict[str, _Work], turns: int) -> dict[str, float]:
    """The least CPU seconds of each."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(turns):
        for name, work in works.items():
            began = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - began)
    return best


def one(name: str, module: nn.Module, turns: int) -> dict[str, float]:
    """Print samples a second of every contestant, and the ratios of ours."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(BATCH, 3, 32, 32, generator=g), torch.randint(10, (BATCH,), generator=g)
    net = Net.of(module)
    theta = net.flat()

    def ours() -> Tensor:
        return clipped(net, theta.unsqueeze(0), x, y, None, CLIP)[0][0]

    peers = Peers(module, x, y).works()
    works = {
        **plain_works(module, x, y),
        **peers,
        "ours": ours,
        "ours, norms alone": lambda: sample_norms(net, theta, x, y),
    }
    if net.p < 1 << 17:
        works["vmap over single gradients"] = lambda: by_vmap(net, theta, x, y)
    expected = ours()
    best = seconds(works, turns)
    print(f"{name}: {net.p:,} parameters, {BATCH} samples of 3x32x32, samples a second")
    for told, value in best.items():
        print(f"  {told:32s} {BATCH / value:9.1f}   {value / best['ours']:6.2f}x the time of ours")
    loop = works["loop of single backwards"]()
    assert isinstance(loop, Tensor)
    apart = float((loop - expected).norm() / expected.norm())
    fastest = min(best[peer] for peer in peers)
    print(f"  ours against opacus' best: {fastest / best['ours']:.2f}x; difference to the loop {apart:.1g}")
    return best


def steps(name: str, kind: Any, module: nn.Module, shape: tuple[int, ...], worlds: int) -> float:
    """Print what a private step of `worlds` models takes, as a multiple of a plain one of the same formulation."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(BATCH, *shape, generator=g), torch.randint(3, (BATCH,), generator=g)
    net = Net.of(module)
    theta, formulation = net.flat().repeat(worlds, 1), kind(net)
    private = Private(formulation, Mechanism(CLIP, 1.0), float(BATCH)).at(0)
    works: dict[str, _Work] = {
        "plain": lambda: formulation.gradient(theta.clone(), x, y, None),
        "private": lambda: private.gradient(theta.clone(), x, y, None),
    }
    seconds(works, 1)
    best = seconds(works, 4)
    ratio = best["private"] / best["plain"]
    print(f"private step, {name}, {worlds} models of {net.p:,} parameters, {kind.name}: {ratio:.2f}x a plain step")
    return ratio


def main() -> None:
    """Print everything."""
    torch.set_num_threads(1)
    with warnings.catch_warnings(action="ignore"):  # opacus' and torch's, about hooks
        one("LeNet with GroupNorm", lenet(), 6)
        one("ResNet-8 with GroupNorm", residual((1, 1, 1), 16), 4)
        one("ResNet-18 with GroupNorm", residual((2, 2, 2, 2), 64), 1)
    iris = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    steps("Iris", Dense, iris, (4,), 120)
    steps("Iris", Looped, iris, (4,), 120)
    steps("LeNet", Looped, lenet(), (3, 32, 32), 4)
    steps("ResNet-8", Looped, residual((1, 1, 1), 16), (3, 32, 32), 2)


if __name__ == "__main__":
    main()
