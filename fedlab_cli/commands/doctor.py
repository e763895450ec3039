"""`fedlab doctor`: versions, devices, data, write access."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from experiments.core.sweep import files
from experiments.paths import configs_dir
from experiments.paths import data_dir as resolved_dir
from fedlab_cli import console
from fedlab_cli import options as o

_PACKAGES = (
    "fedlab-influence", "torch", "torchvision", "numpy", "pandas", "scipy", "scikit-learn", "matplotlib", "pydantic",
    "typer", "safetensors", "pyarrow", "transformers", "tokenizers",
)  # fmt: skip


def doctor(out: o.Out = o.RUNS, data_dir: o.DataDir = None, as_json: o.Json = False) -> None:
    """Check this machine: versions, devices, compiler, data, write access."""
    console.setup(as_json)
    rows = [*_versions(), *_devices(), _compiler(), _writable(out), *_data(resolved_dir(data_dir)), _configs()]
    if as_json:
        console.dump(rows)
    else:
        console.table("doctor", rows)
    if any(row["state"] == "wrong" for row in rows):
        raise typer.Exit(4)


def _row(what: str, state: str, detail: str) -> dict[str, Any]:
    return {"what": what, "state": state, "detail": detail}


def _versions() -> list[dict[str, Any]]:
    rows = [_row("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    for name in _PACKAGES:
        try:
            rows.append(_row(name, "ok", version(name)))
        except PackageNotFoundError:
            optional = {
                "pyarrow": "optional: pip install 'fedlab-influence[parquet]'",
                "transformers": "optional: pip install 'fedlab-influence[text]'",
                "tokenizers": "optional: pip install 'fedlab-influence[text]'",
                "fedlab-influence": "run from source",
            }
            rows.append(
                _row(name, "absent" if name in optional else "wrong", optional.get(name, f"pip install {name}"))
            )
    return rows


def _devices() -> list[dict[str, Any]]:
    try:
        import torch
    except (ImportError, OSError) as fault:  # OSError: a library that torch needs is missing or damaged
        first = (str(fault).splitlines() or [""])[0]
        return [_row("cpu", "wrong", f"torch cannot be loaded ({first}); pip install --force-reinstall torch")]
    rows = [_row("cpu", "ok", f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}")]
    for i in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(i)
        rows.append(_row(f"cuda:{i}", "ok", f"{device.name}, {console.size(device.total_memory)}"))
    if not torch.cuda.is_available():
        rows.append(_row("cuda", "absent", "runs use the CPU"))
    return rows


def _compiler() -> dict[str, Any]:
    compiler = next((name for name in ("g++", "clang++") if shutil.which(name)), None)
    return _row(
        "C++ compiler", "ok" if compiler else "absent", compiler or "optional: makes convolutions faster on a CPU"
    )


def _writable(out: Path) -> dict[str, Any]:
    """Whether the nearest existing folder above `out` can be written to."""
    existing = files.nearest(out)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as fault:
        return _row("write access", "wrong", f"{out}: {fault.strerror}; give another --out")
    return _row("write access", "ok", f"{out}, {console.size(shutil.disk_usage(existing).free)} free")


def _data(folder: Path | None) -> list[dict[str, Any]]:
    from experiments.core.data import fetch

    states = {"there": "ok", "built in": "ok", "missing": "absent", "differs": "wrong"}
    return [_row(f"data: {s.name}", states[s.state], s.detail) for s in fetch.status(folder)]


def _configs() -> dict[str, Any]:
    folder = configs_dir()
    count = len(list(folder.glob("*/*.yaml")))
    return _row("specs", "ok" if count else "wrong", f"{count} in {folder}")
