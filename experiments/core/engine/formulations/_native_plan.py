"""Reading a plain chain of convolution blocks and linear layers: what the native kernel is compiled for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from experiments.core.engine.formulations._common import flattens_all, is_plain_conv, is_plain_linear, layers
from experiments.core.engine.net import Net

TYPES = {torch.float32: "float", torch.float64: "double"}
# The kernel's numbers for them, `enum Activation` in native_linear.h.
_ACTIVATIONS: dict[type[nn.Module], int] = {nn.ReLU: 1, nn.Tanh: 2, nn.Sigmoid: 3}
_SPARSE = (0, _ACTIVATIONS[nn.ReLU])


@dataclass(frozen=True)
class Block:
    """A convolution, its normalisation (or None), the number of its activation (0 for none), and pooling."""

    conv: nn.Conv2d
    norm: nn.GroupNorm | None
    activation: int


@dataclass(frozen=True)
class Plan:
    """The layers of a net that the kernel can compute: convolution blocks, then linear layers.

    Attributes:
        blocks: convolutions and what belongs to them.
        linears: linear layers, and the number of the activation after each (0 for none).
    """

    blocks: tuple[Block, ...]
    linears: tuple[tuple[nn.Linear, int], ...]

    @property
    def convs(self) -> list[nn.Conv2d]:
        """The convolutions."""
        return [block.conv for block in self.blocks]

    def shape_of(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the inputs (1, 1 without convolutions)."""
        return (x.shape[-2], x.shape[-1]) if self.convs else (1, 1)

    def fits(self, x: Tensor) -> bool:
        """Whether inputs [n, ...] of this shape leave the convolutions with what the first linear layer expects."""
        wanted = self.linears[0][0].in_features
        if not self.convs:
            return x[:1].numel() == wanted * len(x[:1])
        if x.dim() != 4 or x.shape[1] != self.convs[0].in_channels:
            return False
        height, width = self.sizes(*self.shape_of(x))[-1]
        return min(height, width) > 0 and height * width * self.convs[-1].out_channels == wanted

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Heights and widths before each convolution and after the last."""
        sizes = [(height, width)]
        for conv in self.convs:
            lost = shrinks_by(conv)
            sizes.append(((sizes[-1][0] - lost) // 2, (sizes[-1][1] - lost) // 2))
        return sizes

    def defines(self, height: int, width: int, dtype: torch.dtype) -> tuple[str, ...]:
        """The macros of native_conv.cpp for this shape."""
        convs, linears = self.convs, [k for k, _ in self.linears]
        sizes = self.sizes(height, width)
        channels = [c.in_channels for c in convs[:1]] + [c.out_channels for c in convs]
        dims = [linears[0].in_features] + [k.out_features for k in linears]
        lists: dict[str, list[int]] = {
            "CH": channels,
            "HH": [s[0] for s in sizes],
            "WW": [s[1] for s in sizes],
            "KK": [c.kernel_size[0] for c in convs],
            "PAD": [_padding(c) for c in convs],
            "CACT": [b.activation for b in self.blocks],
            "CGROUPS": [0 if b.norm is None else b.norm.num_groups for b in self.blocks],
            "CBIAS": [c.bias is not None for c in convs],
            "DIM": dims,
            "LACT": [a for _, a in self.linears],
            "LBIAS": [k.bias is not None for k in linears],
        }
        inputs = channels[0] * height * width if convs else dims[0]
        plain = {
            "T": TYPES[dtype],
            "IS_DOUBLE": int(dtype == torch.float64),
            "NCONV": len(convs),
            "NLIN": len(linears),
            "XSIZE": inputs,
            "DENSE": int(any(b.norm is not None or b.activation not in _SPARSE for b in self.blocks)),
            "CEPS": f"{{{','.join('0' if b.norm is None else repr(b.norm.eps) for b in self.blocks) or '0'}}}",
        }
        braced = (f"{k}={{{','.join(str(int(i)) for i in v) or '0'}}}" for k, v in lists.items())
        return (*(f"{k}={v}" for k, v in plain.items()), *braced)


def plan(net: Net) -> Plan | None:
    """Read the module; None where the kernel does not apply."""
    parts = [layer for _, layer in layers(net.module) or [] if type(layer) is not nn.Identity]
    blocks: list[Block] = []
    while parts and isinstance(parts[0], nn.Conv2d):
        found = _block(parts)
        if found is None:
            return None
        blocks.append(found[0])
        parts = parts[found[1] :]
    if parts and flattens_all(parts[0]):
        parts = parts[1:]
    elif blocks:
        return None
    linears: list[tuple[nn.Linear, int]] = []
    while parts and isinstance(linear := parts[0], nn.Linear) and is_plain_linear(linear):
        activation = _ACTIVATIONS.get(type(parts[1]), 0) if len(parts) > 1 else 0
        parts = parts[2 if activation else 1 :]
        linears.append((linear, activation))
    return Plan(tuple(blocks), tuple(linears)) if linears and not parts else None


def _block(parts: list[nn.Module]) -> tuple[Block, int] | None:
    """The block that the layers begin with, and how many of them it is; None where there is none that is known."""
    conv, norm = parts[0], parts[1] if len(parts) > 1 else None
    if not isinstance(conv, nn.Conv2d) or not _is_simple(conv):
        return None
    if not isinstance(norm, nn.GroupNorm):
        norm = None
    elif type(norm) is not nn.GroupNorm or not norm.affine or norm.num_channels != conv.out_channels or norm.eps <= 0:
        return None
    after = parts[1 if norm is None else 2 :][:2]  # pooling and an activation that grows with its input, in any order
    activation = next((_ACTIVATIONS[type(k)] for k in after if type(k) in _ACTIVATIONS), 0)
    taken = after[: 2 if activation else 1]
    if not any(_halves(k) for k in taken):
        return None
    return Block(conv, norm, activation), 1 + (norm is not None) + len(taken)


def _is_simple(conv: nn.Module) -> bool:
    """A square kernel that moves by one, over an edge of zeros narrower than itself."""
    if not isinstance(conv, nn.Conv2d) or not is_plain_conv(conv):
        return False
    k, pad = conv.kernel_size[0], _padding(conv)
    return (
        conv.kernel_size == (k, k)
        and conv.padding == (pad, pad)
        and pad < k
        and conv.stride == (1, 1)
        and conv.dilation == (1, 1)
    )


def _padding(conv: nn.Conv2d) -> int:
    assert isinstance(conv.padding, tuple)
    return conv.padding[0]


def shrinks_by(conv: nn.Conv2d) -> int:
    """By how much the convolution shrinks height and width."""
    return conv.kernel_size[0] - 1 - 2 * _padding(conv)


def _halves(pool: nn.Module) -> bool:
    if type(pool) is not nn.MaxPool2d or pool.return_indices or pool.ceil_mode:
        return False
    settings = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    pairs = [(v, v) if isinstance(v, int) else tuple(v) for v in settings]
    return pairs == [(2, 2), (2, 2), (0, 0), (1, 1)]
