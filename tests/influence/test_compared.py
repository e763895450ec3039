"""Exact influence under several algorithms: cells against plain runs, and the figure from rows with known answers."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.core.engine.simulate_plain import load, simulate_plain
from experiments.core.engine.worlds import BASE, without_client
from experiments.core.errors import SpecError
from experiments.core.report.artefacts import csv_bytes
from experiments.core.spec.grid import at, points
from experiments.core.study.federated import build
from experiments.core.sweep.cell import COLUMNS, Context
from experiments.influence import figure_algorithms
from experiments.influence.algorithms import algorithm_cells
from experiments.influence.figures import report
from tests.toys import federated as tiny

GRID = {
    "fedavg": {},
    "scaffold": {"algorithm": {"kind": "scaffold"}},
    "feddyn": {"algorithm": {"kind": "feddyn", "alpha": 0.5}},
    "fedimpro": {"algorithm": {"kind": "fedimpro", "split": "fc1", "until": 3}, "formulation": "looped"},
}
OURS = {
    "experiment": "algorithms", "model": {"kind": "mlp", "hidden": [4], "activation": "tanh"}, "clients_per_round": 4,
    "data": {"kind": "leaf_synthetic", "clients": 6, "max_samples": 30}, "grid": {"algorithm": GRID},
    "gradients": None, "variants": None, "cleansing": None, "ranking_interval": None,
}  # fmt: skip


def spec(folder, **more):
    own = {key: value for key, value in {**OURS, **more}.items() if value is not None}
    path = tiny.write(folder, paper="train", **own)
    path.write_text(path.read_text().replace("paper: train", "paper: influence"))
    return path


def at_algorithm(config, name):
    found = tiny.loaded(config)
    (keys,) = [keys for point, keys in points(found.grid) if point == {"algorithm": name}]
    return at(found, keys)


@pytest.mark.parametrize("name", list(GRID))
def test_the_truth_is_plain_counterfactual_runs(tmp_path, name):
    config = spec(tmp_path, grid={"algorithm": {name: GRID[name]}})
    (cell,) = algorithm_cells(tiny.loaded(config))
    rows = pd.DataFrame(cell.compute(Context(tmp_path)))
    exact = rows[(rows["method"] == "exact") & (rows["metric"] == "fil") & (rows["round"] == 6)]
    built = build(at_algorithm(config, name), 0, Context(tmp_path / "built"))
    problem, federation = built.problem, built.problem.federation

    def loss(world):
        *_, (_, state) = simulate_plain(problem, world, built.start)
        with torch.no_grad():
            outputs = load(problem.net, state).eval()(federation.test_x)
            return float(torch.nn.functional.cross_entropy(outputs, federation.test_y))

    base = loss(BASE)
    wanted = [loss(without_client(k)) - base for k in range(6)]
    assert exact["subject"].tolist() == [f"algorithm={name} client={k}" for k in range(6)]
    assert exact["value"].to_numpy() == pytest.approx(wanted, rel=1e-6, abs=1e-10)
    assert np.abs(wanted).min() > 1e-6
    assert set(rows["round"].dropna()) == {2, 4, 6}


def test_algorithms_of_a_seed_share_clients_participants_and_weights(tmp_path):
    config = spec(tmp_path)
    facts, starts, schedules = [], [], []
    for name in GRID:
        context = Context(tmp_path)
        built = build(at_algorithm(config, name), 1, context)
        facts.append(context.facts["data"])
        starts.append(built.start)
        schedules.append(built.problem.schedule)
    assert len(set(facts)) == 1
    assert all(torch.equal(start, starts[0]) for start in starts)
    assert all(schedule == schedules[0] for schedule in schedules)


def test_clients_of_the_setting_are_the_same_in_all_seeds():
    from experiments.core.spec.load import load as load_setting

    for scale in ("smoke", "small", "paper"):
        assert load_setting("algorithms", "influence", scale).spec.partition.split_seed == 0


def test_rounding_is_seen_and_is_small(tmp_path):
    (cell,) = algorithm_cells(tiny.loaded(spec(tmp_path, grid={"algorithm": {"scaffold": GRID["scaffold"]}})))
    rows = pd.DataFrame(cell.compute(Context(tmp_path)))
    fil = rows[(rows["metric"] == "fil") & (rows["round"] == 6)].pivot(
        index="subject", columns="method", values="value"
    )
    assert np.allclose(fil["exact"], fil["rounding"], rtol=0, atol=1e-12)
    assert (fil["exact"] != fil["rounding"]).any()
    (null,) = rows[rows["metric"] == "null_world"]["value"]
    assert abs(null) < 1e-12


def test_without_rounding_one_set_of_worlds_is_trained(tmp_path):
    changed = spec(tmp_path, grid={"algorithm": {"fedavg": {}}}, rounding=False)
    (cell,) = algorithm_cells(tiny.loaded(changed))
    (both,) = algorithm_cells(tiny.loaded(spec(tmp_path, grid={"algorithm": {"fedavg": {}}})))
    rows = cell.compute(Context(tmp_path))
    assert {row["method"] for row in rows} == {"exact", "base_model"}
    assert (cell.worlds, both.worlds) == (7, 14)
    assert both.work == pytest.approx(2 * cell.work)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"grid": {"local.lr": [0.1, 0.2]}}, "grid: local.lr is varied, but only algorithms are compared"),
        ({"grid": {"algorithm": {"a": {"algorithm": {"kind": "fedmagic"}}}}}, "fedmagic"),
        ({"clients_per_round": 1}, "clients_per_round: the influence of a round's only client is undefined"),
        ({"data": {"kind": "leaf_synthetic", "clients": 2}, "clients_per_round": 2}, "the ranks of 2 clients"),
    ],
)
def test_bad_input_has_its_line(tmp_path, more, words):
    with pytest.raises(SpecError, match=words):
        tiny.loaded(spec(tmp_path, **more))


def rows_of(truths, method="exact"):
    """Rows of {(algorithm, seed): influence by client}, in two rounds: in the first all truths are 1, 2, 3, ..."""
    common = {"paper": "influence", "setting": "algorithms", "scale": "small", "metric": "fil", "unit": "nats"}
    told = [
        {
            **common,
            "method": method,
            "seed": seed,
            "subject": f"algorithm={name} client={c}",
            "round": t,
            "value": value,
        }
        for (name, seed), values in truths.items()
        for t, now in ((10, range(len(values))), (20, values))
        for c, value in enumerate(now)
    ]
    return pd.DataFrame(told).reindex(columns=list(COLUMNS)).astype({"round": float, "value": float})


TRUTHS = {
    ("scaffold", 0): [5, 4, 3, 2, 1],
    ("fedavg", 0): [1, 2, 3, 4, 5],
    ("fedavg", 1): [1, 2, 3, 5, 4],
    ("scaffold", 1): [1, 2, 3, 5, 4],
    ("own", 0): [7, 7, 7, 7, 7],
}


def scored(frame, compared, one, other):
    found = frame[(frame["compared"] == compared) & (frame["algorithm_a"] == one) & (frame["algorithm_b"] == other)]
    return [*zip(found["seed"], found["seed_b"], found["spearman"], found["top3_overlap"], strict=True)]


def test_agreements_have_their_known_values():
    twin = rows_of({("fedavg", 0): [2, 1, 3, 4, 5]}, "rounding")
    frame = figure_algorithms.agreements(pd.concat([rows_of(TRUTHS), twin], ignore_index=True))
    ours = scored(frame, "algorithms", "fedavg", "scaffold")
    assert ours == [(0, 0, pytest.approx(-1), pytest.approx(1 / 3)), (1, 1, pytest.approx(1), 1)]
    assert scored(frame, "seeds", "fedavg", "fedavg") == [(0, 1, pytest.approx(0.9), 1)]  # 1 - 6 * 2 / (5 * 24)
    assert scored(frame, "seeds", "scaffold", "scaffold") == [(0, 1, pytest.approx(-0.9), pytest.approx(1 / 3))]
    assert scored(frame, "rounding", "fedavg", "fedavg") == [(0, 0, pytest.approx(0.9), 1)]
    assert [math.isnan(value) for *_, value, _ in scored(frame, "algorithms", "fedavg", "own")] == [True]
    assert len(frame) == 7 and set(frame["clients"]) == {5} and set(frame["round"]) == {20}


def test_clients_are_matched_by_name():
    rows = rows_of({("fedavg", 0): [1, 2, 3, 4], ("feddyn", 0): [1, 2, 3, 4]})
    shuffled = rows.sample(frac=1, random_state=0, ignore_index=True)
    assert scored(figure_algorithms.agreements(shuffled), "algorithms", "fedavg", "feddyn") == [
        (0, 0, pytest.approx(1), 1)
    ]


def test_the_figure_shows_mean_range_and_rounding():
    twin = rows_of({key: TRUTHS[key] for key in (("fedavg", 0), ("fedavg", 1))}, "rounding")
    (made,) = report(pd.concat([rows_of(TRUTHS), twin], ignore_index=True), [])
    assert made.name == "algorithms"
    left = made.figure().axes[0]
    cells = {text.get_position(): text.get_text() for text in left.texts}
    assert cells[(0, 1)] == "0.00\n-1.00 to 1.00"  # FedAvg, SCAFFOLD
    assert cells[(0, 0)] == "0.90\nrounding 1.00"
    assert cells[(2, 2)] == ""
    assert [label.get_text() for label in left.get_yticklabels()] == ["FedAvg", "SCAFFOLD", "own"]
    assert csv_bytes(made.frame).startswith(b"setting,scale,compared,algorithm_a,algorithm_b,seed,seed_b,spearman,top3")


def test_one_algorithm_and_one_seed_have_nothing_to_compare():
    assert report(rows_of({("fedavg", 0): [1, 2, 3]}), []) == []


@pytest.mark.slow
def test_the_setting_runs_at_smoke(tmp_path):
    from fedlab_cli.main import main

    line = ["influence", "--setting", "algorithms", "--out", str(tmp_path), "--device", "cpu", "--scale", "smoke"]
    assert main([*line, "--quiet", "--jobs", "1"]) == 0
    (made,) = tmp_path.rglob("algorithms.csv")
    frame = pd.read_csv(made)
    assert frame["compared"].value_counts().to_dict() == {"algorithms": 30, "rounding": 12, "seeds": 6}
    assert (frame[frame["compared"] == "rounding"]["spearman"] > 0.79).all()
    assert made.with_suffix(".png").stat().st_size > 10_000
