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
    excerpt = frame[frame["what"].map(_matters)]
    return Artefact(name, frame, None, _CAPTION, table_md=True, excerpt=excerpt, blanks=_BLANKS)


_SHOWN = {"spearman", "overlap", "ssim", "pearson_top"}


def _matters(what: str) -> bool:
    """Whether a line is in the table to read: of the paper's scores, and of the numbers that decide."""
    told = words(what)
    method, metric = told.get("method", "vog"), told.get("metric", "overlap")
    known = method in {*PAPERS, "none", "random"}
    return known and (metric in _SHOWN or metric not in {"pearson", "bd"}) and told.get("pick") != "lowest"
