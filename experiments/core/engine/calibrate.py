"""Picking a formulation: a short timed trial per model, shape and device, remembered between runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from experiments.core.engine.device import is_out_of_memory
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import Formulation, formulations
from experiments.core.engine.net import Net
from experiments.core.errors import SpecError
from experiments.core.sealed import seal, unseal

_log = logging.getLogger(__name__)
_FIXED = ("dense", "looped")
_MOST_MODELS = 32


@dataclass(frozen=True)
class Choice:
    """The formulation picked, and the seconds per model and step of each candidate (empty when none was timed)."""

    formulation: Formulation
    seconds: dict[str, float]


def choose(net: Net, federation: Federation, worlds: int, threads: int, wanted: str = "auto") -> Choice:
    """The formulation called `wanted`; for "auto" the fastest here; for "fixed" the same on every machine.

    "auto" times one gradient of every candidate on a client of median size, for the share of the `worlds` models that
    one thread gets, and remembers the result in the user's cache folder.

    Raises:
        SpecError: an unknown formulation, or one that cannot compute this model here.
    """
    device, dtype = federation.x.device, _real(net, federation)
    known = formulations()
    able = {name: kind for name, kind in known.items() if kind.supports(net, device, dtype)}
    if wanted == "fixed":
        wanted = next(name for name in _FIXED if name in able)
    if wanted != "auto":
        if wanted not in known:
            raise SpecError(f"unknown formulation {wanted!r}", "formulation", f"use auto or one of {', '.join(known)}")
        if wanted not in able:
            raise SpecError(
                f"formulation {wanted!r} cannot compute this model on {device}",
                "formulation",
                f"use auto or one of {', '.join(able)}",
            )
        return Choice(able[wanted](net), {})
    models = min(_MOST_MODELS, max(1, -(-worlds // threads)))
    trial = _Trial(net, federation, models)
    seconds = _remembered(trial.key(able), set(able), lambda: {name: trial.time(able[name]) for name in able})
    return Choice(able[min(seconds, key=seconds.__getitem__)](net), seconds)


def _real(net: Net, federation: Federation) -> torch.dtype:
    """The arithmetic: the inputs', or the model's where inputs are ids."""
    return federation.x.dtype if federation.x.is_floating_point() else net.flat().dtype


class _Trial:
    """One gradient of `models` models on a client of median size."""

    def __init__(self, net: Net, federation: Federation, models: int) -> None:
        sizes = federation.sizes
        client = sorted(range(len(sizes)), key=sizes.__getitem__)[len(sizes) // 2]
        self.net, (self.x, self.y) = net, federation.of(client)
        self.theta: Tensor = net.flat().to(federation.x.device, _real(net, federation)).repeat(models, 1)

    def key(self, able: dict[str, type[Formulation]]) -> str:
        """What the result depends on."""
        parts = [
            "sealed",
            str(self.net.module),
            self.net.loss,
            list(self.x.shape),
            len(self.theta),
            str(self.theta.dtype),
            sorted(able),
            torch.__version__,
        ]
        where = torch.cuda.get_device_name(self.x.device) if self.x.is_cuda else f"{os.cpu_count()} cpu"
        return hashlib.sha256(json.dumps([*parts, where]).encode()).hexdigest()[:20]

    def time(self, kind: type[Formulation]) -> float:
        """Seconds per model of the best of a few gradients, infinite when it does not fit into memory."""
        best, formulation = float("inf"), kind(self.net)
        started = time.perf_counter()
        try:
            for trial in range(6):
                began = time.perf_counter()
                formulation.gradient(self.theta.clone(), self.x, self.y, None)
                if self.x.is_cuda:
                    torch.cuda.synchronize(self.x.device)
                if trial:  # the first call builds and warms up
                    best = min(best, time.perf_counter() - began)
                if trial and time.perf_counter() - started > 3.0:
                    break
        except (RuntimeError, MemoryError) as fault:
            if not is_out_of_memory(fault):
                raise
        return best / len(self.theta)


def cache_folder() -> Path:
    """The user's cache folder of this program ($XDG_CACHE_HOME/fedlab, by default ~/.cache/fedlab)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedlab"


def _remembered(key: str, names: set[str], measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The stored result of `key` for `names`, or measure() stored under it.

    Where the cache cannot be read or written it is measured anew; so it is, with a line, where it is damaged.
    """
    path = cache_folder() / "calibration" / f"{key}.json"
    seconds = _stored(path, names)
    if seconds is not None:
        return seconds
    seconds = measure()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(seal(seconds))
            Path(aside).replace(path)
        finally:
            Path(aside).unlink(missing_ok=True)
    return seconds


def _stored(path: Path, names: set[str]) -> dict[str, float] | None:
    """What is kept at `path` for just these `names`; None where there is nothing of use."""
    try:
        seconds = {name: float(value) for name, value in unseal(path.read_bytes()).items()}
    except OSError:
        return None
    except (ValueError, TypeError):
        _log.warning("the remembered calibration %s is damaged: measured anew", path.name)
        return None
    return seconds if set(seconds) == names and not any(math.isnan(s) for s in seconds.values()) else None
