"""Is a sample of high score worth having? Training without it, and without groups of samples, tells (section 1).

The paper defines a useful sample as one whose exclusion worsens generalisation, and takes retraining for infeasible.
Here every exclusion is a world: trained from the same initial weights, through the same batches, with the same noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.core.engine.seeds import stream
from experiments.core.engine.worlds import World, without_sample, without_samples
from experiments.core.errors import SpecError
from experiments.core.scores.correlation import pearson, spearman
from experiments.core.study.rows import Rows
from experiments.core.sweep.cell import Row
from experiments.vog.blocks import TruthSpec
from experiments.vog.diary import METHOD
from experiments.vog.retrained import changes, changes_of_next_seed, null_changes
from experiments.vog.stored import write_arrays
from experiments.vog.study import Study

FILE = "truth.npz"
"""In a cell's folder."""

SAMPLE, GROUP = "sample", "group"

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LeftOut:
    """Worlds of one kind, "sample" or "group", with as many samples left out in each: [m][size] rows."""

    truth: str
    size: int
    rows: list[list[int]]

    @property
    def worlds(self) -> list[World]:
        """One for each."""
        if self.truth == SAMPLE:
            return [without_sample(row) for (row,) in self.rows]
        return [without_samples(f"{GROUP}:{self.size}:{number}", rows) for number, rows in enumerate(self.rows)]

    def of(self, scores: _Floats) -> _Floats:
        """The mean score of what each leaves out: [n] -> [m]."""
        return np.array([scores[rows].mean() for rows in self.rows])


def measure(block: TruthSpec, study: Study) -> list[Row]:
    """Rows of the change of the mean test loss, positive where leaving out hurts, and of every score against it.

    `truth_spread` is its standard deviation over worlds, `null_spread` the root mean square of the null worlds' change,
    `ceiling_spearman` the rank correlation with the same truth of the next seed's training.

    Raises:
        SpecError: more samples are asked for, or in a group, than there are.
    """
    kinds = left_out(block, len(study.labels))
    worlds, ends = [world for kind in kinds for world in kind.worlds], np.cumsum([len(kind.rows) for kind in kinds])
    own = np.split(changes(study, worlds, "truth", "worlds without samples"), ends[:-1])
    ceiling = None
    if block.ceiling:
        next_seed = changes_of_next_seed(study, worlds, "ceiling", "the same of the next seed")
        ceiling = np.split(next_seed, ends[:-1])
    null = null_changes(study, block.nulls)
    rows = study.rows()
    if len(null):
        rows.add(METHOD, "null_spread", float(np.sqrt(np.mean(null**2))), "nats", n=len(null))
    for k, kind in enumerate(kinds):
        rows.add(METHOD, "truth_spread", float(own[k].std()), "nats", n=len(own[k]), truth=kind.truth, size=kind.size)
        rows.add(METHOD, "truth_mean", float(own[k].mean()), "nats", n=len(own[k]), truth=kind.truth, size=kind.size)
        if ceiling is not None:
            correlations(rows, METHOD, "ceiling", own[k], ceiling[k], kind)
        for name, scores in study.raw.items():
            correlations(rows, name, "truth", kind.of(study.scaled(scores)), own[k], kind)
    _keep(study, kinds, own, ceiling, null)
    return rows.rows


def left_out(block: TruthSpec, n: int) -> list[LeftOut]:
    """Which of n samples are left out: one by one, and in random groups; the same for every seed of a run.

    Raises:
        SpecError: more than there are.
    """
    count = n if block.samples == "all" else block.samples
    sizes = block.groups.sizes if block.groups else ()
    if count > n or any(size >= n for size in sizes):
        raise SpecError(f"more is to be left out than {n} training samples", "truth", "lower samples or groups.sizes")
    alone = sorted(stream(0, "truth").permutation(n)[:count].tolist())
    kinds = [LeftOut(SAMPLE, 1, [[row] for row in alone])] if alone else []
    for size in sizes:
        numbers = range(block.groups.count if block.groups else 0)
        draws = (stream(0, "group", size=size, number=number).permutation(n)[:size] for number in numbers)
        kinds.append(LeftOut(GROUP, size, [sorted(draw.tolist()) for draw in draws]))
    return kinds


def correlations(rows: Rows, method: str, name: str, x: _Floats, y: _Floats, kind: LeftOut, **words: str) -> None:
    """`{name}_spearman` and `{name}_pearson` of the pairs that both have a number, with bootstrap intervals.

    Scores of a class without a scale have none; fewer than three pairs give no rows.
    """
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < _FEWEST:
        return
    for word, of in (("spearman", spearman), ("pearson", pearson)):
        found = of(x[both], y[both], interval="bootstrap")
        for suffix, value in (("", found.value), ("_low", found.low), ("_high", found.high)):
            about: dict[str, Any] = {"truth": kind.truth, "size": kind.size, **words}
            rows.add(method, f"{name}_{word}{suffix}", value, n=found.n, **about)


_FEWEST = 3


def _keep(study: Study, kinds: list[LeftOut], own: list[_Floats], ceiling: list[_Floats] | None, null: _Floats) -> None:
    """Write truth.npz: `null` [nulls], and of each kind `rows_k` [m, size], `truth_k` [m] and `ceiling_k` [m]."""
    arrays: dict[str, NDArray[np.generic]] = {"null": null, "sizes": np.array([kind.size for kind in kinds])}
    for k, kind in enumerate(kinds):
        arrays |= {f"rows_{k}": np.array(kind.rows), f"truth_{k}": own[k]}
        if ceiling is not None:
            arrays[f"ceiling_{k}"] = ceiling[k]
    write_arrays(study.context, FILE, arrays)
