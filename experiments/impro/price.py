"""What a cell costs: the federated run, and the measures that are asked for beside it."""

from __future__ import annotations

from dataclasses import replace

from experiments.core.study.price import Price, Size, of_run, size_of
from experiments.impro.spec import ImproSpec

_RATE = 1e10  # operations per second of both cores in passes of parts of a model, one client or image batch at a time
_TRANSPORT = 1e-7  # seconds for a pair of samples in exact transport: distances and the network simplex
_WAYS = 4  # of sampling features
_SPACES = 2


def price(spec: ImproSpec) -> Price:
    """The price of one cell."""
    whole, size = of_run(spec), size_of(spec)
    if size is None:
        return whole
    seconds = _variance(spec, size) + _distance(spec, size) + _inversion(spec, size)
    return replace(whole, seconds=whole.seconds + seconds)


def _rounds(spec: ImproSpec, every: int) -> int:
    return min(spec.rounds, 2 + spec.rounds // every)


def _looked_at(size: Size, most: int | None) -> float:
    return size.clients * min(size.samples, most or size.samples)


def _variance(spec: ImproSpec, size: Size) -> float:
    """Gradients of real samples and of each way's features, and the features themselves, twice."""
    block = spec.variance
    if block is None:
        return 0.0
    passes = 3 + 3 * _WAYS * block.ratio + 2
    return _rounds(spec, block.every) * _looked_at(size, block.samples) * passes * size.forward / _RATE


def _distance(spec: ImproSpec, size: Size) -> float:
    """Every local model on everybody's samples, features twice, and transport twice a client, class and space."""
    block = spec.distance
    if block is None:
        return 0.0
    passes = spec.clients_per_round + 1 + 2
    models = _looked_at(size, block.samples) * passes * size.forward / _RATE
    pairs = 2 * _SPACES * size.clients * size.classes * block.exact**2
    return _rounds(spec, block.every) * (models + pairs * _TRANSPORT)


def _inversion(spec: ImproSpec, size: Size) -> float:
    """Forward and back to the pixels, for every image and step."""
    block = spec.inversion
    if block is None:
        return 0.0
    images = (block.classes or size.classes) * (block.per_class + 1 + len(block.noise))
    return block.steps * block.starts * images * 3 * size.forward / _RATE
