import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.errors import SpecError
from experiments.core.spec.reader import read_file, read_value


def written(folder: Path, text: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1.", 1.0), (".5", 0.5), ("-2E+3", -2000.0), ("no", "no"), ("yes", "yes"), ("on", "on"),
        ("010", 10), ("0o17", 15), ("0x1F", 31), ("1_000", "1_000"), ("12:30", "12:30"), ("2020-01-01", "2020-01-01"),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("'1'", "1"), ("[1, a]", [1, "a"]),
        ("{a: {b: 2}}", {"a": {"b": 2}}), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text, value):
    found = read_value(text, "--set")
    assert found == value
    assert type(found) is type(value)


def test_infinity_and_nan():
    assert read_value("-.inf", "--set") == -math.inf
    assert math.isnan(read_value(".nan", "--set"))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_that_python_writes_is_read_back(number):
    assert read_value(repr(number), "--set") == number


def test_lines_of_keys(tmp_path):
    tree = read_file(written(tmp_path, "a: 1\nb:\n  c: 2\n  d: {e: [1,\n 2]}\n"))
    assert tree.value == {"a": 1, "b": {"c": 2, "d": {"e": [1, 2]}}}
    lines = {".".join(k): v.rpartition(":")[2] for k, v in tree.origins.items() if k}
    assert lines == {"a": "1", "b": "2", "b.c": "3", "b.d": "4", "b.d.e": "4"}
    assert tree.origin(("b", "d", "nowhere")).endswith(":4")


def test_duplicate_keys_are_all_found(tmp_path):
    tree = read_file(written(tmp_path, "a: 1\nb: {x: 1, x: 2}\na: 3\n"))
    assert [(f.key, f.where.rpartition(":")[2]) for f in tree.faults] == [("b.x", "2"), ("a", "3")]
    assert "line 1" in tree.faults[1].what


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1, 2", "bad YAML"), ("a: 1\n\tb: 2", "bad YAML"), ("- 1", "mapping"), ("", "mapping"),
        ("a: &x {b: *x}", "contains itself"),
    ],
)  # fmt: skip
def test_broken_files(tmp_path, text, said):
    with pytest.raises(SpecError, match=said) as caught:
        read_file(written(tmp_path, text))
    assert "s.yaml" in caught.value.where


def test_object_tags_build_nothing(tmp_path):
    tree = read_file(written(tmp_path, "a: !!python/object/apply:os.getcwd []\nb: !!python/name:os.sep x\n"))
    assert [f.key for f in tree.faults] == ["a", "b"]
    assert tree.value == {"a": [], "b": None}


def test_unreadable(tmp_path):
    with pytest.raises(SpecError, match="No such file"):
        read_file(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(SpecError, match="UTF-8"):
        read_file(tmp_path / "b.yaml")


@pytest.mark.parametrize("text", ["[1", "a: b: c", "1\nmore: 2"])
def test_broken_values(text):
    with pytest.raises(SpecError):
        read_value(text, "--set")
