"""What a setting will cost: worlds, seconds on 2 CPU cores, bytes."""

from __future__ import annotations

from experiments.core.estimators.client_influence import Steps
from experiments.core.study.price import RATE, Price, memory, real, size_of, training
from experiments.influence.spec import InfluenceSpec


def estimate(spec: InfluenceSpec) -> Price:
    """The price of one seed; seconds and bytes are 0 where only loading the data reveals its size."""
    size = size_of(spec)
    clients = spec.known_clients or (size.clients if size else 0)
    counted = spec.counted or clients
    removal, left = 0, 0.0
    if spec.cleansing is not None:
        removal = 5 * sum(f > 0 for f in spec.cleansing.fractions)
        left = (spec.rounds - spec.cleansing.round) / spec.rounds
    worlds = counted + 1 + removal
    if size is None:
        return Price(worlds=worlds)
    pairs = spec.rounds * spec.clients_per_round * (spec.local.steps or spec.local.epochs or 1)
    steps = Steps(
        pairs, clients, min(spec.gradients, size.samples), size.samples, size.parameters, size.classes, size.forward
    )
    estimates = sum(variant.price(steps) for variant in spec.variants)
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
    return Price(seconds, worlds, memory(spec, size, worlds) + of_estimates(spec, size.parameters, clients))


def of_estimates(spec: InfluenceSpec, parameters: int, clients: int) -> int:
    """Bytes of the estimates of all variants for all clients, and of what is added to them."""
    return real(spec.dtype) * parameters * 2 * (2 + len(spec.variants)) * clients
