"""From a spec's privacy to what the engine does: clipped averages, or private local steps calibrated to epsilon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from experiments.core.engine.accounting import accountants
from experiments.core.engine.dpsgd import Mechanism
from experiments.core.engine.federation import Federation
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net
from experiments.core.engine.noise import noise_for_all
from experiments.core.engine.privacy import Privacy
from experiments.core.engine.schedule import Schedule
from experiments.core.errors import SpecError
from experiments.core.models._norm import batch_norms, group_norms
from experiments.core.spec.fields import AveragePrivacy, SgdPrivacy

if TYPE_CHECKING:
    _Privacy = AveragePrivacy | SgdPrivacy | None


@dataclass(frozen=True)
class Steps:
    """What one client's samples go through: `count` steps, in each of which a sample takes part with probability q."""

    rate: float
    count: int


def averaged(privacy: _Privacy) -> Privacy | None:
    """The engine's private averaging, where that is asked for.

    Raises:
        MissingError: opacus is not installed: a run whose hours end without epsilon is refused before.
    """
    if privacy is not None:
        accountants()
    return Privacy(privacy.clip, privacy.noise) if isinstance(privacy, AveragePrivacy) else None


def fit_for_steps(module: nn.Module, privacy: _Privacy) -> nn.Module:
    """`module` where its samples do not touch one another; with `fix_norm` the same with GroupNorm for BatchNorm.

    Raises:
        SpecError: DP-SGD for a model with BatchNorm.
    """
    if not isinstance(privacy, SgdPrivacy):
        return module
    if privacy.fix_norm:
        return group_norms(module)
    mixing = batch_norms(module)
    if mixing:
        raise SpecError(
            f"BatchNorm ({mixing[0]!r}{f' and {len(mixing) - 1} more' if mixing[1:] else ''}) mixes samples: "
            "no gradient is one sample's own",
            "privacy.kind: sgd",
            "choose a model with GroupNorm (model.norm: group), or set privacy.fix_norm=true to replace it",
        )
    return module


def mechanism_of(
    privacy: _Privacy, net: Net, federation: Federation, schedule: Schedule, local: LocalTraining
) -> Mechanism | None:
    """The engine's private local steps, where they are asked for, with the smallest noise that keeps to epsilon.

    The noise multiplier is the same for all clients: what the one needs that spends most.

    Raises:
        SpecError: an epsilon that no noise reaches; a model that draws random numbers itself.
    """
    if not isinstance(privacy, SgdPrivacy):
        return None
    if net.draws:
        raise SpecError(
            "the model draws random numbers in training (dropout), which no gradient of single samples has here",
            "privacy.kind: sgd",
            "choose a model without dropout",
        )
    if privacy.noise is not None:
        return Mechanism(privacy.clip, privacy.noise)
    steps = [(s.rate, s.count) for s in steps_of(federation.sizes, schedule, local) if s.count]
    return Mechanism(privacy.clip, noise_for_all(privacy.epsilon, steps, privacy.delta, privacy.accountant))


def steps_of(sizes: Sequence[int], schedule: Schedule, local: LocalTraining) -> list[Steps]:
    """Of every client: its sampling rate and its steps over all rounds of the schedule that it takes part in."""
    rounds = Counter(k for drawn in schedule for k in drawn)
    return [Steps(local.rate(n), rounds[k] * local.count(n)) for k, n in enumerate(sizes)]
