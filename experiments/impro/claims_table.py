"""The numbers behind the paper's claims IM1 to IM13, one table a setting. They are judged elsewhere."""

from __future__ import annotations

import pandas as pd

from experiments.core.names import natural
from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import about
from experiments.core.subject import words
from experiments.impro import claims as accuracy
from experiments.impro import claims_measures, claims_rounds
from experiments.impro.reading import ALGORITHMS, finals

_CAPTION = (
    "What the rules of the claims IM1 to IM13 need: effects over seeds with Student's 95 % interval (none for one "
    "seed, nor for counts and shares), n: seeds, or what a count or share is of. minus: paired differences by seed. "
    "best_other is picked by its mean over the same seeds, which favours it. "
    "The CSV also has the lines against each other algorithm."
)
_BLANKS = {
    **dict.fromkeys(("low", "high"), "one seed, or a count or share"), "value": "undefined: too few, or all equal",
    "unit": "a number without one",
}  # fmt: skip
_OF_RUNS = (
    accuracy.ahead, accuracy.heterogeneity, accuracy.scaffold, accuracy.depth, accuracy.noise, accuracy.order,
)  # fmt: skip
_OF_ROWS = (
    claims_rounds.speed, claims_rounds.divergence, claims_rounds.by_depth, claims_measures.variance,
    claims_measures.generalisation, claims_measures.inversion, claims_measures.cost,
)  # fmt: skip
"""What yields lines of `effects.line`, from final numbers and from all rows."""


def claims(rows: pd.DataFrame, name: str) -> Artefact | None:
    """The table of one setting, in the order of the claims; None where its rows have numbers for no claim."""
    runs = finals(rows)
    lines = [line for make in _OF_RUNS for line in make(runs)] + [line for make in _OF_ROWS for line in make(rows)]
    if not lines:
        return None
    frame = pd.DataFrame([{**about(rows), **line} for line in sorted(lines, key=lambda line: natural(line["claim"]))])
    return Artefact(
        name, frame, None, _CAPTION, table_md=True, excerpt=frame[frame["what"].map(_matters)], blanks=_BLANKS
    )


def _matters(what: str) -> bool:
    """Whether a line is in the table to read: not one against an algorithm that is neither FedAvg nor the best."""
    told = words(what)
    against = told.get("minus", told.get("sooner_than", ""))
    return against not in ALGORITHMS or against == "fedavg" or "best_other" in told
