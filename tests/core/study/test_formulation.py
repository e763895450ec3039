"""A cell keeps the formulation it began with; when that is no longer known, nothing of it is taken up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from experiments.core.engine.calibrate import Choice
from experiments.core.sealed import unseal
from experiments.core.study.formulation import NOTE, settled
from experiments.core.sweep.cell import Context


@pytest.fixture
def context(tmp_path):
    said: list[str] = []
    found = Context(tmp_path, warn=said.append)
    found.said = said
    return found


def choose(context, wanted, device="cpu"):
    """What is settled on, and what was asked for; "auto" picks "dense"."""
    asked = []

    def pick(name):
        asked.append(name)
        return Choice(
            SimpleNamespace(name={"auto": "dense"}.get(name, name)), {"dense": 0.5, "looped": float("inf")}, {}
        )

    return settled(context, device, wanted, pick).name, asked


def test_it_is_kept_over_starts_but_not_over_devices(context):
    assert choose(context, "auto") == ("dense", ["auto"])
    assert choose(context, "looped") == ("dense", ["dense"])
    assert context.facts["formulation"] == "dense"
    assert choose(context, "looped", "cuda") == ("looped", ["looped"])
    assert not context.said


def test_a_damaged_note_takes_the_checkpoints_along(context, tmp_path):
    choose(context, "looped")
    whole = (tmp_path / NOTE).read_bytes()
    assert unseal(whole)["formulation"] == "looped"
    for harm in (whole.replace(b"looped", b"dense"), whole.replace(b"cpu", b"cqu"), whole[:20], b"[]", b"", None):
        (tmp_path / "truth.ckpt").write_text("of looped")
        (tmp_path / NOTE).unlink() if harm is None else (tmp_path / NOTE).write_bytes(harm)
        assert choose(context, "auto") == ("dense", ["auto"])
        assert not (tmp_path / "truth.ckpt").exists() and (tmp_path / "truth.ckpt.damaged").is_file()
        assert len(context.said) == 1 and NOTE in context.said[0] and "\n" not in context.said[0]
        context.said.clear()
    assert choose(context, "looped") == ("dense", ["dense"])
