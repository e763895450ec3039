"""Conditional Wasserstein distance of each client from all others together (Definition 4.1 of Tang et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from experiments.core.engine.seeds import stream
from experiments.core.scores.transport import Conditional, Moments, conditional, exact, gaussian, of_labels

Client = tuple[Tensor, Tensor]
"""x [n, ...] and y [n]."""

Features = Callable[[Tensor], Tensor]
"""x [n, ...] -> [n, d]: the space in which distances are taken."""

_AT_ONCE = 256  # samples of which features are held
_FEWEST = 5  # samples of a class whose distance is compared with chance: that of one sample is mostly luck


def by_closed_form(clients: list[Client], features: Features, classes: int) -> list[Conditional]:
    """C_d(D_m, D without D_m) of each client m, every class as a normal distribution with independent features.

    Two passes over the data and memory for the moments of two groups of clients, however many there are.
    """
    total = reduce(Moments.joined, (_moments(client, features, classes) for client in clients))

    def of(client: Client) -> Conditional:
        one = _moments(client, features, classes)
        rest = total.without(one)
        distance = gaussian(one.mean, one.deviation, rest.mean, rest.deviation)
        return conditional(distance, one.count, rest.count)

    return [of(client) for client in clients]


def _moments(client: Client, features: Features, classes: int) -> Moments:
    pieces = zip(*(part.split(_AT_ONCE) for part in client), strict=True)
    return reduce(Moments.joined, (Moments.of(features(x), y, classes) for x, y in pieces))


def by_labels(label_counts: Tensor) -> list[float]:
    """How far the label distribution of each client is from the others', in [0, 1]: label_counts [K, classes]."""
    rest = label_counts.sum(0) - label_counts
    return [of_labels(one, others) for one, others in zip(label_counts, rest, strict=True)]


def by_transport(
    clients: list[Client], features: Features, classes: int, most: int, seed: int, t: int
) -> tuple[list[Conditional], list[Conditional]]:
    """C_d(D_m, D without D_m) of each client m by exact transport between samples; and how far it exceeds chance.

    Samples of one distribution are far apart, too, in many dimensions nearly as far as those of different ones. So the
    second list has, in place of the distance of a class, what it exceeds that distance by which as many samples of the
    others in place of the client's have: about 0 for clients that are alike. It is over the classes of which the
    client holds five samples or more, and the others enough for that.

    Args:
        most: samples of a class on each side, drawn by the names of round and class: the same order for all clients.
        seed, t: of the run, and the round.
    """
    labels, owner = torch.cat([y for _, y in clients]), _owners(clients)
    counts = torch.stack([torch.bincount(y, minlength=classes) for _, y in clients]).cpu()
    found, chance = (torch.full((len(clients), classes), math.nan, dtype=torch.float64) for _ in range(2))
    for label in range(classes):
        rows = (labels == label).nonzero()[:, 0].cpu()
        order = rows[torch.from_numpy(stream(seed, "transport", round=t, label=label).permutation(len(rows)))]
        _of_class(clients, features, owner, order, most, found[:, label], chance[:, label])
    rest, comparable = counts.sum(0) - counts, torch.where(chance.isnan(), 0, counts)
    return (
        [conditional(found[m], counts[m], rest[m]) for m in range(len(clients))],
        [conditional(found[m] - chance[m], comparable[m], rest[m]) for m in range(len(clients))],
    )


def _owners(clients: list[Client]) -> Tensor:
    """[N, 2] client of each row of all clients' samples, and its place among the client's."""
    each = [torch.stack([torch.full((len(y),), k), torch.arange(len(y))], 1) for k, (_, y) in enumerate(clients)]
    return torch.cat(each)


def _of_class(
    clients: list[Client], features: Features, owner: Tensor, order: Tensor, most: int, found: Tensor, chance: Tensor
) -> None:
    """Fill in the distances [K] of one class, whose rows of all clients' samples are `order`."""
    who = owner[order, 0]
    picked = {m: (order[who == m][:most], order[who != m]) for m in set(who.tolist())}
    needed = torch.cat([torch.cat([one, rest[: 2 * most]]) for one, rest in picked.values()] or [order]).unique()
    points = _features_of(clients, features, owner[needed])
    for m, (one, rest) in picked.items():
        first, second = rest[:most], rest[most : most + len(one)]
        here, there, like = (points[torch.searchsorted(needed, rows)] for rows in (one, first, second))
        if len(there):
            found[m] = exact(here, there)
        if len(like) == len(one) >= _FEWEST:
            chance[m] = exact(like, there)


def _features_of(clients: list[Client], features: Features, owner: Tensor) -> Tensor:
    """[n, d] on the CPU."""
    pieces = []
    for m in owner[:, 0].unique_consecutive().tolist():
        x, rows = clients[m][0], owner[owner[:, 0] == m, 1]
        pieces += [features(x[part.to(x.device)]).cpu() for part in rows.split(_AT_ONCE)]
    return torch.cat(pieces) if pieces else torch.empty(0, 1)
