"""Set-up of a federation of many clients, 100 a round: seconds and memory up to the first round, and how they grow.

Each size in a process of its own. LEAF's synthetic data, so that drawing them is part of it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (1_000, 10_000, 100_000)


def built(clients: int) -> dict[str, float]:
    """Seconds, bytes of the data, and bytes of memory beyond those of the imports."""
    from experiments.core.spec.load import load
    from experiments.core.spec.override import read_overrides
    from experiments.core.study.federated import build
    from experiments.core.sweep.cell import Context

    sets = (f"data.clients={clients}", "clients_per_round=100")
    spec = load("train/synthetic_logreg", None, "paper", read_overrides(sets)).spec
    before, began = _peak(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        federation = build(spec, 0, Context(Path(folder))).problem.federation
    seconds = time.perf_counter() - began
    data = sum(t.nbytes for t in (federation.x, federation.y, federation.test_x, federation.test_y))
    return {"seconds": seconds, "data": data, "memory": _peak() - before}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """A line for each number of clients, beside the smallest."""
    print("set-up with many clients (LEAF synthetic, 100 a round)")
    first: dict[str, float] = {}
    for clients in SIZES:
        command = [sys.executable, "-m", "tests.bench.setup", str(clients)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        first = first or found
        print(
            f"  {clients:>7} clients: {found['seconds']:6.2f} s ({found['seconds'] / first['seconds']:.1f} times the "
            f"first), memory {found['memory'] / found['data']:.2f} times the data ({found['data'] / 1e6:.0f} MB)"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(built(int(sys.argv[1]))))
    else:
        main()
