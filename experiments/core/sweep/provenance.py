"""What a number came from: code, versions, hardware, time. No host name, user, absolute path or remote address."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import experiments
from experiments.core.memory import Peak
from experiments.core.sweep.cell import Cell, Context, canonical

_HOUSE = Path(experiments.__file__).resolve().parent.parent
_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "transformers", "tokenizers")


def provenance(
    cell: Cell, context: Context, spec: dict[str, Any], timing: dict[str, Any], peak: Peak
) -> dict[str, Any]:
    """The content of provenance.json.

    Args:
        timing: start, end (UTC), wall_s over all starts, and how many starts.
        peak: made when the cell's last start began; what it does not know is left blank.
    """
    resident, on_device = peak.resident(), peak.on_device()
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        **timing,
        **code(),
        **versions,
        **device(context.device),
        "python": platform.python_version(),
        "command": command(sys.argv),
        "spec_sha256": hashlib.sha256(canonical(spec).encode()).hexdigest(),
        "seed": cell.seed,
        "worlds": cell.worlds,
        "device": context.device,
        "threads": context.threads,
        "peak_memory": "" if resident is None else resident,
        **({} if on_device is None else {"peak_device_memory": on_device}),
        "facts": json.loads(json.dumps(context.facts, sort_keys=True, default=str)),
    }


@functools.lru_cache(maxsize=1)
def code() -> dict[str, Any]:
    """Version of fedlab; in a checkout also the commit, and whether (and by which hash) the tree differs from it."""
    version: dict[str, Any] = {"fedlab": _version("fedlab-influence"), "git": "", "dirty": False, "diff_sha256": ""}
    if not (_HOUSE / ".git").exists():
        return version
    head, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    if head:
        version |= {"git": head.strip(), "dirty": bool(changed.strip())}
        version["diff_sha256"] = hashlib.sha256(_git("diff", "HEAD").encode()).hexdigest() if changed.strip() else ""
    return version


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=_HOUSE, capture_output=True, text=True, timeout=20, check=True, errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        return ""  # no git here, or no commit yet: the version alone has to do
    return done.stdout


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "checkout" if package.startswith("fedlab") else ""


def device(name: str) -> dict[str, Any]:
    """The hardware in words, and what decides about its arithmetic."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts: dict[str, Any] = {"hardware": f"{processor()}, {cores} cores"}
    torch = sys.modules.get("torch")
    if torch is None:
        return facts
    facts["deterministic"] = torch.are_deterministic_algorithms_enabled()
    if name.startswith("cuda") and torch.cuda.is_available():
        facts |= {
            "hardware": torch.cuda.get_device_name(name),
            "device_count": torch.cuda.device_count(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
            "driver": _driver(),
        }
    return facts


@functools.lru_cache(maxsize=1)
def processor() -> str:
    """The processor's model name."""
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        named = None
    return named.group(1).strip() if named else platform.processor() or platform.machine()


def _driver() -> str:
    try:
        named = re.search(r"Kernel Module\D*([\d.]+)", Path("/proc/driver/nvidia/version").read_text())
    except OSError:
        named = None
    return named.group(1) if named else ""


def command(argv: list[str]) -> str:
    """The command line, absolute paths cut down to their last part."""
    return " ".join(["fedlab", *(without_paths(argument) for argument in argv[1:])])


def without_paths(text: str) -> str:
    """`text` with the folders of absolute paths (and of the home folder) left out: /a/b/c.py -> …/c.py."""
    return re.sub(r"(?<![\w.…])(?:~|/[^\s/'\":,]+)(?:/[^\s/'\":,]+)*/([^\s/'\":,]+)", r"…/\1", text)
