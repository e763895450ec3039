"""From a spec to a model trained on all its data: what is trained, on what, and how gradients are computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor

from experiments.core.data.pool import DataBlock, Pool
from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.device import resolve_device
from experiments.core.engine.examine import examine, must_stand_still
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.net import Net
from experiments.core.engine.objective import Objective
from experiments.core.engine.seeds import stream
from experiments.core.memory import LOWER
from experiments.core.spec.central import CentralSpec
from experiments.core.study.federated import (
    checkpoint,
    fingerprint,
    initial_module,
    one_hot,
    remember_model,
    require_room,
    tell_data,
)
from experiments.core.study.formulation import formulation
from experiments.core.study.price import of_descent
from experiments.core.sweep.cell import Context

S = TypeVar("S", bound=CentralSpec)
S_co = TypeVar("S_co", bound=CentralSpec, covariant=True)

_TIMED = 512  # samples on which a full-batch step is timed


@dataclass(frozen=True)
class Central(Generic[S_co]):
    """One point of a setting's grid, made ready.

    Attributes:
        spec: the point. seed: of initial weights, batches and draws.
        data: all training samples as one client, and the test set.
        way: computes gradients while the model is trained. frozen_way: the same with normalisation frozen, for
            everything after.
        start: [size], the initial state. mask: [p] of 0 and 1, the decayed parameters; None: all.
        columns: what all rows share.
        lines, test_lines: the line of its file that each sample stands in, [n] and [n test], or None.
    """

    spec: S_co
    seed: int
    data: Federation
    way: Formulation
    frozen_way: Formulation
    start: Tensor
    mask: Tensor | None
    columns: dict[str, str]
    lines: Tensor | None = None
    test_lines: Tensor | None = None

    @property
    def net(self) -> Net:
        """The model with normalisation frozen: a sample's loss is a function of the state."""
        return self.frozen_way.net

    @property
    def n(self) -> int:
        """Number of training samples."""
        return len(self.data.y)

    def objective(self) -> Objective:
        """The training objective."""
        return Objective(self.net, self.data.x, self.data.y, self.spec.effective_decay, self.mask)

    def some(self, count: int) -> Objective:
        """The objective over at most `count` samples, drawn by the seed."""
        drawn = stream(self.seed, "some", count=count).permutation(self.n)[:count]
        rows = torch.from_numpy(drawn).to(self.data.y.device)
        return (
            replace(self.objective(), x=self.data.x[rows], y=self.data.y[rows]) if self.n > count else self.objective()
        )

    def checkpoint(self, context: Context, name: str) -> Checkpoint:
        """A checkpoint file of this cell; not taken up once the user's data have changed."""
        return checkpoint(self.spec, context, name)


Problem = Central[CentralSpec]


def build(
    spec: S, seed: int, worlds: int, context: Context, held: Callable[[int], int] = lambda p: 0, lower: str = LOWER
) -> Central[S]:
    """Load the data, build and initialise the model, choose how gradients are computed for `worlds` worlds.

    Args:
        held: parameters -> bytes that are needed beside the worlds' states. lower: what to do where that is too much.

    Raises:
        MissingError: data or device missing, or too little memory. SpecError: a model that does not fit the data.
    """
    device, dtype = resolve_device(context.device), getattr(torch, spec.dtype)
    pool = _pool(spec.data, seed, context.data_dir)
    n = len(pool.y)
    data = Federation(
        pool.x, pool.y, (0, n), pool.test_x, pool.test_y, ("all",), pool.classes, pool.name, test_from=pool.test_from,
        notes=pool.notes,
    )  # fmt: skip
    tell_data(data, spec.loss, context)
    module = initial_module(spec.model, spec.init, seed, tuple(data.x.shape[1:]), data.classes, context)
    net = Net.of(module.to(device, dtype), spec.loss)
    data = (one_hot(data, dtype) if spec.loss == "squared" else data).to(device, dtype)
    net = examine(net, data)
    must_stand_still(net, "the loss of a sample")
    remember_model(net, context)
    context.facts |= {"data": fingerprint(data), "device": str(device)}
    require_room(of_descent(spec, net.p, worlds) + held(net.p), device, lower)
    way = formulation(spec, net, _one_batch(data, spec.train.batch_size), worlds, context)
    frozen = net.stilled()
    mask = None
    if spec.decay_on == "weights":
        mask = torch.cat([net.flat().new_full((s.stop - s.start,), float(len(s.shape) > 1)) for s in net.params])
    columns = {"dataset": data.name, "partition": "", "model": spec.model.called}
    ways = way, type(way)(frozen)
    return Central(spec, seed, data, *ways, net.flat(), mask, columns, pool.lines, pool.test_lines)


@lru_cache(maxsize=1)
def _pool(block: DataBlock, seed: int, data_dir: Path | None) -> Pool:
    """The data, read once for the cells of a process that share them."""
    return block.load(seed, data_dir)


def _one_batch(data: Federation, batch_size: int | None) -> Federation:
    """The first samples of `data`, as many as a step takes: what the formulations are timed on."""
    rows = min(len(data.y), batch_size or _TIMED)
    return replace(data, x=data.x[:rows], y=data.y[:rows], offsets=(0, rows))


def label_of(y: Tensor) -> float:
    """The label of one sample: a class, the place of the one in a one-hot target, or the number to predict."""
    return float(y.argmax() if y.numel() > 1 else y)


def digest(value: list[list[object]]) -> str:
    """A short name for plain values."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
