"""Are samples of high score difficult? Models that never saw them tell, and wrong labels that we planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.core.engine.evaluate import sample_losses
from experiments.core.engine.problem import Problem
from experiments.core.engine.seeds import stream
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE, without_samples
from experiments.core.errors import SpecError
from experiments.core.scores.correlation import spearman
from experiments.core.scores.detection import auroc
from experiments.core.study.federated import checkpoint, progress_of
from experiments.core.study.rows import Rows
from experiments.core.sweep.cell import Row
from experiments.vog.blocks import DifficultySpec
from experiments.vog.diary import METHOD
from experiments.vog.stored import write_arrays
from experiments.vog.study import Study

FILE = "difficulty.npz"
"""In a cell's folder."""

PLAIN = "plain_"
"""Held-out loss and error of models trained without clipping and noise, the same yardstick for every epsilon."""

_AT_ONCE = 2048  # samples
_FEWEST = 3  # pairs of a correlation

_Floats = NDArray[np.float64]


def measure(block: DifficultySpec, study: Study) -> list[Row]:
    """Rows of every score against held-out loss and error, and of how well it finds the planted labels.

    The held-out models are trained as the scored one is; where that is private, also without clipping and noise
    (`plain_held_out_loss`). The correlations are over samples whose label is right: a planted one is difficult to every
    model that did not see it, so that a tenth of them would decide the coefficient. `noise_auroc` is over all. Both
    with intervals.

    Raises:
        SpecError: more folds than samples.
    """
    fold = folds(block.folds, len(study.labels))
    truths = _held_out(study, study.problem, fold, block.folds, "folds")
    if study.problem.mechanism is not None or study.problem.privacy is not None:
        plain = _plain(study.problem, block)
        truths |= {PLAIN + k: v for k, v in _held_out(study, plain, fold, block.folds, "folds-plain").items()}
    rows, clean = study.rows(), ~study.flipped.numpy()
    for name, raw in study.raw.items():
        scores = study.scaled(raw)
        known = np.isfinite(scores)
        for against, truth in truths.items():
            _correlation(rows, name, scores[known & clean], truth[known & clean], against)
        if not clean.all():
            found = auroc(scores[known], ~clean[known])
            for suffix, value in (("", found.value), ("_low", found.low), ("_high", found.high)):
                rows.add(name, f"noise_auroc{suffix}", value, n=found.n)
    _add_means(rows, truths, clean)
    write_arrays(study.context, FILE, {"fold": fold, **truths})
    return rows.rows


def folds(count: int, n: int) -> NDArray[np.int64]:
    """The part, 0 to count - 1, that each of n samples belongs to, the same for every seed of a run: [n].

    Raises:
        SpecError: more parts than samples.
    """
    if count > n:
        raise SpecError(f"{count} folds of {n} samples", "difficulty.folds", "lower it")
    fold = np.empty(n, dtype=np.int64)
    fold[stream(0, "folds").permutation(n)] = np.arange(n) % count
    return fold


def _plain(problem: Problem, block: DifficultySpec) -> Problem:
    """The same training without clipping and noise, which may need another learning rate."""
    local = problem.local if block.plain_lr is None else replace(problem.local, lr=block.plain_lr)
    return replace(problem, local=local, mechanism=None, privacy=None)


def _held_out(study: Study, problem: Problem, fold: NDArray[np.int64], count: int, name: str) -> dict[str, _Floats]:
    """`held_out_loss` in nats and `held_out_error` (0 or 1) of each sample where its fold was left out: [n] each."""
    parts = [np.flatnonzero(fold == k) for k in range(count)]
    states = simulate(
        problem,
        [BASE, *(without_samples(f"fold:{k}", part.tolist()) for k, part in enumerate(parts))],
        study.start,
        study.formulation,
        threads=study.context.threads,
        checkpoint=checkpoint(study.spec, study.context, name),
        progress=progress_of(study.context, "rounds without a fold" + ", plain" * (problem is not study.problem)),
    )
    loss, error = np.empty(len(fold)), np.empty(len(fold))
    for state, part in zip(states[1:], parts, strict=True):
        loss[part], error[part] = _judged(study, state, torch.from_numpy(part))
    return {"held_out_loss": loss, "held_out_error": error}


def _judged(study: Study, state: Tensor, rows: Tensor) -> tuple[_Floats, _Floats]:
    """Loss and error of the training samples `rows` by a state [size]."""
    data, found = study.problem.federation, []
    for some in rows.split(_AT_ONCE):
        x, y = data.x[some], data.y[some]
        loss = sample_losses(study.formulation, state[None], x, y)[0].double()
        wrong = study.formulation.outputs(state[None], x)[0].argmax(-1) != y
        found.append(torch.stack([loss, wrong.double()]).cpu())
    both = torch.cat(found, 1).numpy()
    return both[0], both[1]


def _correlation(rows: Rows, method: str, scores: _Floats, truth: _Floats, against: str) -> None:
    """`difficulty_spearman` with the interval of Bonett and Wright (2000), which needs no resampling of so many."""
    if len(scores) < _FEWEST:
        return
    found = spearman(scores, truth)
    for suffix, value in (("", found.value), ("_low", found.low), ("_high", found.high)):
        rows.add(method, f"difficulty_spearman{suffix}", value, n=found.n, against=against)


def _add_means(rows: Rows, truths: dict[str, _Floats], clean: NDArray[np.bool_]) -> None:
    """What the held-out models make of right and of planted labels."""
    for name, values in truths.items():
        times, unit = (1, "nats") if name.endswith("loss") else (100, "%")
        for word, some in (("right", clean), ("planted", ~clean)):
            if some.any():
                rows.add(METHOD, name, times * float(values[some].mean()), unit, n=int(some.sum()), labels=word)
