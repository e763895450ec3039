"""Whatever stands in a spec file, reading it ends at once: in a spec, or in an error that names what to correct."""

import os
import signal
from pathlib import Path

import pytest

from experiments.core.errors import SpecError
from experiments.core.paper import papers
from experiments.core.spec.load import load
from experiments.core.spec.override import read_overrides
from experiments.core.spec.tree import SCALES
from fedlab_cli.commands.validate import faults
from fedlab_cli.options import parse_seeds
from tests.core.spec import hostile

GENERATED = 1000
HANGS = 120  # seconds after which a test is taken to hang; what ends at all ends in one or two

GOOD = """paper: train
data: {kind: leaf_synthetic, clients: 20}
partition: {kind: natural}
model: {kind: leaf_logreg}
local: {lr: 0.1, steps: 2}
rounds: 20
clients_per_round: 5
"""
IRIS = """paper: fragility
data: {kind: iris}
model: {kind: mlp, hidden: [5]}
train: {steps: 10}
retrain: {steps: 2}
candidates: [{pick: all}]
"""
LAUGHS = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
TEN = ", ".join(map(str, range(10)))
LISTED = list(range(1000))

ONE_FAULT = {
    "aliases that unfold to 10^10": (LAUGHS, ":", "more than a spec can hold"),
    "aliases that nest": ("a0: &b0 [1]\n" + "".join(f"a{i}: &b{i} [*b{i - 1}]\n" for i in range(1, 60)), ":", "hold"),
    "an alias of itself": (GOOD + "title: &t [*t]\n", ":8", "contains itself"),
    "an alias of nothing": (GOOD + "title: *t\n", ":8", "t"),
    "an alias as key": (GOOD + "title: &k a\n*k : 2\n", ":9", "not plain text"),
    "a block as key": (GOOD + "? {a: 1}\n: 2\n", ":8", "not plain text"),
    "an integer of 5,000 digits": (GOOD + "since: " + "9" * 5000 + "\n", ":8: since", "beyond 64 bits"),
    "a hexadecimal of 5,000 digits": (GOOD + f"since: 0x{'f' * 5000}\n", ":8: since", "beyond 64 bits"),
    "an integer of 20 digits": (GOOD + "since: -" + "9" * 20 + "\n", ":8: since", "beyond 64 bits"),
    "lists 3,000 deep": (GOOD + "title: " + "[" * 3000 + "]" * 3000, ":8", "nest"),
    "blocks 3,000 deep": (GOOD + "title: " + "{a: " * 3000 + "1" + "}" * 3000, ":8", "nest"),
    "a list of 10^7": (GOOD + "seeds: [" + "1," * 10**7 + "]", "", "larger than"),
    "a list of 300,000": (GOOD + "seeds: [" + "1," * 300_000 + "]", ":8", "more than 100000 values"),
    "a list of faults": (GOOD + "seeds: [" + "x," * 60_000 + "]", ":8: seeds.0", "valid integer"),
    "a long extends": ("extends: " + "x" * 300 + "\n", ":1", "no file"),
    "extends with a NUL": ('extends: "a\\0b"\n', ":1", "no file"),
    "extends a list": ("extends: [a]\n", ":1", "no file"),
    "extends a device": ("extends: /dev/zero\n", ":1", "no file"),
    "experiment in a list": ("paper: influence\nexperiment: [1]\n", ":2: experiment", "unknown value [1]"),
    "experiment in a block": ("paper: influence\nexperiment: {a: 1}\n", ":2: experiment", "unknown value"),
    "paper in a list": ("paper: [train]\n", ":1: paper", "no paper"),
    "paper as a number": ("paper: 3\n", ":1: paper", "no paper"),
    "kind in a list": (GOOD.replace("kind: natural", "kind: [1]"), ":3: partition.kind", "unknown kind"),
    "grid of 10^9": (IRIS + f"grid: {{{', '.join(f'k{i}: [{TEN}]' for i in range(9))}}}\n", ":7: grid", "1000000000"),
    "grid and seeds": (IRIS + f"seeds: {LISTED}\ngrid: {{weight_decay: [{TEN}, 10]}}\n", ":8: grid", "11000 combin"),
    "two axes on a key": (
        IRIS + "grid: {train.lr: [0.1, 0.2], a: {b: {train: {lr: 0.3}}}}\n", ":7: grid", "both set train.lr",
    ),
    "an axis in nothing": (IRIS + "grid: {title.a: [1]}\n", ":7: grid", "no key of this setting"),
    "merge keys": (GOOD + "privacy: {<<: {clip: 1}}\n", ":8: privacy.<<", "merge keys are not read"),
    "not a number": (GOOD.replace("lr: 0.1", "lr: .nan"), ":5: local.lr", "finite number"),
    "too large a float": (IRIS + "weight_decay: 1e400\n", ":7: weight_decay", "finite number"),
    "infinity in a list": (IRIS.replace("pick: all", "pick: all, at: .inf"), ":6", "finite"),
    "a key of no text": (GOOD + '"\\0": 1\n', ":8", "no text"),
    "an empty file": ("", "", "mapping"),
    "only a remark": ("# nothing\n", "", "mapping"),
    "a list at the top": ("- 1\n", "", "mapping"),
    "a word": ("word\n", "", "mapping"),
    "two documents": (GOOD + "---\n" + GOOD, ":8", "more than one document"),
    "a tab": ("a: 1\n\tb: 2\n", ":2", "bad YAML"),
    "a control character": (GOOD + "title: a\x07b\n", ":8", "bad YAML: the character '\\x07'"),
    "a NUL": (GOOD + "title: a\0b\n", ":8", "bad YAML: the character '\\x00'"),
    "a tag on a block": (GOOD + "title: !!python/object:os.system {}\n", ":8: title", "is not allowed"),
    "a date": (GOOD.replace("rounds: 20", "rounds: 2020-01-01"), ":6: rounds", "valid integer"),
    "sexagesimal": (GOOD.replace("rounds: 20", "rounds: 1:30"), ":6: rounds", "valid integer"),
    "too many seeds": (GOOD + f"seeds: [{'1, ' * 10_001}]\n", ":8: seeds", "at most 10000"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _it_ends():
    def hangs(*_):
        raise TimeoutError(f"still at it after {HANGS} seconds")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANGS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(path, **options) -> list[str]:
    """The faults of the file, each on one line."""
    with pytest.raises(SpecError) as caught:
        load(path, **options)
    error = caught.value
    lines = list(error.faults) or [f"{error.where}: {error.what}"]
    assert error.todo and all("\n" not in line and len(line) < 1000 for line in lines)
    return lines


@pytest.mark.parametrize("case", ONE_FAULT)
def test_a_fault_has_its_line_and_its_key(tmp_path, case):
    text, where, said = ONE_FAULT[case]
    path = tmp_path / "s.yaml"
    path.write_text(text)
    line = refused(path)[0]
    assert f"s.yaml{where}" in line and said in line


@pytest.mark.parametrize("content", [b"\xff\xfe\x00a", "title: é".encode("latin-1"), GOOD.encode("utf-16")])
def test_files_in_another_encoding(tmp_path, content):
    (tmp_path / "s.yaml").write_bytes(content)
    assert "not UTF-8 text" in refused(tmp_path / "s.yaml")[0]


def test_a_byte_order_mark_is_read_past(tmp_path):
    (tmp_path / "s.yaml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load(tmp_path / "s.yaml").spec.rounds == 20


def test_what_is_no_plain_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    for path in (*tmp_path.iterdir(), Path("/dev/zero"), Path("x" * 300), Path("a\0b"), Path("x/" * 3000)):
        assert refused(path)


def test_a_file_of_a_gigabyte(tmp_path):
    with (tmp_path / "s.yaml").open("wb") as file:
        file.truncate(2**30)
    assert "larger than 2 MB" in refused(tmp_path / "s.yaml")[0]


@pytest.mark.parametrize(
    "override",
    ["rounds=" + "9" * 5000, "rounds=[" * 3000, "title=[" + "1," * 10**5, "a." * 3000 + "b=1", "rounds=\0",
     "rounds=\udcff", "local.lr=.nan", "rounds=&a [*a]", "rounds=*a", "=1", ".=1", "rounds=1\nmore: 2",
     "rounds=!!set {}", 'name="\\0"'],
)  # fmt: skip
def test_values_of_the_command_line(tmp_path, override):
    (tmp_path / "s.yaml").write_text(GOOD)
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "s.yaml", overrides=read_overrides([override]))
    assert "--set" in str(caught.value)


@pytest.mark.parametrize("seeds", ["0-99999999999", "0-10000", "9" * 5000, "0-5000,6000-11000", "1-0", "", "²"])
def test_seeds_of_the_command_line(seeds):
    with pytest.raises(SpecError, match="seeds"):
        parse_seeds(seeds)


def test_two_axes_may_vary_a_block_and_what_is_inside(tmp_path):
    """The block comes first, wherever its axis stands, so nothing is lost."""
    text = IRIS + "grid: {model.activation: [relu, tanh], size: {a: {model: {kind: mlp, hidden: [3]}}}}\n"
    (tmp_path / "s.yaml").write_text(text)
    found = load(tmp_path / "s.yaml")
    made = [cell.params["model"] for cell in found.paper.resolve("cells")(found.spec)]
    assert [(m["activation"], m["hidden"]) for m in made] == [("relu", [3]), ("tanh", [3])]


@pytest.mark.parametrize("more", ["", "exclude_clients: [7]\n"])
def test_a_federation_that_no_machine_holds_is_not_written_out(tmp_path, more):
    (tmp_path / "s.yaml").write_text(GOOD.replace("clients: 20", f"clients: {2**62}") + more)
    assert load(tmp_path / "s.yaml").spec.known_clients == 2**62


def test_many_keys_are_merged_in_one_pass(tmp_path):
    block = "".join(f"  k{i}: {i}\n" for i in range(20_000))
    (tmp_path / "base.yaml").write_text(f"a:\n{block}")
    (tmp_path / "s.yaml").write_text(f"extends: base.yaml\npaper: train\nb:\n{block}a:\n{block}")
    with pytest.raises(SpecError):
        load(tmp_path / "s.yaml")


@pytest.mark.slow
def test_generated_specs_end_in_cells_or_in_one_line_each(tmp_path):
    """1,000 files; none ends otherwise."""
    ended = {"loaded": 0, "refused": 0}
    for case in range(GENERATED):
        path = tmp_path / hostile.folder_of(0, case) / "s.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(hostile.text(0, case))
        try:
            found = load(path, None, SCALES[case % 3])
            if found.spec.scale == "smoke":  # at the other scales the plan's estimate builds large models
                assert found.paper.resolve("cells")(found.spec)
            ended["loaded"] += 1
        except SpecError as error:
            ended["refused"] += 1
            assert not any("\n" in line for line in (error.what, error.where, error.todo, *error.faults)), case
    assert sum(ended.values()) == GENERATED and min(ended.values()) > 50, ended


def test_one_bad_file_does_not_silence_the_others(tmp_path, capsys):
    from fedlab_cli.main import main

    for index, (text, _, _) in enumerate(ONE_FAULT.values()):
        if len(text) < 10**5:
            (tmp_path / f"bad{index}.yaml").write_text(text)
    bad = len(list(tmp_path.iterdir()))
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "empty").mkdir()
    (tmp_path / "good.yaml").write_text(GOOD)
    assert main(["validate", str(tmp_path), str(tmp_path / "empty"), "no/such.yaml"]) == 2
    told = capsys.readouterr()
    assert f"{bad + 3} of {bad + 4} specs have faults" in told.err
    assert sum("good.yaml: ok at" in line for line in told.out.splitlines()) == 1
    assert all(
        f"bad{index}.yaml" in told.out for index in range(len(ONE_FAULT)) if (tmp_path / f"bad{index}.yaml").exists()
    )


def test_a_block_of_ones_own_that_breaks_is_a_fault_of_its_file(tmp_path, monkeypatch):
    (tmp_path / "s.yaml").write_text(GOOD)
    monkeypatch.setattr(type(papers()["train"]), "resolve", lambda self, what: 1 / 0)
    assert "ZeroDivisionError" in faults(str(tmp_path / "s.yaml"))[0]
