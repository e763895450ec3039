"""Leave-one-out truth of the Iris network: stacked and Newton against one plain run after another; the base optima.

Run: python -m tests.bench.retraining

A network 4-5-3 (tanh, 43 parameters, float64), 120 samples, full batches, learning rate 0.05, weight decay 0.005: the
retraining of 120 worlds by 7,500 steps each, and the optimum of 40 networks by 60,000 steps. A slice of the steps is
timed and scaled up, on both sides alike. One thread each.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from sklearn.datasets import load_iris
from torch import Tensor, nn

from experiments.core.engine.descent import Descent, descend
from experiments.core.engine.device import Workers
from experiments.core.engine.formulations import formulations
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.newton import inverse, minimise, newton_worlds
from experiments.core.engine.objective import Objective
from experiments.core.engine.worlds import sample_weights, without_sample

N, STEPS, OPTIMUM = 120, 7500, 60_000
LR, DECAY = 0.05, 0.005
SLICE = 300
WAYS = ("dense", "native", "vmapped")


def iris() -> tuple[Tensor, Tensor]:
    """120 of the 150 flowers, standardised."""
    data = load_iris()
    rows = torch.randperm(150, generator=torch.Generator().manual_seed(0))[:N]
    x, y = torch.tensor(data.data)[rows], torch.tensor(data.target)[rows]
    return (x - x.mean(0)) / x.std(0), y


def network(seed: int) -> nn.Module:
    """4-5-3, tanh."""
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    initialise(module, seed)
    return module


def best(work: Callable[[], object], rounds: int = 3) -> float:
    """Least seconds of a few calls."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def plain(module: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """The loop a careful user would write, of one world."""
    optimiser = torch.optim.SGD(module.parameters(), LR, weight_decay=DECAY)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        optimiser.step()


def truth() -> dict[str, float]:
    """Ratios of a world's retraining: plain over each stacked formulation, and over Newton from the optimum."""
    (x, y), net = iris(), Net.of(network(0))
    weight = sample_weights([without_sample(i) for i in range(N)], N, x)
    objective, ratios = Objective(net, x, y, DECAY), {}
    optimum = minimise(objective, net.flat()).theta
    start = optimum.repeat(N, 1)
    with Workers(1) as workers:
        one_by_one = best(lambda: plain(network(0), x[1:], y[1:], SLICE)) * STEPS / SLICE
        print(f"Iris truth: plain module + SGD {one_by_one:.2f} s a world of {STEPS} steps")
        for name in WAYS:
            kind = formulations()[name]
            if not kind.supports(net, x.device, x.dtype):
                continue
            made, descent = kind(net), Descent(LR, decay=DECAY)

            def stacked(steps: int = SLICE, made=made, descent=descent) -> Tensor:
                return descend(made, start, x, y, weight, descent, steps, 0, workers).states

            stacked(5)
            spent = best(stacked) * STEPS / SLICE / N
            ratios[name] = one_by_one / spent
            print(f"Iris truth: {N} worlds stacked, {name}: {spent:.4f} s a world: {ratios[name]:.1f}x plain")

        def newton() -> Tensor:
            h = objective.products(optimum, torch.eye(net.p, dtype=x.dtype))
            found = newton_worlds(
                formulations()["dense"](net), start, x, y, weight, DECAY, None, inverse(h), workers=workers
            )
            assert bool((found.gradient_norms <= 1e-10).all())
            return found.states

        newton()
        spent = best(newton) / N
        ratios["newton"] = one_by_one / spent
        print(f"Iris truth: {N} worlds by Newton to 1e-10: {1e3 * spent:.3f} ms a world: {ratios['newton']:.0f}x plain")
    return ratios


def optima(nets: int = 40) -> dict[str, float]:
    """Seconds a net of 60,000 steps when many train together, and of L-BFGS with Newton."""
    (x, y), modules = iris(), [network(seed) for seed in range(nets)]
    net, seconds = Net.of(modules[0]), {}
    start = torch.stack([Net.of(module).flat() for module in modules])
    plainly = best(lambda: plain(network(0), x, y, SLICE)) * OPTIMUM / SLICE
    with Workers(1) as workers:
        for name in WAYS:
            kind = formulations()[name]
            if not kind.supports(net, x.device, x.dtype):
                continue
            made, descent = kind(net), Descent(LR, decay=DECAY)

            def stacked(steps: int = SLICE, made=made, descent=descent) -> Tensor:
                return descend(made, start, x, y, None, descent, steps, 0, workers).states

            stacked(5)
            seconds[name] = best(stacked) * OPTIMUM / SLICE / nets
            print(
                f"Iris optimum: {nets} nets of {OPTIMUM} steps together, {name}: {seconds[name]:.2f} s a net, "
                f"{plainly / seconds[name]:.1f}x plain ({plainly:.1f} s)"
            )
    objective = Objective(net, x, y, DECAY)
    norms = []

    def minima() -> None:
        norms[:] = [minimise(objective, row, most=500).gradient_norm for row in start[:8]]

    seconds["newton"] = best(minima, 1) / 8
    print(
        f"Iris optimum: L-BFGS and Newton {seconds['newton']:.2f} s a net, gradient at most {max(norms):.1e}, "
        f"{plainly / seconds['newton']:.0f}x plain"
    )
    return seconds


def main() -> None:
    """Both."""
    torch.set_num_threads(1)
    truth()
    optima()


if __name__ == "__main__":
    main()
