"""Compiling a C++ source on first use into a per-user cache; None where that is not possible."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_built: dict[tuple[Path, tuple[str, ...]], ctypes.CDLL | None] = {}
# As fast as -O3 here (the source says what to unroll) and three times as quick to compile.
FLAGS = (
    "-O2",
    "-ftree-vectorize",
    "-march=native",
    "-std=c++17",
    "-fPIC",
    "-shared",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-w",
)


def library(source: Path, defines: tuple[str, ...]) -> ctypes.CDLL | None:
    """The shared library of `source` compiled with -D`defines`, from the cache if it is there.

    All headers beside the source count as part of it. Safe from several threads and processes: a build goes to a
    temporary name and is renamed into place. A failure is logged once and remembered for the life of the process.
    """
    key = (source, defines)
    with _lock:
        if key not in _built:
            try:
                _built[key] = _load(source, defines)
            except (OSError, subprocess.SubprocessError) as error:
                output = getattr(error, "stderr", None) or error
                _log.warning("native kernel not available, slower ways are used: %s", str(output).strip()[-2000:])
                _built[key] = None
        return _built[key]


def _load(source: Path, defines: tuple[str, ...]) -> ctypes.CDLL | None:
    found = compiler()
    if found is None:
        return None
    path, version = found
    headers = (header.read_text() for header in sorted(source.parent.glob("*.h")))  # what the source may include
    parts = (source.read_text(), *headers, *defines, *FLAGS, path, version, _machine())
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    target = _cache_dir() / f"{source.stem}-{digest}.so"
    if target.exists():
        try:
            return ctypes.CDLL(str(target))
        except OSError:
            target.unlink(missing_ok=True)  # a damaged file: build it anew
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / "made.so"
        command = [path, *FLAGS, *(f"-D{d}" for d in defines), str(source), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        made.replace(target)
    return ctypes.CDLL(str(target))


@cache
def compiler() -> tuple[str, str] | None:
    """Path and version text of the C++ compiler: $CXX, else g++, else clang++.

    None when there is none, or when FEDLAB_NATIVE=0 asks for none.
    """
    if os.environ.get("FEDLAB_NATIVE") == "0" or platform.system() == "Windows":
        return None
    for name in (os.environ.get("CXX", ""), "g++", "clang++"):
        path = shutil.which(name) if name else None
        if path is None:
            continue
        try:
            asked = subprocess.run([path, "--version"], check=True, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            continue
        return path, asked.stdout
    return None


def _machine() -> str:
    """The processor's features: a cache in a shared home must not serve another machine's instructions."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.lower().startswith(("flags", "features")):
                return line
    return platform.processor() + platform.machine()


def _cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fedlab" / "native"
