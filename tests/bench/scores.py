"""Scores of samples: VoG by one backward for many images, against one image at a time and against vmap.

Run: python -m tests.bench.scores [resnet | lenet]

One thread, float32, 3 checkpoints. The sides take turns in one process, CPU time counts, and the best of the turns.
The floor: never slower than one image at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import grad, vmap

from experiments.core.engine.net import Net
from experiments.core.estimators.numerics.vog import input_gradients, spread
from experiments.core.estimators.sample_score import Trail
from experiments.core.estimators.vog import VogScore
from experiments.core.models.lenet import LeNet
from experiments.core.models.resnet import ResNet
from tests.bench.impro import best

CHECKPOINTS = 3
# model, input shape, samples, turns
CASES: dict[str, tuple[LeNet | ResNet, tuple[int, ...], int, int]] = {
    "resnet": (ResNet(depth=18, norm="group"), (3, 32, 32), 32, 2),
    "lenet": (LeNet(), (1, 28, 28), 256, 4),
}


def trail(model: LeNet | ResNet, shape: tuple[int, ...], n: int) -> Trail:
    """Checkpoints around initial weights, and random images."""
    torch.manual_seed(0)
    net = Net.of(model.build(shape, 10))
    start = net.flat()
    states = start + 0.01 * torch.randn(CHECKPOINTS, net.size)
    return Trail(net, states, (1, 2, 3), torch.randn(n, *shape), torch.randint(0, 10, (n,)), 10)


def one_by_one(told: Trail) -> Tensor:
    """A backward for each image and checkpoint, as the code of Agarwal et al. (2022) does it."""
    found = []
    for i in range(len(told.y)):
        rows = slice(i, i + 1)
        seen = [input_gradients(told.net, theta, told.x[rows], told.y[rows], "loss").mean(1) for theta in told.states]
        found.append(spread(torch.stack(seen)))
    return torch.cat(found)


def by_vmap(told: Trail) -> Tensor:
    """The gradient of one image's loss, batched by vmap in parts of the same size."""

    def loss(x: Tensor, y: Tensor, theta: Tensor) -> Tensor:
        return told.net.losses(told.net.call(theta, x[None]), y[None]).squeeze(0)

    found = []
    for rows in told.parts():
        seen = [vmap(grad(loss), (0, 0, None))(*told.pair(rows), theta).mean(1) for theta in told.states]
        found.append(spread(torch.stack(seen)))
    return torch.cat(found)


def vog(name: str) -> float:
    """How many times as fast as one image at a time the score is."""
    model, shape, n, turns = CASES[name]
    told = trail(model, shape, n)
    ways: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: VogScore().scores(told),
        "one image at a time": lambda: one_by_one(told),
        "vmap": lambda: by_vmap(told),
    }
    answers = [way().double() for way in ways.values()]
    gap = max(float((answer / answers[0] - 1).abs().max()) for answer in answers)
    seconds = dict(zip(ways, best(list(ways.values()), turns), strict=True))
    shown = (
        f"{way} {n * CHECKPOINTS / s:.1f} gradients/s ({s / seconds['ours']:.2f}x our time)"
        for way, s in seconds.items()
    )
    print(f"VoG of {n} images, {name} {shape}, parts of {told.chunk}, gap {gap:.0e}: " + "; ".join(shown))
    return seconds["one image at a time"] / seconds["ours"]


def main(only: Sequence[str] = ()) -> None:
    """Print the ratios."""
    torch.set_num_threads(1)
    for name in CASES:
        if not only or name in only:
            print(f"VoG, {name}: {vog(name):.2f}x one image at a time (floor: 1x)")


if __name__ == "__main__":
    main(sys.argv[1:])
