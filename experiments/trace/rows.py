"""The results of a cell as rows of metrics.csv."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.core.scores.localization import chance, localized, rank
from experiments.core.scores.rows import agreement
from experiments.core.study.rows import Rows


@dataclass(frozen=True)
class Scope:
    """Predictions of one kind that were traced in round t, and the participants that may be named.

    Attributes:
        name: "correct" or "wrong". t: the round.
        right: [n, K] whether participant k may be named for input i.
        most: [n] the participant with most training samples of the input's label, or None where it is not needed.
        fall: [n, K] how far the predicted logit falls without participant k, or None.
    """

    name: str
    t: int
    right: Tensor
    most: Tensor | None
    fall: Tensor | None


def of_chance(rows: Rows, scope: Scope) -> None:
    """Accuracy of naming a participant at random."""
    value = 100 * float(chance(scope.right).mean())
    rows.add("chance", "chance", value, "%", t=scope.t, n=len(scope.right), scope=scope.name)


def of_truth(rows: Rows, scope: Scope) -> None:
    """Whether the truth itself names the right participants: the score of a method that predicts it without error."""
    if scope.fall is not None:
        _of_right(rows, "leave_one_out", scope.fall, scope)


def of_scores(rows: Rows, method: str, scores: Tensor, scope: Scope) -> None:
    """Whether `scores` [n, K] name the right participants, how they rank the one with most samples, and the truth."""
    _of_right(rows, method, scores, scope)
    if scope.fall is None:
        return
    hit = _percent(localized(scores, _only(scope.fall.argmax(1), scores)))
    rows.add(method, "hit_truth", hit, "%", t=scope.t, n=len(scores), scope=scope.name)
    pairs = list(zip(scores.double().cpu().numpy(), scope.fall.double().cpu().numpy(), strict=True))
    defined: dict[str, list[float]] = {}
    for estimate, truth in pairs:  # an input all of whose participants score the same has no correlation
        for metric, value, _ in agreement(estimate, truth, "{}_truth"):
            defined.setdefault(metric, []).extend([value] if np.isfinite(value) else [])
    for metric, values in defined.items():
        if values:
            rows.add(method, metric, float(np.mean(values)), t=scope.t, n=len(values), scope=scope.name)


def _of_right(rows: Rows, method: str, scores: Tensor, scope: Scope) -> None:
    def add(metric: str, value: float, unit: str) -> None:
        rows.add(method, metric, value, unit, t=scope.t, n=len(scores), scope=scope.name)

    add("localization", _percent(localized(scores, scope.right)), "%")
    if scope.most is not None:
        add("rank_most", float(rank(scores, scope.most).mean()), "rank")
        add("hit_most", _percent(localized(scores, _only(scope.most, scores))), "%")


def _only(client: Tensor, like: Tensor) -> Tensor:
    """[n, K] true at `client` [n]."""
    return torch.arange(like.shape[1], device=client.device) == client[:, None]


def _percent(right: Tensor) -> float:
    return 100 * float(right.double().mean())
