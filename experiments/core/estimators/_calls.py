"""Calls of the layers of any module, written down by hooks: what went in, what came out, what an activation made of it.

`_layers.Traced` does this for GGN and EK-FAC and refuses what it does not know; here the rest is left to plain
autograd, layers may be called more than once, and outputs may be changed in place after the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from experiments.core.estimators._layers import Pass

_NO_ACTIVATION = (nn.MultiheadAttention, nn.GLU, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_THROUGH = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.Identity, nn.modules.dropout._DropoutNd)
"""What may stand between a layer and its activation."""


@dataclass(frozen=True)
class Call(Pass):
    """One call of one layer.

    Attributes:
        edge: where the gradient in its output arrives.
        after: what an activation made of the output, if one follows.
        statistics: BatchNorm's running mean and variance in this call.
    """

    edge: GradientEdge
    after: list[Tensor]
    statistics: tuple[Tensor, Tensor] | None

    @property
    def positive(self) -> Tensor:
        """Which neurons are active (section IV-A): those whose activation, else whose output, is above zero."""
        return (self.after[0] if self.after else self.above) > 0


def is_conv1d(part: nn.Module) -> bool:
    """Whether this is Hugging Face's Conv1D, a Linear with weight [in, out]; told by its name, nothing is imported."""
    return type(part).__name__ == "Conv1D" and not isinstance(part, nn.Conv1d)


def is_traced(part: nn.Module) -> bool:
    """Whether TraceFL looks into this layer: Linear, Conv2d, LayerNorm, Hugging Face's Conv1D."""
    return isinstance(part, nn.Linear | nn.Conv2d | nn.LayerNorm) or is_conv1d(part)


def is_activation(part: nn.Module) -> bool:
    """Whether this is an elementwise activation, of torch.nn or of Hugging Face."""
    if type(part).__module__ == "transformers.activations":
        return True
    return type(part).__module__ == "torch.nn.modules.activation" and not isinstance(part, _NO_ACTIVATION)


def is_recorded(part: nn.Module) -> bool:
    """Whether `_products` can write down this layer's gradient from its input and its output's gradient."""
    if isinstance(part, nn.Embedding):
        return type(part) is nn.Embedding and part.max_norm is None and not part.scale_grad_by_freq
    if isinstance(part, nn.modules.batchnorm._BatchNorm):
        return type(part) in _BATCH_NORMS and part.running_mean is not None
    if isinstance(part, nn.Conv2d):
        return type(part) is nn.Conv2d and part.padding_mode == "zeros" and not isinstance(part.padding, str)
    return type(part) in (nn.Linear, nn.GroupNorm, nn.LayerNorm) or is_conv1d(part)


@contextmanager
def recording(module: nn.Module, n: int, also: Callable[[nn.Module], bool] = is_recorded) -> Iterator[list[Call]]:
    """A list to which every call of a layer that `also` names is appended while the context is open.

    An embedding looked up once for all `n` inputs (positions) is spread over them, so that its gradient is told apart.
    """
    calls: list[Call] = []
    origin: dict[int, tuple[Tensor, Call]] = {}  # the tensors are kept, so that no other can take over an id

    def layer(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        def record(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            below, once = inputs[0].detach(), isinstance(part, nn.Embedding) and len(output) == 1 < n
            if once:
                below, output = (t.expand(n, *t.shape[1:]).clone() for t in (below, output))
            statistics = None
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                assert part.running_mean is not None and part.running_var is not None
                statistics = (part.running_mean, part.running_var)
            call = Call(name, part, below, output.detach(), get_gradient_edge(output), [], statistics)
            calls.append(call)
            if is_traced(part):
                origin[id(output)] = (output, call)
            return output if once else None

        return record

    def follow(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if id(inputs[0]) not in origin:
            return
        call = origin[id(inputs[0])][1]
        if not is_activation(part):
            origin[id(output)] = (output, call)
        elif not call.after:
            call.after.append(output.detach())

    handles = []
    for name, part in module.named_modules():
        if is_activation(part) or isinstance(part, _THROUGH):
            handles.append(part.register_forward_hook(follow))
        if also(part) and next(part.parameters(recurse=False), None) is not None:
            handles.append(part.register_forward_hook(layer(name)))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
