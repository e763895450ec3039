"""Models whose loss is a fixed function of each sample: normalisation on its running statistics, no dropout."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from experiments.core.errors import SpecError

if TYPE_CHECKING:
    from torch import nn


def freeze_normalisation(module: nn.Module) -> nn.Module:
    """A copy that computes in training mode what it computes in evaluation mode.

    BatchNorm always uses its running statistics and never moves them; dropout and stochastic depth are off. Scale and
    shift of BatchNorm stay parameters, and all names and shapes of the state are those of `module`: a state of the one
    fits the other. So each sample's loss depends on that sample alone and is the same at every call, which gradients,
    Hessians and retraining need (Basu et al. 2021 do not say what they did). Running statistics that were never moved
    are 0 and 1: freeze a model that has been trained, or one that is to train without normalisation.

    Raises:
        SpecError: a BatchNorm layer keeps no running statistics.
    """
    from torch import nn
    from torchvision.ops import StochasticDepth

    frozen = copy.deepcopy(module)
    for name, part in frozen.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            raise SpecError(
                f"the normalisation {name or 'of the model'} keeps no running statistics",
                "model",
                "build it with track_running_stats=True, or choose a model without batch normalisation",
            )
        if isinstance(part, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, StochasticDepth)):
            part.register_forward_pre_hook(_evaluating)
            part.eval()
    return frozen


def _evaluating(part: nn.Module, _: Any) -> None:
    """Leave training mode, which train() of the whole model may have set, just before the layer computes."""
    part.training = False
