"""Subjects, the paper's numbers found by them, and the reference file."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments.core.report.compare import compare
from experiments.core.report.reference import load
from experiments.core.sweep.merge import SPEC_COLUMNS
from experiments.trace import reading
from tests.trace import synthetic

REFERENCES = reading.Path(reading.__file__).with_name("reference.csv")
NO_SPEC = pd.DataFrame(columns=list(SPEC_COLUMNS))


def parsed(*rows):
    return reading.parse(synthetic.frame([{"method": "tracefl", "value": 1.0, **row} for row in rows]))


def test_a_subject_becomes_the_point_and_the_scope():
    rows = parsed({"metric": "localization", "subject": "task=gpt_dbpedia alpha=0.3 beta=1 scope=wrong"})
    assert rows.loc[0, ["point", "task", "alpha", "scope"]].tolist() == [
        "task=gpt_dbpedia alpha=0.3 beta=1", "gpt_dbpedia", "0.3", "wrong",
    ]  # fmt: skip
    assert reading.axes(rows) == ["task", "alpha", "beta"]


def test_rounds_count_the_same_whatever_their_inputs_and_seeds_are_averaged_last():
    told = [(0, 1, 100.0), (0, 2, 50.0), (1, 1, 20.0)]
    rows = pd.concat([synthetic.frame([_localized(t, v)], seed=s) for s, t, v in told])
    parsed = reading.parse(rows)
    assert (reading.average(parsed), reading.average(parsed, "max")) == (47.5, 60)
    assert math.isnan(reading.average(parsed.iloc[:0]))


def _localized(t, value):
    return {
        "metric": "localization",
        "method": "tracefl",
        "subject": "scope=correct",
        "round": t,
        "value": value,
        "n": t,
    }


@pytest.mark.parametrize(("setting", "metric", "method", "subject", "number"), [
    ("faults", "mean:localization", "feddebug", "task=densenet121_mnist alpha=0.7 scope=wrong", 86),
    ("faults", "mean:localization", "tracefl", "task=gpt_dbpedia alpha=0.7 scope=wrong", 94),
    ("privacy", "highest:accuracy", "global", "dp=noise0.012_clip15", 88.81),
    ("privacy", "highest:accuracy", "global", "task=gpt_dbpedia dp=noise0.012_clip15", 88.81),
    ("clients-digits", "mean:localization", "tracefl", "clients=1000 scope=correct", 99.52),
    ("rounds", "mean:localization", "tracefl", "scope=correct", 98),
    ("localization", "mean:localization", "tracefl", "task=bert_dbpedia scope=correct", 98.57),
    ("alpha", "highest:accuracy", "global", "task=densenet121_pathmnist alpha=0.1", 35.25),
    ("alpha", "mean:localization", "tracefl", "task=resnet18_mnist alpha=0.1 scope=correct", math.nan),
    ("privacy", "mean:localization", "tracefl", "dp=none scope=correct", math.nan),
    ("privacy", "mean:localization", "tracefl", "dp=noise7_clip1 scope=correct", math.nan),
    ("faults", "mean:localization", "feddebug", "task=gpt_dbpedia alpha=0.7 scope=wrong", math.nan),
    ("mine", "mean:localization", "tracefl", "scope=correct", math.nan),
])  # fmt: skip
def test_the_papers_number_of_a_point_is_found_and_no_average_stands_in_for_it(
    setting, metric, method, subject, number
):
    found = reading.printed(setting, metric, method, subject)
    assert found == number or (math.isnan(found) and math.isnan(number))


def test_points_stand_by_task_number_and_noise():
    rows = parsed(*(
        {"metric": "x", "subject": f"task={task} alpha={alpha}"}
        for task in ("gpt_dbpedia", "resnet18_mnist", "bert_mine", "resnet18_cifar10") for alpha in ("1", "0.3")
    ))  # fmt: skip
    tasks = [p.partition(" ")[0] for p in reading.points(rows)][::2]
    assert tasks == ["task=resnet18_cifar10", "task=resnet18_mnist", "task=bert_mine", "task=gpt_dbpedia"]
    assert reading.points(rows)[:2] == ["task=resnet18_cifar10 alpha=0.3", "task=resnet18_cifar10 alpha=1"]
    noises = ["noise0.003_clip50", "noise0.0001_clip50", "noise0.012_clip15", "none"]
    assert reading.ordered(noises) == ["none", *noises[2:0:-1], noises[0]]
    assert reading.ordered(["1000", "200", "50"]) == ["50", "200", "1000"]


def test_words_for_points_and_panels():
    assert reading.point_words("task=gpt_yahoo_answers alpha=0.3") == "GPT, Yahoo Answers, alpha 0.3"
    assert reading.point_words("dp=none") == "no privacy" and reading.point_words("dp=odd") == "odd"
    assert reading.point_words("alpha=0.3 hidden=[5,%205]") == "alpha 0.3, hidden [5, 5]"
    row = {"metric": "x", "dataset": "dbpedia_subset", "model": "transformer"}
    assert reading.panel_words(parsed(row), "") == "transformer, DBpedia (subset)"
    assert reading.panel_words(parsed(row), "task=gpt_dbpedia alpha=1") == "GPT, DBpedia (subset)\nalpha 1"
    assert reading.panel_words(parsed(row), "per_round=20") == "20 per round"


def test_every_printed_result_finds_its_rows():
    metrics = pd.concat([synthetic.metrics(s, seeds=(0,), rounds=1) for s in synthetic.GRIDS], ignore_index=True)
    rows = compare(load(REFERENCES), metrics, NO_SPEC, "trace", "paper")
    results = rows[rows["kind"] == "result"]
    assert len(results) > 220 and set(results[results["status"] == "not run"]["setting"]) == {"alpha"}
    lost = results[results["status"] == "not run"]["subject"]
    assert lost.str.contains("alpha=0.[246789]").all()  # the values of alpha that the hand-made rows leave out
    assert (results[results["status"] != "not run"]["seeds"] == 1).all()


def test_ours_is_the_mean_over_rounds_and_the_best_accuracy():
    metrics = synthetic.metrics("clients", seeds=(0, 1), rounds=2)
    rows = compare(load(REFERENCES), metrics, NO_SPEC, "trace", "paper").set_index("key")
    told = rows.loc["tracefl.table3.clients600.tracefl"]
    each = [np.mean([synthetic.localization("tracefl", seed, t) for t in (1, 2)]) for seed in (0, 1)]
    assert (told["ours"], told["low"], told["high"]) == (pytest.approx(np.mean(each)), min(each), max(each))
    best = np.mean([max(synthetic.accuracy("clients=600", seed, t, 2) for t in (1, 2)) for seed in (0, 1)])
    assert rows.loc["tracefl.table3.clients600.gm", "ours"] == pytest.approx(best)


def test_averages_over_images_and_texts_take_the_right_tasks():
    metrics = synthetic.metrics("localization", seeds=(0,), rounds=2)
    text = metrics["subject"].str.contains("task=bert|task=gpt")
    metrics.loc[text & (metrics["metric"] == "localization"), "value"] = 7.0
    rows = compare(load(REFERENCES), metrics, NO_SPEC, "trace", "paper").set_index("key")["ours"]
    image = np.mean([synthetic.localization("tracefl", 0, t) for t in (1, 2)])
    assert rows["tracefl.prose.correct.text.avg"] == 7 and rows["tracefl.prose.correct.image.avg"] == image
    assert rows["tracefl.prose.correct.all.avg"] == pytest.approx((8 * image + 4 * 7) / 12)


def test_tolerances_are_as_set_before_the_runs():
    told = {
        (r.metric, r.method): (r.tolerance_reproduced, r.tolerance_close)
        for r in load(REFERENCES) if r.number is not None and not r.metric.startswith(("config", "spec"))
    }  # fmt: skip
    assert told[("mean:localization", "tracefl")] == ("2", "5")
    assert told[("mean:localization", "feddebug")] == ("10", "25")
    assert told[("highest:accuracy", "global")] == ("3", "10")
    assert told[("mean:seconds", "tracefl")] == ("", "")


def test_the_numbers_of_the_tables_and_the_text():
    rows = {row.key: row for row in load(REFERENCES)}
    table1 = [r.number for key, r in rows.items() if key.startswith("tracefl.table1.") and r.kind == "result"]
    assert len(table1) == 18 + 12
    ours = [r.number for key, r in rows.items() if key.startswith("tracefl.table1.") and r.method == "tracefl"]
    assert sum(ours) / len(ours) == pytest.approx(99.33, abs=0.01)  # the paper's text: 99.3
    sweep = [r for key, r in rows.items() if key.startswith("tracefl.artefact.figure3") and key.endswith("loc")]
    assert len(sweep) == 60 and sum(r.number for r in sweep) / 60 == pytest.approx(99.77, abs=0.02)
    files = [k for k, r in rows.items() if "artefact.main" in k and r.kind == "result" and k.endswith("loc")]
    assert len(files) == 12 and "tracefl.artefact.main.resnet18.cifar10.a0.3_R50.loc" in files
