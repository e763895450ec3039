"""What a setting of Basu et al. 2021 says: a model at its optimum, samples left out, estimates of the change."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from experiments.core.block import Block
from experiments.core.estimators.exact import ExactMethod
from experiments.core.estimators.inverse_hessian import HessianMethod
from experiments.core.spec.fields import DataSpec, Init, ModelSpec, SettingSpec, raised
from experiments.core.spec.grid import Axes, faults_of_grid
from experiments.core.spec.methods import named_twice, one_of
from experiments.core.spec.role import Role

if TYPE_CHECKING:
    _Method = HessianMethod
else:
    _Method = one_of(HessianMethod)

TEST_POINT = re.compile(r"max([2-9]|[1-9]\d+)?|p\d+(\.\d+)?[b-z]?|i\d+")
ORDER = ("activation", "depth", "width", "arch", "wd", "init", "optimizer", "steps")
WORDS = {"weight_decay": "wd"}
_Pair = Annotated[tuple[int, float], Field(strict=False)]


class TrainSpec(Block):
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
    def _agree(self) -> TrainSpec:
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


class CandidateSpec(Block):
    """A set of training samples whose removal is tried, picked by the first method's influence on a test point."""

    pick: Literal["top", "lowest", "percentile", "random", "all"] = Field(
        description="largest or smallest |influence|, nearest to a percentile of the influence, random, all"
    )
    count: int | None = Field(None, ge=3, description="how many; excludes share")
    share: float | None = Field(None, gt=0, le=1, description="share of the training samples")
    at: float = Field(30.0, ge=0, le=100, description="the percentile")
    signed: bool = Field(False, description="pick by the signed influence instead of its absolute value")
    name: str | None = Field(None, pattern=r"[A-Za-z0-9_.]+", description="name in results; default: pick, or p30")

    @property
    def label(self) -> str:
        """The name in results."""
        return self.name or (f"p{self.at:g}" if self.pick == "percentile" else self.pick)

    @model_validator(mode="after")
    def _agree(self) -> CandidateSpec:
        sizes = (self.count is not None) + (self.share is not None)
        wrong = sizes != (0 if self.pick == "all" else 1)
        return raised(self, ["count: give count or share (and neither for all)"] if wrong else [])


class GroupSpec(Block):
    """Groups of samples removed together (section 9.11)."""

    sizes: tuple[int, ...] = Field(min_length=1, description="samples of a group")
    count: int = Field(20, ge=3, description="groups of each size")


class FragilitySpec(SettingSpec):
    """Estimated against measured influence of training samples."""

    experiment: Annotated[Literal["fragility"], Role.EXPERIMENT] = "fragility"
    data: DataSpec = Field(description="the data set")
    model: ModelSpec = Field(description="the model")
    init: Init = Field("default", description="how weights are drawn; keep: as the module came, which --model sets")
    loss: Literal["cross_entropy", "squared"] = Field("cross_entropy", description="loss of a sample")
    dtype: Literal["float32", "float64"] = Field("float32", description="arithmetic")
    formulation: Annotated[str, Role.ROUNDING] = Field(
        "auto", description="how gradients are computed; auto = timed calibration"
    )
    grid: Annotated[Axes, Role.AXES] = Field(
        {}, description="axes: key -> values, or word -> named sets of keys; a cell for each combination"
    )

    train: TrainSpec = Field(description="training to the optimum")
    retrain: RetrainSpec = Field(description="the truth")
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False, description="lambda of the penalty")
    penalty: Literal["half", "whole"] = Field(
        "half", description="lambda/2 ||theta||^2, or the printed lambda ||theta||^2"
    )
    decay_on: Literal["all", "weights"] = Field("all", description="decay all parameters, or no vectors (biases)")

    methods: tuple[_Method, ...] = Field(
        (ExactMethod(),), min_length=1, description="words, or blocks with options; the first picks the candidates"
    )
    damping: float = Field(0.0, ge=0, allow_inf_nan=False, description="added to the Hessian's diagonal")
    damping_without_decay: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="the same where weight_decay is 0; null = damping"
    )
    removal: Literal["n", "n-1"] = Field("n", description="divide the influence by n (as printed) or n - 1 (exact)")

    test_points: tuple[str, ...] = Field(
        ("max",), min_length=1, description="max, max2 (highest loss), p50, p50b (near a percentile), i1479 (by index)"
    )
    several: tuple[str, ...] = Field((), description="test points whose mean loss is estimated, too (section 9.12)")
    candidates: tuple[CandidateSpec, ...] = Field(min_length=1, description="sets of samples whose removal is tried")
    groups: GroupSpec | None = Field(None, description="groups removed together; null = none")
    images: int = Field(0, ge=0, le=25, description="most influential images kept for pictures; 0 = none")
    norms: bool = Field(False, description="predict the change of the parameters, too (one solution a candidate)")
    checkpoint_seconds: Annotated[float, Role.PACE] = Field(60.0, gt=0, description="seconds between checkpoints")

    @property
    def effective_damping(self) -> float:
        """The damping of this point of the grid."""
        undamped = self.damping_without_decay is None or self.weight_decay > 0
        return self.damping if undamped else float(self.damping_without_decay or 0.0)

    @property
    def effective_decay(self) -> float:
        """Lambda in (lambda/2) ||theta||^2."""
        return self.weight_decay * (2.0 if self.penalty == "whole" else 1.0)

    @model_validator(mode="after")
    def _fragility(self) -> FragilitySpec:
        faults = [
            f"test_points: {name!r} is none of max, max2, p50, p50b, i1479"
            for name in (*self.test_points, *self.several)
            if not TEST_POINT.fullmatch(name)
        ]
        labels = [candidates.label for candidates in self.candidates]
        if len(set(labels)) < len(labels):
            faults.append("candidates: two sets of one name")
        faults += named_twice("methods", self.methods)
        for key, names in (("test_points", self.test_points), ("several", self.several)):
            if len(set(names)) < len(names):
                faults.append(f"{key}: one is named twice")
        if missing := [name for name in self.several if name not in self.test_points]:
            faults.append(f"several: {missing[0]!r} is not among test_points")
        if self.train.optimizer == "lbfgs" and self.retrain.method == "continue":
            faults.append("retrain.method: after lbfgs there are no steps to continue; use newton")
        return raised(self, faults + faults_of_grid(self, self.grid, WORDS))
