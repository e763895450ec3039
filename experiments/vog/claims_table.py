"""The numbers behind the paper's claims VG1 to VG11, one table a setting. They are judged elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from experiments.core.names import natural
from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import about
from experiments.core.subject import words
from experiments.vog import claims_consistency as consistent
from experiments.vog import claims_worth as worth
from experiments.vog.compared import Compared
from experiments.vog.reading import PAPERS, pick

_CAPTION = (
    "What the rules of the claims VG1 to VG11 need: effects over seeds with Student's 95 % interval (a single seed has "
    "that of its own samples, or none), n: seeds. minus: paired differences by seed. ceiling: the same number between "
    "two seeds without privacy and without any other change (VG11: the truth of another seed in place of the score). "
    "first, second: the two values of what is compared. The CSV has all metrics and scores."
)
_BLANKS = {
    **dict.fromkeys(("low", "high"), "one seed"), "value": "undefined: too few, or all equal",
    "unit": "a number without one", "ceiling": "a difference, or nothing to compare with",
}  # fmt: skip


def lines(compared: Compared, rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The lines of `claims_consistency.claim_line`, claim by claim."""
    told = compared.lines
    yield from consistent.private(told, "VG1", consistent.GRADIENTS)
    yield from consistent.private(told, "VG2", consistent.USUAL)
    yield from consistent.gap(told)
    yield from consistent.epsilons(told)
    yield from consistent.models(told, _parameters(rows))
    yield from consistent.size(told)
    yield from worth.difficult(rows)
    yield from worth.plis_and_vog(rows, compared.methods)
    yield from consistent.plis(told)
    yield from worth.removal(rows)
    yield from worth.more_private(rows)
    yield from worth.truth(rows)


def _parameters(rows: pd.DataFrame) -> dict[str, float]:
    """Point -> parameters of its model."""
    told = pick(rows, "config", key="parameters")
    return {str(point): float(value) for point, value in zip(told["point"], told["value"], strict=True)}


def claims(compared: Compared, rows: pd.DataFrame, name: str) -> Artefact | None:
    """The table of one setting, in the order of the claims; None where its rows have numbers for no claim."""
    told = sorted(lines(compared, rows), key=lambda line: natural(line["claim"]))
    if not told:
        return None
    frame = pd.DataFrame([{**about(rows), **line} for line in told])
    shown = [_matters(claim, what) for claim, what in zip(frame["claim"], frame["what"], strict=True)]
    excerpt = frame[pd.Series(shown, index=frame.index)]
    return Artefact(name, frame, None, _CAPTION, table_md=True, excerpt=excerpt, blanks=_BLANKS)


_SHOWN = {"spearman", "overlap", "scores_pearson", "difficulty_spearman", "noise_auroc", "truth_spearman", "null"}
_PAIRS = {("4", "none"), ("1", "8"), ("4", "8")}
"""The epsilons that the paper's figures compare."""


def _matters(claim: str, what: str) -> bool:
    """Whether a line is in the table to read: of the paper's scores and pairs, and of the numbers that decide."""
    told = words(what)
    pair = (told.get("first", ""), told.get("second", ""))
    return (
        told.get("method", "vog") in {*PAPERS, "none", "random"}
        and told.get("metric", "overlap") in _SHOWN
        and (claim not in ("VG1", "VG2", "VG3", "VG8") or pair in _PAIRS or "between" in told)
        and (claim != "VG9" or (told.get("pick") != "lowest" and told.get("minus") not in ("none", "lowest")))
        and not (claim == "VG7" and told.get("metric") == "overlap")
        and "classes" not in told
    )
