"""A multilayer perceptron."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from experiments.core.block import Block

if TYPE_CHECKING:
    from torch import nn


class Mlp(Block):
    """Dense layers with an activation between them."""

    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)] = Field(
        (64,), description="widths of the hidden layers"
    )
    activation: Literal["relu", "tanh", "sigmoid"] = Field("relu", description="between the layers")

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from inputs [n, *shape] to outputs [n, classes]. Blocks: fc1, fc2, ... for the hidden layers."""
        from torch import nn

        from experiments.core.models._blocks import with_blocks

        act = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[self.activation]
        layers: list[nn.Module] = [nn.Flatten()] if len(shape) > 1 else []
        wide = prod(shape)
        for out in self.hidden:
            layers += [nn.Linear(wide, out), act()]
            wide = out
        return with_blocks(nn.Sequential(*layers, nn.Linear(wide, classes)))
