"""Downloads from a server on this machine that cuts, never ends, redirects, lies: a whole file or one line."""

from __future__ import annotations

import errno
import hashlib
import http.client
import http.server
import json
import struct
import threading
import urllib.request

import pytest

from experiments.core.data import _transfer, fetch
from experiments.core.data._form import misfit
from experiments.core.errors import BusyError, MissingError
from fedlab_cli.main import main

CONTENT = bytes(range(256)) * 40
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Answers /<name> as `answers[name]` says: a function of the handler."""

    answers: dict = {}  # noqa: RUF012
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.close_connection = True
        self.answers[self.path](self)

    def log_message(self, *given):
        pass


def send(body=CONTENT, status=200, length=None, **headers):
    """An answer: `length` is the Content-Length that is stated (None: the true one, "": none)."""

    def answer(to):
        to.send_response(status)
        stated = len(body) if length is None else length
        for key, value in {**({} if stated == "" else {"Content-Length": stated}), **headers}.items():
            to.send_header(key.replace("_", "-"), str(value))
        to.end_headers()
        to.wfile.write(body)

    return answer


def chunks(count, end=True):
    """`count` chunks of CONTENT; as many as are taken where that is None."""

    def answer(to):
        to.send_response(200)
        to.send_header("Transfer-Encoding", "chunked")
        to.end_headers()
        sent = 0
        try:
            while sent != count:
                to.wfile.write(b"%x\r\n%b\r\n" % (len(CONTENT), CONTENT))
                sent += 1
            if end:
                to.wfile.write(b"0\r\n\r\n")
        except ConnectionError:
            pass

    return answer


@pytest.fixture
def server(monkeypatch):
    """Where a server listens that answers as it is told."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    monkeypatch.setattr(Server, "answers", {})
    thread = threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


@pytest.fixture
def fetched(server, monkeypatch, tmp_path):
    """Downloads what the server is told to answer; the folder afterwards and the error, if any."""

    def get(answer, size=0, digest="", name="a/b.bin", url=server, **more):
        Server.answers = {"/file": answer, **more}
        file = fetch.File(name, f"{url}/file", size, digest)
        monkeypatch.setattr(fetch, "CATALOGUE", (fetch.Known("tiny", "a test", "none", "csv", (file,)),))
        try:
            fetch.download("tiny", tmp_path)
            fault = None
        except (MissingError, BusyError) as error:
            fault = error
        return {p.name: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}, fault

    return get


SOUND = {
    "all known": (send(), {"size": len(CONTENT), "digest": DIGEST}),
    "nothing known": (send(), {}),
    "digest known, no length stated": (chunks(1), {"digest": DIGEST}),
    "size known, no length stated": (send(length=""), {"size": len(CONTENT)}),
    "in pieces": (chunks(3), {}),
}


@pytest.mark.parametrize("case", SOUND)
def test_a_whole_file_is_stored(fetched, case):
    answer, known = SOUND[case]
    files, fault = fetched(answer, **known)
    assert fault is None and list(files) == ["b.bin"] and files["b.bin"] in (CONTENT, CONTENT * 3)


BAD = {
    "a short body": (send(CONTENT[:-1], length=len(CONTENT)), {}, "10239 bytes came of 10240"),
    "a short body, digest known": (send(CONTENT[:-1], length=len(CONTENT)), {"digest": DIGEST}, "came of"),
    "an empty body of stated length": (send(b"", length=9), {}, "0 bytes came of 9"),
    "an end that nothing marks": (send(length=""), {}, "does not say how long"),
    "pieces cut off": (chunks(2, end=False), {}, "cannot download"),
    "another size than known": (send(), {"size": 99}, "offers 10240 bytes, not 99"),
    "more than known": (chunks(None), {"size": len(CONTENT)}, "more than 10240 bytes came"),
    "without an end": (chunks(None), {}, "more than 50000 bytes came"),
    "a stated length beyond all bounds": (send(b"x", length=10**30), {}, "000 bytes, more than 50000"),
    "too much, as stated": (send(b"x", length=60_000), {}, "offers 60000 bytes, more than 50000"),
    "a web page": (send(b" \n<!DOCTYPE html><html>log in first"), {}, "a web page came"),
    "a refusal": (send(b"no", status=404), {}, "Not Found"),
    "another content": (send(CONTENT[::-1]), {"digest": DIGEST}, "another checksum"),
    "a redirect to a file": (send(b"", status=302, Location="file:///etc/hostname"), {}, "is not allowed"),
    "a redirect to ftp": (send(b"", status=302, Location="ftp://127.0.0.1/x"), {}, "not https"),
    "a redirect to nonsense": (send(b"", status=302, Location="http://[x"), {}, "cannot download"),
    "a redirect in a circle": (send(b"", status=302, Location="/file"), {}, "cannot download"),
}


@pytest.mark.parametrize("case", BAD)
def test_anything_else_is_refused_in_a_line_and_leaves_nothing(fetched, monkeypatch, case):
    monkeypatch.setattr(_transfer, "MOST", 50_000)
    answer, known, said = BAD[case]
    files, fault = fetched(answer, **known)
    assert files == {} and fault.exit_code == 4 and said in str(fault) and "\n" not in str(fault)


def test_a_redirect_must_stay_as_safe(fetched, server, monkeypatch, tmp_path):
    def plainly(self, request):
        return self.do_open(http.client.HTTPConnection, request)  # the server has no certificate

    monkeypatch.setattr(urllib.request.HTTPSHandler, "https_open", plainly)
    safe = server.replace("http:", "https:")
    for url, target, good in ((safe, server, False), (safe, safe, True), (server, server, True), (server, safe, True)):
        files, fault = fetched(send(b"", status=301, Location=f"{target}/next"), url=url, **{"/next": send()})
        assert (fault is None) is good and bool(files) is good
        assert good or "not https" in str(fault)
        (tmp_path / "a/b.bin").unlink(missing_ok=True)


def test_a_full_disk_says_so(fetched, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_transfer.os, "fsync", full)
    files, fault = fetched(send())
    assert files == {} and fault.what == "disk full" and fault.exit_code == 4


def test_what_a_killed_download_left_is_taken_over(fetched, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.bin.part").write_bytes(CONTENT * 9)
    assert fetched(send()) == ({"b.bin": CONTENT}, None)


def test_two_at_once_do_not_write_into_one_another(fetched, tmp_path):
    with _transfer.alone(tmp_path / "a/b.bin.part"):
        _, fault = fetched(send())
        assert isinstance(fault, BusyError) and fault.exit_code == 5
    assert fetched(send()) == ({"b.bin": CONTENT}, None)


def test_a_folder_that_cannot_be_written(fetched, tmp_path):
    (tmp_path / "a").write_text("a file where the folder should be")
    files, fault = fetched(send())
    assert list(files) == ["a"] and fault.exit_code == 4 and "cannot store a/b.bin" in str(fault)


def test_the_screen_says_whether_a_checksum_is_known(server, monkeypatch, tmp_path, capsys):
    Server.answers = {"/file": send()}
    for digest, said in (("", "no checksum known of b.bin: size and form looked at"), (DIGEST, "checksums right")):
        known = fetch.Known("tiny", "a test", "none", "csv", (fetch.File("b.bin", f"{server}/file", 0, digest),))
        monkeypatch.setattr(fetch, "CATALOGUE", (known,))
        assert main(["data", "--download", "tiny", "--data-dir", str(tmp_path)]) == 0
        assert f"tiny: there, {said}" in capsys.readouterr().err


def tensors(cut=0):
    head = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    whole = struct.pack("<Q", len(head)) + head + bytes(8)
    return whole[: len(whole) - cut]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("x.parquet", b"PAR1" + bytes(9) + b"PAR1", [b"", b"PA", b"PAR1" + bytes(9)]),
        ("x.safetensors", tensors(), [b"", tensors(1), tensors(20), b"<html>" * 20, b"\xff" * 40]),
        ("x.json", b'{"a": 1}', [b"", b'{"a": ', b"[" * 100_000, b"\xff", b"3"]),
        ("x.tgz", b"\x1f\x8b\x08", [b"", b"<html>"]),
        ("x.csv", b"1,a", []),
    ],
)
def test_the_form_of_files_without_a_checksum(tmp_path, name, good, bad):
    path = tmp_path / "downloaded"
    for content in (good, *bad):
        path.write_bytes(content)
        assert bool(misfit(path, name)) is (content is not good)
