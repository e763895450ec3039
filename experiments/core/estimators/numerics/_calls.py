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

from experiments.core.estimators.numerics._layers import Pass

_NO_ACTIVATION = (nn.MultiheadAttention, nn.GLU, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
THROUGH = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.Identity, nn.modules.dropout._DropoutNd)
"""What may stand between a layer and its activation."""


@dataclass(frozen=True)
class Call(Pass):
    """One call of one layer.

    Attributes:
        edge: where the gradient in its output arrives.
        signs: where the output is above zero, and where what an activation made of it is, if one follows; written down
            at once, as both may be changed in place later. Empty unless the neurons are filtered.
        statistics: BatchNorm's running mean and variance in this call.
    """

    edge: GradientEdge
    signs: list[Tensor]
    statistics: tuple[Tensor, Tensor] | None

    @property
    def positive(self) -> Tensor:
        """Which neurons are active (section IV-A): those whose activation, else whose output, is above zero."""
        return self.signs[-1]


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


def taken(inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> Tensor:
    """What a layer with one input was given, by place or by name."""
    return inputs[0] if inputs else next(iter(named.values()))


@contextmanager
def recording(
    module: nn.Module, n: int, active: bool, also: Callable[[nn.Module], bool] = is_recorded
) -> Iterator[list[Call]]:
    """A list to which every call of a layer that `also` names is appended while the context is open.

    A call whose output has no graph (under torch.no_grad) is skipped. With `active` the signs are recorded, too. An
    embedding looked up once for all `n` inputs (positions) is spread over them, so that its gradient is told apart.
    """
    calls: list[Call] = []
    origin: dict[int, tuple[Tensor, Call]] = {}  # the tensors are referenced, so that no other can take over an id

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
            signs = [output.detach() > 0] if active and is_traced(part) else []
            call = Call(name, part, below, output.detach(), get_gradient_edge(output), signs, _statistics(part))
            calls.append(call)
            if signs:
                origin[id(output)] = (output, call)
            return output

        return record

    def follow(part: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> None:
        tensor = taken(inputs, named)
        if id(tensor) not in origin:
            return
        call = origin[id(tensor)][1]
        if not is_activation(part):
            origin[id(output)] = (output, call)
        elif len(call.signs) == 1:
            call.signs.append(output.detach() > 0)

    handles = []
    try:
        for name, part in module.named_modules():
            if also(part) and next(part.parameters(recurse=False), None) is not None:
                handles.append(part.register_forward_hook(layer(name), with_kwargs=True))
            if active and (is_activation(part) or isinstance(part, THROUGH)):
                handles.append(part.register_forward_hook(follow, with_kwargs=True))
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _statistics(part: nn.Module) -> tuple[Tensor, Tensor] | None:
    if not isinstance(part, nn.modules.batchnorm._BatchNorm):
        return None
    assert part.running_mean is not None and part.running_var is not None
    return part.running_mean, part.running_var
