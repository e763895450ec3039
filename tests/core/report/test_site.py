"""The page of results: what it says of the published tables, and that the committed one is what the code writes."""

from __future__ import annotations

import re
import shutil

import pytest

from experiments.core.paper import papers, printed
from experiments.core.report import reference, site
from experiments.core.report.compare import COLUMNS
from experiments.paths import configs_dir

RESULTS = configs_dir().parent / "results"
DECIMAL = re.compile(r"(?<![A-Za-z0-9])(?:a|noise|wd)\d+\.\d+")
"""A value that is part of a key, such as wd0.03, unlike figure5.400clients."""


@pytest.mark.parametrize("paper", papers())
def test_every_printed_number_has_a_label_in_which_its_decimals_are_whole(paper):
    for row in reference.of_paper(paper):
        assert row.label, row.key
        assert not [value for value in DECIMAL.findall(row.key.replace("_", " ")) if value not in row.label], row.key


def test_some_keys_do_hold_decimals():
    keys = [row.key for paper in papers() for row in reference.of_paper(paper)]
    assert sum(bool(DECIMAL.search(key.replace("_", " "))) for key in keys) > 100


def test_the_committed_page_is_what_the_published_tables_give(tmp_path):
    for path in (file for scale in site.SCALES for file in (RESULTS / scale).rglob("*")):
        (tmp_path / path.relative_to(RESULTS)).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            shutil.copy(path, tmp_path / path.relative_to(RESULTS))
        elif path.is_file():  # the page links to it, and that is all
            (tmp_path / path.relative_to(RESULTS)).touch()
    page = site.write(tmp_path, printed()).read_text(encoding="utf-8")
    assert page == (RESULTS / "README.md").read_text(encoding="utf-8")


def test_a_published_number_that_is_no_longer_printed_is_called_by_its_key(tmp_path):
    folder = tmp_path / "small" / "trace"
    folder.mkdir(parents=True)
    row = dict.fromkeys(COLUMNS, "") | {"key": "tracefl.gone.a0.3", "kind": "result", "paper": "trace"}
    row |= {"setting": "alpha", "scale": "small", "reference": "1", "status": "not run"}
    (folder / "comparison.csv").write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    assert site.table(tmp_path)["metric"].tolist() == ["tracefl.gone.a0.3"]
