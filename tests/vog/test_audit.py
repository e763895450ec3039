"""The block `audit`: rows, their numbers from what is stored, the same after a kill, and what is refused."""

import numpy as np
import pytest

from experiments.core.engine.accounting import epsilon
from experiments.core.errors import SpecError
from experiments.core.scores.attack import proven, proven_gaussian
from experiments.core.sweep.cell import Context
from experiments.vog import audit
from experiments.vog.cells import compute
from tests.vog.test_truth import iris, value

PRIVATE = {"kind": "sgd", "clip": 1.0, "noise": 1.5, "delta": 1e-4, "accountant": "rdp"}


def spec(**more):
    local = {"lr": 0.3, "steps": 2}
    return iris(**{"truth": None, "privacy": PRIVATE, "audit": {"runs": 60}, "local": local, **more})


def test_rows_are_what_the_stored_evidence_proves(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "side_by_side", lambda size: 50)
    rows = compute(spec(), "eps=4", 0, Context(tmp_path))
    seen = np.load(tmp_path / audit.FILE)
    assert seen["gradient"].shape == seen["loss"].shape == (120,)
    found = proven(seen["gradient"][::2], seen["gradient"][1::2], 1e-4)
    told = {row["metric"]: row["value"] for row in rows if row["method"] == "audit"}
    assert told["audit_epsilon"] == found.epsilon and told["audit_most"] == found.most
    assert (told["runs"], told["tpr"], told["fpr"]) == (30, found.tpr, found.fpr)
    assert (
        told["audit_epsilon_gaussian"] == proven_gaussian(seen["gradient"][::2], seen["gradient"][1::2], 1e-4).epsilon
    )
    assert told["audit_epsilon_loss"] == proven(seen["loss"][::2], seen["loss"][1::2], 1e-4).epsilon
    assert told["stated_epsilon"] == value(rows, "privacy", "epsilon", "eps=4") == epsilon(1.5, 1.0, 6, 1e-4)


def test_what_has_been_seen_before_a_kill_is_not_trained_again(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "side_by_side", lambda size: 40)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    straight = compute(spec(), "", 0, Context(tmp_path / "a"))
    plain, calls = audit.attacked, []

    def killed(*given):
        calls.append(given[3])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(*given)

    monkeypatch.setattr(audit, "attacked", killed)
    with pytest.raises(KeyboardInterrupt):
        compute(spec(), "", 0, Context(tmp_path / "b"))
    again = compute(spec(), "", 0, Context(tmp_path / "b"))
    assert [call.start for call in calls] == [0, 40, 40, 80]
    keep = [[row for row in rows if row["method"] == "audit"] for rows in (straight, again)]
    assert keep[0] == keep[1]


def test_what_cannot_be_audited_is_refused_before_training(tmp_path):
    for more in ({"privacy": None}, {"privacy": {**PRIVATE, "noise": 0.0}}):
        with pytest.raises(SpecError, match="an audit is of private steps"):
            compute(spec(**more), "", 0, Context(tmp_path))
    assert not list(tmp_path.glob("*.ckpt"))
