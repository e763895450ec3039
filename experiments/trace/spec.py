"""What a setting of Gill et al. 2025 says beyond a federated run: whom predictions are traced to, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from experiments.core.block import Block
from experiments.core.spec.fields import ClientName, RunSpec, raised
from experiments.core.spec.grid import Axes, faults_of_grid
from experiments.core.spec.role import Role

Method = Literal[
    "tracefl", "tracefl_shares", "tracefl_flat", "tracefl_centred", "first_order", "cosine", "norm", "feddebug"
]
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


class FedDebugSpec(Block):
    """Differential testing (Gill et al. 2023)."""

    inputs: int = Field(default=10, ge=1, description="random inputs")
    threshold: float = Field(default=0.003, ge=0, description="scaled activation above which a neuron is active")


class TraceSpec(RunSpec):
    """A federated run whose predictions are traced to clients."""

    experiment: Annotated[Literal["trace"], Role.EXPERIMENT] = "trace"
    grid: Annotated[Axes, Role.AXES] = Field(
        {}, description="axes: key -> values, or word -> named sets of keys; a cell for each combination"
    )
    methods: tuple[Method, ...] = Field(
        ("tracefl", "first_order", "cosine", "norm"),
        min_length=1,
        description="tracefl; the same with p_k, with beta 1, with centred biases; first_order; cosine, norm; feddebug",
    )
    decay: float = Field(0.9, gt=0, le=1, description="beta of a layer over that of the next; 1 turns beta off")
    bias: Literal["all", "none", "centred"] = Field(
        "all", description="biases of tracefl: all (the artefact), none, centred"
    )
    shares: bool = Field(False, description="weigh tracefl's contributions by p_k (Eq. 5); the artefact does not")
    active: bool = Field(False, description="only neurons with positive output (section IV-A); the artefact takes all")
    traced: Literal["before", "after"] = Field("before", description="the global model before or after a round's noise")
    trace_every: int = Field(1, ge=1, description="rounds between traced ones; the last round always counts")
    inputs: InputSpec = Field(InputSpec(), description="which predictions are traced")
    faults: FaultSpec | None = Field(None, description="faulty clients; null = none")
    feddebug: FedDebugSpec = Field(FedDebugSpec(), description="options of the method feddebug")
    truth: bool = Field(True, description="compare with leaving each participant out of the round")

    @model_validator(mode="after")
    def _trace(self) -> TraceSpec:
        faults = []
        if self.clients_per_round < 2:
            faults.append("clients_per_round: with one client a round there is nobody else to be responsible")
        if self.loss != "cross_entropy":
            faults.append("loss: predictions are traced through the logits of a classifier: cross_entropy")
        if len(set(self.methods)) < len(self.methods):
            faults.append("methods: one is named twice")
        if "feddebug" in self.methods and self.faults is None and not self.grid:
            faults.append("methods: feddebug looks for faulty clients; give `faults`")
        if self.methods == ("feddebug",):
            faults.append("methods: feddebug names nobody for a single prediction; name another one beside it")
        faults += self.faults_of_names("faults.clients", self.faults.clients if self.faults else ())
        return raised(self, faults + faults_of_grid(self, self.grid, WORDS))
