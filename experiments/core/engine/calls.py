"""Calls of the layers of any module, written down by hooks: what went in, and where the gradient of what came out is.

Layers may be called more than once, and outputs may be changed in place after the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Step:
    """One layer in one forward pass: its name, itself, its input."""

    name: str
    layer: nn.Module
    below: Tensor


@dataclass(frozen=True)
class Call(Step):
    """One call of one layer.

    Attributes:
        shape: of the output.
        edge: where the gradient in its output arrives.
        statistics: BatchNorm's running mean and variance in this call.
        notes: what `seen` of `recording` writes down.
    """

    shape: torch.Size
    edge: GradientEdge
    statistics: tuple[Tensor, Tensor] | None
    notes: list[Tensor] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of its input and its output."""
        return self.below.nbytes + self.shape.numel() * self.below.element_size()


def is_conv1d(part: nn.Module) -> bool:
    """Whether this is Hugging Face's Conv1D, a Linear with weight [in, out]; told by its name, nothing is imported."""
    return type(part).__name__ == "Conv1D" and not isinstance(part, nn.Conv1d)


def is_recorded(part: nn.Module) -> bool:
    """Whether this layer's gradient can be written down from its input and its output's gradient."""
    if isinstance(part, nn.Embedding):
        return type(part) is nn.Embedding and part.max_norm is None and not part.scale_grad_by_freq
    if isinstance(part, nn.modules.batchnorm._BatchNorm):
        return type(part) in _BATCH_NORMS and part.running_mean is not None
    if isinstance(part, nn.Conv2d):
        return type(part) is nn.Conv2d and part.padding_mode == "zeros" and not isinstance(part.padding, str)
    return type(part) in (nn.Linear, nn.GroupNorm, nn.LayerNorm) or is_conv1d(part)


def taken(inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> Tensor:
    """What a layer with one input was given, by place or by name."""
    return inputs[0] if inputs else next(iter(named.values()))


@contextmanager
def recording(
    module: nn.Module,
    n: int,
    also: Callable[[nn.Module], bool] = is_recorded,
    seen: Callable[[Call, Tensor], None] | None = None,
) -> Iterator[list[Call]]:
    """A list to which every call of a layer that `also` names is appended while the context is open.

    A call whose output has no graph (under torch.no_grad) is skipped. An embedding looked up once for all `n` inputs
    (positions) is spread over them, so that its gradient is told apart. `seen` is told of each call and its output.
    """
    calls: list[Call] = []

    def layer(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor], Tensor], Tensor | None]:
        def record(
            part: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor
        ) -> Tensor | None:
            if not output.requires_grad:
                return None
            below = taken(inputs, named).detach()
            if isinstance(part, nn.Embedding) and len(output) == 1 < n:
                below, output = (t.expand(n, *t.shape[1:]).clone() for t in (below, output))
            elif output._is_view():  # a later change in place would cut a view out of the graph
                output = output.clone()
            calls.append(Call(name, part, below, output.shape, get_gradient_edge(output), _statistics(part)))
            if seen is not None:
                seen(calls[-1], output)
            return output

        return record

    handles = []
    try:
        for name, part in module.named_modules():
            if also(part) and next(part.parameters(recurse=False), None) is not None:
                handles.append(part.register_forward_hook(layer(name), with_kwargs=True))
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _statistics(part: nn.Module) -> tuple[Tensor, Tensor] | None:
    if not isinstance(part, nn.modules.batchnorm._BatchNorm):
        return None
    assert part.running_mean is not None and part.running_var is not None
    return part.running_mean, part.running_var
