"""Clients whose data are worth less than they look: wrong labels, copies."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from experiments.core.data.faults import duplicated, wrong_labels
from experiments.core.engine.packed import Packed, packed
from experiments.core.engine.problem import Problem
from experiments.core.errors import SpecError
from experiments.vog.blocks import RewardsSpec

NOISY, DUPLICATED = "noisy", "duplicated"
"""What can be wrong with a client, as rows call it."""


FEWEST = 3
"""Clients that can be ranked."""


def check(problem: Problem) -> None:
    """Refuse data of too few clients.

    Raises:
        SpecError: they are too few to rank.
    """
    clients = len(problem.federation.sizes)
    if clients < FEWEST:
        todo = f"deal the data to at least {FEWEST} (partition), or set rewards=null"
        raise SpecError(f"{clients} clients are too few to rank", "rewards", todo)


def faults_of(block: RewardsSpec, problem: Problem) -> dict[int, str]:
    """Number of each faulty client -> what is wrong with it.

    Raises:
        SpecError: an unknown client.
    """
    named = {NOISY: block.noisy, DUPLICATED: block.duplicated}
    return {
        problem.federation.positions([fault.client], f"rewards.{word}.client")[0]: word
        for word, fault in named.items()
        if fault is not None
    }


def spoilt(block: RewardsSpec, problem: Problem) -> tuple[Problem, Tensor]:
    """The problem with the faults that `block` names, and whose label is wrong by that, [n] bool on the CPU.

    Which samples is the same for every seed, as the data are.

    Raises:
        SpecError: an unknown client.
    """
    data = problem.federation
    flipped = torch.zeros(len(data.y), dtype=torch.bool)
    for client, word in faults_of(block, problem).items():
        if word == NOISY and block.noisy is not None:
            data, flipped = wrong_labels(data, block.noisy.share, client)
        elif block.duplicated is not None:
            data = duplicated(data, block.duplicated.share, client)
    data = packed(data) if isinstance(problem.federation.x, Packed) else data
    return replace(problem, federation=data), flipped
