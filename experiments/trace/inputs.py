"""Which predictions of a round are traced, and which participants would be right (section 1.2 of the artefact)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from experiments.trace.spec import FaultSpec


def correct(predicted: Tensor, y: Tensor, label_counts: Tensor, per_label: int) -> list[int]:
    """Test samples: for each label that a participant holds, the first `per_label` that are predicted right.

    Args:
        predicted, y: [n] predicted and true labels.
        label_counts: [K, classes] training samples of the participants.
        per_label: a label with fewer right predictions is left out.
    """
    samples: list[int] = []
    for label in label_counts.sum(0).nonzero()[:, 0].tolist():
        rows = ((predicted == y) & (y == label)).nonzero()[:per_label, 0].tolist()
        samples += rows if len(rows) == per_label else []
    return samples


def wrong(predicted: Tensor, y: Tensor, faults: FaultSpec, most: int) -> list[int]:
    """Test samples: the first `most` whose label the faults flip and that are predicted as the flipped label.

    Args:
        predicted, y: [n] predicted and true labels.
    """
    turned = y != faults.to
    if faults.labels is not None:
        turned &= torch.isin(y, torch.tensor(faults.labels, device=y.device))
    return (turned & (predicted == faults.to)).nonzero()[:most, 0].tolist()


def holders(labels: Tensor, label_counts: Tensor) -> Tensor:
    """[n, K] whether participant k holds training samples of label i: labels [n], label_counts [K, classes]."""
    return label_counts.T[labels] > 0


def guilty(participants: Sequence[int], faulty: Collection[int], n: int) -> Tensor:
    """[n, K] whether participant k is faulty, the same for each of n inputs."""
    return torch.tensor([k in faulty for k in participants]).expand(n, -1)
