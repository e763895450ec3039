"""Images kept as the bytes they came from: a quarter of the memory, and the same numbers to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from experiments.core.engine.federation import Federation

_BLOCK = 4096
"""Images that are compared at a time."""


def packed(federation: Federation) -> Federation:
    """The federation with its training images as `Packed`, where bytes give back every number exactly; else as it is.

    Worth it on an accelerator, whose memory the worlds of a truth share; a processor would rather not decode again.
    """
    x = federation.x
    if x.dim() != 4 or not x.is_floating_point() or isinstance(x, Packed):
        return federation
    code = Code.of(federation.scale, x)
    raw = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    for a in range(0, len(x), _BLOCK):
        block = x[a : a + _BLOCK]
        raw[a : a + _BLOCK] = code.bytes_of(block)
        if not torch.equal(code.numbers(raw[a : a + _BLOCK]), block):
            return federation
    return replace(federation, x=Packed(raw, code))


@dataclass(frozen=True)
class Code:
    """How bytes become inputs: scaled to 0..1, shifted and scaled a channel, in float32 as a pool was; then `dtype`.

    Attributes:
        mean, deviation: [C, 1, 1] on the device, or None where images were not normalised. dtype: of the inputs.
    """

    mean: Tensor | None
    deviation: Tensor | None
    dtype: torch.dtype

    @classmethod
    def of(cls, scale: tuple[tuple[float, ...], tuple[float, ...]] | None, like: Tensor) -> Code:
        """The code of images `like` [n, C, H, W] with a federation's `scale`."""
        if scale is None:
            return cls(None, None, like.dtype)
        mean, deviation = (torch.tensor(part, device=like.device).reshape(-1, 1, 1) for part in scale)
        return cls(mean, deviation, like.dtype)

    def numbers(self, raw: Tensor) -> Tensor:
        """Inputs of bytes [..., C, H, W]."""
        # By a tensor of the device: CUDA multiplies by the inverse of a plain number, which rounds otherwise.
        x = raw.float().div_(torch.full((), 255.0, device=raw.device))
        if self.mean is not None and self.deviation is not None:
            x = x.sub_(self.mean).div_(self.deviation)
        return x.to(self.dtype)

    def bytes_of(self, x: Tensor) -> Tensor:
        """The nearest bytes of inputs."""
        x = x.float()
        if self.mean is not None and self.deviation is not None:
            x = x * self.deviation + self.mean
        return (x * 255).round_().clamp_(0, 255).to(torch.uint8)


class Packed(Tensor):
    """A tensor of numbers [N, C, H, W] that holds bytes: what is taken out of it by rows is decoded then.

    Whoever reads it sees an ordinary tensor. Any other operation decodes the whole for its duration.
    """

    raw: Tensor
    code: Code

    @staticmethod
    def __new__(cls: type[Packed], raw: Tensor, code: Code) -> Packed:
        """A tensor of the shape of `raw`, in the numbers' type."""
        made = torch.Tensor._make_wrapper_subclass(cls, raw.shape, dtype=code.dtype, device=raw.device)  # type: ignore[attr-defined]
        made.raw, made.code = raw, code
        return made  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Rows are taken from the bytes, then decoded; everything else works on the numbers."""
        if args and isinstance(args[0], Packed) and _takes_rows(func, args):
            return args[0].code.numbers(func(args[0].raw, *args[1:], **(kwargs or {})))
        numbers: Callable[[Any], Any] = lambda a: a.code.numbers(a.raw) if isinstance(a, Packed) else a  # noqa: E731
        return func(*tree_map(numbers, args), **tree_map(numbers, kwargs or {}))


def _takes_rows(func: Any, args: Any) -> bool:
    """Whether an operation takes whole images out of its first argument."""
    aten = torch.ops.aten
    if func in (aten.slice.Tensor, aten.select.int, aten.index_select.default):
        return len(args) < 2 or args[1] == 0
    return func is aten.index.Tensor and len(args[1]) == 1
