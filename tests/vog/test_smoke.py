"""Every setting of the paper from YAML to plots, tiny."""

import json

import pytest

from experiments.core.report import artefacts
from experiments.core.spec.find import settings
from fedlab_cli.main import main


@pytest.mark.slow
def test_every_setting_runs_without_any_data(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")  # pictures are drawn in the figures' own tests
    assert main(["vog", "--all", "--scale", "smoke", "--out", str(tmp_path), "--json", "--device", "cpu"]) == 0
    told = {s["setting"]: s for s in json.loads(capsys.readouterr().out)["settings"]}
    assert set(told) == {path.stem for path in settings("vog")["vog"]}
    assert {setting["status"] for setting in told.values()} == {"done"}
    written = (tmp_path / "vog/table1-smoke/metrics.csv").read_text()
    for pick in ("none,removal_accuracy", "random,removal_accuracy", "vog,removal_accuracy"):
        assert f",{pick},task=mlp_digits eps=none " in written
