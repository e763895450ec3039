"""Table 1: what the influence of all clients costs, by formula and measured on a model small enough for all methods.

One round with K participants out of K clients: what a client computes and uploads beyond training, and what the server
computes to advance the FIP of all K clients by one round. Each of p, K, m, Ns is varied alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from experiments.core.engine.net import Net, initialise
from experiments.core.engine.per_sample import per_sample_gradients
from experiments.core.engine.seeds import stream
from experiments.core.estimators.numerics.closed_forms import explicit_hessian, naive1, naive2, transfer_matrix
from experiments.core.estimators.numerics.fed_influence import fisher_recursion
from experiments.core.sweep.cell import Cell, Context, Row, parameters
from experiments.influence import PAPER
from experiments.influence.spec import CostSpec

CLASSES = 10
LR = 0.01
FORMULAS: dict[str, dict[str, Callable[[int, int, int, int, int], float]]] = {
    "naive 1": {
        "server": lambda p, K, m, Ns, n: K**2 * p**2,
        "client": lambda p, K, m, Ns, n: m * (n * p**2 + p**3),
        "upload": lambda p, K, m, Ns, n: p**2,
    },
    "naive 2": {
        "server": lambda p, K, m, Ns, n: K**2 * m * p**2,
        "client": lambda p, K, m, Ns, n: m * n * p**2,
        "upload": lambda p, K, m, Ns, n: m * p**2,
    },
    "ours": {
        "server": lambda p, K, m, Ns, n: K**2 * m * Ns * p,
        "client": lambda p, K, m, Ns, n: 0,
        "upload": lambda p, K, m, Ns, n: m * Ns * p,
    },
}


@dataclass(frozen=True)
class _Case:
    """One point of the grid: a linear classifier of p parameters, K clients with n samples and m iterates each."""

    net: Net
    x: Tensor
    y: Tensor
    iterates: list[list[Tensor]]
    change: Tensor
    shares: Tensor
    p: int
    K: int
    m: int
    Ns: int


def cost_cells(spec: CostSpec) -> list[Cell]:
    """One cell a seed."""
    return [
        Cell(
            PAPER.name,
            spec.name,
            spec.scale,
            seed,
            "cost",
            **parameters(spec, seed=seed),
            version=PAPER.version,
            work=_work(spec),
            compute=partial(compute, spec, seed),
        )
        for seed in spec.seeds
    ]


def _work(spec: CostSpec) -> float:
    """Estimated seconds: the matrix products of the naive clients dominate."""
    points = [point for _, point in _grid(spec)]
    naive = sum(2.0 * point["m"] * (spec.samples * point["p"] ** 2 + point["p"] ** 3) for point in points)
    return 2.0 + (spec.repeats + 2) * naive / 4e10


def compute(spec: CostSpec, seed: int, context: Context) -> list[Row]:
    """Measure every point of the grid; the median of `repeats` timings counts."""
    torch.set_num_threads(1)
    rows: list[Row] = []
    points = _grid(spec)
    for done, (axis, point) in enumerate(points):
        context.progress("points of the grid", done, len(points))
        case = _case(**point, n=spec.samples, seed=seed)
        for method, costs in _measure(case, spec.repeats).items():
            for what, value in costs.items():
                common = {"method": method, "subject": f"{axis}={getattr(case, axis)}", "n": spec.repeats}
                unit = "bytes" if what == "upload" else "seconds"
                rows.append({**common, "metric": f"measured_{what}", "value": value, "unit": unit})
                formula = FORMULAS[method][what](case.p, case.K, case.m, case.Ns, spec.samples)
                rows.append(
                    {
                        **common,
                        "metric": f"formula_{what}",
                        "value": float(formula),
                        "unit": "operations" if what != "upload" else "numbers",
                    }
                )
    context.progress("points of the grid", len(points), len(points))
    return [{"dataset": "random inputs", "model": "linear classifier", **row} for row in rows]


def _grid(spec: CostSpec) -> list[tuple[str, dict[str, int]]]:
    """(axis, point) for each value of each axis, the other axes at the first value of their lists."""
    first = {axis: getattr(spec, axis)[0] for axis in ("p", "K", "m", "Ns")}
    return [(axis, {**first, axis: value}) for axis in first for value in getattr(spec, axis)]


def _case(p: int, K: int, m: int, Ns: int, n: int, seed: int) -> _Case:
    """A linear classifier with about p parameters (a multiple of its ten classes), and random data."""
    draw = stream(seed, "cost", p=p, K=K, m=m, Ns=Ns)
    width = max(1, round(p / CLASSES) - 1)
    module = nn.Sequential(nn.Linear(width, CLASSES))
    initialise(module, seed)
    net = Net.of(module.float())
    x = torch.from_numpy(draw.standard_normal((n, width))).float()
    y = torch.from_numpy(draw.integers(CLASSES, size=n))
    iterates = [
        [net.flat() + 0.01 * torch.from_numpy(draw.standard_normal(net.p)).float() for _ in range(m)] for _ in range(K)
    ]
    change = torch.from_numpy(draw.standard_normal((net.p, K))).float()
    shares = (torch.ones(K, K) - torch.eye(K)) / (K - 1)
    return _Case(net, x, y, iterates, change, shares, net.p, K, m, Ns)


def _measure(case: _Case, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of one client and of the server, and bytes of one client's upload, for the three methods."""

    def hessians() -> list[Tensor]:
        return [explicit_hessian(case.net, w, case.x, case.y) for w in case.iterates[0]]

    def gradients() -> list[Tensor]:
        return [per_sample_gradients(case.net, w, case.x[: case.Ns], case.y[: case.Ns]) for w in case.iterates[0]]

    one, drawn = hessians(), gradients()
    number = case.change.element_size()
    transfer = transfer_matrix(one, LR)
    return {
        "naive 1": {
            "client": _seconds(lambda: transfer_matrix(hessians(), LR), repeats),
            "server": _seconds(lambda: naive1([transfer] * case.K, case.shares, case.change), repeats),
            "upload": float(number * transfer.numel()),
        },
        "naive 2": {
            "client": _seconds(hessians, repeats),
            "server": _seconds(lambda: naive2([one] * case.K, LR, case.shares, case.change), repeats),
            "upload": float(number * sum(h.numel() for h in one)),
        },
        "ours": {
            # Training computes these gradients anyway: the paper counts no extra client time, and neither do we.
            "client": 0.0,
            "server": _seconds(lambda: _server(drawn, case), repeats),
            "upload": float(number * sum(g.numel() for g in drawn)),
        },
    }


def _server(drawn: list[Tensor], case: _Case) -> Tensor:
    """Sequential influence from uploaded gradients: what `FedInfluence` does, for one whole-model block."""
    total = case.change * case.shares.sum(0)
    stacked, lost = torch.cat(drawn), torch.empty_like(case.change)
    for share in case.shares:
        fisher_recursion(stacked, [len(g) for g in drawn], case.change, LR, lost)
        total = total - lost * share
    return total


def _seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median wall time of `work` after one warm-up."""
    work()
    durations = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        durations.append(time.perf_counter() - began)
    return statistics.median(durations)
