"""What a convolutional model requires of its inputs."""

from __future__ import annotations

from experiments.core.errors import SpecError


def require_images(shape: tuple[int, ...], least: int, who: str, todo: str = "") -> None:
    """Raise SpecError unless `shape` is (C, H, W) with H and W at least `least`; `who` names the model.

    Raises:
        SpecError: the inputs are no images, or too small.
    """
    if len(shape) != 3 or min(shape[1:]) < least:
        raise SpecError(
            f"{who} cannot take inputs of shape {tuple(shape)}",
            "model.kind",
            todo or f"use images of at least {least}x{least} pixels, or model.kind: mlp or logreg",
        )
