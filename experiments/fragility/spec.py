"""The spec of a setting of Basu et al. 2021: a model at its optimum, samples left out, estimates of the change."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from experiments.core.estimators.exact import ExactMethod
from experiments.core.estimators.inverse_hessian import HessianMethod
from experiments.core.spec.central import CentralSpec
from experiments.core.spec.fields import raised
from experiments.core.spec.grid import Axes, faults_of_grid
from experiments.core.spec.methods import named_twice, one_of
from experiments.core.spec.removal import CandidateSpec, GroupSpec
from experiments.core.spec.role import Role

if TYPE_CHECKING:
    _Method = HessianMethod
else:
    _Method = one_of(HessianMethod)

TEST_POINT = re.compile(r"max([2-9]|[1-9]\d+)?|p\d+(\.\d+)?[b-z]?|i\d+")
ORDER = ("activation", "depth", "width", "arch", "wd", "init", "optimizer", "steps")
WORDS = {"weight_decay": "wd"}


class FragilitySpec(CentralSpec):
    """Estimated against measured influence of training samples."""

    experiment: Annotated[Literal["fragility"], Role.EXPERIMENT] = "fragility"
    grid: Annotated[Axes, Role.AXES] = Field(
        {}, description="axes: key -> values, or word -> named sets of keys; a cell for each combination"
    )

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

    @property
    def effective_damping(self) -> float:
        """The damping of this point of the grid."""
        undamped = self.damping_without_decay is None or self.weight_decay > 0
        return self.damping if undamped else float(self.damping_without_decay or 0.0)

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
        return raised(self, faults + faults_of_grid(self, self.grid, WORDS))
