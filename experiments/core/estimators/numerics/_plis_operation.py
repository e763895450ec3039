"""Layers in whose pass per-sample gradients meet, for the gradient in the input of their squared norm.

Let a layer have inputs a, outputs y and the loss's gradient d in y. Its weights' gradient for one sample is
g = d a^T (for a convolution with a's patches). q = ||g||^2 / 2 depends on the input twice: through a, and through d,
which the first backward computes. So the second backward starts inside the first one: `seed` adds dq/dd = g a where it
passes d, and `closed` adds dq/da = g^T d where it passes a. What stands between the layers is left to autograd.

A layer's adjoint is linear in d with constant weights, so its own backward is the layer itself. (PyTorch's double
backward of a convolution computes the weights' part, too, whether anybody asks or not.)
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Operation:
    """One call of one layer, with the weight and the bias it has in this call.

    Args:
        part: the layer.
        trained: whether weight and bias count in the norm.
        lowest: nothing below has parameters, so that the gradient in the inputs matters only for q.
    """

    def __init__(self, part: nn.Module, trained: tuple[bool, bool], lowest: bool) -> None:
        self.part, self.trained, self.lowest = part, trained, lowest
        self.weight = cast(Tensor, part.weight)
        self.bias = cast("Tensor | None", part.bias)

    def outputs(self, a: Tensor) -> Tensor:
        """What the layer gives for a [n, ...]."""
        raise NotImplementedError

    def adjoint(self, a: Tensor, d: Tensor) -> Tensor:
        """The gradient d in the outputs as one in the inputs: [like a]."""
        raise NotImplementedError

    def seed(self, a: Tensor, d: Tensor, t: Tensor) -> Tensor:
        """dq/dd plus the derivative of <adjoint, t> in d, t [like a]: [like d]. Keeps what `closed` needs."""
        raise NotImplementedError

    def closed(self, a: Tensor, d: Tensor) -> Tensor:
        """dq/da plus the adjoint of a second d: [like a]. After `seed`."""
        raise NotImplementedError

    def kept(self, y: Tensor) -> int:
        """Numbers kept from `seed` to `closed` of one sample with outputs y [1, ...], beyond a few times y's."""
        return 0


def call(operation: Operation, a: Tensor) -> Tensor:
    """The layer's outputs for a [n, ...], in the graph."""
    return _Forward.apply(a, operation)[0]  # type: ignore[no-untyped-call, no-any-return]


class _Forward(torch.autograd.Function):
    """The layer. The second output is nothing: it makes the last backward here wait for the one in `_Backward`."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, operation: Operation) -> tuple[Tensor, Tensor]:
        token = a.new_zeros(())
        ctx.operation = operation
        ctx.save_for_backward(a, token)
        return operation.outputs(a), token

    @staticmethod
    def backward(ctx: Any, d: Tensor, _token: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        a, token = ctx.saved_tensors
        if torch.is_grad_enabled():  # the first backward, which is itself derived
            return _Backward.apply(d, a, token, ctx.operation), None  # type: ignore[no-untyped-call]
        return ctx.operation.closed(a.detach(), d), None


class _Backward(torch.autograd.Function):
    """The layer's part of the first backward."""

    @staticmethod
    def forward(ctx: Any, d: Tensor, a: Tensor, _token: Tensor, operation: Operation) -> Tensor:
        ctx.operation = operation
        ctx.save_for_backward(a, d)
        return a.new_zeros(()).expand(a.shape) if operation.lowest else operation.adjoint(a, d)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, t: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        a, d = (tensor.detach() for tensor in ctx.saved_tensors)  # the operation must not keep the graph it is part of
        return ctx.operation.seed(a, d, t), None, None, None
