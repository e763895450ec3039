"""Worlds: training runs that leave something out."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from experiments.core.engine.schedule import Schedule
from experiments.core.errors import SpecError

_LONGEST = 40  # letters of a slug that lists what is left out


@dataclass(frozen=True)
class World:
    """One training run that leaves out clients from round `since` on, or training samples altogether.

    Attributes:
        label: what people read: unique within a set of worlds, any characters.
        clients: indices of the clients left out.
        since: first round (1-based) in which they are missing.
        samples: rows of the federation's training data whose weight is zero.
    """

    label: str
    clients: frozenset[int] = frozenset()
    since: int = 1
    samples: frozenset[int] = frozenset()

    @property
    def slug(self) -> str:
        """A name safe for files: lower case, by what the world leaves out; the same for worlds that leave out the same.

        Many clients or samples are a digest.
        """
        if not self.clients and not self.samples:
            return "base"
        parts = [_slug("client", self.clients), f"from-{self.since}" if self.clients and self.since > 1 else ""]
        return "-".join(["without", *filter(None, [*parts, _slug("sample", self.samples)])])

    def participants(self, t: int, drawn: Sequence[int]) -> tuple[int, ...]:
        """Who of `drawn` takes part in round t here; no replacement is drawn (law 1)."""
        return tuple(k for k in drawn if t < self.since or k not in self.clients)


def _slug(kind: str, left_out: frozenset[int]) -> str:
    if not left_out:
        return ""
    numbers = "+".join(map(str, sorted(left_out)))
    if len(numbers) <= _LONGEST:
        return f"{kind}-{numbers}"
    return f"{len(left_out)}-{kind}s-{hashlib.sha256(numbers.encode()).hexdigest()[:16]}"


BASE = World("base")


def without_clients(clients: Sequence[int], names: Sequence[str] = (), since: int = 1) -> World:
    """The world without `clients` from round `since` on, called by their `names` (all clients'; default: numbers)."""
    gone = "+".join(names[k] if names else str(k) for k in sorted(clients))
    return World(f"without:{gone}" + (f"@{since}" if since > 1 else ""), frozenset(clients), since)


def without_client(client: int, since: int = 1) -> World:
    """The world without one client from round `since` on, called by its number."""
    return without_clients([client], (), since)


def without_sample(sample: int) -> World:
    """The world without one training sample (a row of the training data)."""
    return without_samples(f"without:z{sample}", [sample])


def without_samples(label: str, rows: Sequence[int]) -> World:
    """The world called `label` without the training samples `rows`."""
    return World(label, samples=frozenset(rows))


def leave_one_out(clients: Sequence[int], names: Sequence[str] = ()) -> list[World]:
    """The base world and one world without each of `clients`; `names` as for `without_clients`."""
    return [BASE, *(without_clients([c], names) for c in clients)]


def check(worlds: Sequence[World], offsets: Sequence[int]) -> None:
    """Refuse sets of worlds that cannot be trained.

    Raises:
        SpecError: unknown client or sample, a world without anybody, two worlds of one label.
    """
    clients, samples = len(offsets) - 1, offsets[-1]
    if len({w.label for w in worlds}) < len(worlds):
        raise SpecError("two worlds carry the same label", "worlds", "label each world once")
    for world in worlds:
        unknown = sorted(c for c in world.clients if not 0 <= c < clients)
        if unknown:
            raise SpecError(
                f"unknown client {unknown[0]}", f"world {world.label}", f"clients are numbered 0 to {clients - 1}"
            )
        if len(world.clients) == clients:
            raise SpecError("every client is left out", f"world {world.label}", "leave at least one client in")
        if any(not 0 <= s < samples for s in world.samples):
            raise SpecError(
                "unknown training sample", f"world {world.label}", f"samples are numbered 0 to {samples - 1}"
            )
        if len(world.samples) == samples:
            raise SpecError("every sample is left out", f"world {world.label}", "leave at least one sample in")


def fork_rounds(worlds: Sequence[World], schedule: Schedule, offsets: Sequence[int], first_round: int = 1) -> list[int]:
    """For each world the first round in which it differs from the base world (T + 1: never).

    Before that round it *is* the base world, and is not trained (law 4).
    """
    touched = [(w.clients, {bisect_right(offsets, s) - 1 for s in w.samples}) for w in worlds]
    forks = [len(schedule) + 1] * len(worlds)
    for t in range(len(schedule), first_round - 1, -1):
        drawn = set(schedule[t - 1])
        for i, (clients, owners) in enumerate(touched):
            if (t >= worlds[i].since and drawn & clients) or drawn & owners:
                forks[i] = t
    return forks


def sample_weights(worlds: Sequence[World], n: int, like: Tensor) -> Tensor | None:
    """[B, n] weights of n training samples that all worlds share, 0 where a world leaves one out, 1 elsewhere.

    Args:
        worlds: B worlds.
        n: number of samples.
        like: a tensor of the dtype and device wanted.

    Returns:
        The weights; None when no world leaves out a sample (formulations are quicker without).

    Raises:
        SpecError: an unknown sample, or a world without any.
    """
    check(worlds, (0, n))
    if not any(world.samples for world in worlds):
        return None
    weight = like.new_ones(len(worlds), n)
    for row, world in enumerate(worlds):
        weight[row, sorted(world.samples)] = 0
    return weight
