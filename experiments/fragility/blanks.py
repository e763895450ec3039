"""Why cells of the tables are empty: what the screen says under a table that has such cells, by column."""

from __future__ import annotations

from collections.abc import Iterable

from experiments.core.report.tables import UNPRINTED

_LOST = "no network of this point has a correlation: constant outputs, or no estimate"
_SCORES = ("pearson", "spearman", "pearson low", "pearson high", "spearman low", "spearman high")

CORRELATIONS = {
    **dict.fromkeys(("method", "set", "of", "n", *_SCORES), _LOST),
    "test": f"all test points together; or {_LOST}",
    "size": "of groups only",
    "truth": "retraining from the optimum",
    "drift/spread": "of changes of the loss only, where they differ; scratch has no drift",
}
METHODS = {
    **dict.fromkeys(("Spearman with exact", "Spearman with exact, lowest"), "it is itself what is compared with"),
    **dict.fromkeys(("Pearson with retraining", "Spearman with retraining"), "no defined correlation"),
    "damping": "the method does not solve with a damping of its own",
    "LiSSA scale": "of LiSSA only",
}
DECAY = {"paper": UNPRINTED}
DECLINE = dict.fromkeys(("spearman", "low", "high", "pearson"), _LOST)
OPTIMIZERS = {
    **dict.fromkeys(("method", "low", "high"), "the row `all` has none of its own"),
    "sd": "of the row `all` only, over several optimisers",
    **dict.fromkeys(("paper mean", "paper sd"), "the paper prints them over all optimisers only"),
}
TABLE2 = dict.fromkeys(("paper seconds", "paper sd", "paper rank"), UNPRINTED)


def of_table1(columns: Iterable[object]) -> dict[str, str]:
    """Of Table 1, whose columns are its cells."""
    names = [str(column) for column in columns if ": " in str(column)]
    return {name: UNPRINTED if name.endswith("(paper)") else "not run, or no defined correlation" for name in names}
