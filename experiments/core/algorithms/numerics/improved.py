"""FedImpro's local training in many worlds side by side."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.core.algorithms._feature_statistics import Rules, noise, normal
from experiments.core.engine.algorithm import Batch, Finished, Local, Turn
from experiments.core.engine.formulations import Formulation, Sampled


class Improved(Local):
    """A client's part: statistics of its own features, [B, classes, D], and steps on the joint loss.

    Args:
        rules: of the algorithm. turn: the round. server: [B, 2 classes D], the statistics that were sent to the client.
    """

    def __init__(self, rules: Rules, turn: Turn, server: Tensor) -> None:
        self._rules, self._turn, self._setup = rules, turn, turn.setup
        self._shape = turn.setup.features(rules.split)
        shared = server.view(len(server), 2, turn.setup.classes, prod(self._shape))
        self._shared, self._own, self._client = shared, shared.clone(), 0

    def step(self, formulation: Formulation, theta: Tensor, batch: Batch) -> Tensor:
        """The gradient [B, p] of the joint loss (Eq. 5); the features that were seen move the statistics (Eq. 6)."""
        self._client = batch.client
        gradient, features = formulation.joint(
            theta, batch.x, batch.y, batch.weight, self._rules.split, self._sampled(batch)
        )
        y = batch.y if batch.y.dim() == 1 else batch.y.argmax(1)
        self._move(*moments(features.flatten(2), y, batch.weight, self._setup.classes))
        return self.gradient(gradient, theta)

    def finish(self, theta: Tensor, steps: int) -> Finished:
        """The model and the statistics, with noise (Eq. 7)."""
        sent = self._own.flatten(1)
        if self._rules.noise:
            sent = sent + self._rules.noise * noise(self._setup, self._client, self._turn, sent)
        return Finished(torch.cat([theta, sent], 1))

    def _sampled(self, batch: Batch) -> Sampled | None:
        """The features that go through the upper layers with this batch; None where they count nothing."""
        y = batch.y if batch.y.dim() == 1 else batch.y.argmax(1)
        labels = self._rules.drawn_labels(y, self._setup.classes)
        shares = self._rules.shares(self._turn, batch.epoch, len(y), len(labels))
        if not shares[1]:
            return None
        mean, spread = (self._own if self._rules.source == "local" else self._shared).unbind(1)
        drawn = normal(self._setup, batch, self._turn, len(labels), mean[0])
        features = mean[:, labels].addcmul_(self._rules.deviation(spread)[:, labels], drawn)
        weight = batch.weight if self._rules.labels == "batch" else None
        targets = labels if batch.y.dim() == 1 else F.one_hot(labels, batch.y.shape[1]).to(batch.y)
        return Sampled(features.unflatten(2, self._shape), targets, weight, shares)

    def _move(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Eq. 6, of the classes that the batch has (of the spreads: those it has two of)."""
        rules, kept = self._rules, self._rules.kept(mean.shape[2])
        own_mean, own_spread = self._own.unbind(1)
        spread = variance if rules.spread == "variance" else variance.sqrt()
        own_mean.copy_(torch.where(count[..., None] > 0, own_mean.lerp(mean, 1 - kept), own_mean))
        moved = torch.where(count[..., None] > 1, own_spread.lerp(spread, 1 - kept), own_spread)
        own_spread.copy_(rules.capped(moved))


def moments(features: Tensor, y: Tensor, weight: Tensor | None, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Statistics by class of features [B, n, D] with labels y [n], of the samples whose `weight` [B, n] is not 0.

    Returns:
        How many there are, [B, classes]; means and unbiased variances [B, classes, D], in two passes (0 where a class
        has none or, of variances, one).
    """
    member = F.one_hot(y, classes).T.to(features).expand(len(features), classes, len(y))
    if weight is not None:
        member = member * (weight != 0)[:, None]
    count = member.sum(2)
    mean = (member @ features) / count.clamp(min=1)[..., None]
    squares = member @ mean[:, y].sub_(features).square_()  # in place: these are as large as the batch's features
    return count, mean, squares / (count - 1).clamp(min=1)[..., None]
