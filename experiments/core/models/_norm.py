"""A model without BatchNorm, for training in which samples must not touch one another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_GROUPS = 32  # Wu and He 2018; opacus' ModuleValidator.fix takes as many


def group_norms(module: nn.Module) -> nn.Module:
    """`module`, changed in place: every BatchNorm becomes GroupNorm with gcd(32, channels) groups.

    As opacus' `ModuleValidator.fix` does it (Yousefpour et al. 2021), weights and biases and whether they train are
    kept, running statistics are gone. InstanceNorm that tracks none is left: it looks at one sample.

    What was loaded from a file stays named in `loaded_tensors` (see `engine.net.initialise`), but for the statistics.

    Returns:
        The module; a new one where it is itself a BatchNorm.
    """
    changed = _replaced(module)
    loaded: frozenset[str] = getattr(module, "loaded_tensors", frozenset())
    if loaded:
        changed.loaded_tensors = loaded & changed.state_dict().keys()  # type: ignore[assignment]
    return changed


def _replaced(module: nn.Module) -> nn.Module:
    from torch import nn

    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return _group_norm(module)
    for name, child in module.named_children():
        changed = _replaced(child)
        if changed is not child:
            setattr(module, name, changed)
    return module


def batch_norms(module: nn.Module) -> list[str]:
    """The names of the layers of `module` that mix samples, as `named_modules` gives them."""
    from torch import nn

    mixing = nn.modules.batchnorm._BatchNorm
    return [name or type(part).__name__ for name, part in module.named_modules() if isinstance(part, mixing)]


def _group_norm(layer: nn.modules.batchnorm._BatchNorm) -> nn.GroupNorm:
    import torch
    from torch import nn

    channels = layer.num_features
    made = nn.GroupNorm(math.gcd(_GROUPS, channels), channels, eps=layer.eps, affine=layer.affine)
    if layer.affine:
        with torch.no_grad():
            made.weight, made.bias = layer.weight, layer.bias
    return made.train(layer.training)
