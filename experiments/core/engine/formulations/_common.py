"""What several formulations share: reading a Sequential, sample weights, the loss's derivative."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.core.engine.net import Net

ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Identity, nn.GELU, nn.ELU, nn.LeakyReLU, nn.SiLU, nn.Softplus)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def layers(module: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """The (name, layer) pairs of a possibly nested Sequential in order; None where the order is not plain.

    A lone layer counts as a Sequential of one. Layers that share tensors give None, and so do hooks and a `forward` set
    on the instance: what they do cannot be read off the layer's type.
    """
    leaves = _leaves(module, "")
    if leaves is None:
        return None
    tensors = [id(tensor) for _, layer in leaves for tensor in layer.parameters()]
    return leaves if len(set(tensors)) == len(tensors) else None


def _leaves(module: nn.Module, prefix: str) -> list[tuple[str, nn.Module]] | None:
    if is_changed(module):
        return None
    if type(module) is not nn.Sequential:
        return None if list(module.children()) else [(prefix, module)]
    leaves: list[tuple[str, nn.Module]] = []
    for name, child in module._modules.items():  # unlike named_children, this repeats a repeated layer
        inner = _leaves(child, f"{prefix}.{name}" if prefix else name) if child is not None else None
        if inner is None:
            return None
        leaves += inner
    return leaves


def is_changed(module: nn.Module) -> bool:
    """Whether calling the module does something else than its class says."""
    attributes = vars(module)
    return "forward" in attributes or any(
        attributes[name] for name in attributes if name.endswith("_hooks") and "forward" in name
    )


def tensor_names(name: str) -> tuple[str, str]:
    """State names of a layer's weight and bias."""
    return (f"{name}.weight", f"{name}.bias") if name else ("weight", "bias")


def is_plain_linear(layer: nn.Module) -> bool:
    """Exactly nn.Linear, no subclass with another forward."""
    return type(layer) is nn.Linear


def is_plain_conv(layer: nn.Module) -> bool:
    """An ungrouped zero-padded Conv2d with numeric padding."""
    return (
        type(layer) is nn.Conv2d
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def flattens_all(layer: nn.Module) -> bool:
    """A Flatten that keeps only the sample dimension."""
    return type(layer) is nn.Flatten and layer.start_dim == 1 and layer.end_dim == -1


def sample_scale(weight: Tensor | None, n: int, like: Tensor) -> Tensor:
    """w_s / sum_s w_s, [B, n]; [1, n] of 1/n when `weight` is None; a row of zeros stays zero."""
    if weight is None:
        return torch.full((1, n), 1.0 / n, dtype=like.dtype, device=like.device)
    total = weight.sum(-1, keepdim=True)
    return weight / torch.where(total == 0, torch.ones_like(total), total)


def output_gradient(net: Net, outputs: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """D (sum_s scale_s loss_s) / d outputs: outputs [B, n, C], y [n] or [n, C], scale [B or 1, n]."""
    if net.loss == "squared":
        return (outputs - y) * scale.unsqueeze(-1)
    delta = _softmax(outputs)
    where = y.view(1, -1, 1).expand(*outputs.shape[:-1], 1)
    return delta.scatter_add_(-1, where, torch.full_like(delta[..., :1], -1.0)).mul_(scale.unsqueeze(-1))


def _softmax(outputs: Tensor) -> Tensor:
    """Softmax over the last dimension; by hand where models lie innermost, since torch.softmax would copy them away."""
    if outputs.stride(-1) == 1:
        return torch.softmax(outputs, -1)
    powers = (outputs - outputs.amax(-1, keepdim=True)).exp_()
    return powers.div_(powers.sum(-1, keepdim=True))
