"""A C++ kernel for residual nets of basic blocks on a CPU, BatchNorm or GroupNorm; built on first use.

Source: `residual.cpp`, which tells how. Never required: without a compiler `supports` is False.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from experiments.core.engine.formulations import Formulation, Sampled
from experiments.core.engine.formulations._build import compiler, library
from experiments.core.engine.formulations._residual_layout import Layout, layout_of
from experiments.core.engine.formulations.looped import Looped
from experiments.core.engine.net import Net
from experiments.core.engine.split import path_of

SOURCE = Path(__file__).with_name("residual.cpp")
_TYPES = {torch.float32: ("float", 16), torch.float64: ("double", 8)}
"""Name in C++, and what all channels are a multiple of: lanes of the widest vectors there are."""


class Residual(Formulation):
    """Residual nets of basic blocks, Winograd's 3x3 convolutions, normalisation and ReLU fused; one model at a time."""

    name = "residual"
    splits = True

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self._looped = Looped(net)
        self._plans: dict[tuple[int, int], _Plan] = {}
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
        if not self._fits(x, weight):
            return self._looped.gradient(theta, x, y, weight)
        return self._joint(theta, x, y, weight, None, None)[0]

    def joint(
        self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, block: str, sampled: Sampled | None
    ) -> tuple[Tensor, Tensor]:
        """See `Formulation.joint`. Behind what is not in `Layout.places`, `Looped` does it."""
        path = path_of(self.net.module, block)
        behind = self.net.module.get_submodule(path)
        cut = next((i for i, place in enumerate(self.layout.places) if place is behind), None)
        if cut is None or not self._fits(x, weight):
            return self._looped.joint(theta, x, y, weight, block, sampled)
        out, features = self._joint(theta, x, y, weight, cut, sampled)
        assert features is not None
        return out, features.permute(0, 1, 4, 2, 3)

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """See `Formulation.outputs`."""
        if not self._fits(x, None):
            return self._looped.outputs(theta, x)
        theta, images = theta.detach().contiguous(), _channels_last(x, theta)
        out = torch.empty(len(theta), len(x), self.layout.head.out_features, dtype=theta.dtype)
        for row, to in zip(theta, out, strict=True):
            self._call("outputs", row, images, images, len(images), to)
        return out

    def clipped(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, clip: float) -> tuple[Tensor, Tensor]:
        """See `Formulation.clipped`. The norm of a sample of weight 0 is 0.

        One sample after another; the gradients are clipped and summed in the kernel. With BatchNorm, the general way.

        Raises:
            IndexError: on a label outside the outputs.
        """
        if self.net.buffers or not self._fits(x, weight):
            return super().clipped(theta, x, y, weight, clip)
        theta, images, labels = theta.detach().contiguous(), _channels_last(x, theta), self._labels(y)
        w = theta.new_ones(1, 1) if weight is None else weight.to(theta.dtype)
        w = w.expand(len(theta), len(x)).contiguous()
        total, norms = theta.new_zeros(len(theta), self.net.p), torch.empty_like(w)
        one = theta.new_empty(self.net.p)
        for row, own, to, sizes in zip(theta, w, total, norms, strict=True):
            self._call("clipped", row, images, images, labels, own, len(images), clip, to, sizes, one, len(one))
        return total, norms

    def scratch(self, n: int, shape: tuple[int, ...]) -> int:
        """The work space is a thread's, not a model's: a longer stack needs its gradients only."""
        return 8 * self.net.p

    def _joint(
        self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, cut: int | None, sampled: Sampled | None
    ) -> tuple[Tensor, Tensor | None]:
        """Gradients [B, p], and features [B, n, H, W, C] where there is a cut (its number in `Layout.places`)."""
        theta, images, labels = theta.detach(), _channels_last(x, theta), self._labels(y)
        out = torch.zeros(len(theta), self.net.p, dtype=theta.dtype)
        features = None
        if cut is not None:
            features = theta.new_zeros(len(theta), len(x), *self.layout.shapes(*images.shape[1:3])[cut])
        more = None if sampled is None else self._labels(sampled.labels)
        for b in range(len(theta)):
            row = None if weight is None else weight[b].to(theta.dtype)
            kept = slice(None) if row is None or bool(row.all()) else row != 0
            here, known = images[kept], labels[kept]
            if not len(here):
                continue
            share = _shares(None if row is None else row[kept], len(here), theta)
            drawn, seen = None, None if features is None else features[b][kept]
            if sampled is not None and more is not None:
                own = None if sampled.weight is None else sampled.weight[b].to(theta.dtype)
                share = torch.cat([sampled.shares[0] * share, sampled.shares[1] * _shares(own, len(more), theta)])
                drawn, known = _channels_last(sampled.features[b], theta), torch.cat([known, more])
            self._gradient_of_one(theta[b], (here, known, share), out[b], -1 if cut is None else cut, drawn, seen)
            if features is not None and seen is not None and not isinstance(kept, slice):
                features[b][kept] = seen
        return out, features

    def _gradient_of_one(
        self,
        state: Tensor,
        batch: tuple[Tensor, Tensor, Tensor],
        out: Tensor,
        cut: int,
        drawn: Tensor | None,
        seen: Tensor | None,
    ) -> None:
        """Into `out` [p] and `seen` [n, H, W, C]; the running statistics in `state` [size] move."""
        row, p = state.contiguous(), self.net.p
        images, labels, share = batch
        more = 0 if drawn is None else len(drawn)
        self._call("gradient", row, images, images, labels, share, len(images), out, cut, drawn, more, seen)
        if row.data_ptr() != state.data_ptr():
            state[p:] = row[p:]

    def _call(self, name: str, state: Tensor, images: Tensor, *arguments: Tensor | float | None) -> None:
        """Tensors are contiguous, and go as pointers."""
        kernel = _kernel(state.dtype)
        if kernel is None:
            raise ValueError("the residual kernel cannot be built")
        plan, reals = self._plan(images.shape[1], images.shape[2])
        given = (a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)
        if getattr(kernel, name)(plan, len(plan), reals, state.data_ptr(), *given):
            raise MemoryError("no memory for the residual kernel's work space")

    def _plan(self, height: int, width: int) -> _Plan:
        with self._lock:
            if (height, width) not in self._plans:
                numbers, reals = self.layout.plan(self.net, height, width)
                self._plans[height, width] = (
                    (ctypes.c_int64 * len(numbers))(*numbers),
                    (ctypes.c_double * len(reals))(*reals),
                )
            return self._plans[height, width]

    def _fits(self, x: Tensor, weight: Tensor | None) -> bool:
        """Whether these are images, enough of them for a BatchNorm: PyTorch rejects one value a channel."""
        if x.dim() != 4 or not x.numel() or x.shape[1] != self.layout.units[0].conv.in_channels:
            return False
        if not self.net.buffers:
            return True
        fewest = len(x) if weight is None else int((weight != 0).sum(1).min())
        height, width = self.layout.shapes(*x.shape[2:])[-2][:2]
        return fewest != 1 or height * width > 1

    def _labels(self, y: Tensor) -> Tensor:
        """The kernel writes at the label's place, so a label outside must never reach it."""
        classes = self.layout.head.out_features
        y = y.to(torch.int64).contiguous()
        if len(y) and (int(y.min()) < 0 or int(y.max()) >= classes):
            raise IndexError(f"label out of range: {int(y.min())}..{int(y.max())} with {classes} outputs")
        return y


_Plan = tuple["ctypes.Array[ctypes.c_int64]", "ctypes.Array[ctypes.c_double]"]


def _channels_last(x: Tensor, like: Tensor) -> Tensor:
    """[n, C, H, W] -> [n, H, W, C]."""
    return x.detach().to(like.dtype).permute(0, 2, 3, 1).contiguous()


def _shares(weight: Tensor | None, n: int, like: Tensor) -> Tensor:
    """Each sample's share [n] in the weighted mean; zeros where the weights are."""
    if weight is None:
        return torch.full((n,), 1 / n, dtype=like.dtype)
    total = weight.sum()
    return weight / torch.where(total == 0, torch.ones_like(total), total)


def _kernel(dtype: torch.dtype) -> ctypes.CDLL | None:
    kernel = library(SOURCE, (f"T={_TYPES[dtype][0]}", f"IS_DOUBLE={int(dtype == torch.float64)}"))
    if kernel is not None and kernel.gradient.argtypes is None:
        i, p = ctypes.c_int64, ctypes.c_void_p
        real = ctypes.c_double if dtype == torch.float64 else ctypes.c_float
        kernel.clipped.argtypes = [p, i, p, p, p, p, p, i, real, p, p, p, i]
        kernel.outputs.argtypes = [p, i, p, p, p, i, p]
        kernel.gradient.argtypes = [p, i, p, p, p, p, p, i, p, i, p, i, p]
    return kernel
