import json
import subprocess
import sys

import pytest
import yaml

from fedlab_cli.main import main

LIGHT = """
import sys
from fedlab_cli.main import main
code = main({args!r})
heavy = sorted({{"torch", "pandas", "matplotlib", "sklearn", "scipy"}} & set(sys.modules))
print("HEAVY", heavy)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["influence", "--help"],
        ["list"],
        ["list", "--kinds"],
        ["show", "setting1", "--origin"],
        ["validate"],
    ],
)
def test_light_commands_load_nothing_heavy(args):
    done = subprocess.run([sys.executable, "-c", LIGHT.format(args=args)], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("HEAVY []")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["influence", "--set", "rownds=3"], 2, "did you mean 'rounds'"),
        (["influence", "--setting", "9"], 2, "unknown setting '9'"),
        (["influence", "--all", "--setting", "1"], 2, "exclude each other"),
        (["influence", "--data", "digts"], 2, "did you mean 'digits'"),
        (["influence", "--seeds", "x"], 2, "cannot read the seeds"),
        (["influence", "--config", "none/such.yaml"], 2, "no file"),
        (["influence", "--config", "configs/train/digits_cnn.yaml"], 2, "belongs to 'train'"),
        (
            ["influence", "--setting", "3", "--no-stand-in"],
            4,
            "fedlab data --download femnist --data-dir DIR",
        ),
        (["train", "-c", "synthetic_logreg", "--exclude-clients", "1000"], 2, "clients are 0 to 999"),
        (["train", "-c", "synthetic_logreg", "--since", "3"], 2, "goes together with exclude_clients"),
        (["train", "-c", "synthetic_logreg", "--record", "--exclude-clients", "3"], 2, "only the whole federation"),
        (["show", "nothing"], 2, "unknown setting"),
        (["list", "influense"], 2, "did you mean 'influence'"),
        (["reproduce", "influense"], 2, "did you mean 'influence'"),
        (["compare", "--out", "no/such/folder"], 4, "no results"),
        (["data", "--download", "leaf_synthetic"], 2, "needs no download"),
        (["influence", "--scale", "huge"], 2, ""),
        (["influnce"], 2, ""),
    ],
)
def test_faults_have_their_exit_code_and_no_traceback(args, code, said, capsys, monkeypatch):
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    assert main(args) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    if said:
        assert err.splitlines()[0].startswith("error: ")
        assert "  fix: " in err


def test_a_traceback_only_when_asked(capsys):
    main(["influence", "--set", "rownds=3", "-v"])
    assert "Traceback" in capsys.readouterr().err


def test_the_unexpected_is_told_in_lines_too(monkeypatch, capsys):
    import fedlab_cli.commands.list_ as listing

    monkeypatch.setattr(listing, "settings", lambda paper: 1 / 0)
    assert main(["list"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: unexpected ZeroDivisionError")
    assert "Traceback" not in err


def test_list_as_json(capsys):
    assert main(["list", "influence", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"setting1", "setting2-digits", "table1"} <= {row["setting"] for row in rows}
    assert all(row["reproduces"] and row["cost"] for row in rows)


def test_list_kinds_names_every_block(capsys):
    assert main(["list", "--kinds", "--json"]) == 0
    kinds = {(row["block"], row["kind"]) for row in json.loads(capsys.readouterr().out)}
    assert {("data", "femnist"), ("partition", "iid"), ("model", "cnn2")} <= kinds


def test_one_bad_file_does_not_silence_the_list(tmp_path, monkeypatch, capsys):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "bad.yaml").write_text("rounds: [")
    (tmp_path / "train" / "good.yaml").write_text("extends: train/digits_cnn\ntitle: mine\n")
    monkeypatch.setenv("FEDLAB_CONFIGS", str(tmp_path))
    assert main(["list", "train", "--json"]) == 0
    rows = {row["setting"]: row["title"] for row in json.loads(capsys.readouterr().out)}
    assert rows["good"] == "mine" and rows["bad"].startswith("cannot be read: bad YAML")


def test_list_kinds_tells_types_and_defaults(capsys):
    assert main(["list", "--kinds", "--json"]) == 0
    rows = {(row["block"], row["kind"]): row for row in json.loads(capsys.readouterr().out)}
    fields = {field["name"]: field for field in rows["model", "mlp"]["fields"]}
    assert fields["hidden"]["type"] == "list of integer" and fields["activation"]["type"].startswith("one of relu, ")
    (mu,) = rows["algorithm", "fedprox"]["fields"]
    assert (mu["type"], mu["default"], mu["what"]) == ("number", "", "weight of the proximal term")
    assert main(["list", "--kinds"]) == 0
    out = capsys.readouterr().out
    assert "    mu: number, required; weight of the proximal term" in out
    assert "    train_fraction: number, default 0.6; share of each client's samples that train" in out


def test_show_prints_a_spec_that_yaml_reads(capsys):
    assert main(["show", "influence/setting1", "--scale", "paper", "--set", "rounds=900"]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert (found["rounds"], found["local"]["lr"], found["data"]["clients"]) == (900, 0.003, 1000)


def test_show_says_where_a_value_was_written(capsys):
    main(["show", "setting2-digits", "--origin", "--scale", "paper"])
    lines = capsys.readouterr().out.splitlines()
    (kind,) = [line for line in lines if line.startswith("data.kind")]
    (rate,) = [line for line in lines if line.startswith("local.lr ")]
    assert "setting2-digits.yaml:" in kind
    assert "setting2.yaml:" in rate


def test_validate_tells_every_fault(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("extends: influence/setting1\nrownds: 3\nscales: {small: {loss: hinge}}\n")
    (tmp_path / "b.yaml").write_text("extends: train/digits_cnn\n")
    assert main(["validate", str(tmp_path)]) == 2
    out = capsys.readouterr().out.splitlines()
    assert [line.rpartition("a.yaml")[2] for line in out[:2]] == [
        ":2: rownds: unknown key; did you mean 'rounds'?",
        ":3: loss: unknown value 'hinge'; known: cross_entropy, squared",
    ]
    assert out[2].endswith("b.yaml: ok at smoke, small, paper")


def test_data_says_what_is_there(capsys, monkeypatch):
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    assert main(["data", "--json"]) == 0
    states = {row["name"]: row["state"] for row in json.loads(capsys.readouterr().out)["data"]}
    assert states["leaf_synthetic"] == "built in"
    assert states["femnist"] == "missing"


def test_doctor(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    assert main(["doctor", "--json", "--out", str(tmp_path / "runs")]) == 0
    rows = {row["what"]: row["state"] for row in json.loads(capsys.readouterr().out)}
    assert rows["torch"] == rows["write access"] == rows["specs"] == "ok"
    assert list(tmp_path.iterdir()) == []
