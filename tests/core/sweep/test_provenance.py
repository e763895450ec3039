"""Provenance tells what is needed and nothing about whose machine it was."""

from __future__ import annotations

import getpass
import json
import platform
import socket
import sys
from pathlib import Path

import pytest

from experiments.core.sweep.provenance import command, without_paths
from experiments.core.sweep.run import run_cells
from tests.toys import cells as toy


def test_it_names_versions_and_hardware_but_no_person_or_place(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["/opt/bin/fedlab", "train", "--out", str(tmp_path), f"--config={Path.home()}/my/a.yaml"]
    )
    run_cells(toy.cells(), toy.spec(), tmp_path)
    text = next(tmp_path.rglob("provenance.json")).read_text()
    told = json.loads(text)
    assert told["python"] == platform.python_version() and told["seed"] == 0 and told["wall_s"] >= 0
    assert told["command"].startswith("fedlab train --out …/") and told["command"].endswith("--config=…/a.yaml")
    assert told["facts"] == {"formulation": "toy"} and len(told["spec_sha256"]) == 64
    assert str(tmp_path) not in text and str(Path.home() / "my") not in text and socket.gethostname() not in text
    assert getpass.getuser() == "root" or getpass.getuser() not in text


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ('File "/a/b/c.py", line 3', 'File "…/c.py", line 3'),
        ("--out=/a/b", "--out=…/b"),
        ("results/runs", "results/runs"),
        ("./a/b", "./a/b"),
        ("3/4", "3/4"),
        ("~/x/y.yaml", "…/y.yaml"),
    ],
)
def test_absolute_paths_keep_their_last_part_only(given, left):
    assert without_paths(given) == left


def test_command():
    assert command(["/usr/bin/fedlab", "influence", "--set", "rounds=5"]) == "fedlab influence --set rounds=5"
