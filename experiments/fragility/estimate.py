"""What a cell will cost, from its spec alone."""

from __future__ import annotations

import math

import torch

from experiments.core.estimators.inverse_hessian import Work
from experiments.core.study.price import BASE, of_descent, operations, real
from experiments.fragility.spec import FragilitySpec

RATE = 3e10  # operations per second of both cores, native kernel or plain convolutions
_STEP = 5e-7  # seconds of a step that do not depend on its size


def estimate(spec: FragilitySpec) -> tuple[float, int, int]:
    """(seconds on 2 CPU cores, worlds, bytes); 0 where only loading the data tells."""
    outline = spec.data.outline()
    samples = int(outline[2] * outline[3]) if outline else 0
    worlds = 1 + _candidates(spec, samples)
    if spec.groups is not None:
        worlds += len(spec.groups.sizes) * spec.groups.count
    if outline is None:
        return 0.0, worlds, 0
    shape, classes = outline[:2]
    try:
        with torch.device("meta"):
            module = spec.model.build(shape, classes)
            forward = operations(module, torch.zeros(1, *shape))
    except Exception:  # a model that does not fit is said by the run itself, with its place
        return 0.0, worlds, 0
    p = sum(parameter.numel() for parameter in module.parameters())
    step = 3 * forward * min(samples, spec.train.batch_size or samples) / RATE + _STEP
    trained = spec.train.steps * (1 + spec.retrain.scratch * worlds)
    retrained = worlds * (spec.retrain.steps or 0) * (1 if spec.retrain.method == "continue" else 2)
    work = Work(p, samples, len(spec.test_points), 6 * forward * samples / RATE)
    passes = sum(method.price(work) for method in spec.methods)
    data = 2 * real(spec.dtype) * samples * math.prod(shape)
    return (
        (trained + retrained) * step + passes,
        worlds,
        BASE + data + of_descent(spec, p, worlds) + of_methods(spec, p),
    )


def of_methods(spec: FragilitySpec, p: int) -> int:
    """Bytes that the most demanding method holds, for a model of p parameters."""
    return max(method.memory(p) for method in spec.methods)


def _candidates(spec: FragilitySpec, samples: int) -> int:
    """At most so many samples are left out one by one."""
    most = 0
    for chosen in spec.candidates:
        count = samples if chosen.pick == "all" else chosen.count or int((chosen.share or 0) * samples)
        most = max(most, count) if chosen.pick in ("top", "all") else most + count
    return min(samples or most, most * len(spec.test_points))
