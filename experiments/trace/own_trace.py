"""`fedlab trace --run`: which client of a recorded round is responsible for each of these predictions."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from experiments.core.engine.device import free_bytes
from experiments.core.engine.net import Net
from experiments.core.errors import SpecError
from experiments.core.estimators.tracefl import Contributions, contributions, first_order, normalised, provenance
from experiments.core.spec.reader import shown
from experiments.core.spec.record import RUN_FILE, RecordSpec
from experiments.core.sweep import files
from experiments.trace.own_inputs import OwnInputs
from experiments.trace.own_run import OwnRound

GAP = 0.01
"""Part of the mean update by which the global model may miss the weighted mean of the clients without a remark."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Choices:
    """How T_k is computed (Gill et al. 2025, Eq. 6; see `provenance`).

    Attributes:
        decay: of the layer weights beta; 1 turns them off. shares: multiply by p_k. bias: "all", "none" or "centred".
        active: only neurons with a positive activation take part.
    """

    decay: float = 0.9
    shares: bool = False
    bias: Literal["all", "none", "centred"] = "all"
    active: bool = False


@dataclass(frozen=True)
class Traced:
    """The clients of one round, and what each has to do with each prediction. n inputs, K clients.

    Attributes:
        round: the files of the round. choices: how T_k was computed.
        labels: [n] true classes, or None. predicted: [n]. logit: [n] of the predicted class.
        raw: [n, K] T_k (Eq. 6). score: [n, K] softmax over clients (Eq. 7).
        change: [n, K] first-order change of the predicted logit had the client been left out of this round.
        gap: distance of the global model from the weighted mean of the clients, as a part of their mean update.
    """

    round: OwnRound
    choices: Choices
    labels: Tensor | None
    predicted: Tensor
    logit: Tensor
    raw: Tensor
    score: Tensor
    change: Tensor
    gap: float


def trace_own(own: OwnRound, inputs: OwnInputs, choices: Choices, device: torch.device, progress: Progress) -> Traced:
    """Rank the clients of the round `own` for each of `inputs`. Clients are read in parts that fit into memory.

    Raises:
        SpecError: the model does not take the inputs or gives other outputs; a state dict does not fit.
        NumericalError: a state, an output or a gradient is not finite.
    """
    x = inputs.x.to(device)
    net = own.build(tuple(x.shape[1:]), device)
    theta = own.after(net)
    x = x.to(theta.dtype) if x.is_floating_point() else x
    _try_out(net, theta, x, own.described.spec, shown(own.files.home / RUN_FILE))
    shares = own.shares.to(theta)
    c, gap = _contributions(own, net, theta, x, choices, progress)
    raw = provenance(c, decay=choices.decay, shares=shares if choices.shares else None, bias=choices.bias)
    logit = c.outputs.gather(1, c.target[:, None]).squeeze(1)
    numbers = (t.cpu() for t in (c.target, logit, raw, normalised(raw), first_order(c, shares)))
    return Traced(own, choices, inputs.labels, *numbers, gap)
