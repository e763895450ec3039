"""What each client is worth: training without it, and what a server reads off its updates at no cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.core.engine.simulate import Round
from experiments.core.engine.worlds import leave_one_out
from experiments.core.estimators.numerics import update
from experiments.vog.blocks import RewardsSpec
from experiments.vog.retrained import changes, changes_of_next_seed, null_changes
from experiments.vog.study import Study

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Worth:
    """What leaving out each client does to the mean test loss, in nats: positive where the client helped.

    Attributes:
        change: [clients]. ceiling: [clients] the same of the next seed's training, or None. null: [nulls] of trainings
            that leave nobody out, from weights moved by rounding. baselines: word -> [clients] what a server knows.
    """

    change: _Floats
    ceiling: _Floats | None
    null: _Floats
    baselines: dict[str, _Floats]


@dataclass
class Updates:
    """An observer: norm of each client's update and its cosine with the round's, averaged over its rounds.

    Attributes:
        p: parameters; what a state holds beside them does not count. clients: how many there are.
        sums: [2, clients] of norms and cosines. counts: [clients] rounds that each took part in.
    """

    p: int
    clients: int
    sums: Tensor = field(init=False)
    counts: Tensor = field(init=False)
    needs_iterates = False

    def __post_init__(self) -> None:
        self.sums = torch.zeros(2, self.clients, dtype=torch.float64)
        self.counts = torch.zeros(self.clients, dtype=torch.float64)

    def observe(self, record: Round) -> None:
        """Add this round's."""
        before, after, locals_ = record.before[: self.p], record.aggregate[: self.p], record.locals[:, : self.p]
        found = torch.stack([update.norm(before, locals_), update.cosine(before, after, locals_)])
        taking = list(record.participants)
        self.sums[:, taking] += found.double().cpu()
        self.counts[taking] += 1

    def means(self) -> dict[str, _Floats]:
        """Norm and cosine [clients]; NaN of a client that never took part."""
        return dict(zip(("norm", "cosine"), (self.sums / self.counts).numpy(), strict=True))

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"sums": self.sums, "counts": self.counts}

    def restore(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.sums, self.counts = state["sums"], state["counts"]


def worth(block: RewardsSpec, study: Study) -> Worth:
    """Train the worlds without a client each, those of the next seed and the null worlds, as `block` asks."""
    data = study.problem.federation
    _say_emptied(study)
    worlds = leave_one_out(range(len(data.sizes)), data.clients)[1:]
    seen = Updates(study.problem.net.p, len(data.sizes))
    own = changes(study, worlds, "clients", "worlds without a client", [seen])
    ceiling = None
    if block.ceiling:
        ceiling = changes_of_next_seed(study, worlds, "clients-ceiling", "the same of the next seed")
    known = {"size": np.array(data.sizes, dtype=np.float64), **seen.means()}
    return Worth(own, ceiling, null_changes(study, block.nulls, "clients-null"), known)


def _say_emptied(study: Study) -> None:
    """Warn of clients that alone hold a class: without them nobody teaches it."""
    counts = study.problem.federation.label_counts()
    total = counts.sum(0)
    for k, name in enumerate(study.problem.federation.clients):
        alone = ((counts[k] == total) & (total > 0)).nonzero().flatten().tolist()
        if alone:
            classes = ", ".join(map(str, alone))
            study.context.warn(f"rewards: without client {name} no sample of class {classes} is left")
