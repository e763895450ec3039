"""TraceFL's seconds an input for 10 and 100 clients, and the ratio to the hooked twin: python -m tests.bench.tracing.

ResNet-18 and DenseNet-121 of torchvision on 3x32x32 inputs, one thread, CPU seconds, the best of a few turns. The twin
loops over clients, layers and inputs as the paper writes it. FedDebug's time for an input stands beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from experiments.core.engine.net import Net
from experiments.core.estimators._feddebug import feddebug, random_inputs
from experiments.core.estimators.numerics import _tracing
from experiments.core.estimators.numerics.tracefl import contributions, provenance
from experiments.core.estimators.numerics.tracefl_hooked import hooked

INPUTS, FEW, MANY, SHAPE = 32, 10, 100, (3, 32, 32)


def round_of(arch: str, clients: int) -> tuple[Net, Tensor, Tensor]:
    """An untrained model and `clients` states around it."""
    from torchvision import models

    net = Net.of(models.get_model(arch, weights=None, num_classes=10))
    theta, g = net.flat(), torch.Generator().manual_seed(0)
    locals = torch.empty(clients, net.size)
    for row in locals:
        torch.add(theta, torch.randn(net.size, generator=g), alpha=1e-3, out=row)
    return net, theta, locals


def seconds(work: Callable[[], object], turns: int) -> float:
    """The least CPU seconds of `turns`."""
    best = float("inf")
    for _ in range(turns):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def one(arch: str) -> tuple[float, float]:
    """Print one model's rows; (ratio to the twin at 10 clients, ratio of 100 clients to 10)."""
    net, theta, locals = round_of(arch, MANY)
    x = torch.randn(INPUTS, *SHAPE, generator=torch.Generator().manual_seed(1))
    began = time.process_time()
    found = contributions(net, theta, locals[:FEW], x)
    first = time.process_time() - began
    ours = {k: seconds(lambda k=k: contributions(net, theta, locals[:k], x), 4) for k in (FEW, MANY)}  # type: ignore[misc]
    twin = seconds(lambda: hooked(net, theta, locals[:FEW], x), 2)
    expected = hooked(net, theta, locals[:FEW], x[:2])
    alone = _tracing._FEW
    _tracing._FEW = INPUTS + 1
    plain = seconds(lambda: contributions(net, theta, locals[:FEW], x), 1)
    _tracing._FEW = alone
    debug = seconds(lambda: feddebug(net, locals[:FEW], random_inputs(SHAPE, INPUTS, 0)), 1)
    print(f"{arch}: {net.p:,} parameters, {INPUTS} inputs, milliseconds an input")
    for told, value in (
        (f"hooked twin, {FEW} clients", twin),
        (f"plain autograd input by input, {FEW} clients", plain),
        (f"all inputs at once, {FEW} clients", ours[FEW]),
        ("  the first time (probes the module)", first),
        (f"all inputs at once, {MANY} clients", ours[MANY]),
        (f"FedDebug, {FEW} clients", debug),
    ):
        print(f"  {told:45s} {1e3 * value / INPUTS:8.1f}   {twin / value:6.1f}x the twin")
    apart = (provenance(found)[:2] - expected).abs().max() / expected.abs().max()
    print(
        f"  {MANY} clients cost {ours[MANY] / ours[FEW]:.1f}x {FEW}; largest difference to the twin {float(apart):.1g}"
    )
    return twin / ours[FEW], ours[MANY] / ours[FEW]


def main() -> None:
    """Print both models."""
    torch.set_num_threads(1)
    for arch in ("resnet18", "densenet121"):
        one(arch)


if __name__ == "__main__":
    main()
