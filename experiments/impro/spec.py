"""The spec of a setting of Tang et al. 2024 beyond a federated run: what of it is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from experiments.core.algorithms import kinds
from experiments.core.block import Block
from experiments.core.spec.fields import RunSpec, raised
from experiments.core.spec.grid import Axes, faults_of_grid
from experiments.core.spec.role import Role
from experiments.impro.measures import DistanceSpec, InversionSpec, VarianceSpec

ORDER = ("task", "fl", "split", "noise", "per_round", "variant", "schedule", "algorithm")
WORDS = {"clients_per_round": "per_round"}


class Rate(Block):
    """A learning rate of its own for an algorithm, under all the conditions that are named (Table 5)."""

    algorithm: str = Field(description="the kind of algorithm")
    lr: float = Field(gt=0, description="its learning rate, in place of local.lr")
    alpha: float | None = Field(None, gt=0, description="only where partition.alpha is this")
    clients: int | None = Field(None, ge=1, description="only where there are so many clients")
    epochs: int | None = Field(None, ge=1, description="only where local.epochs is this")

    def fits(self, spec: RunSpec) -> bool:
        """Whether it is the rate of `spec`."""
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
    lr_of: tuple[Rate, ...] = Field((), description="learning rates other than local.lr; the first that fits counts")
    target: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field(
        (), description="test accuracies in %, whose first rounds are looked for"
    )
    divergence: bool = Field(True, description="measure how far local models are from their mean")
    layers_of: tuple[str, ...] = Field(("fedavg",), description="kinds of algorithm for which also tensor by tensor")
    layers_every: int = Field(1, ge=1, description="rounds between these; the last round always counts")
    variance: VarianceSpec | None = Field(None, description="measure client gradient variance (Theorem 4.2)")
    distance: DistanceSpec | None = Field(None, description="measure distances of clients, contributions (Theorem 4.1)")
    inversion: InversionSpec | None = Field(None, description="invert features after the last round (Fig. 11-13)")

    def tuned(self) -> ImproSpec:
        """The same run with the learning rate that `lr_of` says, and no `lr_of`: what a cell computes."""
        rate = next((rate.lr for rate in self.lr_of if rate.fits(self)), self.local.lr)
        return self.model_copy(update={"local": self.local.model_copy(update={"lr": rate}), "lr_of": ()})

    @model_validator(mode="after")
    def _impro(self) -> ImproSpec:
        faults, known = [], set(kinds())
        if self.loss != "cross_entropy":
            faults.append("loss: accuracy is that of a classifier: cross_entropy")
        for key, named in (("lr_of", [rate.algorithm for rate in self.lr_of]), ("layers_of", self.layers_of)):
            faults += [
                f"{key}: no algorithm {kind!r}; known are {', '.join(sorted(known))}"
                for kind in sorted({*named} - known)
            ]
        return raised(self, faults + faults_of_grid(self, self.grid, WORDS))
