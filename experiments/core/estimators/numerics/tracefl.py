"""TraceFL: which clients of a round hold up the global model's prediction on an input (Gill et al. 2025).

Algorithm 1 of the paper evaluates every client's layer on what the global model fed into that layer, and weighs the
result by the gradient c_n of the predicted logit in the layer's output (Eq. 2, 5, 6). A layer that is linear in its
own parameters turns that double sum into an inner product with the gradient in the *global* layer's parameters,

    T_k = sum_l beta_l <theta_k[l], dy_c / dtheta_G[l]>,                                    (Eq. 6, p_k apart)

so the gradients of the inputs serve all clients at once. `contributions` computes these products tensor by tensor;
`provenance` weighs and adds them as the paper does, `first_order` reads the same products as a forecast of leaving a
client out of the round. `tracefl_hooked` is the paper's way, layer by layer, and what this is tested against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from experiments.core.engine.net import Net
from experiments.core.errors import NumericalError, SpecError
from experiments.core.estimators.numerics._calls import is_traced
from experiments.core.estimators.numerics._tracing import products


@dataclass(frozen=True)
class Layer:
    """A layer that TraceFL looks into: its name, and the names (as in Net.params) of its own parameters."""

    name: str
    tensors: tuple[str, ...]


def traced_layers(module: nn.Module) -> tuple[Layer, ...]:
    """Every Linear, Conv2d, LayerNorm and Hugging Face Conv1D with parameters, in order of registration.

    A tensor that several layers share belongs to the first of them. What a parametrization (weight norm) computes a
    weight from lies in modules of its own and belongs to none.
    """
    names = {id(tensor): name for name, tensor in module.named_parameters()}
    layers, taken = [], set[str]()
    for name, part in module.named_modules():
        if not is_traced(part):
            continue
        tensors = tuple(names[id(t)] for t in part.parameters(recurse=False) if names[id(t)] not in taken)
        taken.update(tensors)
        if tensors:
            layers.append(Layer(name, tensors))
    return tuple(layers)


@dataclass(frozen=True)
class Contributions:
    """What each client and each tensor contributes to the traced logit y_c of n inputs; everything on the CPU.

    Attributes:
        outputs: [n, C] of the global model.
        target: [n], c: the class whose logit is traced.
        tensors: names of the P parameter tensors, frozen ones included, in the module's order.
        layer: index of the traced layer that holds a tensor, -1 for none.
        bias: whether it is the bias (LayerNorm: the shift) of a traced layer.
        base: [n, P] float64, <theta_G, dy_c/dtheta_G> tensor by tensor.
        delta: [n, K, P] float64, <theta_k - theta_G, dy_c/dtheta_G>.
    """

    outputs: Tensor
    target: Tensor
    tensors: tuple[str, ...]
    layer: tuple[int, ...]
    bias: tuple[bool, ...]
    base: Tensor
    delta: Tensor


def contributions(
    net: Net,
    theta: Tensor,
    locals: Tensor,
    x: Tensor,
    *,
    target: Tensor | None = None,
    active: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Contributions:
    """Inner products of the clients' parameters with the gradient of a logit of the global model.

    The model runs in evaluation mode, every input by itself. Where a module allows it, one backward serves all inputs
    (see `_tracing`), and the clients' states are read once; memory is bounded by chunks of inputs and of tensors.

    Args:
        net: the model.
        theta: [size], theta_G: the global model after the round.
        locals: [K, size], theta_k: what the participants sent.
        x: [n, ...] inputs, floating-point or token ids.
        target: [n] class to trace; None: the predicted one.
        active: only neurons of traced layers whose activation is positive take part (section IV-A; the published
            results use all). The activation is the output of the activation module that takes the layer's output,
            directly or after BatchNorm, GroupNorm or dropout; where there is none it is the layer's own output.
            Tensors outside traced layers stay as they are.
        progress: called with (inputs done, n).

    Raises:
        SpecError: there is only one client, or none; there is no input.
        NumericalError: an output, a gradient or a client's state is not finite.
    """
    if net.frozen:  # they take part in a prediction as the others do, the same in every client
        net, theta, locals = net.thawed, net.widened(theta), net.widened(locals)
    if len(locals) < 2:
        raise SpecError("one client only: its share of the responsibility is the whole", "trace", "give two or more")
    if not len(x):
        raise SpecError("no inputs to trace", "trace", "give at least one")
    done = (lambda i: None) if progress is None else (lambda i: progress(i, len(x)))
    inner = products(net, theta, locals, x, target, active, done)
    outputs, values = inner.outputs.cpu(), inner.values.cpu()
    base, delta = values[:, :, 0], values[:, :, 1:].transpose(1, 2)
    _check(outputs, base, delta)
    return Contributions(outputs, inner.target.cpu(), *_places(net), base, delta)


def _places(net: Net) -> tuple[tuple[str, ...], tuple[int, ...], tuple[bool, ...]]:
    """Names of the tensors, the traced layer of each, and which are biases of one."""
    layers = traced_layers(net.module)
    layer_of = {name: i for i, layer in enumerate(layers) for name in layer.tensors}
    names = tuple(slot.name for slot in net.params)
    layer = tuple(layer_of.get(name, -1) for name in names)
    bias = tuple(at >= 0 and name.rpartition(".")[2] == "bias" for name, at in zip(names, layer, strict=True))
    return names, layer, bias


def _check(outputs: Tensor, base: Tensor, delta: Tensor) -> None:
    for name, values in (("the outputs", outputs), ("the gradient", base)):
        wrong = (~values.isfinite().all(1)).nonzero().flatten().tolist()
        if wrong:
            raise NumericalError(
                f"{name} of the global model for input {wrong[0]} hold NaN or infinity", "trace", "look at that input"
            )
    wrong = (~delta.isfinite().all(2).all(0)).nonzero().flatten().tolist()
    if wrong:
        raise NumericalError(f"the model of client number {wrong[0]} holds NaN or infinity", "trace", "leave it out")


def provenance(c: Contributions, *, decay: float = 0.9, shares: Tensor | None = None, bias: str = "all") -> Tensor:
    """T_k of Eq. 6 before normalisation: [n, K] float64.

    Args:
        c: from `contributions`.
        decay: beta_l = decay^(L - 1 - l) over the L traced layers; 1: no weights.
        shares: [K], p_k of Eq. 4 to 6; None leaves them out, as the published results do.
        bias: "all" counts biases as the artefact does, "none" leaves them out as Eq. 5 does, "centred" gives each
            client b_k minus the mean of b over clients: without p_k the common part would count K times.

    Raises:
        ValueError: another `bias`.
    """
    if bias not in ("all", "none", "centred"):
        raise ValueError(f"bias {bias!r} must be all, none or centred")
    layer, is_bias = torch.tensor(c.layer), torch.tensor(c.bias)
    beta = torch.where(layer >= 0, decay ** (layer.max() - layer).double(), 0.0)
    parts = c.base[:, None] + c.delta
    if bias != "all":
        centred = c.delta - c.delta.mean(1, keepdim=True) if bias == "centred" else torch.zeros_like(c.delta)
        parts = torch.where(is_bias, centred, parts)
    raw = parts @ beta
    return raw if shares is None else raw * shares.to(raw)


def normalised(raw: Tensor) -> Tensor:
    """Softmax over the clients (Eq. 7): [n, K] -> [n, K]. It saturates: keep T_k too."""
    return torch.softmax(raw, 1)


def first_order(c: Contributions, shares: Tensor, *, noisy: bool = False) -> Tensor:
    """Predicted change of the traced logit had client k been left out of this round: [n, K].

    Without k the average of the others is theta_G - p_k/(1 - p_k) (theta_k - theta_G), so to first order the logit
    changes by -p_k/(1 - p_k) <theta_k - theta_G, dy_c/dtheta_G>, over all parameters, traced or not (the combinatorial
    term of Xue et al. 2021, Eq. 10, on a logit). BatchNorm's statistics are taken as they are.

    Args:
        c: from `contributions`, with every neuron (active=False).
        shares: [K], p_k = n_k / N of the round.
        noisy: theta_G is the clients' average and noise that it has without k, too: theta_k is compared with the
            average.
    """
    p, moved = shares.to(c.delta), c.delta.sum(2)
    if noisy:
        moved = moved - (moved @ p)[:, None]
    return -p / (1 - p) * moved
