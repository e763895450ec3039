"""PLIS against a double backward of each sample: python -m tests.bench.plis [mlp | lenet | resnet8 | resnet18].

One thread, float32, CPU seconds, the best of a few turns in one process; every way on as many samples as it takes for
about a second. Forward over reverse, which works for any model, stands beside. Floor: 1.5x the double backward.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from experiments.core.engine.net import Net
from experiments.core.estimators.numerics.plis import forward_over_reverse, plis
from experiments.core.estimators.numerics.plis_double import double_backward
from experiments.core.models.resnet import ResNet
from tests.bench.impro import best

SHAPE = (3, 32, 32)


def lenet() -> nn.Module:
    """LeNet for CIFAR with GroupNorm after each convolution."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.GroupNorm(2, 6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def mlp() -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 64), nn.ReLU(), nn.Linear(64, 10))


# model, samples for ours and for the ways that go one by one, turns
CASES: dict[str, tuple[Callable[[], nn.Module], int, int, int]] = {
    "mlp": (mlp, 4096, 128, 3),
    "lenet": (lenet, 1024, 64, 3),
    "resnet8": (lambda: ResNet(depth=8, norm="group").build(SHAPE, 10), 128, 32, 3),
    "resnet18": (lambda: ResNet(depth=18, norm="group").build(SHAPE, 10), 8, 1, 1),
}


def ratio(name: str) -> float:
    """How many times as fast as a double backward of each sample ours is."""
    module, many, few, turns = CASES[name]
    torch.manual_seed(0)
    net = Net.of(module())
    theta, x, y = net.flat(), torch.randn(many, *SHAPE), torch.randint(0, 10, (many,))
    ours = plis(net, theta, x, y)  # the first time finds out which way is right
    ways: dict[str, tuple[Callable[[], Tensor], int]] = {
        "ours": (lambda: plis(net, theta, x, y), many),
        "double backward": (lambda: double_backward(net, theta, x[:few], y[:few]), few),
        "forward over reverse": (lambda: forward_over_reverse(net, theta, x[:few], y[:few]), few),
    }
    apart = (double_backward(net, theta, x[:few], y[:few]).double().flatten(1).norm(dim=1) / ours[:few] - 1).abs()
    seconds = best([work for work, _ in ways.values()], turns)
    rates = {way: n / s for (way, (_, n)), s in zip(ways.items(), seconds, strict=True)}
    slow = rates["double backward"]
    shown = "; ".join(f"{way} {rate:.2f} samples/s ({rate / slow:.2f}x)" for way, rate in rates.items())
    print(f"PLIS, {name}, {net.p:,} parameters, {many} samples, largest relative gap {float(apart.max()):.0e}: {shown}")
    return rates["ours"] / slow


def main(only: Sequence[str] = ()) -> None:
    """Print the ratios."""
    torch.set_num_threads(1)
    for name in CASES:
        if not only or name in only:
            print(f"PLIS, {name}: {ratio(name):.1f}x a double backward of each sample (floor: 1.5x)")


if __name__ == "__main__":
    main(sys.argv[1:])
