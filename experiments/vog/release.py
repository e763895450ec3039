"""Scores as their owner could publish them (section 4.7): how much of the ranking is left at each epsilon.

The paper proposes a variance query for VoG and clipping with Laplace noise for PLIS, both (epsilon, 0); the other
scores are released as PLIS is. `scores.release` derives the sensitivities and says what is protected.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.core.engine.accounting import Spent
from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError
from experiments.core.estimators.sample_score import SampleScore, Trail
from experiments.core.estimators.vog import VogScore
from experiments.core.scores.correlation import spearman
from experiments.core.scores.release import Query, clip_of, clipped, clipped_variance, variance_query
from experiments.core.study.privacy import privacy_rows
from experiments.core.study.removal import ranked
from experiments.core.study.rows import Rows
from experiments.core.sweep.cell import Row
from experiments.vog import truth
from experiments.vog.blocks import ReleaseSpec
from experiments.vog.spec import GRID
from experiments.vog.stored import write_arrays
from experiments.vog.study import Study

FILE = "release.npz"
"""In a cell's folder."""

METHOD = "privacy"
_FEWEST = 3  # pairs of a correlation
_SOME = 1000  # samples whose maps decide on a clip that is not given

_Floats = NDArray[np.float64]


def measure(block: ReleaseSpec, study: Study) -> list[Row]:
    """Rows of every score's release at every epsilon against the score itself, and of what is spent in all.

    `release_spearman` with its interval, and `release_overlap`, how many of the 25 highest stay; `release_clip`, with
    how=public or how=quantile (chosen by looking at the data, which no epsilon accounts for).

    Raises:
        SpecError: a clip for a method that is not computed.
    """
    if other := set(block.clips) - set(study.raw):
        raise SpecError(f"no method {min(other)!r} is computed", "release.clips", f"known: {', '.join(study.raw)}")
    rows, kept = study.rows(), {}
    trail = study.trail()
    for method in study.spec.methods:
        name = method.called
        query, clip, public = query_of(method, trail, study.raw[name], block)
        if query is None:
            study.context.warn(f"{name}: every score is 0, which leaves nothing to release")
            continue
        rows.add(name, "release_clip", clip, n=len(query.values), how="public" if public else "quantile")
        for epsilon in block.epsilons:
            released = query.released(epsilon, study.seed, name)
            kept[f"{name}_{epsilon:g}"] = released.numpy().astype(np.float32)
            _compared(rows, name, study, released, epsilon)
            _against_truth(rows, name, study, released, epsilon)
    for epsilon in block.epsilons:
        _spent(rows, study, epsilon)
    write_arrays(study.context, FILE, kept)
    return rows.rows


def query_of(method: SampleScore, trail: Trail, scores: Tensor, block: ReleaseSpec) -> tuple[Query | None, float, bool]:
    """What a method asks of each sample; the clip; whether that is public. No query where all scores are 0.

    Args:
        trail: the checkpoints that `method` read. scores: [n] what it made of them.
    """
    public = block.clips.get(method.called)
    if not isinstance(method, VogScore):
        clip, fixed = clip_of(scores, public, block.quantile)
        return (clipped(scores, clip) if clip else None), clip, fixed
    states = trail.states[-method.reads(len(trail)) :]
    few = torch.from_numpy(stream(0, "release clip").permutation(len(trail.y))[:_SOME].copy())
    clip, fixed = clip_of(_maps(method, trail, states, few), public, block.quantile)
    if not clip:
        return None, clip, fixed
    parts = [torch.arange(rows.start, rows.stop) for rows in trail.parts()]
    variances = torch.cat([clipped_variance(_maps(method, trail, states, part), clip).cpu() for part in parts])
    return variance_query(variances, clip, len(states)), clip, fixed


def _maps(method: VogScore, trail: Trail, states: Tensor, rows: Tensor) -> Tensor:
    """S_t of the samples `rows` at each of the states: [K, m, ...]."""
    from experiments.core.estimators.numerics.vog import maps

    x, y = trail.x[rows].to(states.device), trail.y[rows].to(states.device)
    return torch.stack([maps(trail.net, theta, x, y, method.target) for theta in states])


def _compared(rows: Rows, name: str, study: Study, released: Tensor, epsilon: float) -> None:
    """Both scaled within classes, as scores are everywhere; samples of a class without a scale do not count."""
    plain, private = study.scaled(study.raw[name]), study.scaled(released)
    both = np.isfinite(plain) & np.isfinite(private)
    if both.sum() < _FEWEST:
        return
    found = spearman(plain[both], private[both])
    for suffix, value in (("", found.value), ("_low", found.low), ("_high", found.high)):
        rows.add(name, f"release_spearman{suffix}", value, n=found.n, release=f"{epsilon:g}")
    highest = [set(ranked(values[both], largest=True)[:GRID]) for values in (plain, private)]
    rows.add(name, "release_overlap", len(highest[0] & highest[1]), n=int(both.sum()), release=f"{epsilon:g}")


def _against_truth(rows: Rows, name: str, study: Study, released: Tensor, epsilon: float) -> None:
    """Released scores against what leaving samples out does, where `truth` has been measured (its rows, `release`)."""
    if study.spec.truth is None:
        return
    private = study.scaled(released)
    with np.load(study.context.folder / truth.FILE) as arrays:
        for k, kind in enumerate(truth.left_out(study.spec.truth, len(private))):
            x, y = kind.of(private), arrays[f"truth_{k}"]
            truth.correlations(rows, name, "truth", x, y, kind, release=f"{epsilon:g}")


def _spent(rows: Rows, study: Study, epsilon: float) -> None:
    """What a sample spends in all: in training, and by one released score, by basic composition.

    No row where training is not private: then nothing is guaranteed, whatever the release spends.
    """
    told = {row["metric"]: float(row["value"]) for row in privacy_rows(study.spec, study.problem)}
    if "epsilon" not in told or study.spec.privacy is None:
        return
    total = Spent(told["epsilon"], study.spec.privacy.delta) + Spent(epsilon)
    rows.add(METHOD, "release_epsilon", total.epsilon, release=f"{epsilon:g}")
    rows.add(METHOD, "release_delta", total.delta, release=f"{epsilon:g}")
