"""The paper's tables and the numbers of its text, ours beside them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import ABOUT, about, spread
from experiments.fragility import blanks
from experiments.fragility.reading import (
    ARCHITECTURES,
    IMAGENET,
    METHODS,
    SCORES,
    axes,
    by_place,
    correlations,
    family,
    imagenet_tests,
    ordered,
    pick,
    primary,
    printed,
    test_words,
    top,
)

_CELLS = {
    "A, decay": ("A_wd", "max", True), "B, decay": ("B_wd", "p50", True), "A, no decay": ("A_nowd", "max", False),
}  # fmt: skip
"""Column of Table 1 -> its word in reference.csv, the test point, whether trained with weight decay."""


def decay(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Section 5.1: correlation with and without weight decay by activation; the paper's numbers are of ReLU."""
    scored = correlations(rows)
    grid = axes(scored)
    if "wd" not in grid or scored.empty:
        return None
    frame = spread(scored, [*ABOUT, *grid, "method", "metric"])
    frame["paper"] = [
        printed(f"iris.width5_depth1_relu.{'nowd' if row['wd'] == '0' else 'wd'}.{row['metric']}")
        if row.get("activation", "relu") == "relu" else math.nan
        for _, row in frame.iterrows()
    ]  # fmt: skip
    caption = (
        "Correlation of estimated and measured influence on the highest-loss test point and its top influential "
        "training points: median, lowest and highest over seeds, and the paper's (one number, ReLU)."
    )
    return Artefact(name, by_place(frame, [*grid, "metric"]), None, caption, table_md=True, blanks=blanks.DECAY)


def table1(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Table 1: Pearson (P) and Spearman (S) by architecture, ours and the paper's in its layout."""
    scored = top(primary(pick(rows, list(SCORES), truth="", size="")))
    if "arch" not in axes(scored):
        return None
    middle = scored.assign(decay=scored["wd"] != "0").groupby(["arch", "decay", "test", "metric"])["value"].median()
    seeds = scored.groupby("arch")["seed"].nunique()
    data = _data(rows)
    lines = []
    for arch in ordered(scored["arch"].unique()):
        line: dict[str, Any] = {**about(rows), "architecture": ARCHITECTURES.get(arch, arch)}
        for column, (word, test, with_decay) in _CELLS.items():
            for score in SCORES:
                letter = score[0].upper()
                line[f"{column}: {letter}"] = float(middle.get((arch, with_decay, test, score), math.nan))
                line[f"{column}: {letter} (paper)"] = printed(f"table1.{data}.{arch}.{word}.{letter}")
        lines.append(line | {"seeds": int(seeds[arch])})
    caption = (
        "Table 1: Pearson (P) and Spearman (S) correlation of estimated and measured influence over the top "
        "influential training points, median over seeds; A: test point of highest loss, B: of median loss."
    )
    frame = pd.DataFrame(lines)
    return Artefact(name, frame, None, caption, table_md=True, blanks=blanks.of_table1(frame.columns))


def _data(rows: pd.DataFrame) -> str:
    """The paper's data set behind a setting of Table 1 ("mnist"); "" for others."""
    return family(str(rows["setting"].iloc[0])).removeprefix("table1_")


def table2(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Table 2: seconds of one influence computation by architecture; only their order can be compared."""
    timed = primary(pick(rows, "influence_seconds", method=list(METHODS)))
    if "arch" not in axes(timed):
        return None
    data = _data(rows)
    frame = spread(timed, [*ABOUT, "arch", "method"]).rename(columns={"median": "seconds", "seeds": "measured"})
    keys = {arch: f"table2.{data}.{arch}.time" for arch in frame["arch"]}
    frame["paper seconds"] = [printed(keys[arch]) for arch in frame["arch"]]
    frame["paper sd"] = [printed(f"{keys[arch]}.sd") for arch in frame["arch"]]
    frame["rank"] = frame["seconds"].rank()
    frame["paper rank"] = frame["paper seconds"].rank()
    caption = (
        "Table 2: seconds of one influence computation (the inverse-Hessian-vector product of one test point): median, "
        "lowest and highest over test points, decays and seeds. The paper names no hardware, so only the order of the "
        "architectures compares."
    )
    return Artefact(name, by_place(frame, ["arch"]), None, caption, table_md=True, blanks=blanks.TABLE2)


def optimizers(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Appendix 9.7: correlation by optimiser, and mean and standard deviation over optimisers as printed."""
    scored = correlations(rows)
    if "optimizer" not in axes(scored):
        return None
    frame = spread(scored, [*ABOUT, "optimizer", "method", "metric"])
    frame = by_place(frame, ["metric", "optimizer"])
    lines = [frame]
    for score in SCORES:
        medians = frame[frame["metric"] == score]["median"]
        key = f"deep.optimizers.lenet.mnist.{score}"
        same = {**about(rows), "optimizer": "all", "metric": score, "seeds": int(scored["seed"].nunique())}
        values = {
            "median": medians.mean(),
            "sd": medians.std(ddof=1),
            "paper mean": printed(key),
            "paper sd": printed(f"{key}.sd"),
        }
        lines.append(pd.DataFrame([same | values]))
    caption = (
        "Correlation on the highest-loss test point by optimiser: median, lowest and highest over seeds. `all`: mean "
        "and standard deviation over the optimisers' medians, beside the paper's."
    )
    return Artefact(name, pd.concat(lines, ignore_index=True), None, caption, table_md=True, blanks=blanks.OPTIMIZERS)


def several(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Appendix 9.12: correlation when several test points are taken together."""
    scored = pick(rows, list(SCORES), method="several")
    if scored.empty:
        return None
    grid = axes(scored)
    keys = {"small_mnist": "small_mnist.multi_test_points", "cifar100": "deep.cifar100.resnet18.multi_test_points"}
    key = keys.get(family(str(rows["setting"].iloc[0])), "")
    frame = spread(scored, [*ABOUT, *grid, "set", "metric"])
    is_printed = (frame["wd"] != "0" if "wd" in frame else True) & (frame["set"] == top(scored)["set"].iloc[0])
    frame["paper"] = [
        printed(f"{key}.{m}") if key and t else math.nan for m, t in zip(frame["metric"], is_printed, strict=True)
    ]
    caption = (
        "Correlation with several test points taken together: median, lowest and highest over seeds, and the paper's. "
        "It does not say how it combined them."
    )
    return Artefact(name, by_place(frame, [*grid, "set", "metric"]), None, caption, table_md=True, blanks=blanks.DECAY)


def imagenet(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Section 5.4 and appendix 9.5: what the text prints, ours beside it."""
    lines: list[dict[str, Any]] = []
    for metric, words, key, times in (
        ("parameters", "parameters", "params", 1.0), ("test_accuracy_top5", "top-5 accuracy, %", "top5_acc", 100.0),
        ("gradient_norm", "norm of the gradient", "grad_norm.ours", 1.0),
    ):  # fmt: skip
        lines += _line(pick(rows, metric, method="train"), words, printed(f"imagenet.{key}"), times)
    tests = imagenet_tests(pick(rows, "test_point_loss", method="test"))
    scores = top(primary(pick(rows, list(SCORES), truth="", size="")))
    for test in tests:
        number = IMAGENET.index(test) + 1 if test in IMAGENET else 0
        words, key = test_words(test), f"imagenet.{{}}.point{number}"
        loss = printed(f"imagenet.test_point{number}.loss")
        lines += _line(pick(rows, "test_point_loss", method="test", test=test), f"{words}: loss", loss)
        drift = printed(key.format("extra_training_loss_change"))
        drift_words = f"{words}: change of its loss when training goes on with all data"
        lines += _line(pick(rows, "drift", method="retrain", test=test).drop_duplicates("seed"), drift_words, drift)
        for score, label in SCORES.items():
            of_score = scores[(scores["test"] == test) & (scores["metric"] == score)]
            lines += _line(
                of_score,
                f"{words}: {label} (the paper's is an upper bound)",
                printed(f"{key.format('corr_upper_bound')}.{score}"),
            )
    if not lines:
        return None
    caption = "What section 5.4 and appendix 9.5 print: median, lowest and highest over seeds, and the paper's."
    return Artefact(
        name, pd.DataFrame([about(rows) | line for line in lines]), None, caption, table_md=True, blanks=blanks.DECAY
    )


def _line(rows: pd.DataFrame, words: str, paper: float, times: float = 1.0) -> list[dict[str, Any]]:
    if rows.empty:
        return []
    values = rows["value"] * times
    numbers = {"median": values.median(), "low": values.min(), "high": values.max(), "seeds": rows["seed"].nunique()}
    return [{"name": words, **{k: float(v) for k, v in numbers.items()}, "paper": paper}]
