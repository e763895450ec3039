"""The numbers that Tang et al. 2024 print, as frames with the columns that our tables have."""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path

import pandas as pd

from experiments.core.report import reference

_PRINTED = reference.Printed(Path(__file__).with_name("reference.csv"), "fedimpro")
_DATA, _FL, _METHOD = r"(?P<data>[a-z0-9]+)", r"(?P<fl>a[\d.]+_E\d+_M\d+)", r"(?P<method>[a-z_]+)"
_PATTERNS = {
    "table1": rf"{_DATA}\.(?P<fl>a[\d.]+_E\d+_M\d+|average)\.{_METHOD}",
    "table2": rf"{_DATA}\.{_FL}\.{_METHOD}",
    "table3": rf"{_DATA}\.{_FL}\.split_(?P<split>conv\d+)",
    "table5": rf"{_DATA}\.{_FL}\.{_METHOD}\.lr",
    "table6": rf"{_DATA}\.{_FL}\.{_METHOD}\.momentum0\.9",
    "table7": rf"{_DATA}\.{_FL}\.noise(?P<noise>[\d.]+)",
    "table8": rf"{_DATA}\.{_METHOD}\.(?P<what>acc|rounds)",
    "table9": rf"{_DATA}\.(?P<net>vgg9)\.(?P<method>[a-z]+)\.(?P<what>acc|rounds)",
    "table10": rf"{_DATA}\.(?P<fl>a[\d.]+_M\d+_R\d+)\.{_METHOD}",
    "table11": rf"{_DATA}\.{_FL}_Mc(?P<per_round>\d+)\.{_METHOD}",
    "centralized": rf"{_DATA}\.centralized",
    "long": r"fedavg_(?P<schedule>fixed|decayed)_lr\.10000_rounds\.acc",
}
"""Table -> what follows its name in the keys of reference.csv; the groups are the columns of `table`."""

_BEGINS = {"centralized": "table1", "long": "prose.figure8a"}
"""Tables whose keys begin with another word than their name."""

_SAME = {"long": {"data": "cifar10", "method": "fedavg"}}
"""What is the same for all numbers of a table, and not in their keys."""

SPLITS = {"conv5": "layer1", "conv9": "layer2", "conv13": "layer3", "conv17": "layer4"}
"""Table 3's convolution that is split after -> the stage of ResNet-18 that it ends."""

_SPREAD = (".sd", ".std")
_ONE_KIND = {"feddf_no_extra_data": "feddf"}

stated = _PRINTED.number
"""The paper's number `fedimpro.<key>`; NaN if there is none."""


@cache
def table(name: str) -> pd.DataFrame:
    """The numbers of one table of the paper.

    Returns:
        A column for each word of its keys (data, fl, method, split, noise, per_round, what), then `paper` (NaN where
        it prints none, or prints NaN), `paper text` as printed, `paper sd` (NaN where it prints none).
    """
    pattern, start = re.compile(_PATTERNS[name]), f"{_PRINTED.prefix}.{_BEGINS.get(name, name)}."
    same, lines = _SAME.get(name, {}), []
    for key, row in _PRINTED.rows.items():
        match = pattern.fullmatch(key.removeprefix(start)) if key.startswith(start) else None
        if match and not key.endswith(_SPREAD):
            number = row.number
            told = {"paper": math.nan if number is None else number, "paper text": row.value, "paper sd": _sd(key)}
            lines.append({**same, **_columns(match.groupdict()), **told})
    return pd.DataFrame(lines, columns=[*same, *pattern.groupindex, "paper", "paper text", "paper sd"])


def _columns(found: dict[str, str]) -> dict[str, str]:
    """The words of a key in the words of our grids."""
    if "split" in found:
        found["split"] = SPLITS[found["split"]]
    if "noise" in found:
        found["noise"] = f"{float(found['noise']):g}"
    if found.get("method") in _ONE_KIND:
        found["method"] = _ONE_KIND[found["method"]]
    return found


def _sd(key: str) -> float:
    """The standard deviation printed beside a number."""
    plain = key.removeprefix(f"{_PRINTED.prefix}.")
    known = [value for end in _SPREAD if not math.isnan(value := _PRINTED.number(f"{plain}{end}"))]
    return known[0] if known else math.nan


def target(data: str, fl: str) -> float:
    """The accuracy in % that Table 2 counts rounds to; NaN where it has none."""
    return stated(f"table2.{data}.{fl}.target")


def more_time() -> float:
    """FedImpro's time in appendix B over FedAvg's, as per cent more (E 1, M 10, CIFAR-10); NaN without them."""
    ours, theirs = (_seconds(_PRINTED.text(f"prose.time.cifar10.a0.1_E1_M10.{m}")) for m in ("fedimpro", "fedavg"))
    return 100 * (ours / theirs - 1)


def _seconds(text: str) -> float:
    """Seconds of h:m:s, or of a number of seconds."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        return math.nan
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))
