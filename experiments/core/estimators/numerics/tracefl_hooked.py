"""TraceFL as the paper describes it (Gill et al. 2025, Algorithm 1): slow, literal, the twin of `tracefl`.

Forward hooks keep what goes into every traced layer of the global model and how the gradient of the logit comes back;
then every client's layer is called on every kept input, and its output meets that gradient. Three loops, over clients,
layers and inputs, and no use of the identity that `tracefl` rests on. Everything is keyed by the name of the module:
the published code pairs layers with gradients by the order in which hooks fire, which branches would confuse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from experiments.core.engine.calls import taken
from experiments.core.engine.net import Net, clone
from experiments.core.estimators.numerics._calls import THROUGH, is_activation
from experiments.core.estimators.numerics.tracefl import Layer, traced_layers

_Named = dict[str, Tensor]


@dataclass
class _Call:
    """One call of a layer: its input, its output, the gradient in that, and the activation that follows, if any."""

    below: Tensor
    output: Tensor
    gradient: Tensor | None = None
    activation: Tensor | None = None


@dataclass
class _Hooked:
    """A copy of the model whose traced layers keep every call of one forward pass, by the layer's name."""

    module: nn.Module
    layers: tuple[Layer, ...]
    calls: dict[str, list[_Call]] = field(default_factory=dict)
    chain: list[tuple[Tensor, _Call]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for layer in self.layers:
            self.module.get_submodule(layer.name).register_forward_hook(self._keep(layer.name), with_kwargs=True)
        for part in self.module.modules():
            if is_activation(part):
                part.register_forward_hook(self._activation, with_kwargs=True)
            elif isinstance(part, THROUGH):
                part.register_forward_hook(self._between, with_kwargs=True)

    def _keep(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], _Named, Tensor], Tensor]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], named: _Named, output: Tensor) -> Tensor:
            if not output.requires_grad:
                return output
            call = _Call(taken(inputs, named).detach().clone(), output.detach().clone())
            self.calls.setdefault(name, []).append(call)
            output.register_hook(lambda g: setattr(call, "gradient", g.detach().clone()))
            # Later changes in place meet a copy, so that the gradient recorded is that of the layer's own output.
            handed = output.clone()
            self.chain.append((handed, call))
            return handed

        return hook

    def _of(self, tensor: Tensor) -> _Call | None:
        return next((call for seen, call in reversed(self.chain) if seen is tensor), None)

    def _between(self, part: nn.Module, inputs: tuple[Tensor, ...], named: _Named, output: Tensor) -> None:
        call = self._of(taken(inputs, named))
        if call is not None:
            self.chain.append((output, call))

    def _activation(self, part: nn.Module, inputs: tuple[Tensor, ...], named: _Named, output: Tensor) -> None:
        call = self._of(taken(inputs, named))
        if call is not None and call.activation is None:
            call.activation = output.detach().clone()


def hooked(
    net: Net,
    theta: Tensor,
    locals: Tensor,
    x: Tensor,
    *,
    target: Tensor | None = None,
    active: bool = False,
    decay: float = 0.9,
    shares: Tensor | None = None,
    bias: str = "all",
) -> Tensor:
    """T_k of Eq. 6 for every input and client, before normalisation: [n, K] float64.

    Arguments as for `tracefl.contributions` and `tracefl.provenance`. A tensor that a traced layer shares with a module
    of another kind (tied embeddings) counts here for the traced layer only, and one that is used without calling its
    layer (the projections of nn.MultiheadAttention) not at all.
    """
    if net.frozen:
        net, theta, locals = net.thawed, net.widened(theta), net.widened(locals)
    layers = traced_layers(net.module)
    world = _Hooked(_model(net, theta), layers)
    flow = [_flow(world, x[i : i + 1], None if target is None else int(target[i])) for i in range(len(x))]
    scores = torch.zeros(len(x), len(locals), dtype=torch.float64)
    for k in range(len(locals)):
        client = _client(net, locals, k, shares, layers, bias)
        for position, layer in enumerate(layers):
            part, beta = client.get_submodule(layer.name), decay ** (len(layers) - 1 - position)
            for i, calls in enumerate(flow):
                for call in calls.get(layer.name, []):
                    scores[i, k] += beta * _reached(part, call, active)
    return scores


def _reached(layer: nn.Module, call: _Call, active: bool) -> float:
    """Eq. 5 summed over the neurons of one layer: the client's output, weighed by the gradient."""
    if call.gradient is None:
        return 0.0
    terms = layer(call.below) * call.gradient
    if active:
        terms = terms * ((call.output if call.activation is None else call.activation) > 0)
    return float(terms.sum())


def _flow(world: _Hooked, x: Tensor, target: int | None) -> dict[str, list[_Call]]:
    """One forward and one backward pass of the global model for one input [1, ...]."""
    world.calls, world.chain = {}, []
    with torch.enable_grad():
        logits = world.module(x)[0]
        logits[int(logits.argmax()) if target is None else target].backward()
    return world.calls


def _model(net: Net, state: Tensor) -> nn.Module:
    """A separate module with this flat state, in evaluation mode."""
    module = clone(net.module).eval().requires_grad_(True)
    for name, value in net.views(state).items():
        parent, _, last = name.rpartition(".")
        getattr(module.get_submodule(parent), last).data = value.detach().clone()
    for part in module.modules():
        if hasattr(part, "inplace"):
            part.inplace = False  # type: ignore[assignment]
    return module


@torch.no_grad()
def _client(net: Net, locals: Tensor, k: int, shares: Tensor | None, layers: tuple[Layer, ...], bias: str) -> nn.Module:
    """Client k's model; with `shares` all its parameters times p_k; its biases whole, zero or centred."""
    module = _model(net, locals[k]).requires_grad_(False)
    parameters, others = dict(module.named_parameters()), net.views(locals)
    for layer in layers:
        for name in layer.tensors:
            if bias != "all" and name.endswith("bias"):
                parameters[name].sub_(parameters[name].clone() if bias == "none" else others[name].mean(0))
    if shares is not None:
        for tensor in parameters.values():
            tensor.mul_(float(shares[k]))
    return module
