"""The spec of a setting of Xue et al. 2021 beyond a federated run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from experiments.core.block import Block
from experiments.core.estimators.client_influence import ClientInfluence
from experiments.core.estimators.lwet_fisher import LwetFisher
from experiments.core.spec.fields import ClientName, RunSpec, SettingSpec, raised
from experiments.core.spec.grid import Axes, faults_of_grid
from experiments.core.spec.methods import named_twice, one_of
from experiments.core.spec.role import Role

if TYPE_CHECKING:
    _Variant = ClientInfluence
else:
    _Variant = one_of(ClientInfluence)


class CleansingSpec(Block):
    """Fig. 4: at round x remove the share of clients ranked lowest, highest or at random, and continue to T."""

    round: int = Field(ge=1, description="x, the round of the ranking; they are gone from round x + 1 on")
    fractions: tuple[float, ...] = Field(
        (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5), min_length=1, description="shares of the clients that are removed"
    )

    @model_validator(mode="after")
    def _shares(self) -> CleansingSpec:
        wrong = [share for share in self.fractions if not 0 <= share < 1]
        return raised(self, [f"fractions: {share} is not a share from 0 to below 1" for share in wrong])


class InfluenceSpec(RunSpec):
    """Estimated against exact influence of clients."""

    experiment: Annotated[Literal["influence"], Role.EXPERIMENT] = "influence"
    counted: int | None = Field(None, ge=3, description="random clients whose truth is trained; null = all")
    gradients: int = Field(50, ge=1, description="Ns, per-sample gradients uploaded per local iteration")
    variants: tuple[_Variant, ...] = Field(
        (LwetFisher(),), min_length=1, description="estimators that are compared: words, or blocks with options"
    )
    tracked_client: ClientName | None = Field(
        None, description="client of Figs. 1, 2, 6, by name or position (#3); null = drawn by the seed"
    )
    cleansing: CleansingSpec | None = Field(None, description="client cleansing (Fig. 4); null = none")
    ranking_interval: int = Field(100, ge=1, description="rounds between rankings (Fig. 7)")
    ranking_share: float = Field(0.05, gt=0, le=0.5, description="top and bottom share of clients traced (Fig. 7)")

    @model_validator(mode="after")
    def _influence(self) -> InfluenceSpec:
        faults, known = [], self.known_clients
        if known is not None and (self.counted or 0) > known:
            faults.append(f"counted: {self.counted} clients, but there are {known}")
        faults += self.faults_of_names("tracked_client", [self.tracked_client] if self.tracked_client else [])
        if self.algorithm.kind != "fedavg" and self.cleansing is not None:
            faults.append("cleansing: continues from a round's model alone, which only fedavg can; set cleansing=null")
        if self.local.momentum or self.local.weight_decay:
            faults.append("local: Eq. 10 is derived for plain gradient steps (no momentum, no weight decay)")
        if self.local.optimizer != "sgd":
            faults.append(
                f"local.optimizer: Eq. 10 is derived for plain gradient steps, not for {self.local.optimizer}"
            )
        if self.privacy is not None:
            faults.append("privacy: Eq. 10 is derived for the plain mean, without clipping and noise")
        if self.clients_per_round < 2:
            faults.append("clients_per_round: the influence of a round's only client is undefined (Eq. 4)")
        if self.cleansing is not None and self.cleansing.round >= self.rounds:
            faults.append(f"cleansing.round: {self.cleansing.round} leaves no round before the last, {self.rounds}")
        faults += named_twice("variants", self.variants)
        return raised(self, faults)


AXIS = "algorithm"
WORDS = {"algorithm.kind": AXIS}


class AlgorithmsSpec(RunSpec):
    """Exact influence of all clients under several federated algorithms (beyond the paper); nothing is estimated."""

    experiment: Annotated[Literal["algorithms"], Role.EXPERIMENT] = "algorithms"
    grid: Annotated[Axes, Role.AXES] = Field(
        {}, description="one axis, `algorithm`: word -> keys it sets; or `algorithm.kind` and its values"
    )
    rounding: bool = Field(
        True, description="train all worlds again from initial weights moved by one unit in the last place"
    )

    @model_validator(mode="after")
    def _algorithms(self) -> AlgorithmsSpec:
        faults, known = [], self.known_clients
        if known is not None and known < 3:
            faults.append(f"partition: the ranks of {known} clients say nothing; bring at least 3")
        if self.clients_per_round < 2:
            faults.append("clients_per_round: the influence of a round's only client is undefined (Eq. 4)")
        others = [axis for axis in self.grid if WORDS.get(axis, axis) != AXIS]
        if others:
            faults.append(f"grid: {others[0]} is varied, but only algorithms are compared: name them under `{AXIS}`")
        return raised(self, faults or faults_of_grid(self, self.grid, WORDS))


class CostSpec(SettingSpec):
    """Table 1: extra cost of the two naive ways and of the paper's, by formula and measured.

    Each of p, K, m, Ns is varied alone; the others stay at the first value of their list.
    """

    experiment: Annotated[Literal["cost"], Role.EXPERIMENT] = "cost"
    p: tuple[int, ...] = Field((300, 150, 600, 1200), min_length=1, description="parameters of the model")
    K: tuple[int, ...] = Field((20, 10, 40, 80), min_length=1, description="clients")
    m: tuple[int, ...] = Field((2, 1, 4, 8), min_length=1, description="local iterations")
    Ns: tuple[int, ...] = Field((10, 5, 20, 40), min_length=1, description="uploaded gradients per iteration")
    samples: int = Field(100, ge=1, description="n, local data size")
    repeats: int = Field(5, ge=1, description="timed repeats; the median counts")

    @model_validator(mode="after")
    def _positive(self) -> CostSpec:
        grids = {"p": self.p, "K": self.K, "m": self.m, "Ns": self.Ns}
        faults = [f"{name}: {value} is below 1" for name, grid in grids.items() for value in grid if value < 1]
        if max(self.Ns) > self.samples:
            faults.append(f"Ns: {max(self.Ns)} gradients from {self.samples} samples")
        if min(self.K) < 2:
            faults.append("K: needs at least 2 clients")
        return raised(self, faults)


SPECS = {"influence": InfluenceSpec, "algorithms": AlgorithmsSpec, "cost": CostSpec}
