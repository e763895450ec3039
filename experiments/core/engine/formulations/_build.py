"""Compiling a C++ source on first use into a per-user cache; None where that is not possible."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

from experiments.core.sealed import set_aside

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
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def library(source: Path, defines: tuple[str, ...]) -> ctypes.CDLL | None:
    """The shared library of `source` compiled with -D`defines`, from the cache if it is there.

    All headers beside the source count as part of it. Safe from several threads and processes: a build goes to a
    temporary name and is renamed into place, its own SHA-256 in its name. Only a file that has this hash, is ours and
    can be written by nobody else is loaded. A failure is logged once and remembered for the life of the process.
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
    known_compiler = compiler()
    if known_compiler is None:
        return None
    path, version = known_compiler
    headers = (header.read_text() for header in sorted(source.parent.glob("*.h")))  # what the source may include
    parts = (source.read_text(), *headers, *defines, *FLAGS, path, version, _machine())
    name = f"{source.stem}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:24]}"
    command = [path, *FLAGS, *(f"-D{d}" for d in defines), str(source)]
    try:
        folder = _own_folder(_cache_dir())
        return _kept(folder, name) or ctypes.CDLL(str(_compiled(command, folder, name)))
    except OSError as error:
        _log.warning("native kernel compiled for this run only, the cache is of no use: %s", error)
    with tempfile.TemporaryDirectory() as folder_name:  # what is loaded stays loaded
        return ctypes.CDLL(str(_compiled(command, Path(folder_name), name)))


def _own_folder(folder: Path) -> Path:
    """The cache folder, made if need be, and closed to everybody else.

    Raises:
        OSError: it belongs to another user, or cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to another user")
    if folder.stat().st_mode & _OTHERS_MAY_WRITE:
        folder.chmod(0o700)
    return folder


def _kept(folder: Path, name: str) -> ctypes.CDLL | None:
    """The library cached as `name`; one that cannot be trusted is set aside, not loaded."""
    for path in sorted(folder.glob(f"{name}-*.so")):
        fault = _distrust(path)
        if not fault:
            try:
                return ctypes.CDLL(str(path))
            except OSError as error:
                fault = str(error)
        _log.warning("native kernel compiled anew: %s %s; set aside as %s", path.name, fault, set_aside(path))
    return None


def _distrust(path: Path) -> str:
    """Why a kept library must not be loaded, or ""."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        return "belongs to another user, or is no file"
    if status.st_mode & _OTHERS_MAY_WRITE:
        return "can be written by others"
    return "" if path.stem.endswith(_hash(path)) else "is damaged"


def _compiled(command: list[str], folder: Path, name: str) -> Path:
    """Run the compiler `command`; the library's path in `folder`.

    Raises:
        OSError, SubprocessError: as they come.
    """
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        made = Path(aside) / "made.so"
        subprocess.run([*command, "-o", str(made)], check=True, capture_output=True, text=True, timeout=300)
        made.chmod(0o700)
        with made.open("rb") as file:
            os.fsync(file.fileno())  # a name without its content would be a library cut short
        return made.rename(folder / f"{name}-{_hash(made)}.so")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
