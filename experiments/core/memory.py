"""How much memory is available, and the errors when it is not enough."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.core.errors import MissingError

LOWER = "lower the number of worlds (counted, candidates), of clients or of parameters, or free memory"
_SLACK = 16 * 2**20  # bytes that a process may release between two readings of its size
_UNLIMITED = 1 << 60  # version 1 writes a value just below 2^63 where there is no limit

_FILES = {  # of a control group: its limit, its usage, and the part of the usage that can be reclaimed
    "2": ("memory.max", "memory.current", "inactive_file"),
    "1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_bytes(root: Path = Path("/")) -> int:
    """Memory available to this process without swapping: the least of the machine's and of its control groups'.

    Args:
        root: the folder that holds proc and sys (for tests).
    """
    return max(0, min([_of_machine(root), *_of_groups(root)]))


def require(need: int, where: str, what: str = "this run", free: int | None = None, todo: str = LOWER) -> None:
    """Check that `need` bytes do not exceed the `free` ones (None: those available).

    Raises:
        MissingError: they do.
    """
    free = available_bytes() if free is None else free
    if need > free:
        raise MissingError(
            f"{what} needs about {need / 2**30:.2g} GiB of memory, and {free / 2**30:.2g} GiB are available",
            where,
            todo,
        )


class Peak:
    """The peak memory since its construction: that of a cell, not of the process that ran others before it.

    Linux records the peak resident size of a process and lets it be reset to the current one (proc(5), clear_refs).
    Where it cannot be reset the peak is unknown: another cell's peak must not be reported for this one.

    Args:
        device: "cuda..." also counts what PyTorch allocates there.
        process: the folder that describes the process (for tests).
    """

    def __init__(self, device: str = "cpu", process: Path = Path("/proc/self")) -> None:
        self._device, self._status = device, process / "status"
        try:
            (process / "clear_refs").write_text("5")
        except OSError:
            self._fresh = False
        else:
            self._fresh = self._is_fresh()
        cuda = self._cuda()
        if cuda is not None:
            cuda.reset_peak_memory_stats(device)

    def resident(self) -> int | None:
        """Peak resident size of the process in bytes; None if unknown."""
        return self._status_bytes("VmHWM") if self._fresh else None

    def on_device(self) -> int | None:
        """Peak bytes allocated by tensors on the CUDA device; None without one."""
        cuda = self._cuda()
        return None if cuda is None else int(cuda.max_memory_allocated(self._device))

    def _cuda(self) -> Any:
        torch = sys.modules.get("torch")  # code that computes on a GPU has loaded it
        return torch.cuda if torch is not None and self._device.startswith("cuda") else None

    def _is_fresh(self) -> bool:
        """Whether the peak was reset to the current size: some sandboxes accept the write and do nothing."""
        most, now = self._status_bytes("VmHWM"), self._status_bytes("VmRSS")
        return most is not None and now is not None and most <= now + _SLACK

    def _status_bytes(self, key: str) -> int | None:
        """A size in bytes from the kernel's status of the process, None if it has none."""
        with contextlib.suppress(OSError, StopIteration, ValueError):
            lines = self._status.read_text().splitlines()
            return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
        return None


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether this error was out of memory, in Python's or PyTorch's allocators (on a GPU or not)."""
    if isinstance(fault, MemoryError) or type(fault).__name__ == "OutOfMemoryError":
        return True
    phrases = ("can't allocate memory", "DefaultCPUAllocator", "out of memory")
    return isinstance(fault, RuntimeError) and any(phrase in str(fault) for phrase in phrases)


def out_of_memory(fault: BaseException, where: str) -> MissingError:
    """The error for a lack of memory, in one line."""
    asked = (str(fault).splitlines() or [""])[0]
    return MissingError(f"the memory does not suffice{f' ({asked})' if asked else ''}", where, LOWER)


def _of_machine(root: Path) -> int:
    """On Linux the memory available without swapping; elsewhere all memory."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_groups(root: Path) -> Iterator[int]:
    """The bytes left in each control group of this process, the innermost first."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            tops, version = [mounted, mounted / "unified"], "2"
        elif "memory" in controllers.split(","):
            tops, version = [mounted / "memory"], "1"
        else:
            continue
        for top in tops:
            # In a container its own group may be mounted as the root while the path is the host's.
            inner = top / path.lstrip("/")
            for folder in (inner, *(up for up in inner.parents if up == top or top in up.parents)):
                left = _left(folder, *_FILES[version])
                if left is not None:
                    yield left


def _left(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    """Bytes that one control group has left; None where it has no limit."""
    try:
        most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None
    if most >= _UNLIMITED:
        return None
    try:
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        given_back = int(stat.get(cache, 0))
    except (OSError, ValueError):
        given_back = 0
    return most - max(0, used - given_back)
