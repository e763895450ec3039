"""The spec of a setting of Tang et al. 2024 beyond a federated run: what of it is measured."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from experiments.core.algorithms import kinds
from experiments.core.block import Block
from experiments.core.spec.fields import RunSpec, raised
from experiments.core.spec.grid import Axes, at, fault_at, faults_of_grid
from experiments.core.spec.role import Role
from experiments.impro.measures import CcvrSpec, DistanceSpec, InversionSpec, VarianceSpec

ORDER = ("task", "fl", "split", "noise", "per_round", "variant", "schedule", "algorithm")
WORDS = {"clients_per_round": "per_round"}


class Tuning(Block):
    """Values of its own for an algorithm, under all the conditions that are named (learning rates: Table 5)."""

    algorithm: str = Field(description="the kind of algorithm")
    alpha: float | None = Field(None, gt=0, description="only where partition.alpha is this")
    clients: int | None = Field(None, ge=1, description="only where there are so many clients")
    epochs: int | None = Field(None, ge=1, description="only where local.epochs is this")
    keys: dict[str, Any] = Field(min_length=1, description="dotted keys and the values that they have there")

    def fits(self, spec: RunSpec) -> bool:
        """Whether `spec` has the algorithm and meets the conditions."""
        alpha = getattr(spec.partition, "alpha", None)
        found = (spec.algorithm.kind, alpha, spec.known_clients, spec.local.epochs)
        asked = (self.algorithm, self.alpha, self.clients, self.epochs)
        return all(ask is None or ask == is_so for ask, is_so in zip(asked, found, strict=True))


class ImproSpec(RunSpec):
    """A federated run whose accuracy, drift and traffic are measured."""

    experiment: Annotated[Literal["impro"], Role.EXPERIMENT] = "impro"
    grid: Annotated[Axes, Role.AXES] = Field(
        {}, description="axes: key -> values, or word -> named sets of keys; a cell for each combination"
    )
    tuning: tuple[Tuning, ...] = Field(
        (), description="what depends on algorithm and federation at once (Table 5); of two for a key the later counts"
    )
    target: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field(
        (), description="test accuracies in %, whose first rounds are looked for"
    )
    divergence: bool = Field(True, description="measure how far local models are from their mean")
    layers_of: tuple[str, ...] = Field(("fedavg",), description="kinds of algorithm for which also tensor by tensor")
    layers_every: int = Field(1, ge=1, description="rounds between these; the last round always counts")
    variance: VarianceSpec | None = Field(None, description="measure client gradient variance (Theorem 4.2)")
    distance: DistanceSpec | None = Field(None, description="measure distances of clients, contributions (Theorem 4.1)")
    ccvr: CcvrSpec | None = Field(None, description="calibrate the last layer after the last round (CCVR)")
    inversion: InversionSpec | None = Field(None, description="invert features after the last round (Fig. 11-13)")

    def tuned(self) -> ImproSpec:
        """The same run with the values that `tuning` has for it, and no `tuning`: what a cell computes."""
        return at(self, self._own) if self.tuning else self

    @property
    def _own(self) -> dict[str, Any]:
        """Dotted keys and values of every tuning that fits."""
        fitting = (tuning.keys for tuning in self.tuning if tuning.fits(self))
        return {**{key: value for keys in fitting for key, value in keys.items()}, "tuning": []}

    @model_validator(mode="after")
    def _impro(self) -> ImproSpec:
        faults, known = [], set(kinds())
        if self.loss != "cross_entropy":
            faults.append("loss: accuracy is that of a classifier: cross_entropy")
        for key, named in (("tuning", [own.algorithm for own in self.tuning]), ("layers_of", self.layers_of)):
            unknown = sorted({*named} - known)
            faults += [f"{key}: no algorithm {kind!r}; known are {', '.join(sorted(known))}" for kind in unknown]
        if self.tuning and not self.grid and (fault := fault_at(self, self._own)):
            faults.append(f"tuning: {fault}")
        if self.distance is not None and self.known_clients == 1:
            faults.append("distance: a single client has no others")
        return raised(self, faults + faults_of_grid(self, self.grid, WORDS))
