"""The whole command on Iris: the truth against refits in plain PyTorch, estimates against it, faults, resumption."""

import numpy as np
import pytest
import torch
from torch import nn

from experiments.core.sweep.cell import Context
from experiments.fragility.cells import cells, compute
from tests.toys import fragility as tiny


def run(tmp_path, **more):
    """Rows of one cell, as {(method, metric, subject): value}, and the warnings."""
    warned: list[str] = []
    context = Context(tmp_path, warn=warned.append)
    rows = compute(tiny.spec(**more), "", 0, context)
    return {(r["method"], r["metric"], r["subject"]): r["value"] for r in rows}, warned


def untimed(rows):
    return {(r["method"], r["metric"], r["subject"]): r["value"] for r in rows if "seconds" not in r["metric"]}


def picked(found, method, metric):
    return {s: v for (m, name, s), v in found.items() if (m, name) == (method, metric)}


def refit(pool, keep, start, decay):
    """Loss of every test sample after an independent fit of the same network to `keep`, and that network."""
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(start.clone(), net.parameters())
    x, y = pool.x.double()[keep], pool.y[keep]
    best = torch.optim.LBFGS(net.parameters(), max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-16,
                             line_search_fn="strong_wolfe")  # fmt: skip

    def closure():
        best.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss = loss + decay / 2 * sum((p**2).sum() for p in net.parameters())
        loss.backward()
        return loss

    best.step(closure)
    losses = nn.functional.cross_entropy(net(pool.test_x.double()), pool.test_y, reduction="none").detach()
    return losses, torch.nn.utils.parameters_to_vector(net.parameters()).detach()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run(tmp_path_factory.mktemp("cell"), norms=True, methods=["exact", "cg", "gradient"])


def test_truth_is_what_independent_refits_say(found):
    rows, _ = found
    spec = tiny.spec()
    pool = spec.data.load(0, None)
    from experiments.core.engine.net import initialise

    module = spec.model.build((4,), 3)
    initialise(module, 0, spec.init)
    start = torch.nn.utils.parameters_to_vector(module.double().parameters()).detach()
    everything = torch.arange(len(pool.y))
    base, optimum = refit(pool, everything, start, 0.01)
    test = int(rows["test", "test_index", "test=max"])
    assert rows["test", "test_point_loss", "test=max"] == pytest.approx(float(base.max()), abs=1e-6)
    assert test == int(base.argmax())
    actual = picked(rows, "retrain", "actual")
    assert len(actual) == 12
    for subject in list(actual)[:4]:
        row = int(subject.rpartition("=")[2])
        losses, theta = refit(pool, everything[everything != row], optimum, 0.01)
        assert actual[subject] == pytest.approx(float(losses[test] - base[test]), abs=1e-6)
        assert rows["retrain", "change_norm", f"train={row}"] == pytest.approx(
            float((theta - optimum).norm()), abs=1e-5
        )


def test_a_converged_smooth_network_is_where_influence_functions_hold(found):
    rows, warned = found
    assert rows["train", "converged", ""] == 1
    assert rows["exact", "spearman", "test=max set=top"] > 0.95
    assert rows["exact", "norm_spearman", "test=max set=top"] > 0.9
    guessed, actual = (picked(rows, *key) for key in (("exact", "influence"), ("retrain", "actual")))
    ratio = np.array([guessed[s] / actual[s] for s in guessed])
    assert np.median(ratio) == pytest.approx(1, abs=0.3)
    assert not warned


def test_methods_are_held_against_the_exact_one(found):
    rows, _ = found
    assert rows["cg", "spearman_exact", "test=max"] > 0.999
    assert rows["gradient", "spearman_exact", "test=max"] < rows["cg", "spearman_exact", "test=max"]
    assert rows["cg", "residual", "test=max"] < 1e-3


def test_drift_is_small_at_the_optimum(found):
    rows, _ = found
    assert abs(rows["retrain", "drift", "test=max"]) < 1e-3 * rows["retrain", "spread", "test=max"]


def test_unconverged_training_warns_and_goes_on(tmp_path):
    rows, warned = run(tmp_path, train={"steps": 30, "lr": 0.1}, retrain={"steps": 10}, damping=0.5, scale="small")
    assert rows["train", "converged", ""] == 0
    assert any("not converged: gradient norm" in line for line in warned)
    assert any("drifts" in line for line in warned)
    assert ("exact", "spearman", "test=max set=top") in rows


def test_a_singular_hessian_is_rejected_and_the_other_methods_continue(tmp_path):
    more = {"train": {"steps": 50}, "retrain": {"steps": 5}, "weight_decay": 0.0, "damping": 0.0}
    model = {"kind": "mlp", "hidden": [12], "activation": "relu"}
    rows, warned = run(tmp_path, model=model, methods=["exact", "gradient"], **more)
    assert any("exact rejected" in line and "damping" in line for line in warned)
    assert not picked(rows, "exact", "influence")
    assert picked(rows, "gradient", "influence")


def test_a_diverging_lissa_is_rejected_with_a_scale_that_works(tmp_path):
    diverging = {"kind": "lissa", "scale": 0.05, "depth": 4000, "batch_size": 120}
    rows, warned = run(tmp_path, methods=[diverging, "exact"])
    assert any("lissa rejected" in line and "scale" in line for line in warned)
    assert picked(rows, "exact", "influence")
    assert not picked(rows, "lissa", "influence")


def test_groups_several_points_and_scratch(tmp_path):
    rows, _ = run(
        tmp_path, groups={"sizes": [2, 5], "count": 4}, test_points=["max", "p50"], several=["max", "p50"],
        train={"steps": 400, "lr": 0.2}, retrain={"steps": 40, "scratch": True}, candidates=[{"pick": "all"},
        {"pick": "top", "count": 10}],
    )  # fmt: skip
    singles = picked(rows, "exact", "influence")
    grouped = {s: v for s, v in singles.items() if "group=" in s}
    assert len(grouped) == 2 * 2 * 4
    assert {s for s in picked(rows, "exact", "spearman") if "set=groups" in s} == {
        f"test={t} set=groups size={k}" for t in ("max", "p50") for k in (2, 5)
    }
    assert ("several", "pearson", "set=top") in rows
    assert ("exact", "pearson", "test=max set=top truth=scratch") in rows
    assert len(picked(rows, "scratch", "distance")) == 120


def test_the_sum_over_a_group_is_the_sum_of_its_members(tmp_path):
    rows, _ = run(tmp_path, groups={"sizes": [119], "count": 3}, candidates=[{"pick": "all"}], removal="n")
    singles = {s: v for s, v in picked(rows, "exact", "influence").items() if "train=" in s}
    total = sum(singles.values())
    largest = picked(rows, "exact", "influence")["test=max size=119 group=0"]
    assert any(largest == pytest.approx(total - v, rel=1e-9, abs=1e-12) for v in singles.values())


def test_killed_while_training_or_retraining_it_ends_in_the_same_numbers(tmp_path):
    spec = tiny.spec(train={"steps": 300, "lr": 0.2}, retrain={"steps": 60}, damping=0.1)
    folder, killed = tmp_path / "b", 0
    for each in (tmp_path / "a", folder):
        each.mkdir()
    at_once, resumed = Context(tmp_path / "a"), Context(folder)
    whole = compute(spec, "", 0, at_once)

    class KilledError(Exception):
        pass

    for stop in ("training steps", "retraining steps"):

        def progress(what, done, total, stop=stop):
            if what.startswith(stop) and 0 < done < total:
                raise KilledError

        with pytest.raises(KilledError):
            compute(spec, "", 0, Context(folder, progress=progress))
        killed += 1
    again = compute(spec, "", 0, resumed)
    assert killed == 2
    assert untimed(again) == untimed(whole)
    assert resumed.facts == at_once.facts and resumed.facts["formulation"] == "dense"


def test_the_command_stores_rows_of_every_point_of_the_grid(tmp_path, monkeypatch, capsys):
    from experiments.core.report import artefacts

    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    config = tiny.write(tmp_path, grid={"weight_decay": [0.01, 0.1]}, seeds=[0, 1])
    assert tiny.command(config, tmp_path / "runs") == 0
    frame = tiny.metrics(tmp_path / "runs")
    scores = tiny.values(frame[frame["seed"] == 1], "exact", "spearman")
    assert set(scores) == {"wd=0.01 test=max set=top", "wd=0.1 test=max set=top"}
    assert set(frame["dataset"]) == {"iris"}
    assert len(cells(tiny.loaded(config))) == 4


def test_a_test_index_outside_the_set_is_one_line(tmp_path, capsys):
    assert tiny.command(tiny.write(tmp_path, test_points=["i30"]), tmp_path / "runs") == 2
    error = capsys.readouterr().err
    assert "i30" in error
    assert "numbered 0 to 29" in error
    assert "Traceback" not in error


def test_more_candidates_than_samples_is_one_line(tmp_path, capsys):
    config = tiny.write(tmp_path, candidates=[{"pick": "top", "count": 121}])
    assert tiny.command(config, tmp_path / "runs") == 2
    assert "121 candidates, but there are 120" in capsys.readouterr().err
