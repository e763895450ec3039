"""FedDebug: faulty clients found by differential testing of their neurons on random inputs (Gill et al. 2023).

A neuron is active in a client when its output, after ReLU and scaled to [0, 1] within its layer, exceeds a threshold.
Over the subsets of clients that leave one out, the one whose members share most active neurons is taken to be benign,
and the client it leaves out is declared faulty. No label and no training data are needed, images are assumed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from experiments.core.engine.device import free_bytes
from experiments.core.engine.net import Net
from experiments.core.engine.seeds import stream
from experiments.core.errors import NumericalError, SpecError
from experiments.core.estimators.numerics._logits import logits, template


def random_inputs(shape: tuple[int, ...], count: int, seed: int) -> Tensor:
    """Random inputs [count, *shape]: each a tensor of `shape` filled as by kaiming_uniform_ (He et al. 2015).

    Uniform in (-a, a) with a = sqrt(6 / fan_in), where fan_in of an image [C, H, W] is H W as PyTorch counts it. The
    caller applies the data's normalisation, as the published code does for MNIST and CIFAR-10.

    Raises:
        SpecError: an input has fewer than two dimensions: no fan-in.
    """
    if len(shape) < 2:
        raise SpecError(f"FedDebug draws images, not inputs of shape {tuple(shape)}", "feddebug", "use an image task")
    bound = (6.0 / torch.Size(shape[1:]).numel()) ** 0.5
    drawn = [stream(seed, "feddebug", index=i).uniform(-bound, bound, shape) for i in range(count)]
    return torch.stack([torch.from_numpy(d).float() for d in drawn])


def activations(net: Net, theta: Tensor, inputs: Tensor) -> Tensor:
    """Outputs of every Conv2d and Linear, after ReLU, each layer's scaled to [0, 1] within each input: [n, neurons].

    A layer that is constant over its neurons after ReLU is zero throughout. Layers stand in the order of their calls.

    Args:
        net: the model; it runs in evaluation mode with the statistics in `theta`.
        theta: [size] one client's state.
        inputs: [n, ...].
    """
    module = template(net)
    seen: list[Tensor] = []

    def keep(layer: nn.Module, inputs_of_layer: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(output.detach().relu().flatten(1))

    layers = [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    handles = [part.register_forward_hook(keep) for part in layers]
    try:
        with torch.no_grad():
            logits(net, module, theta, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat([_scaled(values) for values in seen], 1)


def _scaled(values: Tensor) -> Tensor:
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    return (values - low) / torch.where(high > low, high - low, torch.ones_like(high))


def feddebug(
    net: Net, locals: Tensor, inputs: Tensor, faulty: int = 1, threshold: float = 0.003
) -> list[tuple[int, ...]]:
    """The clients declared faulty on each input, in the order in which they are declared.

    Args:
        net: the model.
        locals: [K, size], the clients' states.
        inputs: [n, ...], see `random_inputs`.
        faulty: how many are faulty: each is sought among the clients not yet declared.
        threshold: a scaled activation above it counts as active.

    Raises:
        SpecError: fewer than two clients would be left to compare.
        NumericalError: a client's activations are not finite.
    """
    if not 1 <= faulty <= len(locals) - 1:
        raise SpecError(
            f"{faulty} faulty of {len(locals)} clients leave nobody to compare with", "feddebug", "ask for fewer"
        )
    return [consensus(active, faulty) for part in _profiles(net, locals, inputs, threshold) for active in part]


def _profiles(net: Net, locals: Tensor, inputs: Tensor, threshold: float) -> Iterator[Tensor]:
    """Which neurons are active, [chunk, K, neurons] bool, as many inputs at a time as memory allows."""
    neurons = activations(net, locals[0], inputs[:1]).shape[1]
    # One client's activations as numbers (twice: as they come, and scaled), and all clients' as bits of a byte each.
    size = max(1, free_bytes(inputs.device) // 4 // (neurons * (len(locals) + 12)))
    for chunk in inputs.split(size):
        active = torch.empty(len(chunk), len(locals), neurons, dtype=torch.bool, device=inputs.device)
        for k, theta in enumerate(locals):
            values = activations(net, theta, chunk)
            if not bool(values.isfinite().all()):
                raise NumericalError(
                    f"activations of client number {k} hold NaN or infinity", "feddebug", "leave it out"
                )
            active[:, k] = values > threshold
        yield active


def consensus(active: Tensor, faulty: int) -> tuple[int, ...]:
    """The differential test on one input: active [K, neurons] bool -> `faulty` clients.

    All but client i of the m that remain share the neurons active in all m, the same number for every i, and those
    active in m - 1 of them where i is the one that differs. So the client declared is the one that alone misses most
    neurons. The last of equal ones is declared: that is the subset which comes first in lexicographic order.
    """
    left = list(range(len(active)))
    declared: list[int] = []
    for _ in range(faulty):
        remaining = active[left]
        alone = remaining.sum(0) == len(left) - 1
        missed = (alone & ~remaining).sum(1).tolist()
        worst = max(range(len(left)), key=lambda i: (missed[i], i))
        declared.append(left.pop(worst))
    return tuple(declared)
