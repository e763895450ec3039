"""What scores are worth: difficulty, the truth of leaving out, consistency by size, private release, the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import about, filled
from experiments.vog import against, figure_against, figure_audit, figure_size
from experiments.vog.consistency import averaged
from experiments.vog.figure_parts import title_of
from experiments.vog.likeness import GRID, METRICS
from experiments.vog.pairs import ALL, SEED
from experiments.vog.reading import axes, named, ordered, without
from experiments.vog.tables import worded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ONE_SEED = "low, high: least and greatest seed; of one seed its 95 % interval."
_DIFFICULTY = (
    "Scores against difficulty. Spearman with the loss, and with the error (0 or 1), that a sample has in a model "
    "trained without its fold; AUROC with which the score tells planted wrong labels from right ones (0.5: chance). "
    f"Means over seeds; {_ONE_SEED}"
)
_TRUTH = (
    "Scores against what leaving samples out of training does to the mean test loss (positive where it hurts): "
    "Spearman over samples, or over random groups by their mean score. ceiling: the truth of another seed in place of "
    "the score, the best that anything can do; null: how far rounding alone moves the loss, over the spread of the "
    f"truth: near 1 or above, the truth is noise. {_ONE_SEED}"
)
_AUDIT = (
    "Stated epsilon, and the lower bound that telling trainings with a canary from those without proves (95 % "
    "confidence). A bound above the stated one would disprove the guarantee; a low one proves nothing. most: what so "
    "many runs could prove at best; loss: by the last model's loss alone; gaussian: for a mechanism that claims to be "
    "Gaussian. tpr, fpr: rates of the test."
)
_RELEASE = (
    "Scores released with (eps, 0) differential privacy (section 4.7) against the same scores in the clear. total: "
    f"what training and one such release spend together. {_ONE_SEED}"
)
_SIZE = (
    "Consistency by the number of training samples (section 4.4: 21 and 24 of 25 for 50,000 and 90,000 samples): "
    "highest scores of all classes, pairs of cells with one seed, and pairs of seeds."
)


def difficulty(rows: pd.DataFrame, name: str) -> Artefact | None:
    """VG6 and VG10: every score against held-out difficulty and planted labels."""
    frame = against.difficulty(rows)
    if frame.empty:
        return None
    shown = worded(frame.assign(against=frame["against"].map(against.AGAINST)))
    return Artefact(name, shown, lambda: _draw_difficulty(frame), _DIFFICULTY, table_md=True)


def _draw_difficulty(frame: pd.DataFrame) -> Figure:
    private = "eps" in frame and frame["eps"].nunique() > 1
    place = frame["point"].map(lambda point: without(point, "eps")) if private else frame["point"]
    titles = {p: title_of(frame[place == p], str(p)) for p in place.unique()}
    head = place.map(titles) + "\n" + frame["against"].map(against.AGAINST)
    chance = frame["against"].map(lambda what: 0.5 if what == "planted" else 0.0)
    told = frame.assign(panel=head.str.strip(), chance=chance)
    told = told if private else told.assign(eps="")
    rank = {what: place for place, what in enumerate(against.AGAINST)}
    told = told.sort_values("against", key=lambda column: column.map(rank), kind="stable")
    labels = ("privacy of training" if private else "", "Spearman (planted labels: AUROC)")
    return figure_against.draw(told, "eps", ordered(told["eps"].unique()), _eps_words, labels, 3)


def _eps_words(value: str) -> str:
    return named("eps", value) if value else "as trained"


def truth(rows: pd.DataFrame, name: str) -> Artefact | None:
    """VG11: every score against leave-one-out and leave-group-out truth."""
    frame = against.truth(rows)
    if frame.empty:
        return None
    return Artefact(name, worded(frame), lambda: _draw_truth(frame), _TRUTH, table_md=True, blanks={
        "ceiling": "not measured", "null": "no null worlds",
    })  # fmt: skip


def _draw_truth(frame: pd.DataFrame) -> Figure:
    titles = {p: title_of(frame[frame["point"] == p], str(p)) for p in frame["point"].unique()}
    kinds = frame["truth"] + " " + frame["size"]
    told = frame.assign(panel=frame["point"].map(titles), kind=kinds, chance=0.0)
    told = told[told["release"] == ""] if (told["release"] == "").any() else told
    places = sorted(kinds.unique(), key=lambda kind: int(kind.partition(" ")[2] or 1))
    labels = ("left out", "Spearman with change of test loss")
    return figure_against.draw(told, "kind", places, _kind_words, labels, 2)


def _kind_words(kind: str) -> str:
    word, _, size = kind.partition(" ")
    return "one sample" if word == "sample" else f"{size} samples"


def audit(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Stated against empirical epsilon."""
    frame = against.audit(rows)
    if frame.empty:
        return None
    return Artefact(name, worded(frame), lambda: figure_audit.draw(frame), _AUDIT, table_md=True)


def release(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Private scores against the same scores in the clear."""
    frame = against.release(rows)
    if frame.empty:
        return None
    told = worded(frame.rename(columns={"value": "spearman", "overlap": f"same of {GRID}"}))
    blanks = dict.fromkeys(("total epsilon", "total delta"), "not told")
    return Artefact(name, told, lambda: _draw_release(frame), _RELEASE, table_md=True, blanks=blanks)


def _draw_release(frame: pd.DataFrame) -> Figure:
    titles = {p: title_of(frame[frame["point"] == p], str(p)) for p in frame["point"].unique()}
    told = frame.assign(panel=frame["point"].map(titles), chance=0.0)
    places = ordered(told["release"].unique())
    labels = ("epsilon of the release", "Spearman with scores in the clear")
    return figure_against.draw(told, "release", places, str, labels, 2)


def size(lines: pd.DataFrame, rows: pd.DataFrame, name: str) -> Artefact | None:
    """VG5: consistency by the number of training samples; None for a setting that does not vary it.

    Args:
        lines: as `pairs.measured` makes them. rows: the setting's, for its name.
    """
    if "samples" not in axes(rows) or lines.empty:
        return None
    frame = by_size(averaged(lines))
    if frame.empty:
        return None
    told = filled(frame.assign(**about(rows))[[*about(rows), *frame.columns]])
    return Artefact(name, told, lambda: figure_size.draw(frame), _SIZE, table_md=True)


def by_size(frame: pd.DataFrame) -> pd.DataFrame:
    """Of `consistency.averaged`: the highest scores of all classes, with a column `samples`, one seed or two alike."""
    shown = frame[(frame["class"] == ALL) & (frame["pick"] == "highest")]
    shown = shown[(shown["seeds"] == "same") | (shown["between"] == SEED)]
    found: list[dict[str, Any]] = []
    for line in shown.to_dict("records"):
        told = dict(word.partition("=")[::2] for word in str(line["where"]).split(" "))
        if "samples" in told:
            rest = " ".join(f"{key}={value}" for key, value in told.items() if key != "samples")
            found.append({**line, "where": rest, "samples": int(told["samples"])})
    if not found:
        return pd.DataFrame()
    columns = ["where", "between", "first", "second", "method", "metric", "samples", "value", "low", "high", "pairs",
               "ceiling", "chance"]  # fmt: skip
    sized = pd.DataFrame(found)[columns]
    rank = {metric: place for place, metric in enumerate(METRICS)}
    return sized.sort_values(
        ["where", "between", "first", "second", "method", "metric", "samples"],
        key=lambda c: c.map(rank) if c.name == "metric" else c, kind="stable", ignore_index=True,
    )  # fmt: skip
