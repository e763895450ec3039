"""Reading a residual net of basic blocks: what its layers are, and where its tensors lie in a state."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from experiments.core.engine.formulations._common import flattens_all, is_changed, is_plain_conv, is_plain_linear
from experiments.core.engine.net import Net

MOST_UNITS = 256
"""As in residual_work.h."""


@dataclass(frozen=True)
class Unit:
    """A convolution and the normalisation after it."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d | nn.GroupNorm

    def size(self, side: int) -> int:
        """Height or width of what it gives out."""
        return (side - 1) // self.conv.stride[0] + 1


@dataclass(frozen=True)
class Layout:
    """A residual net as the kernel sees it.

    Attributes:
        units: the first convolution, then those of the blocks.
        blocks: numbers of each block's first and second unit, and of its shortcut's (-1: none).
        head: the linear layer after the mean over positions.
        places: where features may be taken: the first ReLU, the blocks, the mean.
    """

    units: tuple[Unit, ...]
    blocks: tuple[tuple[int, int, int], ...]
    head: nn.Linear
    places: tuple[nn.Module, ...]

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width before each unit."""
        sizes, now = {0: (height, width)}, (height, width)
        for first, second, shortcut in self.blocks:
            after = self.units[first].size(now[0]), self.units[first].size(now[1])
            sizes |= {first: now, shortcut: now, second: after}
            now = after
        return [sizes[i] for i in range(len(self.units))]

    def shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Height, width and channels of the features at each of the `places`."""
        sizes = self.sizes(height, width)
        channels = [self.units[0].conv.out_channels, *(self.units[i].conv.out_channels for _, i, _ in self.blocks)]
        behind = [(height, width), *(sizes[i] for _, i, _ in self.blocks)]
        return [(*size, wide) for size, wide in zip(behind, channels, strict=True)] + [(1, 1, channels[-1])]

    def plan(self, net: Net, height: int, width: int) -> tuple[list[int], list[float]]:
        """What `Work::read` of residual_work.h reads: shapes and places, then numbers of the normalisations."""
        place = _places(net)
        head = [len(self.units), len(self.blocks), self.units[0].conv.in_channels, height, width]
        head += [self.head.out_features, self.head.in_features, place[self.head.weight], place.get(self.head.bias, -1)]
        whole, reals = head, list[float]()
        for unit, size in zip(self.units, self.sizes(height, width), strict=True):
            conv, norm = unit.conv, unit.norm
            whole += [conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0], *size]
            whole += [*map(unit.size, size), place[conv.weight], place[norm.weight], place[norm.bias]]
            if isinstance(norm, nn.GroupNorm):
                whole += [-1, -1, norm.num_groups]
                reals += [norm.eps, 0.0]
            else:
                assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
                whole += [place[norm.running_mean], place[norm.running_var], 0]
                reals += [norm.eps, norm.momentum]
        return whole + [number for block in self.blocks for number in block], reals


def _places(net: Net) -> dict[Tensor | None, int]:
    """Where each tensor of the template begins in a state."""
    tensors = {**dict(net.module.named_parameters()), **dict(net.module.named_buffers())}
    return {tensors[slot.name]: slot.start for slot in net.params + net.buffers}


def layout_of(module: nn.Module) -> Layout | None:
    """Read the module; None where the kernel does not apply."""
    parts = _parts(module)
    if parts is None or len(parts) < 7 or type(parts[2]) is not nn.ReLU:
        return None
    stem, blocks, (pool, flat, head) = _unit(parts[0], parts[1], 3), parts[3:-3], parts[-3:]
    plain_head = _means(pool) and flattens_all(flat) and isinstance(head, nn.Linear) and is_plain_linear(head)
    if stem is None or stem.conv.stride != (1, 1) or not plain_head:
        return None
    assert isinstance(head, nn.Linear)
    units, numbers = [stem], []
    for block in blocks:
        found = _block(block)
        if found is None:
            return None
        at = len(units)
        numbers.append((at, at + 1, at + 2 if len(found) > 2 else -1))
        units += found
    tensors = [id(t) for unit in units for t in (*unit.conv.parameters(), *unit.norm.parameters())]
    chained = all(a.conv.out_channels == b.conv.in_channels for a, b in _links(units, numbers))
    known = chained and len(set(tensors)) == len(tensors) and len(units) <= MOST_UNITS
    return Layout(tuple(units), tuple(numbers), head, (parts[2], *blocks, pool)) if known else None


def _links(units: list[Unit], blocks: list[tuple[int, int, int]]) -> list[tuple[Unit, Unit]]:
    """Pairs of units where the second reads what the first gives out."""
    found, before = list[tuple[Unit, Unit]](), units[0]
    for first, second, shortcut in blocks:
        found += [(before, units[first]), (units[first], units[second])]
        found += [(before, units[shortcut])] if shortcut >= 0 else []
        before = units[second]
    return found


def _parts(module: nn.Module) -> list[nn.Module] | None:
    """Layers and blocks of possibly nested Sequentials in order; None where something is changed or repeated."""
    if any(is_changed(part) for part in module.modules()):
        return None
    if type(module) is not nn.Sequential:
        return [module]
    parts: list[nn.Module] = []
    for child in module._modules.values():
        inner = _parts(child) if child is not None else None
        if inner is None:
            return None
        parts += inner
    return parts if len({id(part) for part in parts}) == len(parts) else None


def _block(block: Any) -> list[Unit] | None:
    """First and second unit, and the shortcut's where it has one."""
    known = getattr(sys.modules.get("torchvision.models.resnet"), "BasicBlock", None)
    if known is None or type(block) is not known or type(block.relu) is not nn.ReLU:
        return None
    first, second = _unit(block.conv1, block.bn1, 3), _unit(block.conv2, block.bn2, 3)
    if first is None or second is None or second.conv.stride != (1, 1):
        return None
    narrow = first.conv.stride == (1, 1) and first.conv.in_channels == second.conv.out_channels
    if block.downsample is None:
        return [first, second] if narrow else None
    parts = _parts(block.downsample) or []
    shortcut = _unit(parts[0], parts[1], 1) if len(parts) == 2 else None
    if shortcut is None or shortcut.conv.stride != first.conv.stride:
        return None
    return [first, second, shortcut] if shortcut.conv.out_channels == second.conv.out_channels else None


def _unit(conv: nn.Module, norm: nn.Module, k: int) -> Unit | None:
    """A convolution of kernel k that keeps the size or halves it, and a norm with weights after it."""
    if not isinstance(conv, nn.Conv2d) or not is_plain_conv(conv) or conv.bias is not None:
        return None
    plain = conv.kernel_size == (k, k) and conv.padding == (k // 2, k // 2) and conv.dilation == (1, 1)
    if not plain or conv.stride not in ((1, 1), (2, 2)):
        return None
    batch = type(norm) is nn.BatchNorm2d and norm.track_running_stats and norm.momentum is not None
    if not (batch or type(norm) is nn.GroupNorm) or not norm.affine:
        return None
    assert isinstance(norm, nn.BatchNorm2d | nn.GroupNorm)
    width = norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.num_features
    return Unit(conv, norm) if width == conv.out_channels else None


def _means(pool: nn.Module) -> bool:
    return type(pool) is nn.AdaptiveAvgPool2d and pool.output_size in (1, (1, 1))
