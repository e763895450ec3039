"""Differentially private federated averaging (McMahan et al. 2018); `accounting` tells what it guarantees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.engine.schedule import Schedule
from experiments.core.engine.seeds import stream
from experiments.core.engine.worlds import BASE, World
from experiments.core.errors import SpecError


@dataclass(frozen=True)
class Privacy:
    """DP-FedAvg on the server: clip every update, average, add Gaussian noise (McMahan et al. 2018, Algorithm 1).

    Updates and noise cover the whole floating-point state, BatchNorm statistics included, as Flower's server-side
    wrapper does (which also counts BatchNorm's integer counter in the norm; ours is a constant and not exchanged).

    Noise may take BatchNorm's running variance below zero, where the model gives NaN: privacy suits models without
    BatchNorm, or noise that is small beside its variances.

    Attributes:
        clip: S, the largest Euclidean norm of an update theta_k - w.
        noise: z, the noise multiplier: a round of m participants adds noise of standard deviation z S / m.

    Raises:
        SpecError: no positive clip, negative noise.
    """

    clip: float
    noise: float

    def __post_init__(self) -> None:
        if not 0 < self.clip < float("inf"):
            raise SpecError(f"updates cannot be clipped to {self.clip:g}", "privacy.clip", "give a norm above 0")
        if not 0 <= self.noise < float("inf"):
            raise SpecError(f"noise {self.noise:g} is none", "privacy.noise", "give a noise multiplier of 0 or more")

    def clipped(self, start: Tensor, trained: Tensor) -> Tensor:
        """Bring `trained` [B, size] within `clip` of `start`, in place; what is within stays exactly as it is."""
        norm = distance(start, trained)
        if not norm.is_cuda and bool((norm <= self.clip).all()):  # on a GPU asking costs more than a pass
            return trained
        keep = (self.clip / norm.clamp(min=self.clip)).unsqueeze(1)
        return torch.lerp(start, trained, keep, out=trained)

    def draw(self, like: Tensor, seed: int, t: int, participants: int) -> Tensor:
        """Round t's noise [size] for a state like `like` [size]; drawn on the CPU and by name (law 1)."""
        generator = torch.Generator().manual_seed(int(stream(seed, "privacy", round=t).integers(2**31)))
        drawn = torch.empty(len(like), dtype=like.dtype)
        return drawn.normal_(0, self.noise * self.clip / participants, generator=generator).to(like.device)


def distance(start: Tensor, trained: Tensor) -> Tensor:
    """Euclidean distances of the rows of two [B, size], [B].

    Block by block, and summed in float64 where there is float64: no copy of a large model, and no digits lost over
    millions of squares.
    """
    block = max(1, (_BLOCK if not start.is_cuda else 64 * _BLOCK) // len(start))
    total = start.new_zeros(len(start), dtype=torch.float32 if start.device.type == "mps" else torch.float64)
    for a in range(0, start.shape[1], block):
        columns = slice(a, a + block)
        total += (trained[:, columns] - start[:, columns]).square_().sum(1)
    return total.sqrt().to(start.dtype)


_BLOCK = 1 << 18  # numbers that fit into a core's cache


def effective_noise(noise: float, shares: Sequence[float]) -> float:
    """The noise multiplier of a round whose mean is weighted by `shares` p_k, for the client with the largest share.

    Noise of deviation z S / m (Flower's, McMahan et al. 2018 with equal weights) suits clients of share 1/m. FedAvg
    weights by samples: without its update, a client's part of the mean is gone, at most p_k S. So the multiplier that
    protects the largest is z / (m max_k p_k), below z wherever shares differ. (The shares themselves, and with them
    the sizes of the data, are taken as known.)

    Args:
        noise: z. shares: [m] p_k of the round's participants, summing to 1.

    Returns:
        What `accounting.epsilon` should be given.
    """
    return noise / (len(shares) * max(shares))


def weakest_noise(noise: float, sizes: Sequence[int], schedule: Schedule, world: World = BASE) -> float:
    """The smallest `effective_noise` over the rounds of `world`, when client k has sizes[k] samples."""
    noises = [noise]
    for t, drawn in enumerate(schedule, 1):
        present = world.participants(t, drawn)
        total = sum(sizes[k] for k in present)
        if total:  # the deviation is made for all that were drawn; who is left out has no share of the mean
            noises.append(effective_noise(noise, [sizes[k] / total * (k in present) for k in drawn]))
    return min(noises)
