"""Model inversion: images whose features are as given (appendix F.7 of Tang et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def invert(
    features: Callable[[Tensor], Tensor], wanted: Tensor, start: Tensor, steps: int, lr: float, smooth: float
) -> tuple[Tensor, Tensor]:
    """Images in 0..1 with the features `wanted`, each found on its own by Adam on its pixels.

    Minimises |features(u) - wanted|^2 / |wanted|^2 + smooth * TV(u), with u kept in the box after each step (Mahendran
    and Vedaldi 2015). The paper names Zhao et al. 2021, who search the weights of a convolutional network that draws
    the image (a deep image prior) instead of pixels, and gives no settings: the prior here is the plainer one.

    Args:
        features: images [n, C, H, W] in 0..1 -> [n, ...]; one image's features depend on that image alone.
        wanted: [n, ...]. start: [n, C, H, W] in 0..1.
        steps, lr: of Adam. smooth: weight of the total variation.

    Returns:
        The images, and |features(u) - wanted| / |wanted| [n] of them.
    """
    image = start.clone().requires_grad_()
    adam = torch.optim.Adam([image], lr)
    scale = wanted.flatten(1).square().sum(1).clamp(min=1e-12)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)  # the last steps are small: no jitter is left
    for _ in range(steps):
        adam.zero_grad()
        with torch.enable_grad():
            loss = _gap(features(image), wanted, scale).sum() + smooth * total_variation(image).sum()
            (image.grad,) = torch.autograd.grad(loss, image)
        adam.step()
        schedule.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    with torch.no_grad():
        return image.detach(), _gap(features(image), wanted, scale).sqrt()


def _gap(found: Tensor, wanted: Tensor, scale: Tensor) -> Tensor:
    return (found - wanted).flatten(1).square().sum(1) / scale


def total_variation(image: Tensor) -> Tensor:
    """[n] mean absolute difference of neighbouring pixels of images [n, C, H, W], down plus across."""
    down, across = image.diff(dim=2).abs().flatten(1), image.diff(dim=3).abs().flatten(1)
    return down.mean(1) + across.mean(1)
