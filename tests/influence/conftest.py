"""One real run for all tests here, without pictures (test_figures draws them)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from experiments.core.report import artefacts
from tests.toys import federated as tiny


@pytest.fixture
def no_pictures(monkeypatch):
    """Commands draw nothing; drawing takes longer than the tiny runs."""
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """The spec and the metrics of `fedlab influence` on it."""
    folder = tmp_path_factory.mktemp("influence")
    config = tiny.write(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(artefacts, "png_bytes", lambda *given: b"")
        assert tiny.command("influence", config, folder / "runs") == 0
    return config, tiny.metrics(folder / "runs")
