"""Loss and accuracy of many models on one test set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.engine.device import Workers, free_bytes, halving
from experiments.core.engine.draws import step_seed
from experiments.core.engine.formulations import Formulation


@dataclass(frozen=True)
class Evaluation:
    """Mean loss [B] (float64), and the share of right predictions [B] in [0, 1]; NaN where numbers are predicted."""

    loss: Tensor
    accuracy: Tensor


_BLOCK = 1 << 19  # outputs held at a time on a CPU: what its cache takes
_MOST_SAMPLES, _FEW_SAMPLES = 4096, 256
_IDS = 1 << 12  # token ids of a block on a CPU: of a small transformer, the cache takes no more (measured: 2.5 times)


def evaluate(formulation: Formulation, theta: Tensor, x: Tensor, y: Tensor, workers: Workers) -> Evaluation:
    """Evaluate the models `theta` [B, size] on x [n, ...], y [n], in blocks of models and of samples.

    A model that draws in evaluation mode, too (`Net.restless`), draws the same for every state at every call.
    Under the squared loss `y` [n, C] are one-hot labels, and a prediction is right where the largest output is theirs;
    or numbers [n, 1], of which none is right or wrong.
    """
    shape = tuple(x.shape[1:])
    scratch = formulation.scratch(min(len(y), _MOST_SAMPLES), shape)
    room = max(1, free_bytes(theta.device) // workers.threads // scratch)
    size = min(room, max(1, -(-len(theta) // workers.threads)))
    blocks = [theta[a : a + size] for a in range(0, len(theta), size)]

    def work(block: Tensor) -> Tensor:
        return halving(lambda rows: _sums(formulation, block[rows], x, y), slice(0, len(block)))

    sums = torch.cat(list(workers.map(work, blocks))) / len(y)
    return Evaluation(sums[:, 0], sums[:, 1])


def _sums(formulation: Formulation, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """[B, 2] summed loss and number of right predictions."""
    samples = _samples(formulation, theta, x)
    total = torch.zeros(len(theta), 2, dtype=torch.float64, device=theta.device)
    for a in range(0, len(y), samples):
        seeded = formulation.at(step_seed(0, first=a)) if formulation.net.restless else formulation
        outputs, target = seeded.outputs(theta, x[a : a + samples]), y[a : a + samples]
        if formulation.net.loss == "squared":
            total[:, 0] += formulation.net.losses(outputs, target).sum(-1, dtype=torch.float64)
            right = (outputs.argmax(-1) == target.argmax(-1)).sum(-1)
            total[:, 1] += right if outputs.shape[-1] > 1 else torch.nan
        else:
            losses, right = _cross_entropy(outputs, target)
            total[:, 0] += losses.sum(-1, dtype=torch.float64)
            total[:, 1] += right.sum(-1)
    return total


def _samples(formulation: Formulation, theta: Tensor, x: Tensor) -> int:
    """Samples of a block: for a model that draws the same whatever the stack, since its draws depend on the block."""
    if formulation.net.restless:
        return _FEW_SAMPLES
    width = formulation.outputs(theta[:1], x[:1]).shape[-1]
    fitting = max(128, _BLOCK // (len(theta) * width)) if x.device.type == "cpu" else _MOST_SAMPLES
    samples = min(_MOST_SAMPLES, fitting)
    if x.device.type == "cpu" and not x.is_floating_point():
        samples = min(samples, max(1, _IDS // x[0].numel()))
    return samples


def _cross_entropy(outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Losses and right predictions, [B, n] each, of outputs [B, n, C] and labels y [n].

    Classes go first: with few of them, log_softmax and argmax over an inner dimension of five cost ten times as much.
    The first of equal outputs is the prediction, as for argmax (a saturated sigmoid does tie).
    """
    by_class = outputs.movedim(-1, 0).contiguous()
    top = by_class.amax(0)
    of_label = by_class.gather(0, y.expand(1, *top.shape))[0]
    losses = (by_class - top).exp_().sum(0).log_().add_(top).sub_(of_label)
    right = of_label == top
    tied = right & ((by_class == top).sum(0) > 1)
    if bool(tied.any()):
        right[tied] = outputs[tied].argmax(-1) == y.expand(top.shape)[tied]
    return losses, right


def sample_losses(formulation: Formulation, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Loss of each model on each sample: theta [B, size] -> [B, n]."""
    return formulation.net.losses(formulation.outputs(theta, x), y)
