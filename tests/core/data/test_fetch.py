from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import urllib.error

import pytest

from experiments.core.data import _transfer, fetch
from experiments.core.data.text_csv import TextCsv
from experiments.core.errors import MissingError, SpecError

CONTENT = b"PAR1" + bytes(range(256)) * 40 + b"PAR1"
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def known(monkeypatch):
    """A catalogue of one file, so that no test needs the network."""

    def install(digest=DIGEST, name="a/b.bin"):
        file = fetch.File(name, "https://example.org/b", len(CONTENT), digest)
        monkeypatch.setattr(fetch, "CATALOGUE", (fetch.Known("tiny", "a test", "none", "csv", (file,)),))

    install()
    return install


def serve(monkeypatch, content):
    """Every address answers with `content` (a server that misbehaves: test_transfer.py)."""
    asked = []

    class Answer(io.BytesIO):
        headers, chunked = {"Content-Length": str(len(content)) if isinstance(content, bytes) else ""}, False

    def opened(url):
        asked.append(url)
        if isinstance(content, Exception):
            raise content
        return Answer(content)

    monkeypatch.setattr(_transfer, "_opened", opened)
    return asked


def states(folder, verify=False):
    return {s.name: s.state for s in fetch.status(folder, verify)}


def test_download_verifies_stores_and_is_not_repeated(monkeypatch, tmp_path, known):
    asked = serve(monkeypatch, CONTENT)
    assert states(tmp_path) == {"tiny": "missing"}
    seen = []
    (path,) = fetch.download("tiny", tmp_path, lambda what, done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT and seen[-1] == (len(CONTENT), len(CONTENT))
    assert states(tmp_path, verify=True) == {"tiny": "there"}
    fetch.download("tiny", tmp_path)
    assert len(asked) == 1
    path.write_bytes(CONTENT[:-5] + b"XXXXX")
    assert states(tmp_path) == {"tiny": "there"} and states(tmp_path, verify=True) == {"tiny": "differs"}
    fetch.download("tiny", tmp_path)
    assert len(asked) == 2 and path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "answer", [CONTENT[:-1], CONTENT[::-1], urllib.error.URLError("no route to host"), TimeoutError("slow"), b""]
)
def test_a_bad_download_leaves_nothing_behind(monkeypatch, tmp_path, known, answer):
    serve(monkeypatch, answer)
    with pytest.raises(MissingError) as caught:
        fetch.download("tiny", tmp_path)
    assert caught.value.where == "https://example.org/b" and caught.value.todo
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_without_a_published_checksum_size_and_form_count(monkeypatch, tmp_path, known):
    known(digest="", name="x.parquet")
    serve(monkeypatch, CONTENT[:-4] + b"html")
    with pytest.raises(MissingError, match="no sound parquet"):
        fetch.download("tiny", tmp_path)
    serve(monkeypatch, CONTENT)
    assert fetch.download("tiny", tmp_path)[0].is_file()


def test_what_cannot_be_downloaded_says_why(tmp_path):
    with pytest.raises(SpecError, match="no data set 'nope'"):
        fetch.download("nope", tmp_path)
    with pytest.raises(SpecError, match="needs no download"):
        fetch.download("leaf_synthetic", tmp_path)
    with pytest.raises(MissingError, match="no data folder"):
        fetch.download("mnist", None)


def test_one_s_own_copy_is_found_and_otherwise_said_where_to_get(tmp_path):
    for name, folder in (("cinic10", "CINIC-10"), ("chest_xray", "chest_xray")):
        (missing,) = [state for state in fetch.status(tmp_path) if state.name == name]
        assert missing.state == "missing" and "https://d" in missing.detail and f"{folder}/" in missing.detail
        assert [s.state for s in fetch.status(None) if s.name == name] == ["missing"]
        (tmp_path / folder).mkdir()
        (there,) = [state for state in fetch.status(tmp_path) if state.name == name]
        assert there.state == "there" and f"path: {folder}" in there.detail
        with pytest.raises(SpecError, match=f"{name} is not downloaded"):
            fetch.download(name, tmp_path)


def test_the_catalogue_is_sound():
    from experiments.core.data import kinds

    assert len(fetch.catalogue()) == len(fetch.CATALOGUE) >= 7
    for known in fetch.CATALOGUE:
        assert all(file.url.startswith("https://") or file.digest.startswith("sha256:") for file in known.files)
        assert set(known.needs) <= fetch.catalogue().keys()
        assert known.kind.partition(",")[0] in kinds() or known.kind.startswith("not read")


def test_medmnist_s_sets_lie_where_they_are_read():
    for name in ("pneumoniamnist", "pathmnist", "organamnist"):
        known = fetch.catalogue()[name]
        (file,) = known.files
        assert known.kind == f"image_npz, path: {file.path}" and file.path == f"medmnist/{name}.npz"
        assert f"/{name}.npz" in file.url and len(file.digest) == len("md5:") + 32


def test_real_files_are_the_published_ones(real_data):
    found = {s.name: s.state for s in fetch.status(real_data)}
    assert found["mnist"] == found["qmnist_labels"] == found["mnist_by_writer"] == "there"


@pytest.mark.slow
def test_real_mnist_by_writer_is_made_again_byte_for_byte(real_data, tmp_path):
    for name in ("MNIST", "QMNIST"):
        shutil.copytree(real_data / name, tmp_path / name)
    paths = fetch.download("mnist_by_writer", tmp_path)
    for path in paths:
        given = gzip.decompress((real_data / path.relative_to(tmp_path)).read_bytes())
        assert gzip.decompress(path.read_bytes()) == given
    assert json.loads(gzip.decompress(paths[1].read_bytes()))["users"][0] == "writer_0001"


def test_a_folder_that_is_read_instead_of_its_archive_is_there(tmp_path):
    """Texts by hand, a part of them perhaps: the loader takes the folder before the archive, and so says the list."""
    for part in ("train", "test"):
        assert states(tmp_path)["dbpedia"] == "missing"
        (tmp_path / "dbpedia_csv").mkdir(exist_ok=True)
        (tmp_path / f"dbpedia_csv/{part}.csv").write_text("1,a,b\n2,c,d\n")
    found = {s.name: s for s in fetch.status(tmp_path)}
    assert found["dbpedia"].state == "there" and "the folder dbpedia_csv" in found["dbpedia"].detail
    assert found["yahoo_answers"].state == "missing" and found["ag_news"].state == "missing"
    pytest.importorskip("tokenizers", reason="the extra [text] is not installed")
    pool = TextCsv(path="dbpedia_csv", vocabulary=300).load(0, tmp_path)
    assert len(pool.y) == 2
