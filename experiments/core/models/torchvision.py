"""Any image classifier of torchvision, untrained, with a head for the data's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.block import Block
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    from torch import nn


class Torchvision(Block):
    """`torchvision.models.get_model(name, weights=None, num_classes=...)`; the first convolution fits the channels."""

    kind: Literal["torchvision"] = "torchvision"
    name: str = Field("resnet18", description="a name of torchvision.models.list_models()")

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from images [n, C, H, W] to outputs [n, classes].

        Raises:
            SpecError: torchvision has no such classifier, or the inputs are no images.
        """
        import difflib

        from torchvision import models

        known = models.list_models(module=models)
        if self.name not in known:
            close = difflib.get_close_matches(self.name, known, 3)
            raise SpecError(
                f"torchvision has no classifier {self.name!r}",
                "model.name",
                f"did you mean {', '.join(close or known[:3])}?",
            )
        if len(shape) != 3:
            raise SpecError(
                f"{self.name} needs images, not inputs of shape {tuple(shape)}", "model.name", "use model.kind: mlp"
            )
        # The auxiliary heads of these two return more than one output.
        options = {"aux_logits": False} if self.name in ("googlenet", "inception_v3") else {}
        if options:
            options["init_weights"] = False
        module = models.get_model(self.name, weights=None, num_classes=classes, **options)
        if shape[0] != 3:
            _first_convolution(module, shape[0])
        return module


def _first_convolution(module: nn.Module, channels: int) -> None:
    """Replace the first convolution of `module` by one that takes `channels` channels."""
    from torch import nn

    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            fitted = nn.Conv2d(
                channels, part.out_channels, part.kernel_size, part.stride, part.padding, bias=part.bias is not None  # type: ignore[arg-type]
            )  # fmt: skip
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, fitted)
            return
