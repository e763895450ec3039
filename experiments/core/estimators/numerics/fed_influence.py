"""Fed-Influence: the change of the global model had a client never taken part (Xue et al. 2021).

An observer of the base world's rounds. For every client c it keeps an estimate of

    FIP  epsilon_t^{-c} ~ w_t(C minus c) - w_t                                                       (Eq. 5)

and advances it by Eq. 10, epsilon_t = sum_k n_k/N(C_t minus c) sigma^k + [w_t(C_t minus c) - w_t], where
sigma^k = prod_i (I - eta H_i^k) epsilon_{t-1} is the local sequential influence. H is exact, block by block, or
replaced by the mean of outer products of Ns per-sample gradients (Fisher; Eq. 14-15). Layer-wise examination and
truncation (LWET) drops the sequential part of a tensor where it grows (Algorithms 2 and 4).

A model with BatchNorm or dropout is in training a function of its batch (a `TrainingNet`): H is the Hessian of the
batch's loss, or the mean of outer products of gradients through the batch. BatchNorm ties the tensors before and after
it (a factor of one is undone in the next), so that H is not cut into blocks here; LWET still examines each tensor by
its own block. The running statistics are part of the state and have a sequential part of their own, by the Jacobian of
their update; LWET examines weights only.

All clients c are columns of one matrix E [p, C] (parameter-major). The recursion of Eq. 15 over the gradients
G [m Ns, p] of one participant runs in the space of samples: with G E and G G^T known it needs no further pass over the
parameters, sigma = E - G^T A, so E is read once and written once a participant instead of twice an iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from experiments.core.engine.device import Workers
from experiments.core.engine.draws import step_seed
from experiments.core.engine.federation import Federation
from experiments.core.engine.net import Net
from experiments.core.engine.per_sample import per_sample_gradients
from experiments.core.engine.seeds import stream
from experiments.core.engine.simulate import Round
from experiments.core.engine.training import TrainingNet
from experiments.core.estimators.numerics.hessian import (
    Fisher,
    FullHessian,
    GenericBlocks,
    HessianOperator,
    tensor_blocks,
)


@dataclass(frozen=True)
class Variant:
    """One way to estimate.

    Attributes:
        hessian: "blocks" (exact, one block a tensor), "full" (exact, whole) or "fisher".
        lwet: None, "iid" (Algorithm 2: a tensor is dropped for all) or "noniid" (Algorithm 4: per participant).
        flags: "shared" over the clients c, as the algorithms write it (off for all once any c fails; evaluated over all
            c before anything is updated), or "per_client".
        clients: the clients c that are estimated, in the order of the columns.
    """

    hessian: str
    lwet: str | None
    flags: str
    clients: tuple[int, ...]


@dataclass(frozen=True)
class _Step:
    """A local iteration: the model in it, the names of its draws, the state [size] before it, and its batch."""

    net: Net
    names: dict[str, int]
    theta: Tensor
    x: Tensor
    y: Tensor


_Part = tuple[Tensor, Tensor, Tensor, Tensor]
"""What a participant does to a variant: what E loses in local training [p, C]; weights kept [tensors, C]; and of a
`TrainingNet` its shares of the buffers' sequential influence [size - p, C] and of what Algorithm 2 examines [p, C]."""


class _Track:
    """The estimates of one variant: E [size, C], and which tensors still carry sequential influence."""

    def __init__(self, variant: Variant, net: Net, like: Tensor) -> None:
        self.variant, self.batchwise = variant, isinstance(net, TrainingNet)
        self.change = like.new_zeros(net.size, len(variant.clients))
        width = len(variant.clients) if variant.flags == "per_client" else 1
        self.on = torch.ones(len(net.params), width, dtype=torch.bool, device=like.device)
        self.flags: dict[int, Tensor] = {}
        self.stopped = 0

    def flags_of(self, k: int) -> Tensor:
        """Algorithm 4's flags e_j^k of participant k, [tensors, 1 or C]; they persist over rounds."""
        return self.flags.setdefault(k, torch.ones_like(self.on))


def _nothing(track: _Track, p: int) -> tuple[Tensor, Tensor]:
    """The last two of a `_Part`, zero; with no rows where they are not needed."""
    examined = p if track.batchwise and track.variant.lwet == "iid" else 0
    return torch.zeros_like(track.change[p:]), torch.zeros_like(track.change[:examined])


class FedInfluence:
    """Estimates FIP for many clients and by several variants at once, sharing gradients and Hessians between them.

    Args:
        net: the model as it is trained (see `trained_as`).
        federation: the clients' data.
        variants: name -> Variant.
        gradients: Ns, per-sample gradients drawn without replacement for each iteration; all of D_k when it has fewer.
        seed: names the draws.
        workers: threads, over the participants of a round.
        shown: (client, round, step, inputs) -> the inputs of a local step as the model saw them (`Problem.shown`);
            the gradients that Algorithm 1 draws by themselves are of the samples as they are.

    A variant whose estimate leaves the finite numbers stops; `stopped(name)` tells the round.
    """

    needs_iterates = True

    def __init__(
        self,
        net: Net,
        federation: Federation,
        variants: Mapping[str, Variant],
        gradients: int,
        seed: int,
        workers: Workers,
        shown: Callable[[int, int, int, Tensor], Tensor] = lambda client, t, step, x: x,
    ) -> None:
        self._net, self._federation, self._ns, self._seed, self._workers = net, federation, gradients, seed, workers
        self._shown = shown
        self._batchwise = isinstance(net, TrainingNet)
        self._tracks = {name: _Track(v, net, federation.x) for name, v in variants.items()}

    def change(self, name: str) -> Tensor:
        """The estimated FIP of every client of variant `name`: [C, size]."""
        return self._tracks[name].change.T

    def stopped(self, name: str) -> int:
        """The round in which variant `name` left the finite numbers, 0 if it has not."""
        return self._tracks[name].stopped

    def flags(self, name: str) -> Tensor:
        """Share of flags still on for each parameter tensor, [tensors]: e_j, or Algorithm 4's e_j^k seen so far."""
        track = self._tracks[name]
        seen = [track.on, *track.flags.values()] if track.variant.lwet != "noniid" else list(track.flags.values())
        return torch.stack([s.double().mean(1) for s in seen]).mean(0) if seen else track.on.double().mean(1)

    def observe(self, record: Round) -> None:
        """Advance every variant by one round (Algorithms 1 to 4)."""
        live = {name: t for name, t in self._tracks.items() if not t.stopped}
        shares = {name: _shares(record, t.variant.clients) for name, t in live.items()}
        totals = {
            name: (
                torch.zeros_like(t.change[: self._net.p]),
                t.change.new_zeros(len(self._net.params), t.change.shape[1]),
                *_nothing(t, self._net.p),
            )
            for name, t in live.items()
        }

        def work(position: int) -> dict[str, _Part]:
            return self._participant(record, position, live, {name: s[position] for name, s in shares.items()})

        for part in self._workers.map(work, range(len(record.participants))):
            for name, tensors in part.items():
                for total, tensor in zip(totals[name], tensors, strict=True):
                    total.add_(tensor)
        for name, track in live.items():
            self._combine(track, record, *totals[name])

    def _participant(
        self, record: Round, position: int, live: Mapping[str, _Track], shares: Mapping[str, Tensor]
    ) -> dict[str, _Part]:
        """What participant k does to variants."""
        k, kinds = record.participants[position], {t.variant.hessian for t in live.values()}
        alone = {"fisher"} - ({"fisher"} if self._batchwise else set())  # gradients of samples by themselves
        drawn = self._gradients(record, position) if kinds & alone else []
        steps = self._steps(record, position) if kinds - alone else []
        operators = {kind: [self._operators(kind, step) for step in steps] for kind in kinds - alone}
        parts = {}
        for name, track in live.items():
            if track.variant.hessian in alone:
                parts[name] = self._fisher(track, k, drawn, record.lr, shares[name])
            else:
                parts[name] = self._products(track, k, steps, operators[track.variant.hessian], record.lr, shares[name])
        return parts

    def _gradients(self, record: Round, position: int) -> list[Tensor]:
        """Algorithm 1, line 15: for each local iteration min(Ns, n_k) gradients [Ns, p] at the model before it."""
        assert record.iterates is not None
        k = record.participants[position]
        x, y = self._federation.of(k)
        drawn = []
        for i, theta in enumerate(record.iterates[position]):
            if len(y) > self._ns:
                draw = stream(self._seed, "fisher", client=k, round=record.index, step=i)
                rows = torch.from_numpy(draw.choice(len(y), self._ns, replace=False)).to(y.device)
                drawn.append(per_sample_gradients(self._net, theta, x[rows], y[rows]))
            else:
                drawn.append(per_sample_gradients(self._net, theta, x, y))
        return drawn

    def _steps(self, record: Round, position: int) -> list[_Step]:
        """The local iterations of a participant."""
        assert record.iterates is not None
        k, iterates, steps = record.participants[position], record.iterates[position], []
        x, y = self._federation.of(k)
        for i, (theta, rows) in enumerate(zip(iterates, record.batches[position], strict=True)):
            net, names = self._net, {"client": k, "round": record.index, "step": i}
            if isinstance(net, TrainingNet):
                net = net.at(step_seed(self._seed, **names))
            seen = self._shown(k, record.index, i, x if rows is None else x[rows])
            steps.append(_Step(net, names, theta, seen, y if rows is None else y[rows]))
        return steps

    def _operators(self, kind: str, step: _Step) -> tuple[HessianOperator, HessianOperator]:
        """The Hessian before a local iteration over the samples of that step, and what LWET examines it by."""
        at = (step.net, step.theta, step.x, step.y)
        if not isinstance(step.net, TrainingNet):
            exact = FullHessian(*at) if kind == "full" else tensor_blocks(*at)
            return exact, exact
        if kind != "fisher":
            return FullHessian(*at), GenericBlocks(*at)
        rows = torch.arange(len(step.y), device=step.y.device)
        if len(rows) > self._ns:
            draw = stream(self._seed, "fisher", **step.names)
            rows = torch.from_numpy(draw.choice(len(rows), self._ns, replace=False)).to(rows.device)
        gradients = step.net.sample_gradients(step.theta, step.x, step.y, rows)
        return Fisher(gradients), Fisher(gradients, self._net.params)

    def _fisher(self, track: _Track, k: int, draws: Sequence[Tensor], lr: float, share: Tensor) -> _Part:
        change = track.change[: self._net.p]
        lost = torch.empty_like(change)
        scale = change.new_empty(len(self._net.params), change.shape[1])
        stacked, counts = draws[0] if len(draws) == 1 else torch.cat(list(draws)), [len(g) for g in draws]
        for j, slot in enumerate(self._net.params):
            rows = slice(slot.start, slot.stop)
            projected, coefficients = fisher_recursion(stacked[:, rows], counts, change[rows], lr, lost[rows])
            if track.variant.lwet == "noniid":
                growth = torch.linalg.vector_norm(lost[rows], dim=0).square() - 2 * (projected * coefficients).sum(0)
                scale[j] = share * self._examine(track, k, j, growth, share)
            else:
                scale[j] = share
            lost[rows] *= scale[j]
        return lost, scale, *_nothing(track, self._net.p)

    def _products(
        self,
        track: _Track,
        k: int,
        steps: Sequence[_Step],
        operators: Sequence[tuple[HessianOperator, HessianOperator]],
        lr: float,
        share: Tensor,
    ) -> _Part:
        change, lwet = track.change[: self._net.p], track.variant.lwet
        moved, examined = _nothing(track, self._net.p)
        sequential = examined_change = change
        if self._batchwise:
            moved = track.change[self._net.p :]
        for step, (h, block) in zip(steps, operators, strict=True):
            if isinstance(step.net, TrainingNet) and len(moved):
                moved = step.net.carried(step.theta, step.x, torch.cat([sequential, moved]))
            sequential = sequential - lr * h.apply(sequential)
            if lwet and self._batchwise:
                examined_change = examined_change - lr * block.apply(examined_change)
        scale = share.expand(len(self._net.params), -1)
        if lwet == "noniid":
            after = examined_change if self._batchwise else sequential
            growth = tensor_norms(self._net, after).square() - tensor_norms(self._net, change).square()
            flags = [self._examine(track, k, j, growth[j], share) for j in range(len(self._net.params))]
            scale = share * torch.stack([e.expand_as(share) for e in flags])
        lost = change - sequential
        for j, slot in enumerate(self._net.params):
            lost[slot.start : slot.stop] *= scale[j]
        return lost, scale, moved * share, examined_change * share if len(examined) else examined

    def _examine(self, track: _Track, k: int, j: int, growth: Tensor, share: Tensor) -> Tensor:
        """Algorithm 4, lines 3-7: drop k's tensor j for good once |sigma^k| > |epsilon|. Returns 1 or 0, [C or 1].

        Client k itself does not count: its own world has no participant k (its share is 0).
        """
        flags = track.flags_of(k)
        grows = (growth > 0) & (share > 0)
        flags[j] &= ~(grows if track.variant.flags == "per_client" else grows.any())
        return flags[j].to(growth.dtype)

    def _combine(
        self, track: _Track, record: Round, lost: Tensor, scale: Tensor, moved: Tensor, examined: Tensor
    ) -> None:
        """epsilon_t = sequential + combinatorial influence, with Algorithm 2's examination."""
        combinatorial = _combinatorial(record, track.variant.clients)
        alone = track.variant.clients.index(record.participants[0]) if _alone(record, track.variant.clients) else None
        carried = track.change[:, alone] + record.before - record.after if alone is not None else None
        if track.variant.lwet == "iid":
            before = tensor_norms(self._net, track.change)
        for j, slot in enumerate(self._net.params):
            rows = slice(slot.start, slot.stop)
            sequential = track.change[rows] * scale[j] - lost[rows]
            if track.variant.lwet == "iid":
                grows = (examined[rows] if len(examined) else sequential).norm(dim=0) > before[j]
                track.on[j] &= ~(grows if track.variant.flags == "per_client" else grows.any())
                sequential = sequential * track.on[j].to(sequential.dtype)
            torch.add(sequential, combinatorial[rows], out=track.change[rows])
        track.change[self._net.p :] = moved + combinatorial[self._net.p :]
        if carried is not None:
            track.change[:, alone] = carried
        if not bool(torch.isfinite(track.change).all()):
            track.stopped = record.index

    def state(self) -> dict[str, Any]:
        """Tensors from which `restore` continues."""
        return {
            name: {"change": t.change, "on": t.on, "kept": dict(t.flags), "stopped": t.stopped}
            for name, t in self._tracks.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state written by `state`."""
        for name, saved in state.items():
            track = self._tracks[name]
            track.change.copy_(saved["change"])
            track.on.copy_(saved["on"])
            track.flags = {int(k): v.to(track.on.device) for k, v in saved["kept"].items()}
            track.stopped = int(saved["stopped"])


def fisher_recursion(
    gradients: Tensor, counts: Sequence[int], change: Tensor, lr: float, lost: Tensor
) -> tuple[Tensor, Tensor]:
    """Eq. 15 for one participant and one tensor, in the space of samples.

    sigma_0 = E; sigma_{i+1} = sigma_i - (eta / Ns) G_i^T G_i sigma_i. With sigma_i = E - sum_{h<i} G_h^T a_h,
    a_i = (eta / Ns) (G_i E - sum_{h<i} G_i G_h^T a_h): two products with E for all iterations together, and small
    Gram blocks between them.

    Args:
        gradients: the per-sample gradients of all m iterations, [sum Ns_i, p_j], one iteration after another.
        counts: Ns_i of each iteration.
        change: E [p_j, C].
        lr: eta.
        lost: [p_j, C], filled with E - sigma = G^T A.

    Returns:
        G E and A, [sum Ns_i, C] each: |sigma|^2 - |E|^2 = |G^T A|^2 - 2 <G E, A>.
    """
    projected = gradients @ change
    coefficients = torch.empty_like(projected)
    at = 0
    for count in counts:
        rows = slice(at, at + count)
        inner = projected[rows]
        if at:
            inner = inner - (gradients[rows] @ gradients[:at].T) @ coefficients[:at]
        coefficients[rows] = inner * (lr / count)
        at += count
    torch.mm(gradients.T, coefficients, out=lost)
    return projected, coefficients


def tensor_norms(net: Net, change: Tensor) -> Tensor:
    """Euclidean norm of each parameter tensor's part of [size or p, C]: [tensors, C]."""
    return torch.stack([change[s.start : s.stop].norm(dim=0) for s in net.params])


def _shares(record: Round, clients: Sequence[int]) -> Tensor:
    """[K, C] n_k / N(C_t minus c), zero for k = c."""
    left = record.sizes[:, None].repeat(1, len(clients))
    for position, k in enumerate(record.participants):
        if k in clients:
            left[position, clients.index(k)] = 0
    return left / left.sum(0).clamp(min=1)


def _alone(record: Round, clients: Sequence[int]) -> bool:
    """Whether a round's only participant is among `clients`: Eq. 4 is undefined; without it the model stands still."""
    return len(record.participants) == 1 and record.participants[0] in clients


def _combinatorial(record: Round, clients: Sequence[int]) -> Tensor:
    """w_t(C_t minus c) - w_t, [size, C]; zero for clients that did not take part.

    Eq. 3 and 4 give n_c / (N - n_c) (w_t - w_c): one difference instead of a sum for each c.
    """
    result = record.after.new_zeros(len(record.after), len(clients))
    total = record.sizes.sum()
    for position, c in enumerate(record.participants):
        if c in clients and len(record.participants) > 1:
            n = record.sizes[position]
            result[:, clients.index(c)] = (record.after - record.locals[position]) * (n / (total - n))
    return result
