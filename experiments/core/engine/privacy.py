"""Differentially private federated averaging (McMahan et al. 2018), and what it guarantees by opacus' accountants."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError


@dataclass(frozen=True)
class Privacy:
    """DP-FedAvg on the server: clip every update, average, add Gaussian noise (McMahan et al. 2018, Algorithm 1).

    Updates and noise cover the whole floating-point state, BatchNorm statistics included, as Flower's server-side
    wrapper does (which also counts BatchNorm's integer counter in the norm; ours is a constant and not exchanged).

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
        norm = torch.linalg.vector_norm(trained - start, dim=1)
        keep = (self.clip / norm.clamp(min=self.clip)).unsqueeze(1)
        return torch.lerp(start, trained, keep, out=trained)

    def draw(self, like: Tensor, seed: int, t: int, participants: int) -> Tensor:
        """Round t's noise [size] for a state like `like` [size]; drawn on the CPU and by name (law 1)."""
        generator = torch.Generator().manual_seed(int(stream(seed, "privacy", round=t).integers(2**31)))
        drawn = torch.randn(len(like), generator=generator, dtype=like.dtype)
        return drawn.mul_(self.noise * self.clip / participants).to(like.device)
