"""Devices by name, threads that keep order and bounds, and work that halves until it fits."""

import threading
import time

import pytest
import torch

from experiments.core.engine.device import Workers, free_bytes, halving, resolve_device
from experiments.core.errors import MissingError
from experiments.core.memory import is_out_of_memory

CPU = torch.device("cpu")


def test_cpu_and_auto(monkeypatch):
    assert resolve_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU


def test_a_gpu_is_taken_where_there_is_one_without_tf32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    assert resolve_device("auto").type == "cuda" and str(resolve_device("cuda:1")) == "cuda:1"
    assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    with pytest.raises(MissingError, match=r"there is no cuda:2; --device; devices: 0 to 1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cuda", "no CUDA device"),
        ("cuda:0", "no CUDA device"),
        ("tpu", "unknown device 'tpu'"),
        ("cpu:x", "unknown device"),
        ("", "unknown device"),
        ("mps", "no MPS device"),
    ],
)
def test_what_is_not_here(name, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(MissingError, match=said) as caught:
        resolve_device(name)
    assert (caught.value.where, caught.value.exit_code) == ("--device", 4) and caught.value.todo


def test_memory_is_the_same_at_every_moment():
    found = free_bytes(CPU)
    held = bytearray(50 << 20)
    assert free_bytes(CPU) == found and 1 << 20 < found <= 2 << 30 and held


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_keep_their_order(threads):
    def work(i):
        time.sleep(0.002 * (i % 3 == 0))
        return i * i

    with Workers(threads) as workers:
        assert list(workers.map(work, range(30))) == [i * i for i in range(30)]
        assert list(workers.map(work, [])) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_at_most_two_pieces_a_thread_are_under_way(threads):
    drawn, taken, most = 0, 0, 0

    def source():
        nonlocal drawn, most
        for i in range(40):
            drawn += 1
            most = max(most, drawn - taken)
            yield i

    with Workers(threads) as workers:
        for _ in workers.map(lambda i: i, source()):
            taken += 1
    assert taken == 40 and most <= 2 * threads


def test_threads_work_side_by_side_each_with_one_torch_thread():
    meet, seen = threading.Barrier(3, timeout=20), set()

    def work(i):
        meet.wait()
        seen.add((threading.get_ident(), torch.get_num_threads()))

    with Workers(3) as workers:
        list(workers.map(work, range(3)))
    assert len(seen) == 3 and {count for _, count in seen} == {1}


def test_a_fault_comes_through():
    def work(i):
        if i == 3:
            raise ValueError("three")
        return i

    for threads in (1, 2):
        with Workers(threads) as workers, pytest.raises(ValueError, match="three"):
            list(workers.map(work, range(9)))


@pytest.mark.parametrize("fault", [torch.cuda.OutOfMemoryError("x"), MemoryError(),
                                   RuntimeError("[enforce fail] can't allocate memory: y")])  # fmt: skip
@pytest.mark.parametrize("fits", [1, 2, 3, 7])
def test_halving(fault, fits):
    sizes = []

    def work(rows):
        sizes.append(rows.stop - rows.start)
        if sizes[-1] > fits:
            raise fault
        return torch.arange(20)[rows]

    assert is_out_of_memory(fault)
    assert halving(work, slice(5, 12)).tolist() == list(range(5, 12))
    assert max(s for s in sizes if s <= fits) <= fits


def test_halving_ends_at_one_row():
    def work(rows):
        raise MemoryError

    with pytest.raises(MissingError, match="not enough memory to train one model"):
        halving(work, slice(0, 4))


def test_halving_lets_other_faults_through():
    def work(rows):
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        halving(work, slice(0, 4))
