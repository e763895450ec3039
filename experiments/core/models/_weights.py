"""Trained weights for torchvision's models, from local files; nothing is ever downloaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.core.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor, nn

SCRATCH = "none"
"""The value of `weights_from` where nothing was loaded."""

# The published weights of DenseNet name layers as in 2017: norm.1 for norm1.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Auxiliary training heads of the published GoogLeNet and Inception v3, which the models built here lack."""


def cached(name: str) -> Path | None:
    """The first ImageNet weights of torchvision for `name`, where torch.hub's folder ($TORCH_HOME) holds them.

    The first (IMAGENET1K_V1), not the newest, since `pretrained=True` meant these and papers used them.
    """
    import torch
    from torchvision import models

    known = models.get_model_weights(name)
    weights = known.__members__.get("IMAGENET1K_V1", known.DEFAULT)  # type: ignore[attr-defined]
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    return file if file.is_file() else None


def load_weights(module: nn.Module, path: Path) -> None:
    """Load the state from a file into `module`, except a head with another number of classes; record what was loaded.

    Sets `module.loaded_tensors`, the names of the tensors that were filled (`engine.net.initialise` leaves them alone),
    and `module.weights_from`, the file's name and SHA-256.

    Raises:
        MissingError: the file cannot be read. SpecError: it is damaged, or does not fit the model.
    """
    import torch

    from experiments.core.models.state import first_mismatch, read_state

    digest = _digest(path)
    state = module.state_dict()
    tensors = {_OLD_DENSENET.sub(r"\1\2", name): tensor for name, tensor in read_state(path).items()}
    tensors = {name: tensor for name, tensor in tensors.items() if name in state or not name.startswith(_AUXILIARY)}
    left_out = _other_head(module, tensors)
    fault = first_mismatch(module, {**tensors, **{name: state[name] for name in left_out}})
    if fault:
        raise SpecError(
            f"the weights do not fit the model: {fault}",
            str(path),
            "name weights of model.name; a model of colours needs images of three channels (data.rgb)",
        )
    with torch.no_grad():
        for name in tensors.keys() - left_out:
            state[name].copy_(tensors[name])
    module.loaded_tensors = frozenset(tensors.keys() - left_out)  # type: ignore[assignment]
    module.weights_from = f"{path.name} sha256:{digest[:16]}"  # type: ignore[assignment]


def _other_head(module: nn.Module, tensors: dict[str, Tensor]) -> set[str]:
    """Names of the last layer's tensors, if the file's differ only in the number of outputs; else none."""
    from torch import nn

    layers = [(n, m) for n, m in module.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    if not layers:
        return set()
    name, layer = layers[-1]
    head = {f"{name}.{key}": tensor for key, tensor in layer.named_parameters()}
    if not head.keys() <= tensors.keys():
        return set()
    loaded_shapes = [tensors[key].shape for key in head]
    fits = all(shape[1:] == tensor.shape[1:] for shape, tensor in zip(loaded_shapes, head.values(), strict=True))
    widths = {shape[0] for shape in loaded_shapes if len(shape)}
    return set(head) if fits and len(widths) == 1 and widths != {next(iter(head.values())).shape[0]} else set()


def _digest(path: Path) -> str:
    """The file's SHA-256; it must match a prefix in the file's name, as in torchvision's resnet18-f37072fd.pth."""
    import hashlib

    from experiments.core.errors import MissingError

    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise MissingError(
            f"cannot read the file ({error.strerror})", str(path), "check model.weights, or leave it out"
        ) from error
    named = re.fullmatch(r".*-([0-9a-f]{8})\.pth", path.name)
    if named and not digest.startswith(named[1]):
        raise SpecError(
            "the file is not what its name says: another checksum", str(path), "fetch it again, or rename your own"
        )
    return digest
