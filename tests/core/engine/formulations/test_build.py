"""Only what this user compiled, unchanged, is ever loaded: nobody else's library, none cut short or changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import experiments
from experiments.core.engine.formulations import _build

pytestmark = pytest.mark.skipif(_build.compiler() is None, reason="no C++ compiler")

SCRIPT = """
import importlib.util
import sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("build", sys.argv[1])  # the module alone: its package loads torch
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
print(build.library(Path(sys.argv[2]), ()).answer())
"""


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "kernel.cpp").write_text('extern "C" int answer() { return 42; }')
    assert answer(tmp_path) == ("42", "")
    return tmp_path


def answer(folder):
    """What a process of its own gets from the library, and what it says; a crash would be its end."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"),
                   "PYTHONPATH": str(Path(experiments.__file__).parent.parent)}  # fmt: skip
    command = [sys.executable, "-c", SCRIPT, _build.__file__, str(folder / "kernel.cpp")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def kept(folder):
    (found,) = (folder / "cache/fedlab/native").glob("*.so")
    return found


def test_it_is_compiled_once(cache):
    before = kept(cache).stat().st_mtime_ns
    assert answer(cache) == ("42", "") and kept(cache).stat().st_mtime_ns == before
    assert kept(cache).parent.stat().st_mode & 0o777 == kept(cache).stat().st_mode & 0o777 == 0o700


HARMS = {
    "cut to nothing": lambda whole: b"",
    "cut behind the header": lambda whole: whole[:100],  # mapped, it would end the process with SIGBUS
    "cut in the middle": lambda whole: whole[: len(whole) // 2],
    "another answer": lambda whole: whole.replace(b"\x2a\0\0\0", b"\x2b\0\0\0"),
    "another file": lambda whole: b"not a library",
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_library_is_never_loaded_but_compiled_anew(cache, harm):
    path = kept(cache)
    spoilt = HARMS[harm](path.read_bytes())
    assert spoilt != path.read_bytes()
    path.write_bytes(spoilt)
    found, said = answer(cache)
    assert found == "42" and said.count("\n") == 0 and "is damaged; set aside as" in said
    assert Path(f"{path}.damaged").read_bytes() == spoilt
    assert answer(cache) == ("42", "")


def test_a_library_that_others_can_write_is_compiled_anew(cache):
    kept(cache).chmod(0o777)
    found, said = answer(cache)
    assert found == "42" and "can be written by others" in said
    assert kept(cache).stat().st_mode & 0o077 == 0


def test_a_link_in_its_place_is_not_followed(cache):
    path = kept(cache)
    path.rename(cache / "elsewhere.so")
    path.symlink_to(cache / "elsewhere.so")
    found, said = answer(cache)
    assert found == "42" and "is no file" in said and not kept(cache).is_symlink()


def test_a_folder_that_others_can_write_is_closed(cache):
    kept(cache).parent.chmod(0o777)
    assert answer(cache) == ("42", "")
    assert kept(cache).parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["library", "folder"])
def test_what_belongs_to_another_user_is_not_loaded(cache, what):
    path = kept(cache) if what == "library" else kept(cache).parent
    os.chown(path, 12345, 12345)
    found, said = answer(cache)
    assert found == "42" and "belongs to another user" in said and said.count("\n") == 0


def test_without_a_cache_it_is_compiled_for_this_run(tmp_path):
    (tmp_path / "kernel.cpp").write_text('extern "C" int answer() { return 42; }')
    (tmp_path / "cache").write_text("a file where the folder should be")
    found, said = answer(tmp_path)
    assert found == "42" and "for this run only" in said
