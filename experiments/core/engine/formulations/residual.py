"""A C++ kernel for residual nets of basic blocks on a CPU, BatchNorm or GroupNorm; built on first use.

Source: `residual.cpp`, which tells how. Never required: without a compiler `supports` is False.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.core.engine.formulations import Formulation
from experiments.core.engine.formulations._build import compiler, library
from experiments.core.engine.formulations._common import flattens_all, is_changed, is_plain_conv, is_plain_linear
from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.net import Net

SOURCE = Path(__file__).with_name("residual.cpp")
_TYPES = {torch.float32: ("float", 16), torch.float64: ("double", 8)}
"""Name in C++, and what all channels are a multiple of: lanes of the widest vectors there are."""
_TOGETHER, _MOST_UNITS = 256, 256  # samples of one call in evaluation; MOST_UNITS in residual_work.h


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
    """

    units: tuple[Unit, ...]
    blocks: tuple[tuple[int, int, int], ...]
    head: nn.Linear

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width before each unit."""
        sizes = {0: (height, width)}
        now = self._after(0, sizes[0])
        for first, second, shortcut in self.blocks:
            sizes |= {first: now, shortcut: now, second: self._after(first, now)}
            now = sizes[second]
        return [sizes[i] for i in range(len(self.units))]

    def _after(self, unit: int, size: tuple[int, int]) -> tuple[int, int]:
        return self.units[unit].size(size[0]), self.units[unit].size(size[1])

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


class Residual(Formulation):
    """Residual nets of basic blocks, Winograd's 3x3 convolutions, normalisation and ReLU fused; one model at a time."""

    name = "residual"

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self._looped = Looped(net)
        self._plans: dict[tuple[int, int], tuple[ctypes.Array[ctypes.c_int64], ctypes.Array[ctypes.c_double]]] = {}
        self._lock = threading.Lock()

    @classmethod
    def supports(cls, net: Net, device: torch.device, dtype: torch.dtype) -> bool:
        """[Conv2d, norm, ReLU], torchvision's BasicBlock+, AdaptiveAvgPool2d(1), Flatten, Linear on a CPU.

        Norms are BatchNorm2d or GroupNorm; channels multiples of 16 (float32) or 8 (float64). Needs a C++ compiler.
        """
        fits = (
            device.type == "cpu"
            and dtype in _TYPES
            and net.loss == "cross_entropy"
            and not (net.frozen or net.counters or (net.still and net.buffers))
        )
        layout = layout_of(net.module) if fits else None
        if layout is None or any(unit.conv.out_channels % _TYPES[dtype][1] for unit in layout.units):
            return False
        return compiler() is not None and _kernel(dtype) is not None

    @cached_property
    def layout(self) -> Layout:
        """The net's layers as the kernel sees them."""
        layout = layout_of(self.net.module)
        if layout is None:
            raise ValueError("the residual kernel does not know this architecture")
        return layout

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `Formulation.gradient`. A sample of weight 0 is left out altogether.

        Raises:
            IndexError: on a label outside the outputs.
        """
        if not self._fits(x):
            return self._looped.gradient(theta, x, y, weight)
        theta, y = theta.detach(), self._labels(y)
        images = x.to(theta.dtype).permute(0, 2, 3, 1).contiguous()
        out = torch.zeros(len(theta), self.net.p, dtype=theta.dtype)
        for b in range(len(theta)):
            if weight is None:
                self._gradient_of_one(theta[b], images, y, torch.full((len(y),), 1 / len(y), dtype=theta.dtype), out[b])
                continue
            kept = weight[b] != 0
            if not bool(kept.any()):
                continue
            share = weight[b][kept].to(theta.dtype)
            if self._too_few(images, int(kept.sum())):
                out[b] = self._looped.gradient(theta[b : b + 1], x, y, weight[b : b + 1])[0]
                continue
            self._gradient_of_one(theta[b], images[kept], y[kept], share / share.sum(), out[b])
        return out

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """See `Formulation.outputs`."""
        if not self._images(x):
            return self._looped.outputs(theta, x)
        theta = theta.detach().contiguous()
        out = torch.empty(len(theta), len(x), self.layout.head.out_features, dtype=theta.dtype)
        images = x.to(theta.dtype).permute(0, 2, 3, 1).contiguous()
        for row, to in zip(theta, out, strict=True):
            for part, into in zip(images.split(_TOGETHER), to.split(_TOGETHER), strict=True):
                self._call("outputs", row, part, (part.data_ptr(), len(part), into.data_ptr()))
        return out

    def scratch(self, n: int, shape: tuple[int, ...]) -> int:
        """The work space is a thread's, not a model's: a longer stack needs its gradients only."""
        return 8 * self.net.p

    def _gradient_of_one(self, state: Tensor, images: Tensor, y: Tensor, share: Tensor, out: Tensor) -> None:
        """Into `out` [p]; the running statistics in `state` [size] move."""
        row, p = state.contiguous(), self.net.p
        tensors = [images, y.contiguous(), share.contiguous()]
        self._call("gradient", row, images, (*(t.data_ptr() for t in tensors), len(images), out.data_ptr()))
        if row.data_ptr() != state.data_ptr():
            state[p:] = row[p:]

    def _call(self, name: str, state: Tensor, images: Tensor, arguments: tuple[int, ...]) -> None:
        kernel = _kernel(state.dtype)
        if kernel is None:
            raise ValueError("the residual kernel cannot be built")
        plan, reals = self._plan(images.shape[1], images.shape[2])
        if getattr(kernel, name)(plan, len(plan), reals, state.data_ptr(), *arguments):
            raise MemoryError("no memory for the residual kernel's work space")

    def _plan(
        self, height: int, width: int
    ) -> tuple[ctypes.Array[ctypes.c_int64], ctypes.Array[ctypes.c_double]]:
        with self._lock:
            if (height, width) not in self._plans:
                numbers, reals = self.layout.plan(self.net, height, width)
                self._plans[height, width] = (
                    (ctypes.c_int64 * len(numbers))(*numbers),
                    (ctypes.c_double * len(reals))(*reals),
                )
            return self._plans[height, width]

    def _images(self, x: Tensor) -> bool:
        return x.dim() == 4 and len(x) > 0 and x.shape[1] == self.layout.units[0].conv.in_channels and x[0].numel() > 0

    def _fits(self, x: Tensor) -> bool:
        return self._images(x) and not self._too_few(x.permute(0, 2, 3, 1), len(x))

    def _too_few(self, images: Tensor, n: int) -> bool:
        """Whether a BatchNorm would see one value a channel, which PyTorch rejects."""
        height, width = self.layout.sizes(images.shape[1], images.shape[2])[-1]
        return bool(self.net.buffers) and n == 1 and height * width <= 4

    def _labels(self, y: Tensor) -> Tensor:
        """The kernel writes at the label's place, so a label outside must never reach it."""
        classes = self.layout.head.out_features
        y = y.to(torch.int64).contiguous()
        if len(y) and (int(y.min()) < 0 or int(y.max()) >= classes):
            raise IndexError(f"label out of range: {int(y.min())}..{int(y.max())} with {classes} outputs")
        return y


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
    known = chained and len(set(tensors)) == len(tensors) and len(units) <= _MOST_UNITS
    return Layout(tuple(units), tuple(numbers), head) if known else None


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


def _block(block: nn.Module) -> list[Unit] | None:
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


def _kernel(dtype: torch.dtype) -> ctypes.CDLL | None:
    kernel = library(SOURCE, (f"T={_TYPES[dtype][0]}", f"IS_DOUBLE={int(dtype == torch.float64)}"))
    if kernel is not None and kernel.gradient.argtypes is None:
        i, p = ctypes.c_int64, ctypes.c_void_p
        kernel.outputs.argtypes = [p, i, p, p, p, i, p]
        kernel.gradient.argtypes = [p, i, p, p, p, p, p, i, p]
    return kernel
