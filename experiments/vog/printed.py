"""The numbers that Usynin et al. 2023 print, as our tables and figures look for them."""

from __future__ import annotations

import math
from pathlib import Path

from experiments.core.report import reference
from experiments.core.subject import words
from experiments.vog.reading import names_of

PRINTED = reference.Printed(Path(__file__).with_name("reference.csv"), "vog_plis")


def removal(point: str, method: str) -> float:
    """Table 1's accuracy in % for this net, data, epsilon and score; NaN where it has none."""
    told = words(point)
    net, data = names_of(told)
    return PRINTED.number(f"table1.{data}.{net}.eps{told.get('eps', '')}.{method}")


def top_of(method: str, first: str, second: str) -> float:
    """Section 4.1's correlation of the top 1000 scores, eps 4 against none; NaN for any other pair."""
    known = (first, second) == ("4", "none")
    return PRINTED.number(f"corr.private_eps4_vs_nonprivate.top1000.{method}") if known else math.nan


def figure(key: str) -> dict[str, float]:
    """What a figure's caption says: ssim, bd, overlap; those that it has.

    Args:
        key: what stands before these words in the keys of reference.csv.
    """
    told = {metric: PRINTED.number(f"{key}.{metric}") for metric in ("ssim", "bd", "overlap")}
    return {metric: value for metric, value in told.items() if not math.isnan(value)}
