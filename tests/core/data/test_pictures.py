"""Image files of every kind of pixel against their 8-bit twin; damaged and giant ones; PostScript runs nothing."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.core.data._pictures import FORMATS, read_image
from experiments.core.data.femnist import Femnist
from experiments.core.data.image_folder import ImageFolder
from experiments.core.errors import SpecError

GREY = np.random.default_rng(0).integers(0, 256, (5, 7)).astype(np.uint8)
L = Image.fromarray(GREY)
DEEP = Image.fromarray(GREY.astype(np.uint16) * 257)


def packed(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return io.BytesIO(out.getvalue())


def read(image, form, colour="grey", size=None, **options):
    return read_image(packed(image, form, **options), "here", colour, size)


TWINS = {
    **{f"L {form}": (L, form) for form in ("PNG", "TIFF", "BMP", "GIF")},
    **{f"{mode} PNG": (L.convert(mode), "PNG") for mode in ("P", "LA", "RGB", "RGBA")},
    "L WEBP": (L.convert("RGB"), "WEBP"),
    "RGBX": (L.convert("RGBX"), "TIFF"),
    "CMYK": (L.convert("CMYK"), "TIFF"),
    "YCbCr": (L.convert("RGB").convert("YCbCr"), "TIFF"),
    "16 bits PNG": (DEEP, "PNG"),
    "16 bits TIFF": (DEEP, "TIFF"),
    "16 bits, high byte first": (Image.frombytes("I;16B", (7, 5), (GREY.astype(">u2") * 257).tobytes()), "TIFF"),
    "floats in 0..1": (Image.fromarray(GREY.astype(np.float32) / 255), "TIFF"),
}


@pytest.mark.parametrize("case", TWINS)
@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_every_mode_gives_what_the_8_bit_twin_gives(case, colour):
    image, form = TWINS[case]
    found = read(image, form, colour, **({"lossless": True} if form == "WEBP" else {}))
    assert found.shape == (1 if colour == "grey" else 3, 5, 7) and found.dtype == np.float32
    off = 1.01 / 255 if image.mode == "YCbCr" else 1e-6
    assert np.abs(found - GREY / 255).max() < off


def test_black_and_white():
    bits = GREY > 127
    assert np.array_equal(read(Image.fromarray(bits), "PNG")[0], bits.astype(np.float32))


def test_resized_like_its_twin():
    assert np.abs(read(DEEP, "PNG", size=(10, 14)) - read(L, "PNG", size=(10, 14))).max() < 1.01 / 255
    assert np.abs(read(DEEP, "PNG", size=(3, 4)) - read(L, "PNG", size=(3, 4))).max() < 1.01 / 255


UNKNOWN = {
    "32 bits": (Image.fromarray(GREY.astype(np.int32)), {}, "mode I, whose range is not known"),
    "floats of 0..255": (Image.fromarray(GREY.astype(np.float32)), {}, r"floats outside 0\.\.1"),
    "NaN": (Image.fromarray(np.full((2, 2), np.nan, np.float32)), {}, r"floats outside 0\.\.1"),
    "LAB": (Image.new("LAB", (3, 3)), {}, "CIELAB"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_pixels_without_a_known_range_are_refused(case):
    image, options, said = UNKNOWN[case]
    with pytest.raises(SpecError, match=said) as caught:
        read(image, "TIFF", **options)
    assert caught.value.where == "here" and caught.value.todo


def test_what_is_transparent_lies_on_white():
    half = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    half.putpixel((1, 0), (0, 0, 0, 0))
    assert read(half, "PNG")[0].tolist() == [[0, 1]] and read(half, "PNG", "rgb")[:, 0, 1].tolist() == [1, 1, 1]
    paletted = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    assert read(paletted, "PNG", transparency=1)[0].tolist() == [[0, 1]]
    named = Image.new("RGB", (1, 1), (9, 9, 9))
    assert read(named, "PNG", transparency=(9, 9, 9)).item() == 1


@pytest.mark.parametrize("image", [L, DEEP, L.convert("RGBA")], ids=["L", "I;16", "RGBA"])
def test_turned_by_its_orientation(image):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    assert np.allclose(read(image, "PNG", exif=exif)[0], np.rot90(GREY, -1) / 255, atol=1e-6)


def giant(width, height):
    """A sound PNG header of an image that is nearly all promise."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow warns of the one and refuses the other
def test_an_image_that_would_fill_the_memory(side):
    with pytest.raises(SpecError, match="so many pixels") as caught:
        read_image(io.BytesIO(giant(side, side)), "here", "grey")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", sorted(set(FORMATS.values())))
def test_damaged_files_end_in_one_line(form):
    """Cut at every length and with bytes turned over: a picture or SpecError, never another error."""
    whole, rng = packed(L.convert("RGB"), form).getvalue(), np.random.default_rng(1)
    cut = [whole[:n] for n in range(0, len(whole), max(1, len(whole) // 25))]
    flipped = []
    for _ in range(40):
        raw = bytearray(whole)
        for place in rng.integers(0, len(raw), 3):
            raw[place] ^= 1 << int(rng.integers(8))
        flipped.append(bytes(raw))
    refused = 0
    for raw in [*cut, *flipped]:
        try:
            assert read_image(io.BytesIO(raw), "here", "grey").ndim == 3
        except SpecError as fault:
            refused += 1
            assert "\n" not in str(fault)
    assert refused >= len(cut) // 2


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A `gs` on the path that leaves a trace when it is run."""
    trace = tmp_path / "gs_was_run"
    gs = tmp_path / "bin" / "gs"
    gs.parent.mkdir()
    gs.write_text(f"#!/bin/sh\ntouch {trace}\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", str(gs.parent), prepend=":")
    return trace


def test_postscript_named_png_starts_no_program(tmp_path, ghostscript):
    for label in "ab":
        (tmp_path / "pets" / label).mkdir(parents=True)
        for k in range(3):
            (tmp_path / "pets" / label / f"{k}.png").write_bytes(POSTSCRIPT)
    with pytest.raises(SpecError, match="not a readable image"):
        ImageFolder(path=str(tmp_path / "pets")).load(0, None)
    assert not ghostscript.exists()


def test_postscript_in_parquet_starts_no_program(tmp_path, ghostscript):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    (tmp_path / "femnist").mkdir()
    rows = {"image": [{"bytes": POSTSCRIPT, "path": None}] * 12, "writer_id": ["u"] * 12, "character": [1, 2] * 6}
    pq.write_table(pa.table(rows), tmp_path / "femnist/x.parquet")
    with pytest.raises(SpecError, match="not a readable image"):
        Femnist().load(0, tmp_path)
    assert not ghostscript.exists()


def folder(root, images):
    for name, image in images.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return root


def test_deep_images_train_as_their_twins(tmp_path):
    """A 16-bit folder is the 8-bit folder."""
    rng = np.random.default_rng(2)
    for label, level in (("dark", 40), ("light", 200)):
        for k in range(4):
            grey = np.clip(level + rng.normal(0, 10, (28, 28)), 0, 255).astype(np.uint8)
            folder(tmp_path / "bytes", {f"{label}/{k}.png": Image.fromarray(grey)})
            folder(tmp_path / "deep", {f"{label}/{k}.png": Image.fromarray(grey.astype(np.uint16) * 257)})
    twin, deep = (ImageFolder(path=name).load(0, tmp_path) for name in ("bytes", "deep"))
    assert torch.allclose(twin.x, deep.x, atol=1e-6) and torch.equal(twin.y, deep.y)
    assert 0.1 < deep.x.mean() < 0.9


def test_what_editors_and_systems_leave_behind_is_no_class(tmp_path):
    names = [f"{label}/{k}.png" for label in "ab" for k in range(3)]
    more = [".ipynb_checkpoints/0.png", "__MACOSX/a/0.png", "a/.hidden/0.png", "a/._0.png", "b/.DS_Store.png"]
    folder(tmp_path / "pets", dict.fromkeys([*names, *more], L))
    (tmp_path / "pets" / "a" / "Thumbs.db").write_bytes(b"x")
    pool = ImageFolder(path=str(tmp_path / "pets")).load(0, None)
    assert (pool.classes, len(pool.y) + len(pool.test_y)) == (2, 6)


def test_images_below_a_class_folder_are_of_that_class(tmp_path):
    images = {f"{label}/day{day}/{k}.png": L for label in "ab" for day in (1, 2) for k in range(3)}
    pool = ImageFolder(path=str(folder(tmp_path / "pets", images))).load(0, None)
    assert (pool.classes, len(pool.y) + len(pool.test_y)) == (2, 12)


def test_an_empty_class_folder_is_refused_by_name(tmp_path):
    root = folder(tmp_path / "pets", {f"{label}/{k}.png": L for label in "ab" for k in range(3)})
    (root / "empty").mkdir()
    (root / "empty" / "notes.txt").write_text("later")
    with pytest.raises(SpecError, match="a class folder without images") as caught:
        ImageFolder(path=str(root)).load(0, None)
    assert caught.value.where.endswith("/empty")


@pytest.mark.parametrize("words", [("train", "test"), ("Train", "Validation"), ("training", "val")])
def test_the_folders_of_both_parts(tmp_path, words):
    root = folder(tmp_path / "pets", {f"{p}/{label}/{k}.png": L for p in words for label in "ab" for k in range(2)})
    pool = ImageFolder(path=str(root)).load(0, None)
    assert (pool.classes, len(pool.y), len(pool.test_y)) == (2, 4, 4)
    assert pool.test_from == f"the folder {words[1]}/"


def test_one_part_without_the_other_is_no_class(tmp_path):
    images = {f"{p}/{label}/{k}.png": L for p in ("train", "more") for label in "ab" for k in range(2)}
    root = folder(tmp_path / "pets", images)
    with pytest.raises(SpecError, match="train/ without test/ or val/"):
        ImageFolder(path=str(root)).load(0, None)
    pool = ImageFolder(path=str(root), test=str(root / "more")).load(0, None)
    assert (len(pool.y), len(pool.test_y), pool.test_from) == (4, 4, "the folder more/")


def test_classes_of_one_part_only(tmp_path):
    images = {f"{part}/{label}/0.png": L for part in ("train", "test") for label in "ab"}
    root = folder(tmp_path / "pets", {**images, "train/c/0.png": L})
    pool = ImageFolder(path=str(root)).load(0, None)
    assert pool.classes == 3 and pool.y.tolist() == [0, 1, 2] and pool.test_y.tolist() == [0, 1]
    folder(root, {"test/d/0.png": L})
    with pytest.raises(SpecError, match="class 'd' has test images but none to train on"):
        ImageFolder(path=str(root)).load(0, None)


def test_a_test_folder_for_images_that_are_not_split(tmp_path):
    root = folder(tmp_path / "pets", {f"{label}/{k}.png": L for label in "ab" for k in range(3)})
    assert ImageFolder(path=str(root)).load(0, None).test_from == "10 % of the images, drawn with split_seed 0"
    with pytest.raises(SpecError, match="the test set is the training set"):
        ImageFolder(path=str(root), test=str(root)).load(0, None)
