"""Milliseconds of one model's step in each formulation, and the ratio to plain autograd.

Run: python -m tests.bench.formulations [name ...]

One thread, float32. All ways of a workload take turns in one process and the best of the rounds counts, so that a busy
machine disturbs them alike. "plain" is the nn.Module with loss.backward(), one model after another.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from experiments.core.engine.formulations import formulations
from experiments.core.engine.net import Net
from tests.core.engine.formulations import cases

# name -> (module, input shape, samples, models, classes, multiply-adds of one forward pass of one sample)
WORKLOADS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int, int, int, int]] = {
    "logreg n=70 B=200": (cases.logreg, (60,), 70, 200, 5, 300),
    "cnn1 n=50 B=51": (cases.cnn1, (1, 28, 28), 50, 51, 62, 784 * 100 + 196 * 400 + 196 * 64 + 64 * 62),
    "cnn2 n=100 B=20": (cases.cnn2, (1, 28, 28), 100, 20, 62, 784 * 100 + 196 * 1600 + 784 * 128 + 128 * 62),
}


def main(only: list[str]) -> None:
    """Print the table; `only` names formulations (all when empty)."""
    torch.set_num_threads(1)
    for name, (build, shape, n, models, classes, work) in WORKLOADS.items():
        net = Net.of(build())
        g = torch.Generator().manual_seed(0)
        x, y = torch.rand(n, *shape, generator=g), torch.randint(0, classes, (n,), generator=g)
        theta = cases.states(net, models).float()
        ways = _ways(net, theta, x, y, only)
        print(f"\n{name}   (dense count: {6e-6 * work * n:.2f} MFLOP a step)")
        print(f"  {'formulation':<12} {'ms/step':>9} {'GFLOP/s':>9} {'x plain':>8} {'ms/outputs':>11}")
        steps = _best([way for way, _ in ways.values()], models)
        outs = _best([way for _, way in ways.values()], models)
        for way, step, out in zip(ways, steps, outs, strict=True):
            print(f"  {way:<12} {step:9.3f} {6e-6 * work * n / step:9.1f} {steps[0] / step:8.2f} {out:11.3f}")


def _ways(
    net: Net, theta: Tensor, x: Tensor, y: Tensor, only: list[str]
) -> dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]]:
    plain = [cases.module_of(net, row) for row in theta]

    def step() -> Tensor:
        for module in plain:
            module.zero_grad()
            nn.functional.cross_entropy(module(x), y).backward()
        return theta

    def out() -> Tensor:
        with torch.no_grad():
            return torch.stack([module(x) for module in plain])

    ways: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {"plain": (step, out)}
    for name, kind in formulations().items():
        if (not only or name in only) and kind.supports(net, torch.device("cpu"), torch.float32):
            made = kind(net)
            ways[name] = (
                lambda made=made: made.gradient(theta, x, y, None),
                lambda made=made: made.outputs(theta, x),  # type: ignore[misc]
            )
    return ways


def _best(ways: list[Callable[[], Tensor]], models: int, rounds: int = 4) -> list[float]:
    """Best CPU milliseconds a model of each way; the first round warms up."""
    best = [float("inf")] * len(ways)
    for turn in range(rounds):
        for i, way in enumerate(ways):
            start = time.process_time()
            way()
            if turn:
                best[i] = min(best[i], (time.process_time() - start) / models * 1e3)
    return best


if __name__ == "__main__":
    main(sys.argv[1:])
