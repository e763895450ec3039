"""Any image classifier of torchvision, untrained or from a local file, with a head for the data's classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.block import Block
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    from torch import nn


class Torchvision(Block):
    """`torchvision.models.get_model(name, weights=None, num_classes=...)`; the first convolution fits the channels.

    With `weights` the state is loaded from a file, except a head with another number of classes, which is initialised.
    """

    kind: Literal["torchvision"] = "torchvision"
    name: str = Field("resnet18", description="a name of torchvision.models.list_models()")
    weights: str | None = Field(
        None,
        description="file of a state dict (.safetensors, .pth), from the working directory or else in the data folder; "
        "auto: ImageNet's, if torchvision's cache holds them, else none. Nothing is fetched",
    )
    norm: Literal["batch", "group"] = Field(
        "batch", description="batch: as published; group: each BatchNorm becomes GroupNorm of gcd(32, channels) groups"
    )

    @property
    def called(self) -> str:
        """The classifier's name."""
        return self.name

    def located(self, data_dir: Path | None) -> Torchvision:
        """The block with its file resolved in the working directory or the data folder.

        Raises:
            MissingError: it is in neither.
        """
        from experiments.core.data._files import locate

        if self.weights in (None, "auto"):
            return self
        return self.model_copy(update={"weights": str(locate(self.weights, data_dir, "model.weights"))})

    def require(self, data_dir: Path | None) -> None:
        """See `Block.require`."""
        self.located(data_dir)

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from images [n, C, H, W] to outputs [n, classes].

        Its attribute `weights_from` names the file that was loaded ("none" if there was none).

        Raises:
            MissingError: the file of weights is not there.
            SpecError: torchvision has no such classifier, the inputs are no images, or the weights do not fit.
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
        for part in module.modules():
            if hasattr(part, "inplace"):
                part.inplace = False  # an output stored by a hook must not be overwritten
        self._load(module)
        if self.norm == "group":
            from experiments.core.models._norm import group_norms

            return group_norms(module)
        return module

    def _load(self, module: nn.Module) -> None:
        """Fill the module from the file of weights, if there is to be one."""
        from experiments.core.models._weights import SCRATCH, cached, load_weights

        module.weights_from = SCRATCH  # type: ignore[assignment]
        if self.weights is None or next(module.parameters()).is_meta:
            return
        file = cached(self.name) if self.weights == "auto" else Path(self.weights)
        if file is not None:
            load_weights(module, file)


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
