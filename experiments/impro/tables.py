"""Tables of accuracies, ours beside the paper's: Tables 1, 3 and 6 to 11."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import UNPRINTED, filled
from experiments.impro import figure_accuracy, printed
from experiments.impro.accuracies import NUMBERS, accuracies, apart, averages, axes_in, beside
from experiments.impro.reading import BASIC, DATA, MODELS, axes, by_place, finals, fl_words, label_of
from experiments.impro.targets import median, to_targets

SELECTED = (
    "best: the highest test accuracy of any evaluated round, which is what the paper prints: a selection on the test "
    "set; last, and last ten (the mean of the last ten evaluated rounds), select nothing and are of the seeds that did "
    "not diverge. Means over seeds in %; sd: standard deviation over seeds (n - 1); diverged: seeds whose model left "
    "the finite numbers."
)
_PAPER = (
    "paper: its number for the same data set, federated setting and algorithm, whatever our model and length of run "
    "are (its own: ResNet-18; ResNet-50 for CIFAR-100; 1000 rounds, 400 with E 5)."
)
_ABSENT = "not run here"
BLANKS = {
    **dict.fromkeys(("sd", "low", "high"), "one seed has none, and what was not run"),
    **dict.fromkeys(("paper", "paper sd", "difference", "paper rounds"), UNPRINTED),
    **dict.fromkeys(("best", "last", "last ten", "task", "model"), _ABSENT),
    **dict.fromkeys(("target", "reached", "rounds run"), _ABSENT),
    **dict.fromkeys(("fl", "split", "noise", "per_round", "variant", "schedule"), "the line is of no such setting"),
    "rounds": "half of the seeds or more never reached it, or not run here",
    "note": "run here",
    "settings": "of one federated setting",
}
"""Why cells of these tables may be empty."""


@dataclass(frozen=True)
class Table:
    """How one of the paper's tables of accuracies is made.

    Attributes:
        name: in the keys of reference.csv. on: the columns that a number of ours and one of the paper's share.
        caption: what it shows. whole: also list numbers of the paper's that were not run here.
        fl: the federated setting of a grid without one. along: what its figure has along the axis; "": the last axis
            that has several values.
    """

    name: str
    on: tuple[str, ...]
    caption: str
    whole: bool = False
    fl: str = BASIC
    along: str = "fl"

    def __call__(self, rows: pd.DataFrame, name: str) -> Artefact | None:
        """The table of `rows`, which are of one setting; None without an accuracy."""
        runs = finals(rows)
        if "best" not in runs or not runs["best"].notna().any():
            return None
        frame = self._frame(rows, runs)
        caption = f"{self.caption} {SELECTED} {_PAPER}"
        return Artefact(
            name,
            shown(frame),
            lambda: figure_accuracy.draw(frame, self.along or _widest(frame)),
            caption,
            table_md=True,
            blanks=BLANKS,
        )

    def _frame(self, rows: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
        ours = accuracies(runs)
        if "fl" in self.on:
            ours = ours.assign(fl=ours["fl"].where(ours["fl"] != "", self.fl))
        if self is TABLE1 and len(mean := averages(runs)):
            ours = pd.concat([ours, mean], ignore_index=True)
        other_net = self.name == "table3" and "layer4" not in set(ours["split"])
        frame = apart(ours, self.name, self.on) if other_net else beside(ours, self.name, self.on, self.whole)
        if self.name in ("table8", "table9"):
            frame = _with_rounds(frame, rows, self.name)
        if "settings" in frame:  # the paper's average is of four
            four = (frame["fl"] != "average") | (frame["settings"] == len(_FOUR))
            frame = frame.assign(**{c: frame[c].where(four) for c in ("paper", "difference")})
        return by_place(frame, ["data", *(a for a in axes(rows) if a not in ("task", "algorithm")), "method"])


_FOUR = ("a0.1_E1_M10", "a0.05_E1_M10", "a0.1_E5_M10", "a0.1_E1_M100")
ACCURACY = Table("table1", ("data", "fl", "method"), "Test accuracy by point of the grid.", fl="", along="")
TABLE1 = Table(
    "table1", ("data", "fl", "method"),
    "Table 1: test accuracy by data set, federated setting and algorithm; average: over the federated settings that "
    "all algorithms of the data set finished (the paper's is over four).",
)  # fmt: skip
CENTRALIZED = Table("centralized", ("data",), "Table 1, column Cent.: one client with all data.", along="fl")
LONG = Table(
    "long",
    ("data", "schedule", "method"),
    "Figure 8a: long runs of FedAvg, the paper's of 10,000 rounds.",
    whole=True,
    along="schedule",
)
TABLE3 = Table(
    "table3", ("data", "fl", "split"), "Table 3: FedImpro split after different blocks (the paper's are ResNet-18's).",
    whole=True, along="split",
)  # fmt: skip
TABLE6 = Table("table6", ("data", "fl", "method"), "Table 6: local SGD with momentum 0.9.")
TABLE7 = Table(
    "table7", ("data", "fl", "noise"), "Table 7: FedImpro with noise on the shared statistics, by its deviation.",
    whole=True, along="noise",
)  # fmt: skip
TABLE8 = Table("table8", ("data", "method"), "Table 8: FEMNIST by natural users.", whole=True, along="method")
TABLE9 = Table("table9", ("data", "method"), "Table 9: VGG-9 on CIFAR-10.", whole=True, along="method")
TABLE10 = Table(
    "table10", ("data", "fl", "method"),
    "Table 10: more baselines. quoted: its authors copied the number from that method's own paper.", whole=True, fl="",
)  # fmt: skip
TABLE11 = Table(
    "table11", ("data", "fl", "per_round", "method"), "Table 11: by the number of clients selected a round.",
    whole=True, along="per_round",
)  # fmt: skip


def _widest(frame: pd.DataFrame) -> str:
    """The last axis with several values; the federated setting where there is none."""
    return next((axis for axis in reversed(axes_in(frame)) if frame[axis].fillna("").nunique() > 1), "fl")


def _with_rounds(frame: pd.DataFrame, rows: pd.DataFrame, table: str) -> pd.DataFrame:
    """`frame` with rounds to the fixed target, median over seeds, how many reached it, and the paper's rounds."""
    reached = to_targets(rows)
    fixed = reached[reached["kind"] == "fixed"]
    of = fixed[fixed["target"] == fixed["target"].max()].groupby(["data", "method"])
    theirs = printed.table(table)
    theirs = theirs[theirs["what"] == "rounds"].set_index(["data", "method"])["paper text"]
    index = pd.MultiIndex.from_frame(frame[["data", "method"]])
    found: dict[str, pd.Series] = {
        "target": of["target"].mean(), "rounds": of["rounds"].agg(median), "reached": of["rounds"].count(),
        "rounds run": of["run"].max(), "paper rounds": theirs.replace("NaN", "never"),
    }  # fmt: skip
    return frame.assign(**{column: series.reindex(index).to_numpy() for column, series in found.items()})


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` as it is published: columns in reading order, words for the words of keys, empty columns left out."""
    worded = frame.assign(
        data=frame["data"].map(lambda data: DATA.get(data, data)),
        model=frame["net"].map(lambda net: MODELS.get(net, net)),
        algorithm=frame["method"].map(label_of),
    )
    if "fl" in worded:
        worded["fl"] = worded["fl"].fillna("").map(fl_words)
    others = [axis for axis in axes_in(frame) if axis != "fl"]
    columns = ["setting", "scale", "data", "model", "fl", *others, "algorithm", *NUMBERS, "note"]
    return filled(worded[[column for column in columns if column in worded]])
