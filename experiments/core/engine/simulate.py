"""The round loop: all worlds of a federation side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from experiments.core.engine.algorithm import Algorithm, Turn
from experiments.core.engine.checkpoint import Checkpoint
from experiments.core.engine.device import Workers, free_bytes, halved
from experiments.core.engine.formulations import Formulation
from experiments.core.engine.local import train_stack
from experiments.core.engine.problem import Problem
from experiments.core.engine.remembered import Memory
from experiments.core.engine.shares import counts_of, sample_weights, shares_of
from experiments.core.engine.uploads import Collected, Done
from experiments.core.engine.worlds import World, check, fork_rounds
from experiments.core.errors import NumericalError


@dataclass
class Round:
    """What observers see of round `index`, all of the base world unless said otherwise.

    Attributes:
        index, rounds: t and T.
        lr: the learning rate eta of this round.
        before, after: [size] the global state before and after.
        aggregate: [size] the state after averaging, before the noise of `Problem.privacy`; without it `after` itself.
        participants: C_t. sizes: [K] n_k of the participants.
        locals: [K, size] their local states w_t,m^k, after clipping.
        uploads: [K, U] what they sent: `locals` itself where an algorithm sends models.
        weights: [K] what the algorithm averages models by: `sizes`, or ones. rest: [K] the same of further uploads.
        remembered: [S] what the algorithm's server remembers when the round begins.
        step: the algorithm's server step from (mean of the uploads [U], number of participants) -> [size].
        iterates: [K][m] states before each local step (w_t,0 .. w_t,m-1), or None when no observer asked.
        batches: [K][m] rows of each local step within the client's data, None for the full batch.
        states: () -> [W, size], the states of all worlds after the round.
    """

    index: int
    rounds: int
    lr: float
    before: Tensor
    after: Tensor
    aggregate: Tensor
    participants: tuple[int, ...]
    sizes: Tensor
    locals: Tensor
    uploads: Tensor
    weights: Tensor
    rest: Tensor
    remembered: Tensor
    step: Callable[[Tensor, int], Tensor]
    iterates: list[list[Tensor]] | None
    batches: list[list[Tensor | None]]
    states: Callable[[], Tensor]

    def without(self, k: int) -> Tensor:
        """The aggregate [size], had the participant k been left out of this round.

        Until its local training a round is the same in that world, so nothing is trained again: the others' uploads are
        averaged anew (for FedAvg sum_{j != k} n_j theta_j / (N - n_k), Eq. 4 of Xue et al. 2021), and the server takes
        its step from the state that it had before. Compare with `aggregate`; with privacy all worlds then get the same
        noise, `after - aggregate`. A round's only participant leaves the model as it was before (and without noise).
        One state at a time: K of them need not fit into memory again.
        """
        if len(self.participants) == 1:
            return self.before.clone()
        out, size = self.participants.index(k), len(self.before)
        models, rest = (_mean_without(out, w, u) for w, u in self._parts(size))
        return self.step(torch.cat([models, rest]), len(self.participants) - 1)

    def _parts(self, size: int) -> tuple[tuple[Tensor, Tensor], ...]:
        return (self.weights, self.uploads[:, :size]), (self.rest, self.uploads[:, size:])


def _mean_without(out: int, weights: Tensor, uploads: Tensor) -> Tensor:
    weights = weights.clone()
    weights[out] = 0
    return (weights / weights.sum()) @ uploads


class Observer(Protocol):
    """Something that watches the rounds of a simulation and can be checkpointed with it."""

    needs_iterates: bool

    def observe(self, record: Round) -> None:
        """Called after every round."""

    def state(self) -> dict[str, Any]:
        """Tensors and plain values from which `restore` continues."""

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state written by `state`."""


@dataclass
class _Stack:
    """The states of the worlds that have left the base world; the rest are the base world, in row 0."""

    states: Tensor
    memory: Memory
    forks: list[int]
    live: list[int] = field(default_factory=list)

    def fork(self, t: int) -> None:
        """Give every world that differs from round t on a row of its own."""
        for i, first in enumerate(self.forks):
            if i and first == t:
                self.states[i] = self.states[0]
                self.memory.fork(i)
        self.live = [0] + [i for i, first in enumerate(self.forks) if i and first <= t]

    def saved(self, t: int, observers: Sequence[Observer]) -> dict[str, Any]:
        """The content of a checkpoint after round t."""
        memory, watched = self.memory.saved(), [o.state() for o in observers]
        return {"round": t, "states": self.states, "algorithm": memory, "observers": watched}

    def expanded(self, t: int) -> Tensor:
        """[W, size], with worlds that have not forked by round t as copies of the base world."""
        rows = [i if i == 0 or first <= t else 0 for i, first in enumerate(self.forks)]
        return self.states[torch.tensor(rows, device=self.states.device)]


def simulate(
    problem: Problem,
    worlds: Sequence[World],
    start: Tensor,
    formulation: Formulation,
    *,
    first_round: int = 1,
    observers: Sequence[Observer] = (),
    threads: int = 1,
    chunk: int | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Train all `worlds` from the common state `start` through rounds first_round..T.

    Args:
        problem: model, data, schedule, local training, algorithm, seed.
        worlds: the base world first. A world is trained from the first round in which it differs (law 4).
        start: [size] the global state before `first_round`.
        formulation: how local steps are computed, the same for every world (law 2).
        first_round: where to begin.
        observers: called after every round, in order.
        threads: worker threads.
        chunk: models per piece of work; None picks it from free memory. Memory errors halve it.
        checkpoint: saved when due; an existing one of the same fingerprint is taken up.
        progress: called with (rounds done, rounds in all).

    Returns:
        [W, size] the final state of every world.

    Raises:
        SpecError: impossible worlds. NumericalError: a state is no longer finite.
    """
    check(worlds, problem.federation.offsets)
    forks = fork_rounds(worlds, problem.schedule, problem.federation.offsets, first_round)
    memory = Memory(problem.algorithm.init(start, problem.setup), len(worlds))
    stack = _Stack(start.repeat(len(worlds), 1), memory, forks)
    t0 = _resume(checkpoint, stack, observers, first_round)
    last = len(problem.schedule)
    if checkpoint is not None and t0 > first_round:
        checkpoint.resumes("round", t0, last)
    with Workers(threads) as workers:
        for t in range(t0, last + 1):
            stack.fork(t)
            record = _round(problem, worlds, stack, formulation, t, workers, chunk, _wants_iterates(observers))
            for observer in observers:
                observer.observe(record)
            if checkpoint is not None and (checkpoint.due() or t == last):
                checkpoint.save(stack.saved(t, observers))
            if progress is not None:
                progress(t - first_round + 1, last - first_round + 1)
    return stack.expanded(last)


def _wants_iterates(observers: Sequence[Observer]) -> bool:
    return any(o.needs_iterates for o in observers)


def _resume(checkpoint: Checkpoint | None, stack: _Stack, observers: Sequence[Observer], first_round: int) -> int:
    """Take up a checkpoint if there is one; returns the round to compute next."""
    saved = checkpoint.load() if checkpoint is not None else None
    if saved is None:
        return first_round
    stack.states.copy_(saved["states"])
    stack.memory.restore(saved["algorithm"])
    for observer, state in zip(observers, saved["observers"], strict=True):
        observer.restore(state)
    return int(saved["round"]) + 1


@dataclass
class _Task:
    """One piece of work: some worlds of one client.

    Attributes:
        index: of the client among the round's participants. rows: of the worlds in the stack, on its device; `places`:
            the same numbers. share: the client's weight in each; rest: that of what it sends beside the model.
            first: whether the base world is the first.
    """

    index: int
    client: int
    rows: Tensor
    places: list[int]
    share: Tensor
    rest: Tensor
    worlds: list[World]
    first: bool

    def of(self, states: Tensor, some: slice) -> Tensor:
        """Rows `some` of a tensor over worlds; for one world a view, so that a large model is not copied."""
        return states[self.rows[some]] if len(self.places) > 1 else states[self.places[0]].unsqueeze(0)


def _round(
    problem: Problem,
    worlds: Sequence[World],
    stack: _Stack,
    formulation: Formulation,
    t: int,
    workers: Workers,
    chunk: int | None,
    iterates_wanted: bool,
) -> Round:
    """Advance every live world by round t."""
    net, federation = problem.net, problem.federation
    drawn, lr = problem.schedule[t - 1], problem.local.lr_at(t)
    batches = [problem.batches(k, t) for k in drawn]
    iterates: list[list[Tensor]] = [[] for _ in drawn]
    algorithm, turn = problem.algorithm, problem.turn(t)

    def work(task: _Task) -> tuple[_Task, list[Done]]:
        x, y = federation.of(task.client)
        weight = sample_weights(federation, task.client, task.worlds, stack.states)
        of_base = iterates[task.index] if iterates_wanted and task.first else None

        def train(some: slice) -> Done:
            keep = of_base if some.start == 0 else None
            if keep is not None:
                keep.clear()  # where this piece runs again
            rows, weights = task.of(stack.states, some), None if weight is None else weight[some]
            steps, draws = batches[task.index], problem.draws_of(task.client, t)
            shown = partial(problem.shown, task.client, t)
            server = task.of(stack.memory.server, some)
            client = stack.memory.of(task.client, task.places[some])
            part = algorithm.local(turn, rows, server, client)
            way = problem.way(formulation, task.client, weights)
            trained = train_stack(
                way, rows, x, y, weights, steps, problem.local, lr, part, task.client, keep, draws, shown
            )
            if problem.privacy is not None:
                problem.privacy.clipped(rows[:, : net.real], trained[:, : net.real])
            finished, base = part.finish(trained, len(steps)), task.first and not some.start
            return Done(some, finished, trained[0] if base else None, finished.sent is trained)

        return task, halved(train, slice(0, len(task.rows)))

    before, server_before = stack.states[0].clone(), stack.memory.server[:1].clone()
    counts = counts_of(federation, [worlds[i] for i in stack.live], t, drawn)
    share, rest = shares_of(counts, algorithm.weighting), shares_of(counts, algorithm.rest or algorithm.weighting)
    collected = Collected(stack.states, stack.memory, len(drawn))
    for task, parts in workers.map(
        work, _tasks(problem, worlds, stack, (share, rest), drawn, formulation, chunk, workers.threads)
    ):
        for done in parts:
            some = done.some
            worlds_of, shares_in = (task.rows[some], task.places[some]), (task.share[some], task.rest[some])
            collected.take(*worlds_of, task.client, task.index, *shares_in, done)
    rows = _aggregate(algorithm, turn, stack, collected.mean, share, t)
    aggregate = after = stack.states[0].clone()
    if problem.privacy is not None and problem.privacy.noise:
        # The same in every world that had a participant: a truth holds no difference of noise.
        stack.states[rows, : net.real] += problem.privacy.draw(before[: net.real], problem.seed, t, len(drawn))
        after = stack.states[0].clone()
    sizes = torch.tensor([federation.sizes[k] for k in drawn], dtype=before.dtype, device=before.device)

    def step(mean: Tensor, participants: int) -> Tensor:
        count = mean.new_full((1, 1), participants)
        return algorithm.server(turn, before[None], mean[None], count, server_before)[0][0]

    return Round(
        t,
        len(problem.schedule),
        lr,
        before,
        after,
        aggregate,
        drawn,
        sizes,
        collected.locals,
        collected.sent,
        sizes if algorithm.weighting == "samples" else torch.ones_like(sizes),
        sizes if (algorithm.rest or algorithm.weighting) == "samples" else torch.ones_like(sizes),
        server_before[0],
        step,
        iterates if iterates_wanted else None,
        batches,
        lambda: stack.expanded(t),
    )


def _tasks(
    problem: Problem,
    worlds: Sequence[World],
    stack: _Stack,
    shares: tuple[Tensor, Tensor],
    drawn: Sequence[int],
    formulation: Formulation,
    chunk: int | None,
    threads: int,
) -> Iterator[_Task]:
    """Cut the round's (world, client) pairs into pieces: worlds of one client, evenly over the threads."""
    shape, like = tuple(problem.federation.x.shape[1:]), stack.states
    live, free = torch.tensor(stack.live), free_bytes(stack.states.device) // threads
    for index, k in enumerate(drawn):
        taking = shares[0][:, index].nonzero().squeeze(1)
        room = chunk or max(1, free // formulation.scratch(problem.federation.sizes[k], shape))
        pieces = (
            math.ceil(len(taking) / room) if chunk else max(math.ceil(len(taking) / room), min(threads, len(taking)))
        )
        for part in taking.chunk(pieces) if len(taking) else ():
            rows, places = live[part].to(like.device), live[part].tolist()
            share, rest = (of[part, index].to(like.device, like.dtype) for of in shares)
            yield _Task(index, k, rows, places, share, rest, [worlds[i] for i in places], int(part[0]) == 0)


def _aggregate(algorithm: Algorithm, turn: Turn, stack: _Stack, mean: Tensor, share: Tensor, t: int) -> Tensor | slice:
    """Take the algorithm's step in every live world that had a participant; the others stay as they are.

    Returns:
        The rows of these worlds; all of them as a slice, so that a large model is not copied.
    """
    count = (share > 0).sum(1)
    moved = torch.tensor(stack.live)[count > 0].to(mean.device)
    rows: Tensor | slice = moved if len(moved) < len(mean) else slice(None)
    participants, server = count[count > 0, None].to(mean), stack.memory.server
    stack.states[rows], server[rows] = algorithm.server(
        turn, stack.states[rows], mean[rows], participants, server[rows]
    )
    finite = torch.isfinite(stack.states[rows]).all(1)
    if not bool(finite.all()):
        raise NumericalError(
            f"the model is no longer finite in round {t} (world number {int(moved[~finite][0])})",
            "training",
            "lower local.lr, or check the data for NaN and huge values",
        )
    return rows
