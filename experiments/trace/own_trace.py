"""`fedlab trace --run`: which client of a recorded round is responsible for each of these predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from experiments.core.engine.device import free_bytes
from experiments.core.engine.examine import is_restless, restless
from experiments.core.engine.net import Net
from experiments.core.errors import FedlabError, SpecError
from experiments.core.estimators.numerics.tracefl import (
    Contributions,
    contributions,
    first_order,
    normalised,
    provenance,
    traced_layers,
)
from experiments.core.recorded.inputs import OwnInputs
from experiments.core.recorded.run import OwnRound
from experiments.core.recorded.run_file import RUN_FILE
from experiments.core.recorded.states import RoundStates
from experiments.core.spec.reader import shown

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
    """The clients of one round, and how responsible each is for each prediction. n inputs, K clients.

    Attributes:
        round: the files of the round. choices: how T_k was computed.
        labels: [n] true classes, or None. predicted: [n]. logit: [n] of the predicted class.
        raw: [n, K] T_k (Eq. 6). score: [n, K] softmax over clients (Eq. 7).
        change: [n, K] first-order change of the predicted logit had the client been left out of this round.
        gap: distance of the global model from the weighted mean of the clients, as a part of their mean update.
        remarks: what had to be done to read inputs and states.
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
    remarks: tuple[str, ...]


def trace_own(
    recorded: OwnRound, inputs: OwnInputs, choices: Choices, device: torch.device, progress: Progress
) -> Traced:
    """Rank the clients of the round `recorded` for each of `inputs`. Clients are read in parts that fit into memory.

    Raises:
        SpecError: the model does not take the inputs or gives other outputs; a state dict does not fit.
        NumericalError: a state, an output or a gradient is not finite.
    """
    x = inputs.x.to(device)
    net = recorded.build(tuple(x.shape[1:]), device)
    states = recorded.states(net)
    theta = states.after
    x = x.to(theta.dtype) if x.is_floating_point() else x
    _try_out(recorded, net, theta, x)
    try:
        whole, gap = _contributions(states, recorded.shares, net, x, False, progress)
        chosen = _contributions(states, recorded.shares, net, x, True, progress)[0] if choices.active else whole
    except FedlabError:
        raise
    except Exception:  # a module written by the user may fail on a later input
        for i in range(len(x)):
            _outputs(recorded, net, theta, x[i : i + 1], i)
        raise
    raw = provenance(chosen, decay=choices.decay, shares=recorded.shares if choices.shares else None, bias=choices.bias)
    logit = whole.outputs.gather(1, whole.target[:, None]).squeeze(1)
    change = first_order(whole, recorded.shares)
    remarks = (*inputs.remarks, *states.notes)
    return Traced(recorded, choices, inputs.labels, whole.target, logit, raw, normalised(raw), change, gap, remarks)


def _try_out(recorded: OwnRound, net: Net, theta: Tensor, x: Tensor) -> None:
    """Send one input through the model, so that a model that does not fit is reported in one line.

    Raises:
        SpecError: it fails, knows fewer token ids, does not return one logit a class, changes its inputs, or has no
            layer that can be traced.
    """
    where = recorded.described.model_from
    if not traced_layers(net.module):
        raise SpecError(
            "the model has no layer that TraceFL looks into", where, "it needs a Linear, Conv2d, LayerNorm or Conv1D"
        )
    known = getattr(net.module, "vocabulary", None)
    if known is not None and not x.is_floating_point() and int(x.max()) >= known:
        raise SpecError(
            f"the inputs hold the id {int(x.max())}, but the model knows {known} ids (0 to {known - 1})",
            where,
            "cut the texts into tokens as in training",
        )
    first = x[:1].clone()
    outputs = _outputs(recorded, net, theta.detach().requires_grad_(), first, 0)
    if not isinstance(outputs, Tensor):
        raise SpecError(
            f"the model returns a {type(outputs).__name__}, not a tensor",
            where,
            "return the logits alone (of a model of transformers: its output's .logits)",
        )
    if outputs.shape != (1, recorded.described.spec.classes):
        raise SpecError(
            f"the model gives outputs of shape {list(outputs.shape[1:])} for {recorded.described.spec.classes} classes",
            shown(recorded.files.home / RUN_FILE),
            "correct `classes`, or name the model that was trained",
        )
    if not outputs.requires_grad:
        raise SpecError("the model's outputs have no gradient", where, "compute them without torch.no_grad()")
    if is_restless(lambda: _outputs(recorded, net, theta, x[:1].clone(), 0).detach(), x.device, where):
        raise restless("who is responsible for a prediction", where)
    if not torch.equal(first, x[:1]):
        raise SpecError(
            "the model changes its inputs in place, so that a second look at them would see others",
            where,
            "write x = x * 2 for x *= 2, and no inplace=True in the first layer",
        )


def _outputs(recorded: OwnRound, net: Net, theta: Tensor, x: Tensor, i: int) -> Any:
    """The outputs of the model for x [1, ...], input number i.

    Raises:
        SpecError: it fails.
    """
    try:
        return net.call(theta, x)
    except FedlabError:
        raise
    except Exception as fault:  # a module written by the user may raise anything
        first = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise SpecError(
            f"the model does not take input {i} of shape {list(x.shape[1:])}: {first}",
            recorded.described.model_from,
            "save the inputs as they were in training, or correct the model",
        ) from fault


def _contributions(
    states: RoundStates, shares: Tensor, net: Net, x: Tensor, active: bool, progress: Progress
) -> tuple[Contributions, float]:
    """Products of all clients' updates with the gradients, and the distance `Traced.gap`; clients part by part."""
    theta = states.after
    mean = torch.zeros_like(theta)
    parts, spread = [], 0.0
    for clients in _parts(len(shares), theta):
        locals_ = states.locals(clients)
        c = contributions(net, theta, locals_, x, active=active, progress=progress)
        parts.append(c)
        p = shares[list(clients)].to(theta)
        mean += p @ locals_
        spread += float(p @ (locals_ - theta).norm(dim=1))
    whole = replace(parts[0], delta=torch.cat([c.delta for c in parts], 1))
    return whole, float((mean - theta).norm()) / max(spread, torch.finfo(theta.dtype).tiny)


def _parts(clients: int, theta: Tensor) -> list[range]:
    """The clients in parts of two or more whose states fill at most half of the free memory."""
    room = max(2, free_bytes(theta.device) // (2 * theta.numel() * theta.element_size()))
    count = max(1, min(-(-clients // room), clients // 2))
    cuts = [round(i * clients / count) for i in range(count + 1)]
    return [range(a, b) for a, b in pairwise(cuts)]
