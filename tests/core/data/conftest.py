"""The real data of these tests: set FEDLAB_DATA_DIR to a folder laid out as `fedlab data` describes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Path:
    named = os.environ.get("FEDLAB_DATA_DIR")
    if not named:
        pytest.skip("FEDLAB_DATA_DIR is not set: no real data to read")
    return Path(named)
