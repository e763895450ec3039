"""What an algorithm costs beside FedAvg (appendix B), and what each part of a preset is worth."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import ABOUT, UNPRINTED, filled
from experiments.impro import figure_presets, printed
from experiments.impro.reading import axes, by_place, finals
from experiments.impro.tables_more import worded

_COSTS = {
    "upload_bytes": "upload", "download_bytes": "download", "state_bytes": "state", "train_seconds": "seconds a round",
}  # fmt: skip
_KB = 1000
RELEASED = "released"
"""The variant that the others are compared with."""


def overhead(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Bytes and seconds of each algorithm, and how much more they are than FedAvg's; the paper's two numbers beside."""
    told = rows[rows["metric"].isin(list(_COSTS)) & rows["value"].notna()]
    if told.empty:
        return None
    by = list(dict.fromkeys([*ABOUT, *(a for a in axes(rows) if a != "algorithm"), "cell", "data", "net", "method"]))
    wide = told.groupby([*by, "metric"], sort=False)["value"].median().unstack("metric").reset_index()
    wide = wide.rename(columns=_COSTS).rename_axis(columns=None)
    frame = by_place(_over_fedavg(wide), [*(a for a in axes(rows) if a != "algorithm"), "method"])
    caption = (
        "Overheads: bytes that a participant uploads and downloads a round, bytes that server and clients keep between "
        "rounds, and median seconds of a round's local training, medians over seeds; beside them how much more than "
        "FedAvg in the same cell. paper: the size of the estimator (appendix B: 4 KB, for ResNet-20) and the time of "
        "its 1000 rounds on CIFAR-10 beside FedAvg's (19 %). Seconds depend on what ran beside: compare those of one "
        "machine."
    )
    blanks = dict.fromkeys(("more upload", "more download", "more seconds %"), "no FedAvg in the cell")
    blanks |= dict.fromkeys(("paper: more upload", "paper: more seconds %"), UNPRINTED)
    blanks |= dict.fromkeys(_COSTS.values(), "not recorded")
    return Artefact(name, worded(frame.drop(columns="cell")), None, caption, table_md=True, blanks=blanks)


def _over_fedavg(wide: pd.DataFrame) -> pd.DataFrame:
    """`wide` with what is more than FedAvg's of the same cell."""
    base = wide[wide["method"] == "fedavg"].drop_duplicates("cell").set_index("cell")
    for cost in ("upload", "download"):
        if cost in wide:
            wide[f"more {cost}"] = wide[cost] - wide["cell"].map(base[cost])
    if "seconds a round" in wide:
        wide["more seconds %"] = 100 * (wide["seconds a round"] / wide["cell"].map(base["seconds a round"]) - 1)
    ours = wide["method"] == "fedimpro"
    return wide.assign(**{
        "paper: more upload": ours.map({True: _KB * printed.stated("prose.estimator_size"), False: math.nan}),
        "paper: more seconds %": ours.map({True: printed.more_time(), False: math.nan}),
    })  # fmt: skip


def differences(rows: pd.DataFrame, column: str = "best") -> pd.DataFrame:
    """Each variant less the variant RELEASED of the same seed and the rest of the point.

    Returns:
        setting, scale, seed, axes but variant, data, net, method, variant, difference; empty without RELEASED.
    """
    runs = finals(rows)
    if "variant" not in axes(rows) or column not in runs:
        return pd.DataFrame()
    on = [*ABOUT, "seed", *(a for a in axes(rows) if a not in ("variant", "algorithm")), "data", "net"]
    base = runs[(runs["variant"] == RELEASED) & runs[column].notna()].set_index(on)[column].rename("base")
    if base.empty or not base.index.is_unique:
        return pd.DataFrame()
    joined = runs.join(base, on=on)
    joined["difference"] = joined[column] - joined["base"]
    first = joined["variant"] != RELEASED
    joined = joined.assign(first=first).sort_values(["first", "variant", "seed"], kind="stable")
    return joined[[*on, "method", "variant", "difference"]]


def presets(rows: pd.DataFrame, name: str) -> Artefact | None:
    """What each difference of the paper's text, the released code and ours is worth: accuracy less `released`'s."""
    runs = finals(rows)
    each = differences(rows)
    if each.empty:
        return None
    by = [c for c in each.columns if c not in ("seed", "difference")]
    lines = []
    for key, part in each.groupby(by, sort=False):
        line = dict(zip(by, key, strict=True))
        lines.append({**line, **_worth(runs, line), **_spread(part["difference"])})
    frame = filled(worded(pd.DataFrame(lines)))
    caption = (
        "What the differences between the paper's text and its released code are worth: each variant's best test "
        f"accuracy less that of `{RELEASED}` of the same seed, in points; mean, least and greatest over seeds. A "
        "difference whose range holds 0 is not told apart from chance. The README says what each variant changes."
    )
    blanks = dict.fromkeys(("difference", "low", "high", "best", "last ten"), f"it or `{RELEASED}` has no accuracy")
    return Artefact(name, frame, lambda: figure_presets.draw(each), caption, table_md=True, blanks=blanks)


def _worth(runs: pd.DataFrame, line: dict[str, Any]) -> dict[str, float]:
    """Mean best and last-ten accuracy of one variant."""
    at = runs[(runs[[*line]] == pd.Series(line)).all(axis=1)]
    return {column: float(at[column].mean()) for column in ("best", "last ten") if column in at}


def _spread(values: pd.Series) -> dict[str, float]:
    return {
        "difference": float(values.mean()), "low": float(values.min()), "high": float(values.max()),
        "seeds": int(values.notna().sum()),
    }  # fmt: skip
