"""What a cell will cost, from its spec alone."""

from __future__ import annotations

import math

import torch

from experiments.core.study.price import BASE, operations, real
from experiments.fragility.spec import FragilitySpec

RATE = 3e10  # operations per second of both cores, native kernel or plain convolutions
_STEP = 5e-7  # seconds of a step that do not depend on its size
_PRODUCT = 3e-3  # the same of a product with a Hessian
_DEPTH = 5000  # steps of lissa where the setting leaves them open
_PRODUCTS = {"cg": 60, "low_rank": 200, "ekfac": 6, "gradient": 2}
"""Products with the whole Hessian that a method takes, about."""


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
    passes = sum(_seconds(spec, method, p, forward * samples, samples) for method in spec.methods)
    data = 2 * real(spec.dtype) * samples * math.prod(shape)
    return (trained + retrained) * step + passes, worlds, BASE + data + memory(spec, p, worlds)


def memory(spec: FragilitySpec, p: int, worlds: int) -> int:
    """Bytes for models of p parameters: the worlds' states, and the exact Hessian with what factorises it."""
    exact = 3 * 8 * p * p if "exact" in spec.methods else 0
    return real(spec.dtype) * p * (worlds * 4 + 4) + exact


def _seconds(spec: FragilitySpec, method: str, p: int, forward: float, samples: int) -> float:
    """Of one method, for all test points; forward: operations of a pass over all samples."""
    product = 6 * forward / RATE
    if method == "exact":
        return p * product + _PRODUCT * (1 + p / 64)
    if method == "lissa":
        share = min(1.0, spec.lissa.batch_size / max(1, samples))
        steps = (spec.lissa.depth or _DEPTH) * spec.lissa.repeats
        return steps * (_PRODUCT + len(spec.test_points) * share * product)
    return _PRODUCTS[method] * (_PRODUCT + len(spec.test_points) * product)


def _candidates(spec: FragilitySpec, samples: int) -> int:
    """At most so many samples are left out one by one."""
    most = 0
    for chosen in spec.candidates:
        count = samples if chosen.pick == "all" else chosen.count or int((chosen.share or 0) * samples)
        most = max(most, count) if chosen.pick in ("top", "all") else most + count
    return min(samples or most, most * len(spec.test_points))
