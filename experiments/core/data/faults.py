"""Faults injected into a federation, to test whether they are detected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.core.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.federation import Federation


def flip_labels(
    federation: Federation, clients: Sequence[int], to: int, labels: Sequence[int] | None = None
) -> Federation:
    """The federation in which `clients` train on wrong labels (Gill et al. 2025, section V-B and their code).

    Args:
        federation: the federation without faults; it is not changed, and its test set is shared.
        clients: numbers of the faulty clients, 0..K-1.
        to: the label that the flipped ones become.
        labels: which labels are flipped; None means every label.

    Raises:
        SpecError: an unknown client or label, or labels that are not whole numbers.
    """
    import torch

    if federation.y.is_floating_point():
        raise SpecError("labels can be flipped only where they are classes", "faults", "use loss: cross_entropy")
    _check("client", clients, len(federation.sizes))
    _check("label", [to, *(labels or ())], federation.classes)
    y = federation.y.clone()
    for client in set(clients):
        client_labels = y[federation.offsets[client] : federation.offsets[client + 1]]
        if labels is None:
            client_labels.fill_(to)
        else:
            flipped = torch.tensor(list(labels), dtype=y.dtype, device=y.device)
            client_labels[torch.isin(client_labels, flipped)] = to
    return replace(federation, y=y)


def wrong_labels(federation: Federation, share: float, client: int | None = None) -> tuple[Federation, Tensor]:
    """The federation in which a share of the training samples has a wrong label, and which these are: [N] bool.

    Which samples, and which of the other labels each gets, is the same for every seed of a run, as the data are; a
    larger share holds the samples of a smaller one, with the same labels. The test set is shared.

    Args:
        federation: it is not changed. share: of all samples, or of those of the client of that number.

    Raises:
        SpecError: labels that are not whole numbers, or only one class.
    """
    import torch

    from experiments.core.engine.seeds import stream

    y = federation.y.clone()
    if y.is_floating_point() or federation.classes < 2:
        raise SpecError("labels can be wrong only where they are classes", "planted", "set it to 0")
    whose = {} if client is None else {"client": client}
    first, n = (0, len(y)) if client is None else (federation.offsets[client], federation.sizes[client])
    draw = stream(0, "planted", **whose)
    rows = torch.from_numpy(draw.permutation(n)[: round(share * n)].copy())
    shift = torch.from_numpy(draw.integers(1, federation.classes, n))[rows]
    flipped = torch.zeros(len(y), dtype=torch.bool)
    flipped[first + rows] = True
    rows = (first + rows).to(y.device)
    y[rows] = (y[rows] + shift.to(y)) % federation.classes
    return replace(federation, y=y), flipped


def duplicated(federation: Federation, share: float, client: int) -> Federation:
    """The federation in which a share of one client's training samples are copies of its others.

    The client looks as large as before and holds less. Which samples, and copies of which, is the same for every seed
    of a run, as the data are. The test set is shared.

    Args:
        federation: it is not changed. share: of the client's samples, in (0, 1). client: its number.
    """
    import torch

    from experiments.core.engine.seeds import stream

    offset, n = federation.offsets[client], federation.sizes[client]
    count = min(n - 1, round(share * n))
    draw = stream(0, "duplicated", client=client)
    order = offset + draw.permutation(n)
    taken = torch.arange(len(federation.y))
    taken[torch.from_numpy(order[:count])] = torch.from_numpy(draw.choice(order[count:], count))
    taken = taken.to(federation.y.device)
    return replace(federation, x=federation.x[taken], y=federation.y[taken])


def _check(noun: str, numbers: Sequence[int], count: int) -> None:
    """Raise SpecError unless all numbers are below `count`."""
    unknown = sorted({number for number in numbers if not 0 <= number < count})
    if unknown:
        raise SpecError(
            f"no {noun} {', '.join(map(str, unknown))}", "faults", f"{noun}s are numbered 0 to {count - 1} here"
        )
