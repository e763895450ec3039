"""Writes are whole or absent; locks exclude; a full disk is told from other faults."""

from __future__ import annotations

import errno
import os

import pytest

from experiments.core.errors import BusyError
from experiments.core.sweep import files


def test_a_write_replaces_the_whole_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "a.txt"
    files.atomic_write(path, "long first content")
    files.atomic_write(path, "second")
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, call):
    path = tmp_path / "a.txt"
    files.atomic_write(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(OSError, match="No space"):
            files.atomic_write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_short_writes_are_carried_on(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    files.atomic_write(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_a_lock_excludes_and_is_freed(tmp_path):
    with (
        files.lock(tmp_path / "l", "cell x"),
        pytest.raises(BusyError, match="cell x"),
        files.lock(tmp_path / "l", "cell x"),
    ):
        pass
    with files.lock(tmp_path / "l", "x"):
        pass


def test_shared_locks_go_together_and_exclude_the_other_kind(tmp_path):
    path = tmp_path / "l"
    with files.lock(path, "x", shared=True), files.lock(path, "x", shared=True), pytest.raises(BusyError):
        files.lock(path, "x").__enter__()


def test_a_full_disk_is_seen_through_other_errors(tmp_path):
    inner = OSError(errno.ENOSPC, "full")
    try:
        try:
            raise inner
        except OSError as error:
            raise RuntimeError("cannot save the model") from error
    except RuntimeError as outer:
        assert files.is_disk_full(outer, tmp_path)
    assert files.is_disk_full(OSError(errno.EDQUOT, "quota"), tmp_path)
    assert not files.is_disk_full(OSError(errno.EACCES, "no"), tmp_path)
    assert not files.is_disk_full(RuntimeError("shape mismatch"), tmp_path)
