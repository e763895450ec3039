"""What every test shares."""

from pathlib import Path

import pytest

from tests.stranger import Checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A copy of the source tree that a test may add files to; see tests/stranger.py."""
    return Checkout.copy(tmp_path)
