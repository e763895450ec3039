"""Plain FedAvg: 100 clients x 100 samples 28x28, 10 clients a round, 2 full-batch steps, CNN 2, no evaluation.

Ours against a hand-written sequential PyTorch loop, each in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

ROUNDS = 40
LR = 0.02


def _data(n: int = 100, clients: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.rand(n * clients, 1, 28, 28, generator=g), torch.randint(0, 62, (n * clients,), generator=g)


def _cnn2() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(784, 128),
        nn.ReLU(),
        nn.Linear(128, 62),
    )


def by_hand(threads: int) -> dict[str, float]:
    """The loop a careful user would write."""
    began = time.perf_counter()
    torch.set_num_threads(threads)
    x, y = _data()
    model, loss = _cnn2(), nn.CrossEntropyLoss()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    g = torch.Generator().manual_seed(1)
    first = 0.0
    for t in range(ROUNDS):
        total = {k: torch.zeros_like(v) for k, v in state.items()}
        for k in torch.randperm(100, generator=g)[:10].tolist():
            model.load_state_dict(state)
            optimiser = torch.optim.SGD(model.parameters(), LR)
            for _ in range(2):
                optimiser.zero_grad()
                loss(model(x[100 * k : 100 * k + 100]), y[100 * k : 100 * k + 100]).backward()
                optimiser.step()
            for name, value in model.state_dict().items():
                total[name] += value / 10
        state = total
        if t == 0:
            first = time.perf_counter() - began
            clock = time.perf_counter()
    return {"rounds_per_s": (ROUNDS - 1) / (time.perf_counter() - clock), "first": first}


def ours(threads: int) -> dict[str, float]:
    """The engine, with what `fedlab train` does around it: calibration, schedule, progress."""
    began = time.perf_counter()
    from experiments.core.algorithms.fedavg import FedAvg
    from experiments.core.engine.calibrate import choose
    from experiments.core.engine.federation import Federation
    from experiments.core.engine.local import LocalTraining
    from experiments.core.engine.net import Net
    from experiments.core.engine.problem import Problem
    from experiments.core.engine.schedule import draw_schedule
    from experiments.core.engine.simulate import simulate
    from experiments.core.engine.worlds import BASE

    x, y = _data()
    offsets = tuple(range(0, len(x) + 1, 100))
    federation = Federation(x, y, offsets, x[:10], y[:10], tuple(map(str, range(100))), 62, "random")
    net = Net.of(_cnn2())
    chosen = choose(net, federation, 1, threads).formulation
    times: list[float] = []
    problem = Problem(net, federation, draw_schedule(1, 100, 10, ROUNDS), LocalTraining(LR, steps=2), FedAvg(), 0)
    simulate(
        problem, [BASE], net.flat(), chosen, threads=threads, progress=lambda *_: times.append(time.perf_counter())
    )
    return {"rounds_per_s": (ROUNDS - 1) / (times[-1] - times[0]), "first": times[0] - began}


def _process(kind: str, threads: int) -> dict[str, float]:
    """Run one side in its own process; adds its start-up seconds and its peak memory in MB."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "tests.bench.fedavg", kind, str(threads)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    told["start_to_first"] = time.perf_counter() - began - (ROUNDS - 1) / told["rounds_per_s"]
    return told


def _peak_mb() -> float:
    """Peak resident memory. Not getrusage: its peak is inherited from the process that started this one."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def main(repeats: int = 3) -> float:
    """Interleaved repeats; prints medians and the ratio."""
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(repeats):
        for name, kind, threads in (
            ("by hand", "by_hand", 1),
            ("by hand, 2 threads", "by_hand", 2),
            ("fedlab", "ours", 2),
        ):
            found.setdefault(name, []).append(_process(kind, threads))
    middle = {name: sorted(runs, key=lambda r: r["rounds_per_s"])[len(runs) // 2] for name, runs in found.items()}
    for name, run in middle.items():
        print(
            f"FedAvg, CNN 2: {name:<20} {run['rounds_per_s']:.2f} rounds/s, peak {run['memory_mb']:.0f} MB "
            f"({run['own_mb']:.0f} MB above importing torch), start to end of round 1 {run['start_to_first']:.1f} s"
        )
    ratio = middle["fedlab"]["rounds_per_s"] / max(
        run["rounds_per_s"] for name, run in middle.items() if name != "fedlab"
    )
    print(f"FedAvg, CNN 2: fedlab {ratio:.2f}x the faster hand-written loop")
    return ratio


if __name__ == "__main__":
    if len(sys.argv) > 1:
        before = _peak_mb()
        result = {"by_hand": by_hand, "ours": ours}[sys.argv[1]](int(sys.argv[2]))
        print(json.dumps({**result, "memory_mb": _peak_mb(), "own_mb": _peak_mb() - before}))
    else:
        main()
