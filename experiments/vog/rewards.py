"""What is each client worth? Each scores its own data and tells one private number; training without it answers.

Every client computes the scores of its own samples on the global model's checkpoints, scales them by ranges that the
server has published, and releases their mean with Laplace noise (section 4.7). The server sees these numbers only.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.core.engine.federation import Federation
from experiments.core.engine.seeds import stream
from experiments.core.estimators.sample_score import Trail
from experiments.core.scores.correlation import spearman
from experiments.core.scores.ranges import Ranges
from experiments.core.scores.release import clipped
from experiments.core.study.rows import Rows
from experiments.core.sweep.cell import Row
from experiments.vog.blocks import RewardsSpec
from experiments.vog.client_truth import Worth, worth
from experiments.vog.diary import METHOD
from experiments.vog.faulty import faults_of
from experiments.vog.study import Study

EXACT = "exact"
"""Release without noise, which the server does not get to see."""

_Floats = NDArray[np.float64]


def measure(block: RewardsSpec, study: Study) -> list[Row]:
    """Rows `reward` of every client, score and release, `client_truth`, and how well the ones rank the others.

    Raises:
        SpecError: fewer than three clients.
    """
    found, rows = worth(block, study), study.rows()
    _describe(rows, block, study, found)
    for method, values in found.baselines.items():
        _add(rows, study.problem.federation, method, EXACT, values, found.change)
    for method, own in rewards(block, study).items():
        exact = np.array([part.mean() for part in own])
        _add(rows, study.problem.federation, method, EXACT, exact, found.change)
        for epsilon in block.epsilons:
            private = np.array([told(part, epsilon, study.seed, method, k) for k, part in enumerate(own)])
            _add(rows, study.problem.federation, method, f"{epsilon:g}", private, found.change)
            kept = spearman(exact, private)
            rows.add(method, "reward_kept", kept.value, n=kept.n, release=f"{epsilon:g}")
    return rows.rows


def rewards(block: RewardsSpec, study: Study) -> dict[str, list[_Floats]]:
    """Method -> of each client the scaled scores of its samples [n_k], in [0, 1].

    A method whose scores of the server's samples are all equal has no range, and is left out with a warning.
    """
    trail, labels, offsets = _public(block, study), study.labels.numpy(), study.problem.federation.offsets
    found = {}
    for method, scores in study.scored(trail, "public").items():
        ranges = Ranges.of(scores.numpy(), trail.y.cpu().numpy(), trail.classes)
        if ranges is None:
            study.context.warn(f"rewards: {method} is the same for all {len(scores)} samples of the server; left out")
            continue
        scaled = ranges.scaled(study.raw[method].numpy(), labels)
        found[method] = np.split(scaled, offsets[1:-1])
    return found


def told(scores: _Floats, epsilon: float, seed: int, method: str, client: int) -> float:
    """What a client tells of its scores [n_k] in [0, 1]: their mean, (epsilon, 0) private for each sample."""
    return clipped(torch.from_numpy(scores), 1.0).released_mean(epsilon, seed, method, client)


def _public(block: RewardsSpec, study: Study) -> Trail:
    """The checkpoints with samples of the server's own, from its test set; the same samples for every seed."""
    whole, data = study.trail(), study.problem.federation
    rows = np.sort(stream(0, "public").permutation(len(data.test_y))[: block.public])
    return Trail(whole.net, whole.states, whole.steps, data.test_x[rows], data.test_y[rows], whole.classes)


def _add(rows: Rows, data: Federation, method: str, release: str, values: _Floats, change: _Floats) -> None:
    """Rows of one reward [clients] and of its rank correlation with the change of loss [clients]."""
    for name, size, value in zip(data.clients, data.sizes, values.tolist(), strict=True):
        rows.add(method, "reward", value, n=size, client=name, release=release)
    _correlate(rows, method, "reward", values, change, release=release)


def _correlate(rows: Rows, method: str, name: str, x: _Floats, y: _Floats, **words: str) -> None:
    """`{name}_spearman` with its interval of the clients that both have a number; none of fewer than three."""
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3:
        return
    found = spearman(x[both], y[both])
    for suffix, value in (("", found.value), ("_low", found.low), ("_high", found.high)):
        rows.add(method, f"{name}_spearman{suffix}", value, n=found.n, t=None, **words)


def _describe(rows: Rows, block: RewardsSpec, study: Study, found: Worth) -> None:
    """The truth of every client, its spread beside that of null worlds, its agreement with the next seed's; faults."""
    data = study.problem.federation
    for name, size, value in zip(data.clients, data.sizes, found.change.tolist(), strict=True):
        rows.add(METHOD, "client_truth", value, "nats", n=size, client=name)
    rows.add(METHOD, "client_truth_spread", float(found.change.std()), "nats", n=len(found.change))
    if len(found.null):
        spread = float(np.sqrt(np.mean(found.null**2)))
        rows.add(METHOD, "client_null_spread", spread, "nats", n=len(found.null))
    if found.ceiling is not None:
        _correlate(rows, METHOD, "client_ceiling", found.change, found.ceiling)
    shares = {"noisy": block.noisy, "duplicated": block.duplicated}
    for client, word in faults_of(block, study.problem).items():
        fault = shares[word]
        assert fault is not None
        rows.add("config", "client_fault", fault.share, client=data.clients[client], fault=word)
