"""What a run will cost, from its spec alone: operations counted on shapes, rates measured on 2 CPU cores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from experiments.core.engine.algorithm import Setup, Turn
from experiments.core.engine.calls import is_conv1d
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.split import feature_shape
from experiments.core.spec.central import CentralSpec
from experiments.core.spec.fields import RunSpec

RATE = 1.5e11  # operations per second of both cores in local steps, native kernel or dense products
EVALUATION_RATE = 1e11
TASK = 3e-4  # seconds of Python and dispatch per client and round
TEST_SHARE = 0.15
CENTRAL_RATE = 3e10  # operations per second of both cores, native kernel or plain convolutions
CENTRAL_STEP = 5e-7  # seconds of a step that do not depend on its size


@dataclass(frozen=True)
class Price:
    """What a cell costs: seconds on 2 CPU cores, worlds trained, bytes; 0 where only loading the data tells."""

    seconds: float = 0.0
    worlds: int = 1
    memory: int = 0


@dataclass(frozen=True)
class Size:
    """What an estimate rests on: forward operations and numbers (`inputs`) of a sample, parameters, and so on.

    `samples` are a client's; `setup` is what the algorithm is told.
    """

    forward: float
    parameters: int
    samples: float
    classes: int
    clients: int
    inputs: int
    setup: Setup


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
    return _size(spec, shape, classes, samples, clients)


def central_size(spec: CentralSpec) -> Size | None:
    """The same of a model trained on all its data, which are one client's."""
    outline = spec.data.outline()
    if outline is None:
        return None
    shape, classes, samples, clients = outline
    return _size(spec, shape, classes, int(samples * clients), 1)


def _size(
    spec: RunSpec | CentralSpec, shape: tuple[int, ...], classes: int, samples: float, clients: int
) -> Size | None:
    """The spec's model counted on one input of `shape`; None where it cannot be built for it."""
    try:
        module, x, forward = _counted(spec.model, shape, classes, spec.data.integers)
    except Exception:  # a model that does not fit, or a user's own that fails: said by the run itself, with its place
        return None
    parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
    setup = Setup(parameters, clients, classes, 0, lambda block: feature_shape(module, block, x))
    return Size(forward, parameters, samples, classes, clients, math.prod(shape), setup)


@lru_cache(maxsize=16)
def _counted(model: Any, shape: tuple[int, ...], classes: int, integers: bool) -> tuple[nn.Module, torch.Tensor, float]:
    """A model on the meta device, two inputs for it and the operations of one; once for all cells of a grid."""
    with torch.device("meta"):
        module = model.build(shape, classes)
        x = torch.zeros(2, *shape, dtype=torch.int64 if integers else torch.get_default_dtype())
        return module, x, operations(module, x[:1])


def of_run(spec: RunSpec) -> Price:
    """The price of one federated run, nobody left out."""
    size = size_of(spec)
    return Price(training(spec, size, 1), 1, memory(spec, size, 1)) if size else Price()


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


def of_states(spec: RunSpec, parameters: int, worlds: int, setup: Setup) -> int:
    """Bytes of the states of a round: of each world with its gradient and a copy; the uploads and their means.

    Besides, each participant's own model, where another thing is sent, and what the algorithm remembers of each world:
    of the server and of the clients that will have taken part.

    Raises:
        SpecError: as `Algorithm.init`.
    """
    start = torch.empty(1, parameters, device="meta")
    state, participants = spec.algorithm.init(start[0], setup), spec.clients_per_round
    turn = Turn(1, spec.local.lr, LocalTraining(**spec.local.model_dump()), setup)
    sent = spec.algorithm.local(turn, start, state.server, state.client).finish(start, 1).sent
    models = parameters * (3 * worlds + (participants if sent is not start else 0))
    uploads = sent.shape[1] * (worlds + participants)
    remembered = state.numbers(min(setup.clients, spec.rounds * participants)) * worlds
    return real(spec.dtype) * (models + uploads + remembered)


def central(spec: CentralSpec, size: Size, worlds: int) -> Price:
    """The price of a central training, and of `worlds` worlds trained again side by side."""
    batch = min(size.samples, spec.train.batch_size or size.samples)
    step = 3 * size.forward * batch / CENTRAL_RATE + CENTRAL_STEP
    trained = spec.train.steps * (1 + spec.retrain.scratch * worlds)
    retrained = worlds * (spec.retrain.steps or 0) * (1 if spec.retrain.method == "continue" else 2)
    data = int(2 * real(spec.dtype) * size.samples * size.inputs)
    return Price((trained + retrained) * step, worlds, BASE + data + of_descent(spec, size.parameters, worlds))


def of_descent(spec: CentralSpec, parameters: int, worlds: int) -> int:
    """Bytes of the states of a central training: of each world with its gradient and the optimiser's moments."""
    return real(spec.dtype) * parameters * (worlds * 4 + 4)


def memory(spec: RunSpec, size: Size, worlds: int) -> int:
    """Bytes to train `worlds` models side by side on data that are held twice while they are dealt to clients."""
    data = 2 * real(spec.dtype) * size.inputs * (1 + TEST_SHARE) * size.clients * size.samples
    return BASE + of_states(spec, size.parameters, worlds, size.setup) + int(data)


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
