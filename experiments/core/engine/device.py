"""Devices, threads and memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from experiments.core.errors import MissingError
from experiments.core.memory import available_bytes, is_out_of_memory

T = TypeVar("T")
R = TypeVar("R")


def resolve_device(name: str) -> torch.device:
    """The device called `name`: auto, cpu, cuda, cuda:1, mps. Turns TF32 off: a truth is a small difference.

    Raises:
        MissingError: when it is not on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as fault:
        raise MissingError(f"unknown device {name!r}", "--device", "use auto, cpu, cuda, cuda:1 or mps") from fault
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise MissingError("this machine has no CUDA device", "--device", "use --device cpu or auto")
        if (device.index or 0) >= torch.cuda.device_count():
            raise MissingError(f"there is no {device}", "--device", f"devices: 0 to {torch.cuda.device_count() - 1}")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True  # a resumed run must end in the same numbers
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise MissingError("this machine has no MPS device", "--device", "use --device cpu")
    return device


def free_bytes(device: torch.device) -> int:
    """Memory that stacks may use: the GPU's free memory, or an eighth of the machine's memory up to 2 GiB.

    On a CPU it does not depend on what else is running: the size of a stack shows in the last bits of some
    formulations, and a run that was interrupted must end in the same numbers.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        whole = 8 << 30
    return min(whole // 8, 2 << 30)


def available_on(device: torch.device) -> int:
    """Memory that can be had now: the GPU's, or the machine's within the limits of this process's control groups."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()


def halving(work: Callable[[slice], Tensor], rows: slice) -> Tensor:
    """work(rows), split in two again and again while memory does not suffice; the results are joined.

    Raises:
        MissingError: when not even one row fits.
    """
    parts = halved(work, rows)
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def halved(work: Callable[[slice], T], rows: slice) -> list[T]:
    """[work(rows)], or the results of its parts in order where memory does not suffice for all rows at once.

    Raises:
        MissingError: when not even one row fits.
    """
    try:
        return [work(rows)]
    except (RuntimeError, MemoryError) as fault:
        if not is_out_of_memory(fault):
            raise
        if rows.stop - rows.start == 1:
            raise MissingError(
                "not enough memory to train one model", "engine", "use a smaller model or batch"
            ) from fault
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = (rows.start + rows.stop) // 2
    return [*halved(work, slice(rows.start, middle)), *halved(work, slice(middle, rows.stop))]


class Workers:
    """Runs pieces of work on `threads` threads, each with one torch thread, and hands results back in order.

    One thread computes in place. On a GPU one thread is right: the device runs the pieces in parallel itself.
    """

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        torch.set_num_threads(1)
        self._pool = (
            ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,)) if threads > 1 else None
        )

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield work(item) in the order of `items`, at most two pieces a thread under way, so memory stays bounded."""
        if self._pool is None:
            yield from map(work, items)
            return
        source = iter(items)
        waiting: list[Future[R]] = [self._pool.submit(work, i) for i in islice(source, 2 * self.threads)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [self._pool.submit(work, i) for i in islice(source, 1)]

    def close(self, wait: bool = True) -> None:
        """End the threads; without `wait` they finish the piece they are at by themselves."""
        if self._pool is not None:
            self._pool.shutdown(wait, cancel_futures=True)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(wait=kind is not KeyboardInterrupt)
