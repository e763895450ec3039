"""The engine against the plain twin, and the estimator against the truth it replaces: ratios from one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from experiments.core.engine import simulate as simulation
from experiments.core.engine.calibrate import choose
from experiments.core.engine.device import Workers
from experiments.core.engine.problem import Problem
from experiments.core.engine.simulate import simulate
from experiments.core.engine.simulate_plain import simulate_plain
from experiments.core.engine.worlds import BASE, World, leave_one_out
from experiments.core.estimators.numerics.closed_forms import algorithm3
from experiments.core.estimators.numerics.fed_influence import FedInfluence, Variant, fisher_recursion
from experiments.core.spec.load import load
from experiments.core.spec.override import read_overrides
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from experiments.paths import data_dir

THREADS = 2


def problem_of(setting: str, *overrides: str, device: str = "cpu") -> Problem:
    """The problem of a setting at paper scale."""
    spec = load(f"influence/{setting}", "influence", "paper", read_overrides(overrides)).spec
    with TemporaryDirectory() as folder:
        return build(spec, 0, Context(Path(folder), device, THREADS, data_dir())).problem


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def truth_against_plain(setting: str, worlds: int, rounds: int, *overrides: str, device: str = "cpu") -> float:
    """Time of a world-round on the plain path over the engine's, every world on its own from the first round on.

    The plain path trains a few of the worlds, with one torch thread; the engine all of them, on two threads.
    """
    problem = problem_of(setting, f"rounds={rounds}", "cleansing=null", "evaluate_every=1", *overrides, device=device)
    all_worlds = leave_one_out(range(worlds - 1))
    choice = choose(problem.net, problem.federation, worlds, THREADS)
    start = problem.net.flat()
    few = all_worlds[:: max(1, worlds // 3)][:3]
    simulate(problem, all_worlds[:2], start, choice.formulation, threads=THREADS)  # build, warm up

    def ours() -> None:
        lazily = simulation.fork_rounds
        simulation.fork_rounds = lambda w, *_: [1] * len(w)  # type: ignore[assignment]
        try:
            simulate(problem, all_worlds, start, choice.formulation, threads=THREADS if device == "cpu" else 1)
        finally:
            simulation.fork_rounds = lazily

    torch.set_num_threads(1)
    plain = seconds(lambda: [list(simulate_plain(problem, w, start)) for w in few]) / len(few)
    stacked = seconds(ours) / worlds
    print(
        f"{setting}: {worlds} worlds, {rounds} rounds, {choice.formulation.name}: "
        f"plain {1e3 * plain / rounds:.3g} ms a world-round, engine {1e3 * stacked / rounds:.3g} ms: "
        f"{plain / stacked:.1f}x"
    )
    return plain / stacked


def recursion(clients: int, p: int, ns: int = 50) -> float:
    """Eq. 15 for all clients at once (parameter-major) against one client after another, two iterations, one thread.

    One after another, twice: with one matrix-vector product a step, and gradient by gradient as Algorithm 3 is printed
    (timed on a few clients).
    """
    g = torch.Generator().manual_seed(0)
    blocks = [torch.randn(ns, p, generator=g) for _ in range(2)]
    change = torch.randn(p, clients, generator=g)
    stacked, lost = torch.cat(blocks), torch.empty_like(change)
    columns = [change[:, c].contiguous() for c in range(clients)]
    torch.set_num_threads(1)

    def by_products() -> None:
        for column in columns:
            sigma = column
            for block in blocks:
                sigma = sigma - (0.02 / ns) * (block.T @ (block @ sigma))

    def as_printed() -> None:
        for column in columns[:5]:
            algorithm3(blocks, 0.02, column)

    def at_once() -> None:
        fisher_recursion(stacked, [ns, ns], change, 0.02, lost)
        torch.sub(change, lost, out=lost)

    at_once()
    ours = min(seconds(at_once) for _ in range(5))
    products = min(seconds(by_products) for _ in range(3))
    printed = min(seconds(as_printed) for _ in range(3)) * clients / 5
    rate = 8e-9 * ns * p * clients / ours
    print(
        f"Fisher recursion, {clients} clients, p = {p}, Ns = {ns}, m = 2: all at once {rate:.0f} GFLOP/s, "
        f"{products / ours:.1f}x one client after another, {printed / ours:.1f}x Algorithm 3 as printed"
    )
    return products / ours


def estimator_in_worlds(rounds: int = 30) -> float:
    """Time of the estimator (LWET, Fisher) for all clients of setting 2, in worlds' worth of truth."""
    problem = problem_of("setting2-digits", f"rounds={rounds}", "cleansing=null", "evaluate_every=1")
    clients = tuple(range(len(problem.federation.sizes)))
    chosen = choose(problem.net, problem.federation, len(clients) + 1, THREADS).formulation
    start = problem.net.flat()
    drawn = sorted({k for r in problem.schedule for k in r})
    worlds = [BASE] + [World(f"{i}", frozenset({drawn[i % len(drawn)]})) for i in range(30)]
    with Workers(THREADS) as workers:
        estimator = FedInfluence(
            problem.net, problem.federation, {"ours": Variant("fisher", "iid", "shared", clients)}, 50, 0, workers
        )
        spent = 0.0
        observe = estimator.observe

        def timed(record: simulation.Round) -> None:
            nonlocal spent
            spent += seconds(lambda: observe(record))

        estimator.observe = timed  # type: ignore[method-assign]
        simulate(problem, [BASE], start, chosen, observers=[estimator], threads=THREADS)
    lazily = simulation.fork_rounds
    simulation.fork_rounds = lambda w, *_: [1] * len(w)  # type: ignore[assignment]
    try:
        world = seconds(lambda: simulate(problem, worlds, start, chosen, threads=THREADS)) / len(worlds)
    finally:
        simulation.fork_rounds = lazily
    print(
        f"setting 2 estimator for {len(clients)} clients: {1e3 * spent / rounds:.3g} ms a round "
        f"= the truth of {spent / world:.2f} worlds"
    )
    return spent / world
