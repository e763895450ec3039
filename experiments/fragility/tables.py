"""Tables that every setting has, a user's own too: correlations, how far training came, and what each method costs."""

from __future__ import annotations

import math

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import ABOUT, filled, spread, text_columns
from experiments.fragility import blanks
from experiments.fragility.reading import METHODS, SCORES, axes, by_place, estimators, pick

_TRAINED = {
    "train_samples": "training samples", "parameters": "parameters", "train_loss": "train loss",
    "test_loss": "test loss", "train_accuracy": "train accuracy", "test_accuracy": "test accuracy",
    "gradient_norm": "gradient norm", "top_eigenvalue": "top eigenvalue", "smallest_eigenvalue": "smallest eigenvalue",
    "damping": "damping", "weight_decay": "weight decay", "seconds": "training, s",
}  # fmt: skip
_KINDS = {"": SCORES, "norm_": {f"norm_{score}": f"norms: {label}" for score, label in SCORES.items()}}


def correlations(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Correlation of estimate and truth over seeds, for every point, method, test point and set of training points."""
    grid = axes(rows)
    by = [*ABOUT, "point", *grid, "method", "test", "set", "truth", "size"]
    wide = _scores(rows, by)
    if wide.empty:
        return None
    wide = _drift(rows, wide)
    wide["networks"] = wide["point"].map(_networks(rows))
    wide = pd.concat([wide, _without(rows, wide, grid)], ignore_index=True)
    caption = (
        "Correlation of estimated influence and retraining: median, lowest and highest over seeds. n: removed points "
        "(or groups); networks: trained, one a seed; defined: those whose correlation is defined (an output that does "
        "not depend on the input has none). drift/spread: change of the test loss when retraining leaves out nothing, "
        "over the standard deviation of the measured changes; a large one says that training had not converged, but "
        "moves no correlation. An empty truth is retraining from the optimum."
    )
    wide = by_place(wide, [*grid, "method", "test", "set", "truth", "size"])
    return Artefact(
        name, _text_first(filled(wide.drop(columns="point"))), None, caption, table_md=True, blanks=blanks.CORRELATIONS
    )


def _text_first(frame: pd.DataFrame) -> pd.DataFrame:
    text = text_columns(frame)
    return frame[[*text, *(column for column in frame.columns if column not in text)]]


def _scores(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """One row a group `by`: for every score median, low and high; defined, n."""
    parts: list[pd.DataFrame] = []
    for kind in _KINDS.values():
        scored = pick(rows, list(kind), method=[*METHODS, "several"])
        if scored.empty:
            continue
        sizes = scored.groupby(by)["n"].first()
        seeds = scored.groupby(by)["seed"].nunique()
        part = pd.DataFrame({"n": sizes, "defined": seeds})
        for label, metric in zip(SCORES, kind, strict=True):
            over = spread(scored[scored["metric"] == metric], by).set_index(by)
            for column, called in (("median", label), ("low", f"{label} low"), ("high", f"{label} high")):
                part[called] = over[column]
        what = "influence" if kind is SCORES else "norm of change"
        parts.append(part.reset_index().assign(of=what))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _drift(rows: pd.DataFrame, wide: pd.DataFrame) -> pd.DataFrame:
    """`wide` with the median over seeds of |drift| / spread, of the set's own spread where there is one."""
    on = ["seed", "point", "test"]
    drift = pick(rows, "drift", method="retrain")[[*on, "value"]].rename(columns={"value": "drift"})
    sd = pick(rows, "spread", method="retrain")[[*on, "set", "value"]].rename(columns={"value": "sd"})
    both = sd.merge(drift.drop_duplicates(on), on=on)
    both["ratio"] = (both["drift"].abs() / both["sd"]).where(both["sd"] > 0)
    ratios = both.groupby(["point", "test", "set"])["ratio"].median()
    column = [
        ratios.get((point, test, named), ratios.get((point, test, ""), math.nan)) if of == "influence" else math.nan
        for point, test, named, of in wide[["point", "test", "set", "of"]].itertuples(index=False)
    ]
    return wide.assign(**{"drift/spread": column})


def _networks(rows: pd.DataFrame) -> pd.Series:
    return pick(rows, "train_loss", method="train").groupby("point")["seed"].nunique()


def _without(rows: pd.DataFrame, wide: pd.DataFrame, grid: list[str]) -> pd.DataFrame:
    """A row for every point none of whose networks has a correlation."""
    trained = pick(rows, "train_loss", method="train")
    lost = trained[~trained["point"].isin(wide["point"])][[*ABOUT, "point", *grid]].drop_duplicates()
    return lost.assign(method="", defined=0, networks=lost["point"].map(_networks(rows)))


def convergence(rows: pd.DataFrame, name: str) -> Artefact | None:
    """How far training came at every point of the grid: medians over seeds, and how many networks converged."""
    trained = pick(rows, [*_TRAINED, "converged", "constant_output"], method="train")
    if trained.empty:
        return None
    grid = axes(trained)
    by = [*ABOUT, *grid]
    frame = pd.DataFrame({"networks": trained.groupby(by)["seed"].nunique()})
    for metric, label in {"converged": "converged", "constant_output": "constant output"}.items():
        frame[label] = trained[trained["metric"] == metric].groupby(by)["value"].sum()
    for metric, label in _TRAINED.items():
        if (trained["metric"] == metric).any():
            frame[label] = trained[trained["metric"] == metric].groupby(by)["value"].median()
    frame["gradient norm, highest"] = trained[trained["metric"] == "gradient_norm"].groupby(by)["value"].max()
    drift = pick(rows, "drift_norm", method="retrain")
    if len(drift):
        frame["drift norm"] = drift.groupby(by)["value"].median()
    caption = (
        "The trained networks: how many converged (gradient norm of the objective below the setting's bound) and how "
        "many give the same output for all inputs; medians over seeds. Accuracies are shares, losses nats. drift norm: "
        "how far the parameters move when retraining leaves out nothing."
    )
    return Artefact(name, by_place(frame.dropna(axis=1, how="all").reset_index(), grid), None, caption, table_md=True)


def methods(rows: pd.DataFrame, name: str) -> Artefact | None:
    """The estimators of a setting beside each other: seconds, residual, agreement with the exact solution."""
    metrics = ["influence_seconds", "residual", "iterations", "spearman_exact", "effective_damping", "scale"]
    measured = pick(rows, metrics, method=list(METHODS))
    if len(estimators(measured)) < 2:
        return None
    grid = axes(measured)
    by = [*ABOUT, *grid, "method"]
    frame = pd.DataFrame({"networks": measured.groupby(by)["seed"].nunique()})
    for metric, label, how in (
        ("influence_seconds", "seconds", "median"), ("residual", "residual", "median"),
        ("residual", "residual, highest", "max"), ("iterations", "iterations", "median"),
        ("spearman_exact", "Spearman with exact", "median"), ("spearman_exact", "Spearman with exact, lowest", "min"),
        ("effective_damping", "damping", "median"), ("scale", "LiSSA scale", "median"),
    ):  # fmt: skip
        frame[label] = measured[measured["metric"] == metric].groupby(by)["value"].agg(how)
    scores = pick(rows, list(SCORES), method=list(METHODS), truth="", size="")
    for score, label in SCORES.items():
        frame[f"{label} with retraining"] = scores[scores["metric"] == score].groupby(by)["value"].median()
    caption = (
        "The estimators: seconds for one test point; residual |(H + damping I) x - v| / |v|; rank correlation over all "
        "training points with the exact solution (or conjugate gradient's); correlation with retraining over all test "
        "points and sets. Medians over seeds and test points. damping: what the method effectively adds to the Hessian."
    )
    frame = by_place(frame.dropna(axis=1, how="all").reset_index(), [*grid, "method"])
    return Artefact(name, frame, None, caption, table_md=True, blanks=blanks.METHODS)
