"""The spec of a setting of Gill et al. 2025 beyond a federated run: which predictions are traced, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from experiments.core.block import Block
from experiments.core.estimators.cosine import Cosine
from experiments.core.estimators.first_order import FirstOrder
from experiments.core.estimators.norm import Norm
from experiments.core.estimators.provenance import FaultFinder, TraceMethod
from experiments.core.estimators.tracefl import TraceflMethod
from experiments.core.spec.fields import ClientName, RunSpec, raised
from experiments.core.spec.grid import Axes, faults_of_grid
from experiments.core.spec.methods import named_twice, one_of
from experiments.core.spec.role import Role

if TYPE_CHECKING:
    _Method = TraceMethod
else:
    _Method = one_of(TraceMethod)

ORDER = ("task", "arch", "data", "alpha", "clients", "per_round", "dp")
WORDS = {"partition.alpha": "alpha", "partition.clients": "clients", "clients_per_round": "per_round"}


class FaultSpec(Block):
    """Faulty clients: in their training data every label of `labels` becomes `to` (section V-B)."""

    clients: tuple[ClientName, ...] = Field(min_length=1, description="the faulty clients, by name or position (#3)")
    to: int = Field(0, ge=0, description="the label that theirs are turned into")
    labels: tuple[int, ...] | None = Field(None, description="labels that are turned; null = all (the artefact)")


class InputSpec(Block):
    """Which test samples are traced in a round (section 1.2 of the artefact)."""

    among: int = Field(
        default=2048, ge=1, description="test samples looked at, the first ones; the model's accuracy is theirs"
    )
    per_label: int = Field(default=2, ge=1, description="correct predictions of each label that a participant holds")
    wrong: int = Field(default=10, ge=1, description="mispredictions that the faults explain")


class TraceSpec(RunSpec):
    """A federated run whose predictions are traced to clients."""

    experiment: Annotated[Literal["trace"], Role.EXPERIMENT] = "trace"
    grid: Annotated[Axes, Role.AXES] = Field(
        {}, description="axes: key -> values, or word -> named sets of keys; a cell for each combination"
    )
    methods: tuple[_Method, ...] = Field(
        (TraceflMethod(), FirstOrder(), Cosine(), Norm()), min_length=1, description="words, or blocks with options"
    )
    active: bool = Field(False, description="only neurons with positive output (section IV-A); the artefact takes all")
    traced: Literal["before", "after"] = Field("before", description="the global model before or after a round's noise")
    trace_every: int = Field(1, ge=1, description="rounds between traced ones; the last round always counts")
    inputs: InputSpec = Field(InputSpec(), description="which predictions are traced")
    faults: FaultSpec | None = Field(None, description="faulty clients; null = none")
    truth: bool = Field(True, description="compare with leaving each participant out of the round")

    @model_validator(mode="after")
    def _trace(self) -> TraceSpec:
        faults = []
        if self.clients_per_round < 2:
            faults.append("clients_per_round: with one client a round there is nobody else to be responsible")
        if self.loss != "cross_entropy":
            faults.append("loss: predictions are traced through the logits of a classifier: cross_entropy")
        faults += named_twice("methods", self.methods)
        finders = [method.called for method in self.methods if isinstance(method, FaultFinder)]
        if finders and self.faults is None and not self.grid:
            faults.append(f"methods: {finders[0]} looks for faulty clients; give `faults`")
        if len(finders) == len(self.methods):
            faults.append(f"methods: {finders[0]} names nobody for a single prediction; name another one beside it")
        faults += self.faults_of_names("faults.clients", self.faults.clients if self.faults else ())
        return raised(self, faults + faults_of_grid(self, self.grid, WORDS))
