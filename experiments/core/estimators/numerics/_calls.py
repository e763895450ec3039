"""Calls of the layers that TraceFL looks into: as the engine records them, with what an activation made of the output.

`_layers.Traced` records for GGN and EK-FAC and refuses what it does not know; here the rest is left to plain autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from experiments.core.engine.calls import Call, is_conv1d, is_recorded, taken
from experiments.core.engine.calls import recording as recording_calls

_NO_ACTIVATION = (nn.MultiheadAttention, nn.GLU, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)
THROUGH = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.Identity, nn.modules.dropout._DropoutNd)
"""What may stand between a layer and its activation."""


def positive(call: Call) -> Tensor:
    """Which neurons are active (section IV-A): those whose activation, else whose output, is above zero."""
    return call.notes[-1]


def is_traced(part: nn.Module) -> bool:
    """Whether TraceFL looks into this layer: Linear, Conv2d, LayerNorm, Hugging Face's Conv1D."""
    return isinstance(part, nn.Linear | nn.Conv2d | nn.LayerNorm) or is_conv1d(part)


def is_activation(part: nn.Module) -> bool:
    """Whether this is an elementwise activation, of torch.nn or of Hugging Face."""
    if type(part).__module__ == "transformers.activations":
        return True
    return type(part).__module__ == "torch.nn.modules.activation" and not isinstance(part, _NO_ACTIVATION)


@contextmanager
def recording(
    module: nn.Module, n: int, active: bool, also: Callable[[nn.Module], bool] = is_recorded
) -> Iterator[list[Call]]:
    """See `engine.calls.recording`. With `active` the calls of traced layers say where they are `positive`.

    That is written down at once, as outputs may be changed in place later: for the output, and for what an activation
    made of it, if one follows.
    """
    origin: dict[int, tuple[Tensor, Call]] = {}  # the tensors are referenced, so that no other can take over an id

    def begin(call: Call, output: Tensor) -> None:
        if is_traced(call.layer):
            call.notes.append(output.detach() > 0)
            origin[id(output)] = (output, call)

    def follow(part: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> None:
        tensor = taken(inputs, named)
        if id(tensor) not in origin:
            return
        call = origin[id(tensor)][1]
        if not is_activation(part):
            origin[id(output)] = (output, call)
        elif len(call.notes) == 1:
            call.notes.append(output.detach() > 0)

    with ExitStack() as stack:
        calls = stack.enter_context(recording_calls(module, n, also, begin if active else None))
        for part in module.modules():
            if active and (is_activation(part) or isinstance(part, THROUGH)):
                stack.callback(part.register_forward_hook(follow, with_kwargs=True).remove)
        yield calls
