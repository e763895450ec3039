"""The spec of a setting of Usynin et al. 2023: a training, the scores of its samples, and what is measured of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from experiments.core.estimators.loss import LossScore
from experiments.core.estimators.sample_score import SampleScore
from experiments.core.spec.fields import RunSpec, raised
from experiments.core.spec.grid import Axes, faults_of_grid
from experiments.core.spec.methods import named_twice, one_of
from experiments.core.spec.role import Role
from experiments.vog.blocks import (
    AuditSpec,
    DifficultySpec,
    Measure,
    ReleaseSpec,
    RemovalSpec,
    RewardsSpec,
    TruthSpec,
)

if TYPE_CHECKING:
    _Method = SampleScore
else:
    _Method = one_of(SampleScore)

ORDER = ("task", "model", "samples", "eps")
WORDS = {"privacy.epsilon": "eps", "data.keep_train": "samples", "model.kind": "model"}
GRID = 25
"""Images of a grid in the paper, 5 x 5."""


class VogSpec(RunSpec):
    """A training, central (one client) or federated, all of whose samples are scored."""

    experiment: Annotated[Literal["vog"], Role.EXPERIMENT] = "vog"
    grid: Annotated[Axes, Role.AXES] = Field(
        {}, description="axes: key -> values, or word -> named sets of keys; a cell for each combination"
    )
    methods: tuple[_Method, ...] = Field(
        (LossScore(),), min_length=1, description="scores: words, or blocks with options"
    )
    every: int = Field(1, ge=1, description="rounds between the checkpoints that are scored; the last round always is")
    last: int | None = Field(None, ge=1, description="only so many of the last checkpoints; null: all")
    scaling: Literal["minmax", "zscore"] = Field("minmax", description="how scores are scaled within a class")
    images: int = Field(GRID, ge=0, le=100, description="images kept of each end of each class's scores; 0: none")
    planted: float = Field(0.0, ge=0, lt=1, description="share of training samples that get a wrong label; 0: none")

    removal: RemovalSpec | None = Field(None, description="leave high scores out and train on (Table 1); null: no")
    difficulty: DifficultySpec | None = Field(None, description="compare with held-out losses; null: no")
    truth: TruthSpec | None = Field(None, description="compare with training without samples; null: no")
    release: ReleaseSpec | None = Field(None, description="release the scores privately (section 4.7); null: no")
    rewards: RewardsSpec | None = Field(None, description="reward clients by their released scores; null: no")
    audit: AuditSpec | None = Field(None, description="bound epsilon from below by canaries; null: no")

    @property
    def measures(self) -> dict[str, Measure]:
        """Name -> block of everything that is to be measured after the scores, in the order of the fields."""
        blocks = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: block for name, block in blocks.items() if isinstance(block, Measure)}

    def kept(self, until: int | None = None) -> tuple[int, ...]:
        """The rounds after which a checkpoint is scored, of a training that ends after round `until` (null: T)."""
        end = until or self.rounds
        rounds = sorted({*range(self.every, end + 1, self.every), end})
        return tuple(rounds[-self.last :] if self.last else rounds)

    @model_validator(mode="after")
    def _vog(self) -> VogSpec:
        faults = named_twice("methods", self.methods)
        if self.loss != "cross_entropy":
            faults.append("loss: scores are compared within the classes of a classifier: cross_entropy")
        faults += self._faults_of_checkpoints(None, "every")
        if self.removal is not None:
            faults += self._faults_of_removal(self.removal)
        if self.rewards is not None:
            faults += self._faults_of_rewards(self.rewards)
        return raised(self, faults + faults_of_grid(self, self.grid, WORDS))

    def _faults_of_checkpoints(self, until: int | None, key: str) -> list[str]:
        count = len(self.kept(until))
        poor = [method for method in self.methods if method.checkpoints > count]
        end = until or self.rounds
        return [
            f"{key}: {method.called} needs {method.checkpoints} checkpoints, but {end} rounds leave {count}; "
            "raise rounds, lower every, or raise last"
            for method in poor[:1]
        ]

    def _faults_of_removal(self, removal: RemovalSpec) -> list[str]:
        faults = []
        if removal.after >= self.rounds:
            faults.append(f"removal.after: {removal.after} leaves no round before the last, {self.rounds}")
        else:
            faults += self._faults_of_checkpoints(removal.after, "removal.after")
        if self.algorithm.kind != "fedavg":
            faults.append("removal: continues from a round's model alone, which only fedavg can; set removal=null")
        return faults

    def _faults_of_rewards(self, rewards: RewardsSpec) -> list[str]:
        faults, faulty = [], {"noisy": rewards.noisy, "duplicated": rewards.duplicated}
        for key, fault in faulty.items():
            if fault is not None:
                faults += self.faults_of_names(f"rewards.{key}.client", [fault.client])
        if self.planted and any(faulty.values()):
            faults.append("planted: the faults of rewards are told apart from clean clients; set it to 0")
        if getattr(self.partition, "split_seed", 0) is None:
            faults.append(
                "partition.split_seed: each seed would deal other clients, whose rewards are compared; set it"
            )
        return faults
