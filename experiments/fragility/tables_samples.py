"""Which samples of a user's own table matter: estimate and truth of each, by the line of the file it stands in."""

from __future__ import annotations

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import KEYS
from experiments.fragility.reading import METHODS, axes, beside, pick, test_words

_ON = [*KEYS, "point"]


def samples(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Every removed training sample with its line, strongest estimate first, for every test point; None without lines.

    Of several estimators the first one's estimates set the order.
    """
    lines = _lines(rows, "line", "train")
    both = beside(rows)
    both = both[(both["size"] == "") & (both["train"] != "")]
    if lines.empty or both.empty:
        return None
    grid, methods = axes(rows), [method for method in METHODS if method in set(both["method"])]
    on = [*_ON, *grid, "test", "train"]
    wide = both.pivot_table(index=[*on, "actual"], columns="method", values="predicted", sort=False).reset_index()
    wide = wide.merge(lines, on=[*_ON, "train"]).merge(_lines(rows, "test_line", "test"), on=[*_ON, "test"], how="left")
    wide["strength"] = wide[methods[0]].abs()
    wide = wide.sort_values([*_ON, "test", "strength"], ascending=[True] * (len(_ON) + 1) + [False], kind="stable")
    wide["test point"] = wide["test"].map(test_words)
    named = wide.rename(columns={"actual": "retrained", **{method: METHODS[method] for method in methods}})
    shown = [*KEYS, *grid, "test point", "test_line", "line", *(METHODS[method] for method in methods), "retrained"]
    caption = (
        "Training samples that were left out, by the line of the file they stand in (line 1 is the header): change of "
        "the test point's loss when the sample is gone, as estimated and as measured by retraining without it. "
        "Positive: the sample helped. The strongest estimate comes first. test line: where the test point stands."
    )
    frame = named[shown].rename(columns={"test_line": "test line"}).reset_index(drop=True)
    return Artefact(name, frame, caption=caption, table_md=True)


def _lines(rows: pd.DataFrame, metric: str, of: str) -> pd.DataFrame:
    """The line of each training sample (of="train") or test point (of="test"): KEYS, point, `of`, `metric`."""
    numbered = pick(rows, metric)[[*_ON, of, "value"]].rename(columns={"value": metric})
    return numbered.assign(**{metric: numbered[metric].astype(int)})
