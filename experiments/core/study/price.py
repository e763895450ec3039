"""What a run will cost, from its spec alone: operations counted on shapes, rates measured on 2 CPU cores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from experiments.core.estimators.numerics._calls import is_conv1d
from experiments.core.spec.fields import RunSpec

RATE = 1.5e11  # operations per second of both cores in local steps, native kernel or dense products
EVALUATION_RATE = 1e11
TASK = 3e-4  # seconds of Python and dispatch per client and round
TEST_SHARE = 0.15


@dataclass(frozen=True)
class Size:
    """What an estimate rests on: forward operations and numbers (`inputs`) of a sample, parameters, and so on.

    `samples` are a client's.
    """

    forward: float
    parameters: int
    samples: float
    classes: int
    clients: int
    inputs: int


def size_of(spec: RunSpec) -> Size | None:
    """Count on the meta device; None where the data's shape is not known before it is loaded."""
    outline = spec.data.outline()
    if outline is None:
        return None
    shape, classes, samples, clients = outline
    if getattr(spec.partition, "samples_per_client", None):
        samples = spec.partition.samples_per_client
    elif getattr(spec.partition, "clients", None):  # all samples are dealt anew
        samples = samples * clients / spec.partition.clients
    clients = spec.known_clients or clients
    try:
        with torch.device("meta"):
            module = spec.model.build(shape, classes)
            kind = torch.int64 if spec.data.integers else torch.get_default_dtype()
            forward = operations(module, torch.zeros(1, *shape, dtype=kind))
    except Exception:  # a model that does not fit, or a user's own that fails: said by the run itself, with its place
        return None
    return Size(
        forward,
        sum(p.numel() for p in module.parameters() if p.requires_grad),
        samples,
        classes,
        clients,
        math.prod(shape),
    )


def training(spec: RunSpec, size: Size, worlds: int) -> float:
    """Seconds to train `worlds` models side by side and evaluate them."""
    steps = spec.local.steps or spec.local.epochs or 1
    pairs = spec.rounds * spec.clients_per_round
    local = pairs * worlds * steps * size.samples * 3 * size.forward / RATE
    test = TEST_SHARE * size.clients * size.samples
    evaluations = spec.rounds / spec.evaluate_every * worlds * test * size.forward / EVALUATION_RATE
    return local + evaluations + pairs * TASK


BASE = 600 << 20
"""Bytes of a process in which nothing is loaded yet."""


def real(dtype: str) -> int:
    """Bytes of a number."""
    return {"float32": 4, "float64": 8}[dtype]


def of_states(spec: RunSpec, parameters: int, worlds: int, clients: int) -> int:
    """Bytes of the states of a round: of each world with its mean, its gradient and a copy; of each participant.

    Besides, what the algorithm remembers of each world: of the server and of all `clients`.
    """
    start = torch.empty(parameters, device="meta")
    remembered = spec.algorithm.init(start, clients, parameters).numbers
    return real(spec.dtype) * (parameters * (4 * worlds + spec.clients_per_round) + remembered * worlds)


def memory(spec: RunSpec, size: Size, worlds: int) -> int:
    """Bytes to train `worlds` models side by side on data that are held twice while they are dealt to clients."""
    data = 2 * real(spec.dtype) * size.inputs * (1 + TEST_SHARE) * size.clients * size.samples
    return BASE + of_states(spec, size.parameters, worlds, size.clients) + int(data)


def operations(module: nn.Module, x: torch.Tensor) -> float:
    """Multiplications and additions of one forward pass in linear and convolution layers.

    The products of queries with keys are left out: at 64 tokens and width 128 they are a tenth of a transformer's.
    """
    count = 0.0

    def note(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal count
        weight = getattr(layer, "weight", None)
        if isinstance(weight, torch.Tensor):
            inputs = len(weight) if is_conv1d(layer) else weight[0].numel()
            count += 2.0 * output[0].numel() * inputs

    layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d) or is_conv1d(m)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    with torch.no_grad():
        module.eval()(x)
    for hook in hooks:
        hook.remove()
    return count
