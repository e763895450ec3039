"""All benchmarks, as ratios from one run: python -m tests.bench (make bench). With CUDA also setting 3 there."""

from __future__ import annotations

import os

import torch

from experiments.core.errors import MissingError
from tests.bench import (
    clipping,
    clipping_native,
    engine,
    fedavg,
    formulations,
    impro,
    influence,
    plis,
    privacy,
    retraining,
    scores,
    setup,
    state,
    tracing,
)


def main() -> None:
    """Run them one after another; those whose data are missing say so."""
    print(f"{os.cpu_count()} cores, torch {torch.__version__}")
    formulations.main([])
    for setting, worlds, rounds in (("setting1", 201, 12), ("setting2-digits", 51, 3)):
        try:
            engine.truth_against_plain(setting, worlds, rounds)
        except MissingError as fault:
            print(f"{setting}: skipped, {fault.what}")
    for clients, p in ((1000, 305), (50, 17_146), (100, 110_198)):
        engine.recursion(clients, p)
    try:
        engine.estimator_in_worlds()
        if torch.cuda.is_available():
            engine.truth_against_plain("setting3-digits", 101, 3, device="cuda")
    except MissingError as fault:
        print(f"estimator: skipped, {fault.what}")
    fedavg.main()
    impro.main()
    retraining.main()
    privacy.main()
    clipping.main()
    clipping_native.main()
    scores.main()
    plis.main()
    try:
        influence.main()
    except MissingError as fault:
        print(f"influence: skipped, {fault.what}")
    tracing.main()
    setup.main()
    state.main()


if __name__ == "__main__":
    main()
