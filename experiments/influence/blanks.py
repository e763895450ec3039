"""Why cells of the tables are empty: what the screen says under a table that has such cells, by column."""

from __future__ import annotations

from experiments.core.report.tables import UNPRINTED

CONFIGURATION = {"paper": UNPRINTED}
CORRELATIONS = {
    "value": "undefined: all estimates, or all true changes, are equal",
    **dict.fromkeys(("low", "high"), "an interval is that of one seed's defined correlation"),
    "sd": "of several seeds only",
    "paper": UNPRINTED,
}
CLEANSING = dict.fromkeys(("paper before", "paper after", "paper change"), UNPRINTED)
_AXES = ("p", "K", "m", "Ns")
COST = dict.fromkeys(
    (*_AXES, *(f"{axis} (formula)" for axis in _AXES)), "one size only, or a cost of 0: no power of growth"
)
