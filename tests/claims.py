"""Reading what a paper's README says of its claims, and the published rows that it names."""

import csv
import re

HEADING = "## What the claims show so far"


def lines_of(readme, prefix):
    """The cells of each line of the claims table: claim, sentence, `value [low, high], n`, artefact and row."""
    section = readme.partition(HEADING)[2].partition("\n## ")[0]
    rows = (line for line in section.splitlines() if re.match(rf"\| {prefix}\d+ \|", line))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]


def numbers(text):
    """The numbers in a text, in their order."""
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]


def published(results, claim, source):
    """The one row of the CSV in the folder `results` that `source` names: `artefact`: `what` (unit)."""
    name, what, unit = re.fullmatch(r"`([^`]+)`: `([^`]+)`(?: \((\w+)\))?", source).groups(default="")
    with (results / f"{name}.csv").open(encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["claim"], row["what"]) == (claim, what) and unit in ("", row["unit"])
        ]
    assert len(rows) == 1, f"{name}.csv has {len(rows)} rows {what!r}"
    return rows[0]


def compared(results, line):
    """Pairs (shown, published) of a line's numbers; fails unless there are as many as its row has."""
    claim, _, shown, source = line
    row = published(results, claim, source)
    expected = [float(row[key]) for key in ("value", "low", "high", "n") if row[key]]
    found = numbers(shown)
    assert len(found) == len(expected), line
    return list(zip(found, expected, strict=True))
