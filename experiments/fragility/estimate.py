"""What a cell will cost, from its spec alone."""

from __future__ import annotations

from dataclasses import replace

from experiments.core.estimators.inverse_hessian import Work
from experiments.core.study.price import CENTRAL_RATE, Price, central, central_size
from experiments.fragility.spec import FragilitySpec


def estimate(spec: FragilitySpec) -> Price:
    """Of training, retraining and every method; seconds and bytes are 0 where only loading the data shows its size."""
    size, worlds = central_size(spec), worlds_of(spec)
    if size is None:
        return Price(worlds=worlds)
    trained, p = central(spec, size, worlds), size.parameters
    work = Work(p, int(size.samples), len(spec.test_points), 6 * size.forward * size.samples / CENTRAL_RATE)
    passes = sum(method.price(work) for method in spec.methods)
    return replace(trained, seconds=trained.seconds + passes, memory=trained.memory + of_methods(spec, p))


def worlds_of(spec: FragilitySpec) -> int:
    """The base world, one without each candidate, one without each group."""
    outline = spec.data.outline()
    alone = _candidates(spec, int(outline[2] * outline[3]) if outline else 0)
    return 1 + alone + (len(spec.groups.sizes) * spec.groups.count if spec.groups else 0)


def of_methods(spec: FragilitySpec, p: int) -> int:
    """Bytes that the most demanding method holds, for a model of p parameters."""
    return max(method.memory(p) for method in spec.methods)


def _candidates(spec: FragilitySpec, samples: int) -> int:
    """The largest number of samples that are left out one by one."""
    most = 0
    for chosen in spec.candidates:
        count = samples if chosen.pick == "all" else chosen.count or int((chosen.share or 0) * samples)
        most = max(most, count) if chosen.pick in ("top", "all") else most + count
    return min(samples or most, most * len(spec.test_points))
