"""What a setting of `fedlab train` says: one federated run, whole or with clients left out."""

from __future__ import annotations

from pydantic import Field, model_validator

from experiments.core.spec.fields import ClientName, RunSpec, raised


class TrainSpec(RunSpec):
    """One federated run: `fedlab train`."""

    exclude_clients: tuple[ClientName, ...] = Field(
        (), description="clients left out, by name or position (#3): a counterfactual world"
    )
    since: int = Field(1, ge=1, description="first round in which they are left out")
    record: bool = Field(False, description="write global and client models of every round as safetensors")

    @model_validator(mode="after")
    def _world(self) -> TrainSpec:
        faults, out = self.faults_of_names("exclude_clients", self.exclude_clients), self.exclude_clients
        if self.since > self.rounds:
            faults.append(f"since: round {self.since} is after the last round {self.rounds}")
        if self.since > 1 and not out:
            faults.append("since: goes together with exclude_clients")
        if self.record and out:
            faults.append("record: only the whole federation's rounds are recorded; leave exclude_clients out")
        if not faults and self.known_clients is not None and len(out) >= self.known_clients:
            faults.append("exclude_clients: nobody is left")
        return raised(self, faults)
