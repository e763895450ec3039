"""What a run with differentially private averaging tells about its guarantee."""

from __future__ import annotations

from experiments.core.engine.accounting import epsilon
from experiments.core.engine.privacy import weakest_noise
from experiments.core.engine.problem import Problem
from experiments.core.engine.worlds import BASE, World
from experiments.core.spec.fields import RunSpec
from experiments.core.sweep.cell import Row


def privacy_rows(spec: RunSpec, problem: Problem, world: World = BASE) -> list[Row]:
    """Two rows: `epsilon`, for the clients as FedAvg weighs them, and `epsilon_equal`, as if all had equal weight.

    The second is what noise of deviation noise * clip / participants is meant for, and smaller. Empty without privacy.
    """
    if spec.privacy is None:
        return []
    sizes, schedule = problem.federation.sizes, problem.schedule
    rate = spec.clients_per_round / len(sizes)
    noises = {
        "epsilon": weakest_noise(spec.privacy.noise, sizes, schedule, world),
        "epsilon_equal": spec.privacy.noise,
    }
    return [
        {
            "method": "privacy",
            "metric": metric,
            "value": epsilon(noise, rate, len(schedule), spec.privacy.delta),
            "unit": "",
            "n": len(sizes),
        }
        for metric, noise in noises.items()
    ]
