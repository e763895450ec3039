import json

import pytest

from experiments.core.errors import MissingDataError, MissingError, SpecError
from experiments.core.spec.override import read_overrides
from experiments.train import PAPER as TRAIN
from fedlab_cli import console
from fedlab_cli.execute import execute, read_specs
from fedlab_cli.options import Request
from tests.toys.paper import PAPER


@pytest.fixture(autouse=True)
def fresh_screen():
    console.setup(color=False)
    yield
    console.setup(color=True)


def request_in(folder, **more):
    return Request(
        **{"scale": "smoke", "out": folder / "runs", "overrides": read_overrides(["rounds=5"]), "device": "cpu", **more}
    )


def test_a_run_stores_and_prints(tmp_path, capsys):
    ended = execute(PAPER, ["synthetic_logreg"], request_in(tmp_path))
    stored = tmp_path / "runs" / "train" / "synthetic_logreg-smoke" / "metrics.csv"
    assert ended.code == 0
    assert stored.read_text().count("\n") == 6
    out, err = capsys.readouterr()
    assert "0.2" in out
    assert "metrics.csv" in err
    assert (tmp_path / "runs" / "reports" / "train" / "synthetic_logreg-smoke" / "curves.md").is_file()


def test_the_second_run_computes_nothing(tmp_path, capsys):
    for _ in range(2):
        execute(PAPER, ["synthetic_logreg"], request_in(tmp_path))
    assert "0 done, 1 already there, 0 failed" in capsys.readouterr().err


def test_another_spec_is_refused_until_overwritten(tmp_path):
    execute(PAPER, ["synthetic_logreg"], request_in(tmp_path))
    with pytest.raises(SpecError, match="rounds"):
        execute(PAPER, ["synthetic_logreg"], request_in(tmp_path, overrides=read_overrides(("rounds=6",))))
    changed = request_in(tmp_path, overrides=read_overrides(("rounds=6",)), overwrite=True)
    assert execute(PAPER, ["synthetic_logreg"], changed).code == 0


def test_json_is_all_of_stdout(tmp_path, capsys):
    console.setup(as_json=True, color=False)
    execute(PAPER, ["synthetic_logreg"], request_in(tmp_path))
    told = json.loads(capsys.readouterr().out)
    assert told["settings"][0]["tables"]["curves"][0]["value"] == 0.2


def test_dry_run_writes_nothing(tmp_path, capsys):
    execute(
        PAPER,
        ["synthetic_logreg"],
        request_in(tmp_path, dry_run=True, overrides=read_overrides(("rounds=5", "seeds=[0, 1]"))),
    )
    out = capsys.readouterr().out
    assert "6 worlds, about 33 min" in out
    assert list(tmp_path.iterdir()) == []


def test_the_plan_tells_when_the_clients_states_do_not_fit(tmp_path, capsys, monkeypatch):
    """Nothing is drawn or trained: 100,000 participants with 1.1 million numbers each are 450 GB; 300 of them fit."""
    monkeypatch.setattr("experiments.core.sweep.plan.available_bytes", lambda: 64 << 30)
    sets = ["data.clients=100000", "clients_per_round=100", "model={kind: mlp, hidden: [1024, 1024]}"]

    def plan(*more):
        overrides = read_overrides([*sets, *more])
        execute(TRAIN, ["synthetic_logreg"], request_in(tmp_path, scale="paper", dry_run=True, overrides=overrides))
        return capsys.readouterr().out

    assert "this does not fit into memory and would not start" in plan("algorithm.kind=scaffold")
    assert "would not start" not in plan("algorithm.kind=scaffold", "rounds=3", "evaluate_every=1")
    assert "would not start" not in plan("algorithm.kind=fedavg")


def test_a_long_run_announces_itself(tmp_path, capsys):
    execute(PAPER, ["synthetic_logreg"], request_in(tmp_path))
    assert "about 17 min" in capsys.readouterr().err


def test_missing_data_skip_a_setting_of_all_but_end_one_that_was_named(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    rejects = request_in(tmp_path, stand_in=False)
    with pytest.raises(MissingDataError, match="fedlab data --download femnist"):
        execute(PAPER, ["synthetic_logreg", "femnist_cnn"], rejects)
    assert not (tmp_path / "runs").exists()
    ended = execute(PAPER, ["femnist_cnn", "synthetic_logreg"], rejects, optional=True)
    assert ended.code == 0
    assert [s["status"] for s in ended.settings] == ["skipped", "done"]
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
    assert line.startswith("skipped femnist_cnn: FEMNIST (62 classes, by writer) is not there; ")
    assert line.endswith("`fedlab data --download femnist --data-dir DIR` gets it")


def test_a_stand_in_takes_the_place_of_missing_data_under_its_own_name(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    ended = execute(PAPER, ["femnist_cnn"], request_in(tmp_path))
    assert [(s["setting"], s["stand_in"]) for s in ended.settings] == [("femnist_cnn-standin", "sklearn_digits")]
    assert [f.name for f in (tmp_path / "runs" / "train").iterdir()] == ["femnist_cnn-standin-smoke"]
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("train femnist_cnn-standin at scale smoke: ")
    assert "stand-in: sklearn_digits" in first
    assert "`fedlab data --download femnist --data-dir DIR` gets it" in second


def test_with_the_data_there_nothing_stands_in(tmp_path, capsys):
    (tmp_path / "femnist").mkdir()
    (tmp_path / "femnist" / "all_data_0.json").write_text("{}")  # looked at, not read
    (setting,) = read_specs(PAPER, ["femnist_cnn"], request_in(tmp_path, data_dir=tmp_path))
    assert (setting.loaded.spec.name, setting.lacks) == ("femnist_cnn", None)


@pytest.mark.parametrize("changed", ["data.writers=20", "data={kind: idx, path: my_scans}"])
def test_data_that_the_user_chose_have_no_stand_in(changed, monkeypatch):
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    (setting,) = read_specs(PAPER, ["femnist_cnn"], Request(scale="smoke", overrides=read_overrides((changed,))))
    assert setting.blocked is setting.lacks is not None


def test_a_failing_cell_is_told_and_the_rest_goes_on(tmp_path, capsys):
    bad = request_in(tmp_path, overrides=read_overrides(("rounds=13",)))
    ended = execute(PAPER, ["synthetic_logreg", "digits_cnn"], bad, optional=True)
    assert ended.code == 1
    assert [s["failed"] for s in ended.settings] == [1, 1]
    err = capsys.readouterr().err
    assert "error: the loss is not finite" in err
    assert "fix: lower local.lr" in err


def test_a_missing_device_is_not_taken_for_missing_data(tmp_path):
    with pytest.raises(MissingError, match=r"cuda:99|CUDA"):
        execute(PAPER, ["femnist_cnn"], request_in(tmp_path, device="cuda:99"), optional=True)


def test_all_with_other_data_passes_by_settings_without_data():
    from experiments.core.paper import papers

    request = Request(scale="smoke", data="digits")
    names = [
        i.loaded.spec.name for i in read_specs(papers()["influence"], ["setting3", "table1"], request, optional=True)
    ]
    assert names == ["setting3-standin", "table1"]
    with pytest.raises(SpecError, match="uses no data"):
        read_specs(papers()["influence"], ["table1"], request)
