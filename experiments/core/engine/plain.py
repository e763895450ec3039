"""Layers by plain operations, where PyTorch's own kernels lack a derivative or have a wrong one."""

from __future__ import annotations

from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.weight_norm import WeightNorm


def plain_weight_norms(module: nn.Module) -> nn.Module:
    """Make `module` compute weight normalisation (Salimans and Kingma 2016) by plain operations; returns it.

    The kernel has no forward-mode derivative, and its second derivative is wrong on a CPU (torch 2.11 and others).
    """
    for part in module.modules():
        if isinstance(part, parametrizations._WeightNorm):
            part.forward = MethodType(_parametrised, part)  # type: ignore[method-assign]
        for hook in part._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                hook.compute_weight = MethodType(_hooked, hook)  # type: ignore[method-assign]
    return module


def _parametrised(part: nn.Module, weight_g: Tensor, weight_v: Tensor) -> Tensor:
    return _normed(weight_v, weight_g, int(part.dim))  # type: ignore[arg-type]


def _hooked(hook: WeightNorm, module: nn.Module) -> Tensor:
    return _normed(getattr(module, f"{hook.name}_v"), getattr(module, f"{hook.name}_g"), hook.dim)


def _normed(v: Tensor, g: Tensor, dim: int) -> Tensor:
    """The direction v with length g along `dim`; -1: with length g as a whole."""
    others = [d for d in range(v.dim()) if dim == -1 or d != dim]
    return v * (g / torch.linalg.vector_norm(v, dim=others, keepdim=dim != -1))
