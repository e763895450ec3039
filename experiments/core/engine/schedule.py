"""Who takes part in which round: drawn once for the base world and stored."""

from __future__ import annotations

from experiments.core.engine.seeds import stream

Schedule = tuple[tuple[int, ...], ...]


def draw_schedule(seed: int, clients: int, per_round: int, rounds: int) -> Schedule:
    """Participants of rounds 1..T, `per_round` of `clients` without replacement, each round from its own stream.

    A longer run begins with the same rounds. Entry t - 1 holds round t, sorted.

    Raises:
        ValueError: when a round asks for more clients than there are.
    """
    if not 1 <= per_round <= clients:
        raise ValueError(f"{per_round} clients per round asked for, but there are {clients}")
    return tuple(
        tuple(sorted(stream(seed, "schedule", round=t).choice(clients, per_round, replace=False).tolist()))
        for t in range(1, rounds + 1)
    )
