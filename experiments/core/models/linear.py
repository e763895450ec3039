"""Logistic regression, LEAF's and the plain one."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.block import Block

if TYPE_CHECKING:
    from torch import nn


class LeafLogreg(Block):
    """LEAF's logistic regression (models/synthetic/log_reg.py): a sigmoid on the logits before the cross-entropy.

    The sigmoid makes the loss non-convex; `sigmoid: false` leaves it out. 305 parameters for 60 features and 5 classes.
    """

    kind: Literal["leaf_logreg"] = "leaf_logreg"
    sigmoid: bool = Field(True, description="LEAF's sigmoid between the linear map and the loss")

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from inputs [n, *shape] to outputs [n, classes]."""
        return _linear(shape, classes, self.sigmoid)


class Logreg(Block):
    """Multinomial logistic regression: one linear map, convex under the cross-entropy."""

    kind: Literal["logreg"] = "logreg"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from inputs [n, *shape] to outputs [n, classes]."""
        return _linear(shape, classes, sigmoid=False)


def _linear(shape: tuple[int, ...], classes: int, sigmoid: bool) -> nn.Module:
    """Flatten if needed, a linear map, and optionally a sigmoid."""
    from torch import nn

    layers: list[nn.Module] = [nn.Flatten()] if len(shape) > 1 else []
    layers.append(nn.Linear(prod(shape), classes))
    return nn.Sequential(*layers, *([nn.Sigmoid()] if sigmoid else []))
