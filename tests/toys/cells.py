"""A toy cell that checkpoints, for tests that kill it; run as a script: cells.py OUT STEPS PAUSE [DIE_AT]."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
from pathlib import Path

from experiments.core.errors import FedlabError
from experiments.core.sweep.cell import Cell, Context, Row
from experiments.core.sweep.files import atomic_write
from experiments.core.sweep.run import Options, run_cells


def spec(steps: int = 5, **more: object) -> dict[str, object]:
    return {"name": "toy", "seeds": [0], "local": {"lr": 0.1, "steps": steps}, **more}


def walk(context: Context, steps: int, pause: float, seed: int, fault: str = "") -> list[Row]:
    """A chain of numbers, each from the last one; state and rows so far are kept in a checkpoint."""
    path = context.folder / "state.ckpt"
    state = json.loads(path.read_text()) if path.exists() else {"x": float(seed), "at": 0, "rows": []}
    context.log(f"from step {state['at']}")
    while state["at"] < steps:
        state["x"] = (state["x"] * 1103515245 + 12345) % 2147483648 / 3.0
        state["at"] += 1
        state["rows"].append(state["x"])
        atomic_write(path, json.dumps(state))
        context.progress("step", state["at"], steps)
        time.sleep(pause)
        if fault:
            raise RuntimeError(fault)
    (context.folder / "truth.bin").write_bytes(bytes(range(steps)))
    context.facts["formulation"] = "toy"
    rows = enumerate(state["rows"])
    return [{"metric": "x", "round": i, "value": x, "n": 1, "subject": f"client {i}"} for i, x in rows]


def cells(
    steps: int = 5, pause: float = 0.0, seeds: tuple[int, ...] = (0,), version: int = 1, **more: str
) -> list[Cell]:
    return [
        Cell("toy", "setting1", "small", seed, "walk", {"steps": steps, "seed": seed}, version,
             compute=functools.partial(walk, steps=steps, pause=pause, seed=seed, **more))
        for seed in seeds
    ]  # fmt: skip


def die_at(change: int, below: str) -> None:
    """Kill this process with SIGKILL just before its `change`-th rename or removal of a path below `below`."""
    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in ("os.rename", "os.remove", "shutil.rmtree") and str(arguments[0]).startswith(below):
            seen += 1
            if seen == change:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    if len(sys.argv) > 4:
        die_at(int(sys.argv[4]), sys.argv[1])
    total = int(sys.argv[2])
    try:
        outcome = run_cells(cells(total, float(sys.argv[3]), seeds=(0, 1)), spec(total), Path(sys.argv[1]), Options())
    except FedlabError as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(error.exit_code)
    sys.exit(1 if outcome.failed else 0)
