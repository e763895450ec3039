"""A fused C++ kernel for small convolutional and dense networks on a CPU, compiled for the shape on first use.

Source: `native_conv.cpp`, which tells how. Never required: without a compiler `supports` is False.
"""

from __future__ import annotations

import ctypes
import math
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from experiments.core.engine.formulations import Formulation
from experiments.core.engine.formulations._build import compiler, library
from experiments.core.engine.formulations._native_plan import TYPES, Plan, plan, shrinks_by
from experiments.core.engine.net import Net

SOURCE = Path(__file__).with_name("native_conv.cpp")


class Native(Formulation):
    """Convolution, bias, normalisation, pooling and activation fused; softmax cross-entropy; one model at a time.

    The one formulation whose `descend` stays in its inner loop: a step of a tiny net costs its arithmetic.
    """

    name = "native"

    @classmethod
    def supports(cls, net: Net, device: torch.device, dtype: torch.dtype) -> bool:
        """[Conv2d (stride 1), GroupNorm?, f?, MaxPool2d(2)]*, Flatten, [Linear, f?]+ on a CPU.

        The activations f are ReLU, Tanh and Sigmoid. Needs a C++ compiler.
        """
        fits = (
            device.type == "cpu"
            and dtype in TYPES
            and net.loss == "cross_entropy"
            and not net.buffers
            and not net.frozen
        )
        layout = plan(net) if fits else None
        return layout is not None and compiler() is not None and _trial(layout, dtype)

    @cached_property
    def plan(self) -> Plan:
        """The net's layers as the kernel sees them."""
        layout = plan(self.net)
        if layout is None:
            raise ValueError("the native kernel does not know this architecture")
        return layout

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `Formulation.gradient`.

        Raises:
            IndexError: on a label outside the outputs.
        """
        kernel, theta, x = self._ready(theta, x)
        y = self._labels(y)
        w = None if weight is None else weight.to(theta.dtype).expand(len(theta), len(x)).contiguous()
        out = torch.empty(len(theta), self.net.p, dtype=theta.dtype)
        failed = kernel.gradient(
            _pointer(theta),
            theta.stride(0),
            len(theta),
            _pointer(x),
            _pointer(y),
            None if w is None else _pointer(w),
            len(x),
            _pointer(out),
        )
        if failed:
            raise MemoryError("no memory for the native kernel's work space")
        return out

    def descend(
        self,
        theta: Tensor,
        x: Tensor,
        y: Tensor,
        weight: Tensor | None,
        steps: int,
        lr: float,
        decay: Tensor | None = None,
    ) -> Tensor:
        """See `Formulation.descend`.

        Raises:
            IndexError: on a label outside the outputs.
        """
        kernel, theta, x = self._ready(theta, x)
        y = self._labels(y)
        w = None if weight is None else weight.to(theta.dtype).expand(len(theta), len(x)).contiguous()
        pull = None if decay is None else decay.to(theta.dtype).expand(self.net.p).contiguous()
        out = theta.clone(memory_format=torch.contiguous_format)
        room = torch.empty_like(out)
        failed = kernel.descend(
            _pointer(out),
            len(out),
            _pointer(x),
            _pointer(y),
            None if w is None else _pointer(w),
            len(x),
            steps,
            lr,
            None if pull is None else _pointer(pull),
            _pointer(room),
        )
        if failed:
            raise MemoryError("no memory for the native kernel's work space")
        return out

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """See `Formulation.outputs`."""
        kernel, theta, x = self._ready(theta, x)
        out = torch.empty(len(theta), len(x), self.plan.linears[-1][0].out_features, dtype=theta.dtype)
        if kernel.outputs(_pointer(theta), theta.stride(0), len(theta), _pointer(x), len(x), _pointer(out)):
            raise MemoryError("no memory for the native kernel's work space")
        return out

    def per_sample(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of each sample's own loss for one state theta [size]: [n, p].

        Raises:
            IndexError: on a label outside the outputs.
        """
        kernel, theta, x = self._ready(theta, x)
        out, y = torch.empty(len(x), self.net.p, dtype=theta.dtype), self._labels(y)
        if kernel.per_sample(_pointer(theta), _pointer(x), _pointer(y), len(x), _pointer(out)):
            raise MemoryError("no memory for the native kernel's work space")
        return out

    def clipped(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, clip: float) -> tuple[Tensor, Tensor]:
        """See `Formulation.clipped`. The norm of a sample of weight 0 is 0.

        No sample's gradient leaves the kernel: those of linear layers are never formed (the norm of an outer product
        is one of norms: Goodfellow 2015), those of convolutions one after another in the same place.

        Raises:
            IndexError: on a label outside the outputs.
        """
        kernel, theta, x = self._ready(theta, x)
        y = self._labels(y)
        w = None if weight is None else weight.to(theta.dtype).expand(len(theta), len(x)).contiguous()
        total, norms = theta.new_empty(len(theta), self.net.p), theta.new_empty(len(theta), len(x))
        failed = kernel.clipped(
            _pointer(theta),
            theta.stride(0),
            len(theta),
            _pointer(x),
            _pointer(y),
            None if w is None else _pointer(w),
            len(x),
            clip,
            _pointer(total),
            _pointer(norms),
        )
        if failed:
            raise MemoryError("no memory for the native kernel's work space")
        return total, norms

    def scratch(self, n: int, shape: tuple[int, ...]) -> int:
        """The work space is a thread's, not a model's: a longer stack needs its gradients only."""
        return 8 * self.net.p

    def _labels(self, y: Tensor) -> Tensor:
        """The kernel writes at the label's place, so a label outside must never reach it."""
        classes = self.plan.linears[-1][0].out_features
        y = y.to(torch.int64).contiguous()
        if len(y) and (int(y.min()) < 0 or int(y.max()) >= classes):
            raise IndexError(f"label out of range: {int(y.min())}..{int(y.max())} with {classes} outputs")
        return y

    def _ready(self, theta: Tensor, x: Tensor) -> tuple[ctypes.CDLL, Tensor, Tensor]:
        """The kernel for this shape, and the tensors as it wants them."""
        height, width = self.plan.shape_of(x)
        kernel = _kernel(self.plan, height, width, theta.dtype) if self.plan.fits(x) else None
        if kernel is None:
            raise ValueError(f"the native kernel cannot be built for inputs of shape {tuple(x.shape[1:])}")
        theta = theta.detach()
        theta = theta if theta.stride(-1) == 1 else theta.contiguous()
        return kernel, theta, x.to(theta.dtype).contiguous()


def _trial(plan: Plan, dtype: torch.dtype) -> bool:
    """Does the source compile and load here? Tried on the likeliest size of the inputs, which is not known yet."""
    if not plan.convs:
        return _kernel(plan, 1, 1, dtype) is not None
    left = plan.linears[0][0].in_features // plan.convs[-1].out_channels
    side = math.isqrt(left)
    height, width = (side, side) if side * side == left else (left, 1)
    for conv in reversed(plan.convs):
        height, width = 2 * height + shrinks_by(conv), 2 * width + shrinks_by(conv)
    return left > 0 and min(height, width) > 0 and _kernel(plan, height, width, dtype) is not None


def _kernel(plan: Plan, height: int, width: int, dtype: torch.dtype) -> ctypes.CDLL | None:
    kernel = library(SOURCE, plan.defines(height, width, dtype))
    if kernel is not None and kernel.gradient.argtypes is None:
        i, p = ctypes.c_int64, ctypes.c_void_p
        real = ctypes.c_double if dtype == torch.float64 else ctypes.c_float
        kernel.descend.argtypes = [p, i, p, p, p, i, i, real, p, p]
        kernel.clipped.argtypes = [p, i, i, p, p, p, i, real, p, p]
        kernel.outputs.argtypes = [p, i, i, p, i, p]
        kernel.per_sample.argtypes = [p, p, p, i, p]
        kernel.gradient.argtypes = [p, i, i, p, p, p, i, p]
    return kernel


def _pointer(tensor: Tensor) -> int:
    return tensor.data_ptr()
