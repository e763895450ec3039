"""Available memory from fake proc and sys folders, and lacks of memory from the allocators themselves."""

import sys
import types

import numpy as np
import pytest
import torch

from experiments.core.errors import MissingError
from experiments.core.memory import Peak, available_bytes, is_out_of_memory, require

MIB = 1 << 20


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def machine(root, own, files=None):
    """A machine with 800 MiB available; `own`: the lines of proc/self/cgroup; `files` below sys/fs/cgroup."""
    write(root, {"proc/meminfo": f"MemTotal: 9999999 kB\nMemAvailable: {800 << 10} kB\n", "proc/self/cgroup": own})
    write(root, {f"sys/fs/cgroup/{name}": content for name, content in (files or {}).items()})
    return available_bytes(root) / MIB


def group2(name, limit, used, cache=0):
    head = f"{name}/" if name else ""
    return {
        f"{head}memory.max": f"{limit if limit == 'max' else limit * MIB}\n",
        f"{head}memory.current": f"{used * MIB}\n",
        f"{head}memory.stat": f"anon 5\ninactive_file {cache * MIB}\n",
    }


def group1(name, limit, used, cache=0):
    return {
        f"memory/{name}/memory.limit_in_bytes": f"{limit * MIB}\n",
        f"memory/{name}/memory.usage_in_bytes": f"{used * MIB}\n",
        f"memory/{name}/memory.stat": f"cache 1\ntotal_inactive_file {cache * MIB}\n",
    }


def test_a_machine_without_groups(tmp_path):
    assert machine(tmp_path, "") == machine(tmp_path, "0::/\n") == 800


@pytest.mark.parametrize(
    ("groups", "left"),
    [
        (group2("user/job", 500, 100), 400),
        (group2("user/job", 500, 300, cache=150), 350),  # what the page cache holds is given back
        (group2("user/job", "max", 100), 800),
        (group2("user/job", 5000, 100), 800),
        (group2("user/job", "max", 10) | group2("user", 300, 250), 50),  # an outer group is tighter
        (group2("user/job", 400, 10) | group2("user", 3000, 250), 390),
        (group2("user/job", 100, 140), 0),
        (group2("", 600, 100), 500),  # a container that sees its own group as the top, under a path of the host
    ],
)
def test_groups_of_version_2(tmp_path, groups, left):
    assert machine(tmp_path, "0::/user/job\n", groups) == left


@pytest.mark.parametrize(
    ("groups", "left"),
    [
        (group1("user/job", 500, 100), 400),
        (group1("user/job", 500, 300, cache=150), 350),
        (group1("user/job", (1 << 63) // MIB - 1, 100), 800),
        (group1("user/job", 9000, 10) | group1("user", 300, 250), 50),
        (group1("", 600, 100), 500),
    ],
)
def test_groups_of_version_1(tmp_path, groups, left):
    own = "12:cpu,cpuacct:/other\n4:memory:/user/job\n1:name=systemd:/user\n"
    assert machine(tmp_path, own, groups) == left


def test_both_versions_side_by_side(tmp_path):
    files = group1("job", 500, 100) | {f"unified/{k}": v for k, v in group2("job", 300, 100).items()}
    assert machine(tmp_path, "4:memory:/job\n0::/job\n", files) == 200


def test_files_that_say_nothing(tmp_path):
    files = {"job/memory.max": "what\n", "job/memory.current": "5\n", "memory.max": f"{700 * MIB}\n"}
    assert machine(tmp_path, "0::/job\n", files) == 800
    assert available_bytes(tmp_path / "nowhere") > MIB  # no Linux: all memory
    assert MIB < available_bytes() < 1 << 50


def test_what_does_not_fit_is_refused():
    require(5, "here", free=5)
    with pytest.raises(MissingError, match=r"about 30 GiB of memory, and 23 GiB are available; here; lower") as no:
        require(30 << 30, "here", free=23 << 30)
    assert no.value.exit_code == 4


def test_allocators_are_understood():
    for asks in (lambda: torch.empty(1 << 60), lambda: np.empty(1 << 60, np.uint8), lambda: bytearray(1 << 60)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            asks()
        assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit")) and not is_out_of_memory(ValueError("out of memory"))


def test_where_the_kernel_keeps_no_peak_or_does_not_let_it_fall_none_is_told(tmp_path):
    assert Peak(process=tmp_path / "nothing").resident() is None
    (tmp_path / "status").write_text(f"VmHWM:\t{10**6} kB\nVmRSS:\t1000 kB\n")
    assert Peak(process=tmp_path).resident() is None  # the mark was written to and stayed
    (tmp_path / "status").write_text("VmHWM:\t1000 kB\nVmRSS:\t1000 kB\n")
    peak = Peak(process=tmp_path)
    (tmp_path / "status").write_text("VmHWM:\t5000 kB\nVmRSS:\t1000 kB\n")
    assert peak.resident() == 5000 * 1024 and peak.on_device() is None


def test_the_peak_on_a_device_starts_anew(monkeypatch):
    calls = []

    class Cuda:
        reset_peak_memory_stats = staticmethod(lambda device: calls.append(device))
        max_memory_allocated = staticmethod(lambda device: 7)

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=Cuda))
    assert Peak("cuda:1").on_device() == 7 and calls == ["cuda:1"]
    assert Peak("cpu").on_device() is None and calls == ["cuda:1"]
