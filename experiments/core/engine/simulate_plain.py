"""The same rounds, one world at a time, in the most ordinary PyTorch: the twin that the engine is tested against.

It shares with the engine what defines the numbers (schedule, batch order, initial state, drawn noise) and none of its
arithmetic: a copied module, torch.optim tensor by tensor, loss.backward().
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from experiments.core.engine.algorithm import Batch, Plain, Reply
from experiments.core.engine.dpsgd import plain_gradient
from experiments.core.engine.draws import drawing
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net, clone
from experiments.core.engine.problem import Problem
from experiments.core.engine.worlds import World, check
from experiments.core.errors import NumericalError


def simulate_plain(
    problem: Problem, world: World, start: Tensor, first_round: int = 1, memory: dict[str, Tensor] | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Train one world; yields (t, global state [size]) after each round.

    Args:
        problem: what the engine trains.
        world: the world.
        start: [size] the global state before `first_round`.
        first_round: where to begin.
        memory: what the algorithm's plain form remembers before `first_round`; written to as the rounds go on.

    Raises:
        SpecError: an impossible world; an algorithm without a plain form. NumericalError: the state is no longer
            finite.
    """
    check([world], problem.federation.offsets)
    state, algorithm = start.clone(), problem.algorithm.plain(problem.setup)
    algorithm.memory = {} if memory is None else memory
    for t in range(first_round, len(problem.schedule) + 1):
        participants = world.participants(t, problem.schedule[t - 1])
        replies = [_train(problem, world, algorithm, state, k, t) for k in participants]
        replies = [reply for reply in replies if reply.samples]
        if replies:
            state = algorithm.server(state, replies, problem.turn(t))
            if problem.privacy is not None and problem.privacy.noise:
                some = slice(problem.net.real)
                state[some] += problem.privacy.draw(state[some], problem.seed, t, len(problem.schedule[t - 1]))
        if not bool(torch.isfinite(state).all()):
            what = f"the model is no longer finite in round {t}"
            raise NumericalError(what, f"world {world.label}", "lower local.lr")
        yield t, state


def _train(problem: Problem, world: World, algorithm: Plain, state: Tensor, k: int, t: int) -> Reply:
    """One client's local training in one world, by the samples that count there."""
    local, offsets = problem.local, problem.federation.offsets
    x, y = problem.federation.of(k)
    module = load(problem.net, state)
    trained = [p for p in module.parameters() if p.requires_grad]
    anchor = [p.detach().clone() for p in trained]
    optimiser, draws = _optimiser(local, trained, t), problem.draws_of(k, t)
    gone = torch.tensor(
        [s - offsets[k] for s in sorted(world.samples) if offsets[k] <= s < offsets[k + 1]], dtype=torch.long
    )
    batches, turn = problem.batches(k, t), problem.turn(t)
    for i, rows in enumerate(batches):
        optimiser.zero_grad()
        batch = _batch(Batch(k, i, local.epoch_of(i, len(batches)), x, y, None), rows, gone)
        if batch is not None:
            batch = replace(batch, x=problem.shown(k, t, i, batch.x))
        if draws is not None and problem.mechanism is not None:
            _set_private(problem, module, batch, local.rate(len(y)) * (len(y) - len(gone)), draws(i))
        elif batch is None:
            for p in trained:
                p.grad = torch.zeros_like(p)
        else:
            with nullcontext() if draws is None else drawing(draws(i), x.device):
                algorithm.loss(problem.net, module, batch, turn).backward()
        algorithm.correct(k, trained, anchor)
        optimiser.step()
    after = _clipped(problem, state, flatten(problem.net, module))
    return Reply(k, len(y) - len(gone), len(batches), after)


def _set_private(problem: Problem, module: nn.Module, batch: Batch | None, expected: float, seed: int) -> None:
    """Set the private gradient of `batch` (None: no sample) in the parameters of `module`."""
    counted = None if batch is None or batch.weight is None else batch.weight[0] != 0
    x, y = (problem.federation.x[:0], problem.federation.y[:0]) if batch is None else (batch.x, batch.y)
    x, y = (x, y) if counted is None else (x[counted], y[counted])
    assert problem.mechanism is not None
    gradient = plain_gradient(problem.net, module, x, y, problem.mechanism, expected, seed)
    trained = [tensor for tensor in module.parameters() if tensor.requires_grad]
    for tensor, slot in zip(trained, problem.net.params, strict=True):
        tensor.grad = gradient[slot.start : slot.stop].reshape(slot.shape).clone()


def _batch(whole: Batch, rows: Tensor | None, gone: Tensor) -> Batch | None:
    """The samples `rows` (None: all) of the client's `whole` data, those of `gone` with weight 0; None if no other."""
    x, y = whole.x, whole.y
    if not len(gone):
        return whole if rows is None else replace(whole, x=x[rows], y=y[rows])
    rows = torch.arange(len(y)) if rows is None else rows
    remaining = ~torch.isin(rows, gone)
    if not bool(remaining.any()):
        return None
    weight = None if bool(remaining.all()) else remaining[None].to(y.device, torch.float32)
    return replace(whole, x=x[rows], y=y[rows], weight=weight)


def _clipped(problem: Problem, state: Tensor, local: Tensor) -> Tensor:
    net, privacy = problem.net, problem.privacy
    if privacy is None:
        return local
    update = (local - state)[: net.real]
    clipped = state[: net.real] + update * min(1.0, privacy.clip / max(float(update.norm()), 1e-300))
    return torch.cat([clipped, local[net.real :]])


def _optimiser(local: LocalTraining, trained: list[nn.Parameter], t: int) -> torch.optim.Optimizer:
    if local.optimizer == "sgd":
        nesterov = local.nesterov and local.momentum > 0
        return torch.optim.SGD(trained, local.lr_at(t), local.momentum, 0.0, local.weight_decay, nesterov)
    kind = torch.optim.Adam if local.optimizer == "adam" else torch.optim.AdamW
    return kind(trained, local.lr_at(t), local.betas, local.eps, local.weight_decay, foreach=False)


def load(net: Net, state: Tensor) -> nn.Module:
    """A trainable copy of the template with the tensors of `state` [size], in training mode."""
    module = clone(net.module).to(state.device, state.dtype).train()
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, value in net.views(state).items():
            tensors[name].copy_(value)
    return module


def flatten(net: Net, module: nn.Module) -> Tensor:
    """The state [size] of a module built on the template of `net`."""
    return replace(net, module=module).flat()
