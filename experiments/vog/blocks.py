"""What may be measured once all samples have their scores: each block of the spec is one measure. Imports no torch."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from experiments.core.block import Block
from experiments.core.spec.fields import ClientName, raised

if TYPE_CHECKING:
    from experiments.core.engine.problem import Problem
    from experiments.core.spec.fields import RunSpec
    from experiments.core.sweep.cell import Row
    from experiments.vog.study import Study


class Measure(Block):
    """A block that measures something of a finished training and its scores.

    Its rows are kept when it is done, so that a killed cell does not measure it again; one that takes long keeps
    checkpoints of its own (`study.federated.checkpoint`).
    """

    def check(self, spec: RunSpec, problem: Problem) -> None:
        """Refuse, before anything is trained, what the data or the model do not allow.

        Raises:
            SpecError: it cannot be measured.
        """

    @abstractmethod
    def measure(self, study: Study) -> list[Row]:
        """The rows, without the columns that all of a cell's rows share."""

    def trainings(self, samples: int, clients: int = 1) -> float:
        """What it takes, in trainings of one model from start to end, with so many samples dealt to clients."""
        return 0

    def worlds(self, samples: int, size: int, clients: int = 1) -> int:
        """How many states of length `size` it trains side by side at most."""
        return min(math.ceil(self.trainings(samples, clients)), 1 + side_by_side(size))


_NUMBERS = 1 << 27
"""Of all states of a stack."""

_MOST = 256
"""Worlds of a stack: more are no faster."""


def side_by_side(size: int) -> int:
    """How many states of length `size` are trained in one stack at most, beside the base world's."""
    return max(1, min(_MOST, _NUMBERS // max(1, size)))


class RemovalSpec(Measure):
    """Samples of the highest scores are left out after a warm-up, and training goes on (Table 1), with controls."""

    share: float = Field(0.25, gt=0, lt=1, description="of the training samples that is left out")
    after: int = Field(ge=1, description="rounds of warm-up, whose checkpoints are scored")
    random: int = Field(3, ge=0, description="draws of as many samples at random, to compare with")
    lowest: bool = Field(True, description="also leave out those of the lowest scores")

    def check(self, spec: RunSpec, problem: Problem) -> None:
        """See `Measure.check`."""
        from experiments.vog.removal import check

        check(self, spec, problem)

    def measure(self, study: Study) -> list[Row]:
        """See `experiments.vog.removal`."""
        from experiments.vog.removal import measure

        return measure(self, study)


class DifficultySpec(Measure):
    """Scores against the loss that each training sample has in a model trained without it and its fold."""

    folds: int = Field(5, ge=2, description="parts that the training samples are dealt to, each left out once")
    plain_lr: float | None = Field(
        None, gt=0, description="learning rate of the held-out models without noise, of a private run; null: the run's"
    )

    def measure(self, study: Study) -> list[Row]:
        """See `experiments.vog.difficulty`."""
        from experiments.vog.difficulty import measure

        return measure(self, study)

    def check(self, spec: RunSpec, problem: Problem) -> None:
        """See `Measure.check`."""
        from experiments.vog.difficulty import folds

        folds(self.folds, len(problem.federation.y))

    def trainings(self, samples: int, clients: int = 1) -> float:
        """One without each fold, and the base world, which stands in their stack."""
        return self.folds + 1


class GroupsSpec(Block):
    """Groups of samples that are left out together."""

    sizes: tuple[Annotated[int, Field(ge=2)], ...] = Field(min_length=1, description="samples of a group")
    count: int = Field(50, ge=3, description="groups of each size, drawn at random")


class TruthSpec(Measure):
    """Scores against what leaving a sample, or a group of samples, out of training does to the mean test loss."""

    samples: Literal["all"] | Annotated[int, Field(ge=0)] = Field(
        "all", description="how many samples are left out one by one, drawn at random, or all"
    )
    groups: GroupsSpec | None = Field(None, description="groups left out together; null: none")
    nulls: int = Field(4, ge=0, description="trainings without removal from weights moved by rounding (null worlds)")
    ceiling: bool = Field(True, description="also train everything with the next seed: how far two truths agree")

    def measure(self, study: Study) -> list[Row]:
        """See `experiments.vog.truth`."""
        from experiments.vog.truth import measure

        return measure(self, study)

    def check(self, spec: RunSpec, problem: Problem) -> None:
        """See `Measure.check`."""
        from experiments.vog.truth import left_out

        left_out(self, len(problem.federation.y))

    def trainings(self, samples: int, clients: int = 1) -> float:
        """One for everything that is left out, twice with a ceiling, and the null worlds."""
        alone = samples if self.samples == "all" else self.samples
        together = len(self.groups.sizes) * self.groups.count if self.groups else 0
        return (1 + self.ceiling) * (alone + together) + self.nulls

    @model_validator(mode="after")
    def _something(self) -> TruthSpec:
        empty = self.samples == 0 and self.groups is None
        return raised(self, ["samples: 0 and no groups leave nothing to train without"] if empty else [])


class ReleaseSpec(Measure):
    """Scores released privately (section 4.7), against those that are not."""

    epsilons: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1.0, 4.0, 8.0), min_length=1, description="privacy budgets of one release, each tried alone"
    )
    clips: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, description="method -> public constant that its scores are clipped to (vog: the gradient of every pixel)"
    )
    quantile: float = Field(
        0.95, gt=0, le=1, description="where no constant is given: clip to this quantile, which is not private"
    )

    def measure(self, study: Study) -> list[Row]:
        """See `experiments.vog.release`."""
        from experiments.vog.release import measure

        return measure(self, study)


class FaultyClientSpec(Block):
    """A client some of whose samples are spoilt."""

    client: ClientName = Field(description='by name, or by position as "#3"')
    share: float = Field(0.5, gt=0, lt=1, description="of its samples that are spoilt")


class RewardsSpec(Measure):
    """What each client's own scores, released privately, say of its worth, against leaving it out of training."""

    epsilons: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1.0, 4.0, 8.0), min_length=1, description="privacy budgets of one client's release, each tried alone"
    )
    public: int = Field(500, ge=2, description="test samples, at most, by whose scores the server scales the clients'")
    noisy: FaultyClientSpec | None = Field(None, description="a client with wrong labels; null: none")
    duplicated: FaultyClientSpec | None = Field(None, description="a client with copies of its samples; null: none")
    nulls: int = Field(2, ge=0, description="trainings of all clients from weights moved by rounding (null worlds)")
    ceiling: bool = Field(True, description="also train everything with the next seed: how far two truths agree")

    def check(self, spec: RunSpec, problem: Problem) -> None:
        """See `Measure.check`."""
        from experiments.vog.faulty import check

        check(problem)

    def measure(self, study: Study) -> list[Row]:
        """See `experiments.vog.rewards`."""
        from experiments.vog.rewards import measure

        return measure(self, study)

    def trainings(self, samples: int, clients: int = 1) -> float:
        """One without each client beside the base world, twice with a ceiling, and the null worlds."""
        return (1 + self.ceiling) * (1 + clients) + self.nulls

    @model_validator(mode="after")
    def _two_clients(self) -> RewardsSpec:
        same = self.noisy and self.duplicated and self.noisy.client == self.duplicated.client
        return raised(self, ["duplicated.client: it has wrong labels already; name another"] if same else [])


class AuditSpec(Measure):
    """A lower bound on epsilon from telling trainings with a canary from trainings without one."""

    runs: int = Field(1000, ge=10, description="trainings with the canary, and as many without")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the bound")

    def check(self, spec: RunSpec, problem: Problem) -> None:
        """See `Measure.check`."""
        from experiments.core.study.audit import require_auditable

        require_auditable(problem)

    def measure(self, study: Study) -> list[Row]:
        """See `experiments.vog.audit`."""
        from experiments.vog.audit import measure

        return measure(self, study)

    def trainings(self, samples: int, clients: int = 1) -> float:
        """With and without the canary."""
        return 2 * self.runs
