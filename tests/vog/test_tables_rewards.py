"""Table and figure of rewards by client, from hand-made rows."""

from __future__ import annotations

import functools

import pandas as pd
import pytest

from experiments.core.report.style import styled
from experiments.vog.figures import report
from tests.vog.synthetic import frame, row

CLIENTS = ("0", "1", "10", "2")
TRUTH = {"0": -0.1, "1": 0.2, "2": 0.3, "10": 0.05}


def rows_of(eps, seed):
    point = f"task=lenet_fmnist eps={eps}"
    for client, change in TRUTH.items():
        yield row("train", "client_truth", change + seed / 100, f"{point} client={client}", "nats", 100 + int(client))
        for method, first in {"vog": 0.2, "loss": 0.4, "size": 100.0}.items():
            for release, more in {"exact": 0.0, "4": 0.05}.items():
                if method != "size" or release == "exact":
                    value = first + int(client) / 100 + more + seed / 10
                    yield row(method, "reward", value, f"{point} client={client} release={release}", n=100)
    for metric, value in {"reward_spearman": 0.5, "reward_spearman_low": -0.2, "reward_spearman_high": 0.9}.items():
        yield row("vog", metric, value + seed / 10, f"{point} release=exact", n=4)
        yield row("size", metric, value - 0.1, f"{point} release=exact", n=4)
    for metric, value in {"ceiling_spearman": 0.8, "truth_spread": 0.1, "null_spread": 0.001}.items():
        yield row("train", f"client_{metric}", value, point, n=4)
    yield row("config", "client_fault", 0.5, f"{point} client=0 fault=noisy")
    if eps != "none":
        yield row("privacy", "epsilon", 3.9, point)
        yield row("vog", "reward_spearman", 0.3, f"{point} release=4", n=4)
        yield row("vog", "reward_kept", 0.7, f"{point} release=4", n=4)


@functools.cache
def made():
    rows = [frame([*rows_of("4", seed), *rows_of("none", seed)], "clients", seed) for seed in (0, 1)]
    return {a.name: a for a in report(pd.concat(rows, ignore_index=True), [])}


def test_a_line_a_client_with_its_fault_and_its_truth():
    table = made()["rewards-clients"]
    shown = table.shown[table.shown["eps"] == "4"]
    assert shown["client"].tolist() == ["0", "1", "2", "10"] and shown["samples"].tolist() == [100, 101, 102, 110]
    assert shown["fault"].tolist() == ["noisy", "", "", ""]
    assert shown["truth [nats]"].tolist() == pytest.approx([-0.095, 0.205, 0.305, 0.055])
    assert shown["VoG"].tolist() == pytest.approx([0.25, 0.26, 0.27, 0.35])
    assert shown["loss, eps 4"].tolist() == pytest.approx([0.5, 0.51, 0.52, 0.6])
    assert "samples" in shown and not any("size" in column for column in shown)
    whole = table.frame
    (line,) = whole[(whole["eps"] == "none") & (whole["method"] == "size") & (whole["client"] == "10")].to_dict(
        "records"
    )
    assert (line["value"], line["low"], line["high"], line["seeds"]) == pytest.approx((100.15, 100.1, 100.2, 2))


def test_ranks_stand_between_null_worlds_and_the_ceiling():
    table = made()["reward_ranks-clients"]
    (line,) = table.frame[(table.frame["method"] == "vog") & (table.frame["release"] == "4")].to_dict("records")
    assert (line["eps"], line["spearman"], line["with exact"], line["n"]) == ("4", 0.3, 0.7, 4)
    assert (line["ceiling"], line["truth spread"], line["null spread"]) == pytest.approx((0.8, 0.1, 0.001))
    assert line["epsilon in all"] == pytest.approx(7.9)
    exact = table.frame[(table.frame["method"] == "vog") & (table.frame["release"] == "exact")]
    assert exact["spearman"].tolist() == pytest.approx([0.55, 0.55]) and exact["high"].tolist() == pytest.approx(
        [0.95] * 2
    )
    assert exact["least seed"].tolist() == [0.5, 0.5] and exact["epsilon in all"].isna().all()
    assert list(table.shown["method"]) == ["VoG", "VoG", "samples", "VoG", "samples"]


def test_bars_stand_in_the_order_of_the_truth():
    with styled():
        figure = made()["rewards-clients"].figure()
        figure.set_dpi(20)
        figure.draw_without_rendering()
    panels = [ax for ax in figure.axes if ax.has_data()]
    assert len(panels) == 6  # truth, loss and VoG, at two points
    assert [bar.get_height() for bar in panels[0].patches] == pytest.approx([0.305, 0.205, 0.055, -0.095])
    names = [text.get_text() for text in panels[4].get_xticklabels()]
    assert names == ["2", "1", "10", "0\nnoisy"]
    vog = [bar.get_height() for bar in panels[4].patches]
    assert vog == pytest.approx([0.27, 0.26, 0.35, 0.25, 0.32, 0.31, 0.4, 0.3])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["exact (not released)", "released, eps 4"] or legend == [
        "released, eps 4",
        "exact (not released)",
    ]


def test_without_rewards_there_is_nothing():
    rows = frame([row("train", "test_accuracy", 50.0, t=1)])
    assert not [a.name for a in report(rows, []) if a.name.startswith("reward")]
