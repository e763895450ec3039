"""What a setting will cost: worlds, seconds on 2 CPU cores, bytes."""

from __future__ import annotations

from experiments.core.study.price import RATE, memory, real, size_of, training
from experiments.influence.spec import InfluenceSpec

PRODUCT_RATE = 8e10  # operations per second of both cores in large matrix products
EXACT_RATE = 2e10
EXACT = 1e-3  # seconds of dispatch per participant and step


def estimate(spec: InfluenceSpec) -> tuple[float, int, int]:
    """(seconds, worlds, bytes) of one seed; seconds and bytes are 0 where the data tells its size only when loaded."""
    size = size_of(spec)
    clients = spec.known_clients or (size.clients if size else 0)
    counted = spec.counted or clients
    removal, left = 0, 0.0
    if spec.cleansing is not None:
        removal = 5 * sum(f > 0 for f in spec.cleansing.fractions)
        left = (spec.rounds - spec.cleansing.round) / spec.rounds
    worlds = counted + 1 + removal
    if size is None:
        return 0.0, worlds, 0
    pairs = spec.rounds * spec.clients_per_round * (spec.local.steps or spec.local.epochs or 1)
    fisher = 4.0 * min(spec.gradients, size.samples) * size.parameters * clients / PRODUCT_RATE
    exact = 2.0 * size.samples * size.classes * size.forward / EXACT_RATE + EXACT
    estimates = pairs * (
        fisher * sum("fisher" in v for v in spec.variants) + exact * any("fisher" not in v for v in spec.variants)
    )
    evaluated = (
        len(spec.variants)
        * counted
        * spec.rounds
        / spec.evaluate_every
        * 0.15
        * size.clients
        * size.samples
        * size.forward
        / RATE
    )
    seconds = training(spec, size, round(counted + 1 + left * removal)) + estimates + evaluated
    return seconds, worlds, memory(spec, size, worlds) + of_estimates(spec, size.parameters, clients)


def of_estimates(spec: InfluenceSpec, parameters: int, clients: int) -> int:
    """Bytes of the estimates of all variants for all clients, and of what is added to them."""
    return real(spec.dtype) * parameters * 2 * (2 + len(spec.variants)) * clients
