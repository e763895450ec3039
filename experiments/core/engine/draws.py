"""What a model draws itself (dropout, stochastic depth, noise): from a stream with a name (law 1)."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.core.engine.seeds import stream

_one_at_a_time = threading.Lock()
"""PyTorch, NumPy and Python keep one generator each for all threads: who draws from it holds this."""


def step_seed(seed: int, **names: int | str) -> int:
    """The seed of all that a model draws in the local step `names`: client=3, round=7, step=0.

    Worlds do not name it, so that all of them that share the step draw the same numbers.
    """
    return int(stream(seed, "model", **names).integers(2**63))


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators of PyTorch (that of `device`, too), NumPy and Python with `seed`.

    PyTorch's are restored afterwards; nothing else in the program draws from the other two, whose states take long to
    copy. Passes that draw go through one at a time, whatever the number of threads.
    """
    with _one_at_a_time:
        before = [(generator, generator.get_state()) for generator in _of_torch(device)]
        try:
            for generator, _ in before:
                generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
        finally:
            for generator, state in before:
                generator.set_state(state)


class Watch(TorchDispatchMode):
    """Sees whether PyTorch draws random numbers, also where the generators are put back afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.drew = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let the operation pass."""
        self.drew |= torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


def standing(device: torch.device) -> tuple[Any, ...]:
    """Where the generators stand: two of these are equal if nothing was drawn in between."""
    states = [generator.get_state().numpy().tobytes() for generator in _of_torch(device)]
    numpy: Any = np.random.get_state(legacy=False)
    mersenne = numpy["state"]
    return (*states, random.getstate(), mersenne["key"].tobytes(), mersenne["pos"], numpy["has_gauss"])


def _of_torch(device: torch.device) -> list[torch.Generator]:
    """PyTorch's generators that a pass on `device` may draw from."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index or 0])
    elif device.type == "mps":
        generators.append(torch.mps._get_default_mps_generator())
    return generators
