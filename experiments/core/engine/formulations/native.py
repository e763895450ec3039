"""A fused C++ kernel for small convolutional and dense networks on a CPU, compiled for the shape on first use.

Source: `native_conv.cpp`, which tells how. Never required: without a compiler `supports` is False.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.core.engine.formulations import Formulation
from experiments.core.engine.formulations._build import compiler, library
from experiments.core.engine.formulations._common import flattens_all, is_plain_conv, is_plain_linear, layers
from experiments.core.engine.net import Net

SOURCE = Path(__file__).with_name("native_conv.cpp")
_TYPES = {torch.float32: "float", torch.float64: "double"}
# The kernel's numbers for them, `enum Activation` in native_linear.h.
_ACTIVATIONS: dict[type[nn.Module], int] = {nn.ReLU: 1, nn.Tanh: 2, nn.Sigmoid: 3}


@dataclass(frozen=True)
class Plan:
    """The layers of a net that the kernel can compute: convolution blocks, then linear layers.

    Attributes:
        convs: convolutions, and whether a ReLU belongs to the block.
        linears: linear layers, and the number of the activation after each (0 for none).
    """

    convs: tuple[tuple[nn.Conv2d, bool], ...]
    linears: tuple[tuple[nn.Linear, int], ...]

    def shape_of(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the inputs (1, 1 without convolutions)."""
        return (x.shape[-2], x.shape[-1]) if self.convs else (1, 1)

    def fits(self, x: Tensor) -> bool:
        """Whether inputs [n, ...] of this shape leave the convolutions with what the first linear layer expects."""
        wanted = self.linears[0][0].in_features
        if not self.convs:
            return x[:1].numel() == wanted * len(x[:1])
        if x.dim() != 4 or x.shape[1] != self.convs[0][0].in_channels:
            return False
        height, width = self.sizes(*self.shape_of(x))[-1]
        return min(height, width) > 0 and height * width * self.convs[-1][0].out_channels == wanted

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Heights and widths before each convolution and after the last."""
        sizes = [(height, width)]
        for conv, _ in self.convs:
            lost = _lost(conv)
            sizes.append(((sizes[-1][0] - lost) // 2, (sizes[-1][1] - lost) // 2))
        return sizes

    def defines(self, height: int, width: int, dtype: torch.dtype) -> tuple[str, ...]:
        """The macros of native_conv.cpp for this shape."""
        convs, linears = [c for c, _ in self.convs], [k for k, _ in self.linears]
        sizes = self.sizes(height, width)
        channels = [c.in_channels for c in convs[:1]] + [c.out_channels for c in convs]
        dims = [linears[0].in_features] + [k.out_features for k in linears]
        lists: dict[str, list[int]] = {
            "CH": channels,
            "HH": [s[0] for s in sizes],
            "WW": [s[1] for s in sizes],
            "KK": [c.kernel_size[0] for c in convs],
            "PAD": [_padding(c) for c in convs],
            "CRELU": [r for _, r in self.convs],
            "CBIAS": [c.bias is not None for c in convs],
            "DIM": dims,
            "LACT": [a for _, a in self.linears],
            "LBIAS": [k.bias is not None for k in linears],
        }
        inputs = channels[0] * height * width if convs else dims[0]
        plain = {
            "T": _TYPES[dtype],
            "IS_DOUBLE": int(dtype == torch.float64),
            "NCONV": len(convs),
            "NLIN": len(linears),
            "XSIZE": inputs,
        }
        braced = (f"{k}={{{','.join(str(int(i)) for i in v) or '0'}}}" for k, v in lists.items())
        return (*(f"{k}={v}" for k, v in plain.items()), *braced)


class Native(Formulation):
    """Convolution, bias, pooling and ReLU in one loop nest; softmax cross-entropy; one model at a time.

    The one formulation whose `descend` stays in its inner loop: a step of a tiny net costs its arithmetic.
    """

    name = "native"

    @classmethod
    def supports(cls, net: Net, device: torch.device, dtype: torch.dtype) -> bool:
        """[Conv2d (stride 1), ReLU?, MaxPool2d(2)]*, Flatten, [Linear, (ReLU | Tanh | Sigmoid)?]+ on a CPU.

        Needs a C++ compiler.
        """
        fits = (
            device.type == "cpu"
            and dtype in _TYPES
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


def plan(net: Net) -> Plan | None:
    """Read the module; None where the kernel does not apply."""
    parts = [layer for _, layer in layers(net.module) or [] if type(layer) is not nn.Identity]
    convs: list[tuple[nn.Conv2d, bool]] = []
    while parts and isinstance(conv := parts[0], nn.Conv2d):
        parts = parts[1:]
        kinds = [type(k) for k in parts[:2]]
        activated = nn.ReLU in kinds
        taken = parts[: 2 if activated else 1]
        if not _is_simple(conv) or not any(_halves(k) for k in taken):
            return None
        parts = parts[len(taken) :]
        convs.append((conv, activated))
    if parts and flattens_all(parts[0]):
        parts = parts[1:]
    elif convs:
        return None
    linears: list[tuple[nn.Linear, int]] = []
    while parts and isinstance(linear := parts[0], nn.Linear) and is_plain_linear(linear):
        activation = _ACTIVATIONS.get(type(parts[1]), 0) if len(parts) > 1 else 0
        parts = parts[2 if activation else 1 :]
        linears.append((linear, activation))
    return Plan(tuple(convs), tuple(linears)) if linears and not parts else None


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


def _lost(conv: nn.Conv2d) -> int:
    """By how much the convolution shrinks height and width."""
    return conv.kernel_size[0] - 1 - 2 * _padding(conv)


def _halves(pool: nn.Module) -> bool:
    if type(pool) is not nn.MaxPool2d or pool.return_indices or pool.ceil_mode:
        return False
    settings = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    pairs = [(v, v) if isinstance(v, int) else tuple(v) for v in settings]
    return pairs == [(2, 2), (2, 2), (0, 0), (1, 1)]


def _trial(plan: Plan, dtype: torch.dtype) -> bool:
    """Does the source compile and load here? Tried on the likeliest size of the inputs, which is not known yet."""
    if not plan.convs:
        return _kernel(plan, 1, 1, dtype) is not None
    left = plan.linears[0][0].in_features // plan.convs[-1][0].out_channels
    side = math.isqrt(left)
    height, width = (side, side) if side * side == left else (left, 1)
    for conv, _ in reversed(plan.convs):
        height, width = 2 * height + _lost(conv), 2 * width + _lost(conv)
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
