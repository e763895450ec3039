import pytest

from experiments.core.errors import SpecError
from experiments.core.spec.reader import Tree, read_file
from experiments.core.spec.tree import at_scale, gather, merge, planted, subtree


def tree(value, name="f"):
    found = Tree()
    for key, part in value.items():
        found = merge(found, planted((key,), part, name))
    return found


def test_merge_goes_key_by_key_and_keeps_origins():
    out = merge(tree({"a": 1, "b": {"c": 1, "d": 2}}, "base"), tree({"b": {"d": 3}}, "over"))
    assert out.value == {"a": 1, "b": {"c": 1, "d": 3}}
    assert out.origins["b", "c"] == "base"
    assert out.origins["b", "d"] == "over"


@pytest.mark.parametrize("old", [{"kind": "x", "p": 1}, {"p": 1}])
def test_another_kind_replaces_the_block(old):
    out = merge(tree({"data": old}), tree({"data": {"kind": "y", "q": 2}}))
    assert out.value == {"data": {"kind": "y", "q": 2}}
    assert ("data", "p") not in out.origins


def test_the_same_kind_or_none_merges():
    for over in ({"kind": "x", "q": 2}, {"q": 2}):
        assert merge(tree({"d": {"kind": "x", "p": 1}}), tree({"d": over})).value == {
            "d": {"kind": "x", "p": 1, "q": 2}
        }


def test_merge_changes_neither_side():
    base, over = tree({"b": {"c": 1}}), tree({"b": {"c": 2}})
    merge(base, over)
    assert (base.value, over.value) == ({"b": {"c": 1}}, {"b": {"c": 2}})


def test_null_and_lists_replace():
    out = merge(tree({"a": {"x": 1}, "l": [1, 2]}), tree({"a": None, "l": [3]}))
    assert out.value == {"a": None, "l": [3]}


def files(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_the_nearer_file_wins_its_overlay_included(tmp_path):
    """Body of a, overlay of a, body of b, overlay of b: each is laid on the one before."""
    files(
        tmp_path,
        a="r: 1\ns: 1\nonly: 0\nscales: {small: {r: 2, only: 4, t: {u: 5, w: 6}}}\n",
        b="extends: a.yaml\nr: 3\nt: {u: 1, v: 1}\nscales: {small: {s: 9}, paper: }\n",
    )
    small, paper = (gather(tmp_path / "b.yaml", scale) for scale in ("small", "paper"))
    assert small.value == {"r": 3, "s": 9, "only": 4, "t": {"u": 1, "v": 1, "w": 6}, "scale": "small"}
    assert paper.value == {"r": 3, "s": 1, "only": 0, "t": {"u": 1, "v": 1}, "scale": "paper"}
    assert small.origins["r",].endswith("b.yaml:2")
    assert small.origins["s",].endswith("b.yaml:4")
    assert small.origins["only",].endswith("a.yaml:4")
    assert small.origins["t", "u"].endswith("b.yaml:3") and small.origins["t", "w"].endswith("a.yaml:4")


def test_a_kind_of_the_nearer_file_replaces_what_an_overlay_put_there(tmp_path):
    files(
        tmp_path,
        a="data: {kind: x, p: 1}\nscales: {smoke: {data: {p: 2}}}\n",
        b="extends: a.yaml\ndata: {kind: y, q: 1}\n",
    )
    assert gather(tmp_path / "b.yaml", "smoke").value["data"] == {"kind": "y", "q": 1}


def test_faults_of_scales_in_an_extended_file_are_told_where_they_are(tmp_path):
    files(tmp_path, a="r: 1\nscales: {huge: {}}\n", b="extends: a.yaml\nscales: {small: 3}\n")
    assert [(f.where.rpartition("/")[2], f.key) for f in gather(tmp_path / "b.yaml", "smoke").faults] == [
        ("a.yaml:2", "scales.huge"),
        ("b.yaml:2", "scales.small"),
    ]


@pytest.mark.parametrize("text", ["extends: c.yaml", "extends: none.yaml", "extends: [a]"])
def test_bad_extends(tmp_path, text):
    files(tmp_path, c=text)
    with pytest.raises(SpecError, match="extends"):
        gather(tmp_path / "c.yaml", "small")


def test_built_in_specs_can_be_extended_from_anywhere(tmp_path):
    files(tmp_path, mine="extends: influence/setting1\nrounds: 7\n")
    found = gather(tmp_path / "mine.yaml", "small")
    assert found.value["rounds"] == 7
    assert found.value["local"]["lr"] == 0.003


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("scales: {huge: {}}", "scales.huge"),
        ("scales: 3", "scales"),
        ("scales: {small: 3}", "scales.small"),
        ("scale: small", "scale"),
    ],
)
def test_bad_scales(tmp_path, text, key):
    files(tmp_path, s=text)
    found = at_scale(read_file(tmp_path / "s.yaml"), "smoke")
    assert [f.key for f in found.faults] == [key]


def test_subtree():
    start = tree({"a": {"b": {"c": 1}}})
    assert subtree(start, ("a", "b")).value == {"c": 1}
    assert subtree(start, ("a", "x")).value == {}
