"""A copy of the source tree in a temporary folder, for proving that one new file is all that a new member takes.

Use the fixture `checkout` (tests/conftest.py): `checkout.add(...)` puts files into the copy, `checkout.fedlab(...)`
runs the real command on it in a folder of its own, as someone who added those files would.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ("experiments", "fedlab_cli", "configs")


@dataclass(frozen=True)
class Checkout:
    """A copy of the source tree at `root`; commands run in `folder`, which lies outside it and starts empty."""

    root: Path
    folder: Path

    @classmethod
    def copy(cls, parent: Path) -> "Checkout":
        root, folder = parent / "checkout", parent / "work"
        for name in SOURCE:
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        folder.mkdir()
        return cls(root, folder)

    def add(self, name: str, text: str) -> Path:
        """Write a new file of the copy; a stranger edits no file that is already there."""
        path = self.root / name
        assert not path.exists(), f"{name} is no new file"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def python(self, *arguments: str, status: int = 0) -> str:
        """Run Python on the copy, expecting the exit status `status`; what it wrote to stdout, then stderr."""
        env = {**os.environ, "PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def fedlab(self, *words: str, status: int = 0) -> str:
        """Run `fedlab words...` on the copy; see `python`."""
        return self.python("-c", "from fedlab_cli.main import run; run()", *words, status=status)

    def metrics(self, paper: str) -> str:
        """The text of the one `metrics.csv` that a paper's run has left under `results/runs`."""
        (path,) = self.folder.glob(f"results/runs/{paper}/*/metrics.csv")
        return path.read_text(encoding="utf-8")
