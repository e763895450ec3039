"""Consistency of scores and of the grids they pick: equal scores, permuted ones, seeds beside a change, hand counts."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from experiments.vog import between_methods, consistency, likeness, pairs
from experiments.vog.compared import Compared
from experiments.vog.figures import report
from experiments.vog.likeness import Side
from experiments.vog.reading import parse
from tests.vog import synthetic
from tests.vog.synthetic import scored


def only(frame, **wanted):
    found = frame[(frame[list(wanted)] == list(wanted.values())).all(axis=1)]
    assert len(found) == 1, found
    return found.iloc[0]


def shuffled(one, seed=0):
    """The same cell with its scores dealt to other samples of the same class."""
    raw, draw = one.raw.copy(), np.random.default_rng(seed)
    for label in one.classes:
        rows = np.flatnonzero(one.of_class(label))
        for scores in raw:
            scores[rows] = scores[draw.permutation(rows)]
    return replace(one, raw=raw, seed=one.seed + 1)


def test_equal_scores_are_alike_in_every_number():
    one = scored(n=1200, scores=("vog",))
    for line in pairs.measured([one, replace(one, seed=1)]).to_dict("records"):
        assert line["overlap"] == 25
        assert (line["ssim"], line["bd"]) == pytest.approx((1, 0))
        if line["pick"] == "highest":
            assert (line["pearson"], line["spearman"]) == pytest.approx((1, 1))
            assert line["class"] != "all" or line["pearson_top"] == pytest.approx(1)


def test_permuted_scores_are_alike_by_chance():
    one = scored(n=3000, scores=("vog",))
    told = [only(pairs.measured([one, shuffled(one, seed)]), pick="highest", **{"class": "all"}) for seed in range(6)]
    mean = {key: np.mean([line[key] for line in told]) for key in ("pearson", "spearman", "overlap", "pearson_top")}
    assert mean["pearson"] == pytest.approx(0, abs=0.04) and mean["spearman"] == pytest.approx(0, abs=0.04)
    assert mean["overlap"] < 1.5 and likeness.chance(3000) == 25 * 25 / 3000
    assert mean["pearson_top"] == pytest.approx(0, abs=0.05)


def test_over_the_union_of_both_tops_unrelated_scores_would_correlate():
    """Why `pearson_top` is a mean over the two lists."""
    draw = np.random.default_rng(3)
    x, y = draw.standard_normal((2, 5000))
    rows = np.union1d(np.argsort(x)[-1000:], np.argsort(y)[-1000:])
    assert likeness.pearson(x[rows], y[rows]) < -0.3


def test_correlations_are_scipys_of_the_scaled_scores():
    a, b = scored(seed=0), scored(seed=1)
    line = only(pairs.measured([a, b]), method="plis", pick="highest", **{"class": "all"})
    place = a.methods.index("plis")
    values = []
    for one in (a, b):
        raw = one.raw[place].astype(float)
        values.append(np.empty(one.n))
        for label in range(synthetic.CLASSES):
            own = raw[one.labels == label]
            values[-1][one.labels == label] = (own - own.min()) / (own.max() - own.min())
    assert line["pearson"] == pytest.approx(stats.pearsonr(*values).statistic)
    assert line["spearman"] == pytest.approx(stats.spearmanr(*values).statistic)
    assert line["n"] == 240 and np.isnan(line["pearson_top"])  # 1000 of 240 are all
    shared = set(np.argsort(-values[0])[:25]) & set(np.argsort(-values[1])[:25])
    assert line["overlap"] == len(shared)


def test_within_a_class_only_its_samples_count():
    a, b = scored(seed=0), scored(seed=1)
    line = only(pairs.measured([a, b]), method="vog", **{"class": "2"})
    x, y = (one.raw[one.methods.index("vog")][one.labels == 2].astype(float) for one in (a, b))
    assert line["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic) and line["n"] == 80


def test_the_top_is_a_mean_over_both_lists():
    a, b = Side(scored(seed=0), "vog"), Side(scored(seed=1), "vog")
    x, y = a.values(), b.values()
    by_hand = [stats.pearsonr(x[rows], y[rows]).statistic for rows in (np.argsort(-x)[:40], np.argsort(-y)[:40])]
    assert likeness.pearson_top(a, b, 40) == pytest.approx(np.mean(by_hand))


def test_a_class_whose_scores_have_no_scale_is_left_out():
    one, other = scored(seed=0, scores=("vog",)), scored(seed=1, scores=("vog",))
    raw = one.raw.copy()
    raw[0][one.labels == 0] = 5.0  # equal: no min-max
    lines = pairs.measured([replace(one, raw=raw), other])
    assert only(lines, pick="highest", **{"class": "all"})["n"] == 160
    assert only(lines, **{"class": "0"})["n"] == 0 and np.isnan(only(lines, **{"class": "0"})["pearson"])


@pytest.mark.parametrize(
    ("points", "between"),
    [
        (("task=lenet_cifar10 eps=4", "task=lenet_cifar10 eps=none"), ["eps"]),
        (("task=lenet_cifar10 eps=4", "task=resnet8_cifar10 eps=4"), ["task"]),
        (("task=lenet_cifar10 eps=4", "task=lenet_fmnist eps=4"), []),
        (("task=lenet_cifar10 eps=4", "task=resnet8_cifar10 eps=8"), []),
        (("model_=resnet9", "model_=resnet18"), ["model_"]),
        (("eps=4", "eps=4"), ["seed"]),
    ],
)
def test_cells_are_compared_that_differ_in_one_axis(points, between):
    cells = [scored(points[0], 0), scored(points[1], int(points[0] == points[1]))]
    assert [pair.between for pair in pairs.pairs(cells)] == between


def test_cells_with_other_samples_or_labels_are_not_compared():
    one = scored()
    assert not list(pairs.pairs([one, scored("eps=4", n=120)]))
    assert not list(pairs.pairs([one, replace(one, seed=1, labels=one.labels[::-1])]))


def test_private_against_not_stands_first_whatever_the_order_of_cells():
    (pair,) = pairs.pairs([scored("eps=none"), scored("eps=4")])
    assert pair.values == ("4", "none") and pair.first.point == "eps=4" and pair.where == ""


def test_the_ceiling_is_of_pairs_of_seeds_without_privacy():
    cells = [scored(f"task=lenet_cifar10 eps={eps}", seed) for eps in ("1", "none") for seed in (0, 1, 2)]
    lines = pairs.measured(cells)
    frame = consistency.averaged(lines)
    wanted = {"pick": "highest", "class": "all", "method": "vog", "metric": "pearson"}
    line = only(frame, between="eps", seeds="same", **wanted)
    own = lines[(lines["method"] == "vog") & (lines["class"] == "all") & (lines["pick"] == "highest")]
    ceiling = own[(own["between"] == "seed") & (own["first_point"] == "task=lenet_cifar10 eps=none")]["pearson"]
    here = own[own["between"] == "seed"]["pearson"]
    same = own[(own["between"] == "eps") & (own["seeds"] == "same")]["pearson"]
    assert (len(ceiling), len(here), len(same)) == (3, 6, 3)
    assert line["value"] == pytest.approx(same.mean()) and line["pairs"] == 3
    assert (line["low"], line["high"]) == (same.min(), same.max())
    assert line["ceiling"] == pytest.approx(ceiling.mean()) and line["here"] == pytest.approx(here.mean())
    assert (line["ceiling_low"], line["ceiling_high"]) == (ceiling.min(), ceiling.max())
    assert only(frame, between="eps", seeds="different", **wanted)["pairs"] == 6


def test_random_images_are_the_floor_of_likeness():
    one = scored()
    told = likeness.floor(one, 1)
    assert abs(told["ssim"]) < 0.1 and told["bd"] > 0
    assert told == likeness.floor(one, 1) != likeness.floor(one, 0)
    assert np.isnan(likeness.floor(scored(kept=False), 1)["ssim"])


def test_without_images_only_the_grids_likeness_is_missing():
    lines = pairs.measured([scored(seed=0, kept=False), scored(seed=1, kept=False)])
    assert lines["ssim"].isna().all() and lines["bd"].isna().all() and lines["overlap"].notna().all()


def test_two_methods_of_a_cell_by_rows_and_by_grids():
    one = scored("eps=1")
    rows = [
        {"method": "plis", "metric": "scores_pearson", "value": 0.25, "n": 240, "subject": "eps=1 against=vog pick=all"}
    ]
    told = between_methods.lines([one], parse(synthetic.frame(rows)))
    line = only(told, first="vog", second="plis", part="all", metric="pearson")
    assert (line["value"], line["n"]) == (0.25, 240)
    x, y = one.scaled["vog"], one.scaled["plis"]
    shared = set(np.argsort(x)[:25]) & set(np.argsort(y)[:25])
    assert only(told, first="vog", second="plis", part="lowest", metric="overlap")["value"] == len(shared)


def test_a_report_reads_the_cells_folders(tmp_path):
    folders = synthetic.store(tmp_path, "models", seeds=(0, 1))
    rows = parse(synthetic.metrics("models", seeds=(0, 1)))
    assert [one.point for one in Compared(folders, rows).cells][::2] == [
        "model_=resnet9 eps=4", "model_=resnet9 eps=none", "model_=resnet18 eps=4", "model_=resnet18 eps=none",
    ]  # fmt: skip
    made = {one.name: one for one in report(synthetic.metrics("models", seeds=(0, 1)), folders)}
    table = made["consistency-models"].frame
    assert set(table["between"]) == {"eps", "model", "seed"}
    same = {"where": "eps=4", "seeds": "same", "pick": "highest", "method": "vog", "metric": "overlap", "class": "all"}
    assert only(table, between="model", **same)["chance"] == pytest.approx(25 * 25 / 240, abs=1e-5)
    assert "eps 4 and no DP" in set(made["consistency-models"].shown["pair"])
    assert {"PLIS", "VoG"} <= set(made["agreement-models"].shown["second"])


def test_a_seed_with_fewer_scores_is_no_line_of_its_own():
    """A forgetting count may be constant in a class of one seed: no sample of it is scaled there."""
    cells = [scored(f"eps={eps}", seed) for eps in ("4", "none") for seed in (0, 1)]
    constant = cells[0].raw.copy()
    constant[:, cells[0].of_class(0)] = 1.0
    cells[0] = replace(cells[0], raw=constant)
    frame = consistency.averaged(pairs.measured(cells))
    line = only(frame, between="eps", seeds="same", pick="highest", method="vog", metric="spearman", **{"class": "all"})
    assert line["pairs"] == 2 and line["n"] == int((cells[0].labels != 0).sum())
