"""Table 1 with controls, the accuracy of every training with its guarantee, what was run, and what it took."""

from __future__ import annotations

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import ABOUT, UNPRINTED, filled, over_seeds, spread
from experiments.vog import figure_removal, removed
from experiments.vog.reading import AXES, DATA, METHODS, MODELS, axes, by_place, label_of, pick

_TABLE1 = (
    "Test accuracy in % after training goes on without the samples of highest score, of lowest score, without as many "
    "random ones, and with all; equal numbers of steps, rates and noise. Means, least and greatest over seeds. minus "
    "random, minus none: differences paired by seed, with Student's 95 % interval (random: the mean of its draws). On "
    "what is left: training accuracy. paper: Table 1, ResNet-18 on CIFAR-10, one run without controls. Epsilon counts "
    "both phases, and does not cover the choice of what is left out."
)
_ONE = "one seed has no interval; a control is not compared with itself"
BLANKS = {
    **dict.fromkeys(("random low", "random high", "none low", "none high"), _ONE),
    **dict.fromkeys(("minus random", "minus none"), "the control itself, or it was not run"),
    **dict.fromkeys(("paper", "difference"), UNPRINTED), "share": "nothing is left out",
}  # fmt: skip


def worded(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with names for data, model and score, and without columns that are empty throughout."""
    told = frame.rename(columns={"model_": "net"} if "model_" in frame and "net" not in frame else {})
    named = {"data": DATA, "net": MODELS, "method": METHODS}
    told = told.assign(
        **{c: told[c].map(lambda v, known=known: known.get(v, v)) for c, known in named.items() if c in told}
    )
    if "method" in told:
        told["method"] = told["method"].map(label_of)
    order = [*ABOUT, "data", "net", *(axis for axis in axes_of(frame) if axis not in ("task", "model_")), "method"]
    first = [column for column in order if column in told]
    rest = [column for column in told.columns if column not in {*first, "task", "model_", "point"}]
    return filled(told[[*first, *rest]].rename(columns={"net": "model", "method": "score"}))


def axes_of(frame: pd.DataFrame) -> list[str]:
    """The columns of a table's frame that are axes of the paper's grids."""
    return [axis for axis in AXES if axis in frame]


def table1(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Table 1: removal of the samples of highest score, with controls; None where nothing was left out."""
    frame = removed.table(rows)
    if frame.empty:
        return None
    shown = worded(_in_order(frame, axes(rows)))
    order = [column for column in shown.columns if column not in removed.NUMBERS]
    numbers = [column for column in removed.NUMBERS if column in shown]
    return Artefact(
        name, shown[[*order, *numbers]], lambda: figure_removal.draw(frame), _TABLE1, table_md=True, blanks=BLANKS
    )


def _in_order(frame: pd.DataFrame, grid: list[str]) -> pd.DataFrame:
    placed = by_place(frame, [*grid, "method"])
    rank = {end: place for place, end in enumerate(removed.ENDS)}
    placed = placed.assign(_end=placed["pick"].map(rank), _row=range(len(placed)))
    places = {point: place for place, point in enumerate(dict.fromkeys(placed["point"]))}
    placed = placed.assign(_point=placed["point"].map(places))
    return placed.sort_values(["_point", "_end", "_row"], ignore_index=True).drop(columns=["_end", "_row", "_point"])


_LAST = {
    "test_accuracy": "test accuracy %", "train_accuracy": "training accuracy %", "test_loss": "test loss nats",
}  # fmt: skip
_PRIVACY = {"epsilon": "epsilon", "noise": "noise", "rate": "rate", "steps": "steps", "delta": "delta"}


def accuracy(rows: pd.DataFrame, name: str) -> Artefact | None:
    """A line a point: test and training accuracy after the last round, and the guarantee that training has."""
    told = pick(rows, list(_LAST), method="train")
    if told.empty:
        return None
    last = told[told["round"] == told.groupby(["point", "seed"])["round"].transform("max")]
    by = [*ABOUT, *axes(rows), "data", "net", "point"]
    wide = over_seeds(last, [*by, "metric"]).set_index([*by, "metric"])
    means = wide["mean"].unstack("metric").rename(columns=_LAST)
    test = wide.xs("test_accuracy", level="metric") if "test_accuracy" in last["metric"].to_numpy() else None
    frame = means.reset_index().rename_axis(columns=None)
    if test is not None:
        frame = frame.merge(test[["low", "high", "seeds"]].reset_index(), on=by, how="left")
    guarantee = _guarantee(rows)
    frame = by_place(frame.merge(guarantee, on="point", how="left"), axes(rows))
    caption = (
        "Trained models after the last round, means over seeds; low, high: test accuracy of the worst and best seed. "
        "epsilon: of one training with the noise and sampling rate beside it, for one sample more or less."
    )
    blanks = dict.fromkeys(_PRIVACY.values(), "trained without differential privacy")
    return Artefact(name, worded(frame), None, caption, table_md=True, blanks=blanks)


def _guarantee(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean of what is stored of the guarantee, by point."""
    told = pick(rows, list(_PRIVACY), method="privacy")
    if told.empty:
        return pd.DataFrame({"point": pd.Series(dtype=object)})
    wide = told.groupby(["point", "metric"])["value"].mean().unstack("metric").rename(columns=_PRIVACY)
    known = [column for column in _PRIVACY.values() if column in wide]
    return wide[known].reset_index().rename_axis(columns=None)


def configuration(rows: pd.DataFrame, name: str) -> Artefact | None:
    """What was run at every point of the grid, mean over seeds."""
    config = pick(rows, "config")
    if config.empty:
        return None
    by = [*ABOUT, *axes(rows), "dataset", "partition", "model", "point"]
    wide = config.groupby([*dict.fromkeys(by), "key"], sort=False)["value"].mean().unstack("key").reset_index()
    frame = by_place(wide.drop(columns="point").rename_axis(columns=None), axes(rows))
    frame = frame.rename(columns={"model_": "net"}).drop_duplicates()
    blanks = dict.fromkeys(frame.columns, "not asked of such a run")
    return Artefact(name, filled(frame), None, "What was run, means over seeds.", table_md=True, blanks=blanks)


def cost(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Seconds that each score took for all samples, by point, median over seeds."""
    told = pick(rows, "seconds", of="scores")
    if told.empty:
        return None
    by = [*ABOUT, *axes(rows), "data", "net", "point", "method", "n"]
    frame = spread(told, by).rename(columns={"median": "seconds", "n": "samples scored"})
    frame = frame.assign(**{"samples a second": frame["samples scored"] / frame["seconds"].clip(lower=1e-9)})
    caption = (
        "What scoring all training samples took, in seconds: median, least and greatest over seeds. Methods that read "
        "several checkpoints take so many times as long as those that read the last. Times depend on what ran beside: "
        "compare those of one machine."
    )
    frame = by_place(frame, [*axes(rows), "method"])
    return Artefact(name, worded(frame), None, caption, table_md=True)
