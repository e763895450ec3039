"""Every setting of the paper from YAML to plots, tiny; and an image folder of one's own."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.core.spec.find import settings
from experiments.core.spec.standin import SUFFIX
from fedlab_cli.main import main


@pytest.mark.slow
def test_every_setting_runs_or_says_which_data_are_missing(tmp_path, capsys):
    assert main(["fragility", "--all", "--scale", "smoke", "--out", str(tmp_path), "--json", "--device", "cpu"]) == 0
    told = {s["setting"]: s for s in json.loads(capsys.readouterr().out)["settings"]}
    assert {name.removesuffix(SUFFIX) for name in told} == {path.stem for path in settings("fragility")["fragility"]}
    for name, setting in told.items():
        assert setting["status"] in ("done", "skipped"), name
        assert setting["status"] == "done" or "no " in setting["reason"]
    for name in ("iris_decay", "iris_depth", "iris_width", "iris_deep_decay", "iris_scratch", "iris_decline"):
        assert told[name]["status"] == "done"
        assert any(path.endswith(".png") for path in told[name]["files"])


def folder_of_images(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 3)):
        for label in ("fox", "lizard"):
            place = root / "pets" / part / label
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(place / f"{i}.png")
    return root / "pets"


@pytest.mark.slow
def test_a_folder_of_images(tmp_path):
    pets = folder_of_images(tmp_path)
    command = ["fragility", "--setting", "imagenet", "--scale", "smoke", "--out", str(tmp_path / "runs"), "-q"]
    assert main([*command, "--set", f"data.path={pets}", "--device", "cpu"]) == 0
    written = (tmp_path / "runs/fragility/imagenet-smoke/metrics.csv").read_text()
    assert ",lissa,spearman,test=p83 set=top," in written
    assert ",pets," in written
    assert list((tmp_path / "runs/reports").rglob("figure13*.png")) or list((tmp_path / "runs/reports").rglob("*.png"))
