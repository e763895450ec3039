"""SCAFFOLD with 100,000 clients, 100 a round: seconds of a round, and memory, beside FedAvg's on the same data.

Each algorithm in a process of its own. LEAF's synthetic data, clients of at most twelve samples, so that the data are
small beside the state that every client would have.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

from experiments.core.memory import Peak

CLIENTS, ROUNDS = 100_000, 60


def trained(algorithm: str) -> dict[str, float]:
    """Median seconds of a round, bytes of peak memory in the rounds, of the data and of what is remembered."""
    from experiments.core.engine import simulate as engine
    from experiments.core.engine.worlds import BASE
    from experiments.core.spec.load import load
    from experiments.core.spec.override import read_overrides
    from experiments.core.study.federated import build, formulation
    from experiments.core.sweep.cell import Context

    sets = (f"data.clients={CLIENTS}", "data.max_samples=12", "clients_per_round=100", f"rounds={ROUNDS}")
    overrides = read_overrides((*sets, f"algorithm.kind={algorithm}"))
    spec = load("train/synthetic_logreg", None, "paper", overrides).spec
    made: list[engine.Memory] = []

    class Memory(engine.Memory):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            made.append(self)

    engine.Memory = Memory  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        context = Context(Path(folder))
        built = build(spec, 0, context)
        chosen = formulation(spec, built.problem, 1, context)
    times, peak = [time.perf_counter()], Peak()
    before = resident()
    engine.simulate(
        built.problem, [BASE], built.start, chosen, threads=2, progress=lambda *_: times.append(time.perf_counter())
    )
    f, rounds = built.problem.federation, [b - a for a, b in pairwise(times[5:])]
    return {
        "round": median(rounds), "memory": (peak.resident() or 0) - before, "state": made[0].bytes,
        "data": sum(t.nbytes for t in (f.x, f.y, f.test_x, f.test_y)), "all": 4 * (CLIENTS + 1) * len(built.start),
    }  # fmt: skip


def resident() -> int:
    """Bytes of this process's memory."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


def main() -> None:
    """A line for each algorithm."""
    print(f"{CLIENTS} clients (LEAF synthetic), 100 a round")
    base = 0.0
    for algorithm in ("fedavg", "scaffold"):
        command = [sys.executable, "-m", "tests.bench.state", algorithm]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(output.splitlines()[-1])
        base = base or found["round"]
        print(
            f"  {algorithm:>8}: {found['round']:.3f} s a round ({found['round'] / base:.2f} times FedAvg's), remembers "
            f"{found['state'] / 1e6:.1f} MB (a row for every client: {found['all'] / 1e6:.0f} MB); memory beyond the "
            f"{found['data'] / 1e6:.0f} MB of data {found['memory'] / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(trained(sys.argv[1])))
    else:
        main()
