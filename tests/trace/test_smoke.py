"""Every setting of the paper from YAML to plots, tiny; and texts of one's own."""

import csv
import json

import pytest

from experiments.core.spec.find import settings
from fedlab_cli.main import main


@pytest.mark.slow
def test_every_setting_runs_or_says_which_data_are_missing(tmp_path, capsys):
    assert main(["trace", "--all", "--scale", "smoke", "--out", str(tmp_path), "--json", "--device", "cpu"]) == 0
    told = {s["setting"]: s for s in json.loads(capsys.readouterr().out)["settings"]}
    assert set(told) == {path.stem for path in settings("trace")["trace"]}
    for name, setting in told.items():
        assert setting["status"] in ("done", "skipped"), name
        assert setting["status"] == "done" or "no data at dbpedia_csv" in setting["reason"]
    for name in ("localization", "alpha", "faults"):
        assert told[name]["status"] == "done"
        assert any(path.endswith(".png") for path in told[name]["files"])
    written = (tmp_path / "trace/faults-smoke/metrics.csv").read_text()
    assert ",feddebug,localization,task=resnet18_mnist alpha=1 scope=wrong," in written


WORDS = {1: "the river flows through the valley", 2: "a painter of large portraits", 3: "goals in the second half"}


@pytest.mark.slow
def test_texts_of_ones_own(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    for part, count in (("train", 60), ("test", 8)):
        with (folder / f"{part}.csv").open("w", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows(
                [label, f"title {i}", f"{text} {i % 7}"] for i in range(count) for label, text in WORDS.items()
            )
    changes = [f"data.path={folder}", "data.keep_train=null", "data.keep_test=null", "partition.clients=4",
               "local.epochs=3"]  # fmt: skip
    command = ["trace", "--setting", "privacy", "--scale", "smoke", "--out", str(tmp_path / "runs"), "-q"]
    assert main([*command, *(word for change in changes for word in ("--set", change)), "--device", "cpu"]) == 0
    written = (tmp_path / "runs/trace/privacy-smoke/metrics.csv").read_text()
    assert ",privacy,epsilon," in written
    assert ",notes,dirichlet_balanced,gpt,tracefl,localization,dp=noise0.012_clip15 scope=correct," in written
