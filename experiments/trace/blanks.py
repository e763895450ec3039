"""Why cells of the tables are empty: what the screen says under a table that has such cells, by column."""

from __future__ import annotations

from collections.abc import Iterable

from experiments.core.report.tables import UNPRINTED

_ALL = "a row `all` has none of its own"
_UNTRACED = "no round had such a prediction to trace"
_UNBOUNDED = "no noise, or no finite bound"

_PAPER = dict.fromkeys(("accuracy (paper)", "TraceFL (paper)", "FedDebug (paper)", "localization (paper)"), UNPRINTED)
_TRACED = dict.fromkeys(("inputs", "chance", "TraceFL", "low", "high", "worst round"), _UNTRACED)
_SPENT = dict.fromkeys(("epsilon", "epsilon_equal"), _UNBOUNDED)

METHODS = {
    **dict.fromkeys(
        ("rank of most samples", "most samples first, %"), "asked of right predictions only, and not of FedDebug"
    ),
    **dict.fromkeys(
        ("truth's first, %", "Pearson with truth", "Spearman with truth"),
        "no correlation of the truth with itself, of FedDebug (it scores no client), of two clients or equal scores",
    ),
    "seconds per input": "the truth is not timed",
}
TABLE1 = {
    **_PAPER,
    **dict.fromkeys(("accuracy", "chance", "TraceFL"), _UNTRACED),
    "FedDebug": "it takes images only, and looked at no round of this",
}
TABLE2 = {**_PAPER, **_TRACED, **_SPENT, "noise": "not in the name of the point", "sensitivity": "nothing is clipped"}
OVER = {**_PAPER, **_TRACED}


def of_averages(axes: Iterable[str]) -> dict[str, str]:
    """For the table of averages of a grid with these axes."""
    return {**dict.fromkeys((*axes, "dataset", "model", "accuracy"), _ALL), **_PAPER, **_TRACED}


def of_configuration(keys: Iterable[str]) -> dict[str, str]:
    """For the table of the configuration with these columns."""
    return {**dict.fromkeys(keys, "not part of that point"), **_SPENT}
