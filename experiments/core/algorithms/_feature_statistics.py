"""The rules of FedImpro's feature statistics: how they start, move, and are drawn from. Imports no torch at the top."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.algorithm import Batch, Setup, Turn

RULES: dict[str, dict[str, Any]] = {
    "released": {
        "server_momentum": 0.0, "labels": "balanced", "source": "local", "spread": "deviation", "cap": 0.1,
        "schedule": "gradual2half", "clip": False,
    },
    "paper": {
        "momentum": 0.9, "server_momentum": 0.9, "labels": "batch", "source": "shared", "spread": "variance",
        "schedule": "constant", "clip": True,
    },
}  # fmt: skip
"""What each preset of FedImpro says; what it does not name is None: no momentum of its own, no cap."""


@dataclass(frozen=True)
class Rules:
    """FedImpro's settings, the preset's filled in. See the fields of `fedimpro.FedImpro`."""

    split: str
    momentum: float | None
    server_momentum: float
    per_class: int
    labels: str
    source: str
    spread: str
    cap: float | None
    start: float
    noise: float
    schedule: str
    until: int
    weight: float
    clip: bool

    def kept(self, elements: int) -> float:
        """beta_m of Eq. 6 for features of D `elements`; the released code counts elements in place of samples."""
        return 1 - min(1.0, elements / self.per_class) if self.momentum is None else self.momentum

    def deviation(self, spread: Tensor) -> Tensor:
        """Standard deviations from spreads; noise may have made a variance negative."""
        return spread if self.spread == "deviation" else spread.clamp(min=0).sqrt()

    def capped(self, spread: Tensor) -> Tensor:
        """Spreads of which no deviation is above the cap."""
        if self.cap is None:
            return spread
        return spread.clamp(max=self.cap if self.spread == "deviation" else self.cap**2)

    def drawn_labels(self, y: Tensor, classes: int) -> Tensor:
        """Labels [m] of the features that go with labels y [n]: the same, or every class n // C + 1 times."""
        if self.labels == "batch":
            return y
        import torch

        return torch.arange(classes, device=y.device).repeat(len(y) // classes + 1)

    def shares(self, turn: Turn, epoch: int, real: int, drawn: int) -> tuple[float, float]:
        """What the mean losses of `real` samples and of `drawn` features count, in an epoch 0, 1, ... of a round."""
        done = (turn.index - 1) * (turn.local.steps or turn.local.epochs or 1) + epoch
        grown = done / self.until
        w = self.weight * (min(1.0, grown) if self.clip else grown)
        if not self.weight:
            return 1.0, 0.0
        if self.schedule == "constant":
            return 1.0, self.weight
        if self.schedule == "gradual2half":
            return 1.0, w
        if self.schedule == "gradual":
            return 1 - w, w
        if self.schedule == "gradualhalfhalf":
            return 1 - w / 2, w / 2
        if self.schedule == "milestone":
            return (1.0, 0.0) if done < self.until else (0.0, self.weight)
        total = real + self.weight * drawn  # default: one mean over all
        return real / total, self.weight * drawn / total


def shape_of(rules: Rules, setup: Setup) -> tuple[int, ...]:
    """(classes, D) of the statistics."""
    return setup.classes, prod(setup.features(rules.split))


def start_of(rules: Rules, like: Tensor, setup: Setup) -> Tensor:
    """[1, 2 C D]: means uniform in 0..1, as the released code has them, and `start` as deviation of every element."""
    import torch

    from experiments.core.engine.seeds import stream

    classes, elements = shape_of(rules, setup)
    if like.is_meta:
        return like.new_empty(1, 2 * classes * elements)
    mean = torch.from_numpy(stream(setup.seed, "feature means").random(classes * elements)).to(like)
    spread = rules.start if rules.spread == "deviation" else rules.start**2
    return torch.cat([mean, torch.full_like(mean, spread)])[None]


def normal(setup: Setup, batch: Batch, turn: Turn, count: int, like: Tensor) -> Tensor:
    """Standard normal numbers [count, D] of one local step, the same in every world."""
    return _drawn(setup, "features", (count, prod(like.shape[1:])), like, batch.client, turn.index, batch.step)


def noise(setup: Setup, client: int, turn: Turn, like: Tensor) -> Tensor:
    """Standard normal numbers [like's columns] for what a client shares in a round, the same in every world."""
    return _drawn(setup, "shared noise", (like.shape[-1],), like, client, turn.index, 0)


def _drawn(
    setup: Setup, purpose: str, shape: tuple[int, ...], like: Tensor, client: int, index: int, step: int
) -> Tensor:
    import torch

    from experiments.core.engine.seeds import stream

    if like.is_meta:
        return like.new_empty(shape)
    number = int(stream(setup.seed, purpose, client=client, round=index, step=step).integers(2**63))
    generator = torch.Generator(like.device).manual_seed(number)
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
