"""The spec of a model trained on all its data and retrained without some of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from experiments.core.block import Block
from experiments.core.spec.fields import DataSpec, Init, ModelSpec, SettingSpec, raised
from experiments.core.spec.role import Role

_Pair = Annotated[tuple[int, float], Field(strict=False)]


class TrainingSpec(Block):
    """How the model is trained on all its data."""

    optimizer: Literal["gd", "momentum", "nesterov", "adam", "rmsprop", "lbfgs"] = Field(
        "gd", description="as in torch.optim; lbfgs goes to the optimum of a smooth model by L-BFGS and Newton's method"
    )
    lr: float = Field(0.05, gt=0, allow_inf_nan=False, description="learning rate")
    steps: int = Field(ge=1, description="steps; for lbfgs at most so many")
    batch_size: int | None = Field(None, ge=1, description="samples of a mini-batch; null = all (full batch)")
    momentum: float = Field(0.9, ge=0, lt=1, description="of momentum and nesterov")
    drops: tuple[_Pair, ...] = Field((), description="[step, factor]: from that step on the rate is lr times factor")
    tolerance: float = Field(1e-10, gt=0, description="gradient norm at which lbfgs stops")
    converged: float = Field(
        1e-3,
        gt=0,
        description="gradient norm above which the optimum counts as not reached (a warning)",
    )

    @model_validator(mode="after")
    def _agree(self) -> TrainingSpec:
        faults = []
        if [step for step, _ in self.drops] != sorted({step for step, _ in self.drops}):
            faults.append("drops: the steps must rise")
        if self.optimizer == "lbfgs" and self.batch_size is not None:
            faults.append("batch_size: lbfgs uses all samples")
        return raised(self, faults)


class RetrainSpec(Block):
    """How the truth is made: training without a sample, from the optimum (or from scratch as well)."""

    method: Literal["continue", "newton"] = Field(
        "continue", description="continue: the training's own steps; newton: to the new optimum (smooth models)"
    )
    steps: int | None = Field(None, ge=1, description="steps of continue; at most so many of newton")
    restore: bool = Field(True, description="continue with the optimiser's moments and its last learning rate")
    scratch: bool = Field(False, description="train every world from the initial weights, too")

    @model_validator(mode="after")
    def _agree(self) -> RetrainSpec:
        return raised(self, ["steps: how long to retrain"] if self.steps is None else [])


class CentralSpec(SettingSpec):
    """Training a model on all its data, and again without some of them; papers extend it."""

    data: DataSpec = Field(description="the data set")
    model: ModelSpec = Field(description="the model")
    init: Init = Field("default", description="how weights are drawn; keep: as the module came, which --model sets")
    loss: Literal["cross_entropy", "squared"] = Field("cross_entropy", description="loss of a sample")
    dtype: Literal["float32", "float64"] = Field("float32", description="arithmetic")
    formulation: Annotated[str, Role.ROUNDING] = Field(
        "auto", description="how gradients are computed; auto = timed calibration"
    )
    train: TrainingSpec = Field(description="training to the optimum")
    retrain: RetrainSpec = Field(description="the truth")
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False, description="lambda of the penalty")
    penalty: Literal["half", "whole"] = Field(
        "half", description="lambda/2 ||theta||^2, or the printed lambda ||theta||^2"
    )
    decay_on: Literal["all", "weights"] = Field("all", description="decay all parameters, or no vectors (biases)")
    checkpoint_seconds: Annotated[float, Role.PACE] = Field(60.0, gt=0, description="seconds between checkpoints")

    @property
    def effective_decay(self) -> float:
        """Lambda in (lambda/2) ||theta||^2."""
        return self.weight_decay * (2.0 if self.penalty == "whole" else 1.0)

    @model_validator(mode="after")
    def _stages(self) -> CentralSpec:
        faults = []
        if self.train.optimizer == "lbfgs" and self.retrain.method == "continue":
            faults.append("retrain.method: after lbfgs there are no steps to continue; use newton")
        return raised(self, faults)
