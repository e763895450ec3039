"""Receiving one file over the network, to its stated end and no further."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.parse import urlsplit

from experiments.core.errors import BusyError, MissingError

MOST = 2 << 30
"""Bytes accepted of a file of unknown size: several times the largest known one."""

_BLOCK = 1 << 20
_PAGES = (b"<!doctype html", b"<html")


@dataclass(frozen=True)
class File:
    """One file of a data set: its path in the data folder, URL, size in bytes (0: unknown) and checksum.

    `digest` is "sha256:..." or "md5:...", or "" where none is published and only size and format can be checked.
    """

    path: str
    url: str
    size: int
    digest: str = ""


def receive(file: File, into: IO[bytes], progress: Callable[[str, int, int], None]) -> None:
    """Download `file.url` into `into` and flush it to disk.

    A redirect must not downgrade from https. Without a size in the catalogue the size that the server states is used,
    up to MOST. `progress` is called with (path, bytes so far, bytes expected or 0).

    Raises:
        MissingError: no network, access denied, a web page, fewer or more bytes than stated, no space.
    """
    try:
        with _opened(file.url) as answer:
            expected, done = _expected(answer, file.size), 0
            for block in _blocks(answer):
                if not done and block.lstrip()[:20].lower().startswith(_PAGES):
                    raise _UnsoundError("a web page came in place of the file")
                done += len(block)
                if done > (expected or MOST):
                    raise _UnsoundError(f"more than {expected or MOST} bytes came")
                into.write(block)
                progress(file.path, done, expected)
            if done < expected:
                raise _UnsoundError(f"{done} bytes came of {expected}")
            into.flush()
            os.fsync(into.fileno())
    except _UnsoundError as fault:
        raise unsound(file, str(fault)) from fault
    except (OSError, HTTPException, ValueError) as error:  # URLError, an OSError, covers no network and HTTP errors
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MissingError("disk full", f"downloading {file.path}", "free some space and run it again") from error
        reason, todo = getattr(error, "reason", None) or error, "check network and disk, then run it again"
        raise MissingError(f"cannot download {file.path} ({reason})", file.url, todo) from error


def unsound(file: File, why: str) -> MissingError:
    """The error for a damaged download."""
    return MissingError(
        f"the download of {file.path} is damaged: {why}", file.url, "try again; the old state is unchanged"
    )


@contextlib.contextmanager
def alone(part: Path) -> Iterator[IO[bytes]]:
    """`part` opened and truncated, under an exclusive lock; removed at the end unless it was renamed.

    Raises:
        BusyError: another process is downloading into it.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(part) from None
        if not _is(part, opened):  # the other process has just finished
            raise _busy(part)
        try:
            opened.truncate(0)
            yield opened
        finally:
            if _is(part, opened):
                part.unlink()


def _busy(part: Path) -> BusyError:
    return BusyError("another process is downloading", part.stem, "wait for it, then repeat")


def _is(path: Path, opened: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(opened.fileno()))
    except FileNotFoundError:
        return False


class _UnsoundError(Exception):
    """The data received are not the file."""


class _AsSafe(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only where it leads to https, or from http to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        kind, before = urlsplit(newurl).scheme, urlsplit(req.full_url).scheme
        if kind != "https" and (kind, before) != ("http", "http"):
            raise URLError(f"redirected to an address that is not https: {newurl[:200]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opened(url: str) -> HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "fedlab"})
    answer: HTTPResponse = urllib.request.build_opener(_AsSafe).open(request, timeout=60)
    return answer


def _expected(answer: HTTPResponse, size: int) -> int:
    """How many bytes to expect; 0 where the transfer marks its own end.

    Raises:
        _UnsoundError: another size than expected, too much, or no way to see whether all came.
    """
    stated = answer.headers.get("Content-Length", "")
    length = int(stated) if stated.isdecimal() and len(stated) < 100 else 0
    if size and length and length != size:
        raise _UnsoundError(f"the server offers {length} bytes, not {size}")
    if length > MOST and not size:
        raise _UnsoundError(f"the server offers {length} bytes, more than {MOST}")
    if not (size or length or answer.chunked):
        raise _UnsoundError("the server does not say how long it is")
    return size or length


def _blocks(answer: HTTPResponse) -> Iterator[bytes]:
    while block := answer.read(_BLOCK):
        yield block
