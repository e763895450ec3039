"""Local training of residual nets against bare PyTorch loops, and what federated algorithms cost over FedAvg.

Run: python -m tests.bench.impro [steps | algorithms]

One thread, float32. The sides of a ratio take turns in one process, CPU time counts, and the best of the turns. "bare"
is nn.Module, loss.backward() and torch.optim.SGD as anybody writes them, once as built and once with channels last.
The floors: the small residual nets at least 2x the bare loop, ResNet-18 no slower; SCAFFOLD and FedDyn below 5 % over
FedAvg, FedImpro below 19 % (the paper's own figure).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.algorithms.feddyn import FedDyn
from experiments.core.algorithms.fedimpro import FedImpro
from experiments.core.algorithms.scaffold import Scaffold
from experiments.core.engine.algorithm import Algorithm
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation, formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net
from experiments.core.engine.problem import Problem
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE
from experiments.core.models.lenet import LeNet
from experiments.core.models.resnet import ResNet

LR = 0.01
SMALL, COLOUR = (1, 28, 28), (3, 32, 32)
# model, input shape, samples of a step
STEPS: dict[str, tuple[ResNet, tuple[int, ...], int]] = {
    "ResNet-8, BatchNorm, 1x28x28": (ResNet(depth=8), SMALL, 128),
    "ResNet-8, GroupNorm, 1x28x28": (ResNet(depth=8, norm="group"), SMALL, 128),
    "ResNet-8, BatchNorm, 3x32x32": (ResNet(depth=8), COLOUR, 128),
    "ResNet-8, GroupNorm, 3x32x32": (ResNet(depth=8, norm="group"), COLOUR, 128),
    "ResNet-18, BatchNorm, 3x32x32": (ResNet(depth=18), COLOUR, 32),
}
ALGORITHMS: dict[str, Callable[[str], Algorithm]] = {
    "FedAvg": lambda split: FedAvg(),
    "SCAFFOLD": lambda split: Scaffold(),
    "FedDyn": lambda split: FedDyn(alpha=0.1),
    "FedImpro": lambda split: FedImpro(split=split, schedule="constant"),  # features are drawn from the first step
}
# model, block behind which FedImpro splits it
MODELS: dict[str, tuple[LeNet | ResNet, str]] = {
    "LeNet": (LeNet(), "conv2"),
    "ResNet-8": (ResNet(depth=8), "layer2"),
}
CLIENTS, SAMPLES, EACH_ROUND, BATCH = 10, 600, 2, 128  # 600: Fashion-MNIST over 100 clients
ROUNDS = {"LeNet": 8, "ResNet-8": 1}


def best(ways: Sequence[Callable[[], object]], turns: int) -> list[float]:
    """Least CPU seconds of each way; they take turns, and the first turn warms up."""
    found = [float("inf")] * len(ways)
    for turn in range(turns + 1):
        for i, way in enumerate(ways):
            began = time.process_time()
            way()
            if turn:
                found[i] = min(found[i], time.process_time() - began)
    return found


def bare(model: nn.Module, x: Tensor, y: Tensor, last: bool) -> Callable[[], object]:
    """One step of the loop that anybody writes."""
    if last:
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), LR)

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()

    return step


def ours(formulation: Formulation, theta: Tensor, x: Tensor, y: Tensor) -> Callable[[], object]:
    """One step of the engine."""
    p = formulation.net.p
    return lambda: theta[:, :p].add_(formulation.gradient(theta, x, y, None), alpha=-LR)


def steps(turns: int = 5) -> float:
    """The least ratio of a small residual net to its bare loop."""
    least = float("inf")
    peak = _peak()
    for name, (spec, shape, n) in STEPS.items():
        modules = [spec.build(shape, 10) for _ in range(2)]
        net = Net.of(spec.build(shape, 10))
        x, y, work = torch.randn(n, *shape), torch.randint(0, 10, (n,)), 6e-9 * n * _products(modules[0], shape)
        known = {k: v(net) for k, v in formulations().items() if k in ("looped", "residual")}
        known = {k: v for k, v in known.items() if v.supports(net, torch.device("cpu"), torch.float32)}
        ways = [bare(modules[0], x, y, False), bare(modules[1], x, y, True)]
        ways += [ours(way, net.flat()[None], x, y) for way in known.values()]
        seconds = dict(zip(("bare", "bare, channels last", *known), best(ways, turns), strict=True))
        shown = (
            f"{way} {n / s:.0f} samples/s ({work / s:.0f} GFLOP/s by direct count, {seconds['bare'] / s:.2f}x)"
            for way, s in seconds.items()
        )
        print(f"one step of {name}, {n} samples (sgemm {peak:.0f} GFLOP/s): " + "; ".join(shown))
        if spec.depth == 8:
            least = min(least, seconds["bare"] / min(seconds[k] for k in known))
    return least


def _peak() -> float:
    """GFLOP/s of a large matrix product."""
    a = torch.randn(1024, 1024)
    return 2 * 1.024**3 / best([lambda: a @ a], 5)[0]


def _products(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-adds of the convolutions in a forward pass of one sample."""
    counts: list[int] = []
    hooks = [
        part.register_forward_hook(lambda part, _, out: counts.append(out.numel() * part.weight[0].numel()))
        for part in module.modules()
        if isinstance(part, nn.Conv2d)
    ]
    with torch.no_grad():
        module.eval()(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    module.train()
    return sum(counts)


def federation() -> Federation:
    """Equal clients of random images and labels."""
    g = torch.Generator().manual_seed(0)
    count = CLIENTS * SAMPLES
    x, y = torch.rand(count, *SMALL, generator=g), torch.randint(0, 10, (count,), generator=g)
    offsets = tuple(range(0, count + 1, SAMPLES))
    return Federation(x, y, offsets, x[:4], y[:4], tuple(map(str, range(CLIENTS))), 10, "random")


def rounds(model: str, algorithm: Algorithm, formulation: Formulation, data: Federation) -> Callable[[], object]:
    """A few rounds of training without evaluation, as many as give a clock something to measure."""
    schedule = draw_schedule(0, CLIENTS, EACH_ROUND, ROUNDS[model])
    local = LocalTraining(LR, epochs=1, batch_size=BATCH)
    problem = Problem(formulation.net, data, schedule, local, algorithm, 0)
    start = formulation.net.flat()
    return lambda: simulate(problem, [BASE], start, formulation, threads=1)


def algorithms(turns: int = 6) -> dict[str, float]:
    """What each algorithm takes over FedAvg by the same formulation, as a share; by model, formulation, algorithm."""
    data, found = federation(), dict[str, float]()
    for model, (spec, split) in MODELS.items():
        net = Net.of(spec.build(SMALL, 10))
        for kind in ("looped", "native", "residual"):
            way = formulations()[kind]
            if not way.supports(net, torch.device("cpu"), torch.float32):
                continue
            here = {k: make(split) for k, make in ALGORITHMS.items() if way.splits or k != "FedImpro"}
            seconds = best([rounds(model, algorithm, way(net), data) for algorithm in here.values()], turns)
            shares = {k: s / seconds[0] - 1 for k, s in zip(here, seconds, strict=True)}
            found |= {f"{model} {kind} {k}": share for k, share in shares.items()}
            told = ", ".join(f"{k} {100 * share:+.1f} %" for k, share in shares.items() if k != "FedAvg")
            speed = ROUNDS[model] * EACH_ROUND * SAMPLES / seconds[0]
            print(f"a round of {model} ({kind}; FedAvg {speed:.0f} samples/s): over FedAvg {told}")
    return found


def main(only: Sequence[str] = ()) -> None:
    """Print the ratios."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if not only or "steps" in only:
        print(f"the small residual nets: at least {steps():.2f}x the bare loop (floor: 2x)")
    if not only or "algorithms" in only:
        algorithms()


if __name__ == "__main__":
    main(sys.argv[1:])
