"""What a model gets that looks at no input: the commonest class, the frequencies of the classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.engine.federation import Federation
from experiments.core.engine.net import Net


@dataclass(frozen=True)
class Baseline:
    """The best that can be said of the test set without looking at its inputs, knowing the training labels.

    Attributes:
        label: the class with most training samples, the first of several.
        accuracy: share of the test samples that are of this class, in [0, 1]; NaN where targets are no classes.
        loss: mean test loss of outputs that are the same for every input: the logarithms of the classes' frequencies
            in training (nats; infinite where the test set holds a class that training lacks), or for the squared loss
            the mean of the training targets.
    """

    label: int
    accuracy: float
    loss: float

    def beats(self, loss: float, accuracy: float) -> list[str]:
        """In what a model of this test loss and accuracy (in [0, 1]) is no better: "accuracy", "loss", both or none."""
        right = accuracy > self.accuracy or math.isnan(self.accuracy)
        return ["accuracy"] * (not right) + ["loss"] * (not loss <= self.loss)


def baseline(net: Net, federation: Federation) -> Baseline:
    """The baseline of a federation under the model's loss; all clients' samples count."""
    y, test_y = federation.y, federation.test_y
    if y.dim() > 1:
        return _of_targets(net, federation)
    share = _shares(y, federation.classes)
    test_share = _shares(test_y, federation.classes)
    classes = torch.arange(federation.classes, device=y.device)
    losses = net.losses(share.log().expand(len(classes), -1), classes)
    label = int(share.argmax())
    # A class that neither part holds has an infinite loss that counts for nothing.
    return Baseline(label, float(test_share[label]), float(torch.where(test_share > 0, test_share * losses, 0.0).sum()))


def _of_targets(net: Net, federation: Federation) -> Baseline:
    """Of real targets: one-hot classes, or numbers to predict."""
    test_y, mean = federation.test_y, federation.y.double().mean(0)
    loss = float(net.losses(mean.expand(len(test_y), -1), test_y.double()).mean())
    if federation.predicts_numbers:
        return Baseline(0, math.nan, loss)
    label = int(mean.argmax())
    return Baseline(label, float((test_y.argmax(1) == label).double().mean()), loss)


def _shares(y: Tensor, classes: int) -> Tensor:
    """[classes] float64 share of each class among labels y [N]."""
    return torch.bincount(y, minlength=classes).double() / len(y)
