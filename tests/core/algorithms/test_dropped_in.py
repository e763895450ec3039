"""A new file in the folder of algorithms is found, and is what runs."""

import csv
import os
import subprocess
import sys
import textwrap

MINE = '''
"""A server that stays where it is."""

from typing import Literal

from experiments.core.block import Block
from experiments.core.engine.algorithm import Algorithm, Local


class Still(Block, Algorithm):
    """Nothing is learned."""

    kind: Literal["still"] = "still"

    def local(self, turn, start, server, client):
        return Local()

    def server(self, turn, start, mean, participants, state):
        return start.clone(), state
'''

RUN = """
import sys
import experiments.core.algorithms as family
family.__path__.append(sys.argv.pop(1))
from fedlab_cli.main import run
run()
"""


def fedlab(folder, *arguments):
    """The command line in a process of its own whose family of algorithms has one more folder."""
    (folder / "more").mkdir(exist_ok=True)
    (folder / "more" / "still.py").write_text(textwrap.dedent(MINE))
    command = [sys.executable, "-c", RUN, str(folder / "more"), *arguments, "--scale", "smoke", "--out", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)


def test_a_file_is_an_algorithm_and_it_is_what_runs(tmp_path):
    done = fedlab(tmp_path, "train", "--set", "algorithm.kind=still", "--set", "evaluate_every=1")
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("rows.csv")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    losses = [row["value"] for row in rows if row["metric"] == "loss" and row["subject"] == "data=test"]
    assert len(losses) > 1 and len(set(losses)) == 1  # FedAvg would have learned something


def test_without_a_plain_form_a_single_world_says_so(tmp_path):
    done = fedlab(tmp_path, "train", "--set", "algorithm.kind=still", "--exclude-clients", "#1")
    assert done.returncode == 2, done.stderr
    assert "the algorithm still has no plain form" in done.stderr and "Traceback" not in done.stderr
