"""From a setting to a model on fixed data: what is trained, on what, and how gradients are computed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from experiments.core.data.pool import DataBlock, Pool
from experiments.core.engine.calibrate import choose
from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.device import resolve_device
from experiments.core.engine.examine import examine, must_stand_still
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.net import Net
from experiments.core.engine.objective import Objective
from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError
from experiments.core.memory import LOWER
from experiments.core.study.federated import (
    fingerprint,
    initial_module,
    one_hot,
    remember_model,
    require_room,
    tell_data,
)
from experiments.core.study.formulation import settled
from experiments.core.sweep.cell import Context
from experiments.fragility.estimate import memory
from experiments.fragility.spec import FragilitySpec


@dataclass(frozen=True)
class Problem:
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

    spec: FragilitySpec
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
        path = context.folder / f"{name}.ckpt"
        mark = f"{name} {context.facts['data']}"
        return Checkpoint(path, mark, self.spec.checkpoint_seconds, context.warn, context.tell)


def build(spec: FragilitySpec, seed: int, worlds: int, context: Context) -> Problem:
    """Load the data, build and initialise the model, choose how gradients are computed for `worlds` worlds.

    Raises:
        MissingError: data or device missing.
        SpecError: a model that does not fit the data, more candidates than samples.
    """
    device, dtype = resolve_device(context.device), getattr(torch, spec.dtype)
    pool = _pool(spec.data, seed, context.data_dir)
    n = len(pool.y)
    for candidates in spec.candidates:
        if (candidates.count or 0) > n:
            raise SpecError(f"{candidates.count} candidates, but there are {n} training samples", "candidates.count")
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
    without = "".join(f"leave `{m.called}` out of methods, or " for m in spec.methods if m.memory(net.p))
    require_room(memory(spec, net.p, worlds), device, f"{without}{LOWER}")
    way = _way(spec, net, data, worlds, context)
    frozen = net.stilled()
    mask = None
    if spec.decay_on == "weights":
        mask = torch.cat([net.flat().new_full((s.stop - s.start,), float(len(s.shape) > 1)) for s in net.params])
    columns = {"dataset": data.name, "partition": "", "model": spec.model.kind}
    ways = way, type(way)(frozen)
    return Problem(spec, seed, data, *ways, net.flat(), mask, columns, pool.lines, pool.test_lines)


@lru_cache(maxsize=1)
def _pool(block: DataBlock, seed: int, data_dir: Path | None) -> Pool:
    """The data, read once for the cells of a process that share them."""
    return block.load(seed, data_dir)


def _way(spec: FragilitySpec, net: Net, data: Federation, worlds: int, context: Context) -> Formulation:
    """The formulation this cell used before it was interrupted, else by calibration on one mini-batch (law 5)."""
    wanted = "fixed" if spec.scale == "smoke" and spec.formulation == "auto" else spec.formulation
    rows = min(len(data.y), spec.train.batch_size or 512)
    sample = replace(data, x=data.x[:rows], y=data.y[:rows], offsets=(0, rows))
    return settled(
        context,
        data.x.device.type,
        wanted,
        lambda name: choose(net, sample, worlds, context.threads, name),
    )


def label_of(y: Tensor) -> float:
    """The label of one sample: a class, the place of the one in a one-hot target, or the number to predict."""
    return float(y.argmax() if y.numel() > 1 else y)


def digest(value: list[list[object]]) -> str:
    """A short name for plain values."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
