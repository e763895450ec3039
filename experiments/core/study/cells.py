"""The cells of a setting: every point of its grid, every seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from experiments.core.paper import Paper
from experiments.core.spec.fields import SettingSpec
from experiments.core.spec.grid import Axes, at, label, points
from experiments.core.study.price import Price
from experiments.core.sweep.cell import Cell, Context, Row, parameters

S = TypeVar("S", bound=SettingSpec)

_NO_AXES: Axes = {}
_NO_WORDS: Mapping[str, str] = {}


def cells_of(
    paper: Paper,
    spec: S,
    price: Callable[[S], Price],
    compute: Callable[[S, str, int, Context], list[Row]],
    axes: Axes = _NO_AXES,
    order: Sequence[str] = (),
    words: Mapping[str, str] = _NO_WORDS,
    setting: str | None = None,
    resolve: Callable[[S], S] = lambda spec: spec,
) -> list[Cell]:
    """One cell for every point of the grid and every seed.

    Args:
        price: what one cell of a point costs.
        compute: (the spec at a point, the point's label, "" without a grid, the seed, the context) -> rows.
        axes: the grid. order, words: see `grid.points`.
        setting: the name of the folder, where it is not the spec's.
        resolve: the spec at a point -> what of it a cell is given, where a value depends on several axes at once.
    """
    cells = []
    for point, keys in points(axes, order, words):
        point_spec, name = resolve(at(spec, keys) if keys else spec), label(point)
        cost = price(point_spec)
        cells += [
            Cell(
                paper.name,
                setting or spec.name,
                spec.scale,
                seed,
                name or paper.name,
                **parameters(point_spec, seed=seed),
                version=paper.version,
                work=cost.seconds,
                worlds=cost.worlds,
                memory=cost.memory,
                compute=partial(compute, point_spec, name, seed),
            )
            for seed in spec.seeds
        ]
    return cells
