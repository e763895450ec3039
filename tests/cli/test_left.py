import pytest

from fedlab_cli import console, left


@pytest.fixture
def now(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    return clock


def test_before_any_progress_it_is_the_estimate(now):
    assert left.Left({"a": 60.0, "b": 120.0}).seconds() == 180


def test_from_the_first_cell_on_it_follows_the_speed_seen(now):
    time = left.Left({"a": 60.0, "b": 120.0})
    time.start("a")
    now[0] = 60.0
    time.progress("rounds", 1, 4)  # 15 s of work took 60 s
    assert time.seconds() == pytest.approx((45 + 120) * 4)
    now[0] = 120.0
    time.end(computed=True)  # 60 s of work took 120 s
    time.start("b")
    assert time.seconds() == pytest.approx(240)


def test_stored_cells_say_nothing_of_the_speed(now):
    time = left.Left({"a": 60.0, "b": 120.0})
    time.start("a")
    time.end(computed=False)
    assert time.seconds() == 120


def test_a_second_phase_does_not_begin_anew(now):
    time = left.Left({"a": 100.0})
    time.start("a")
    now[0] = 95.0
    time.progress("training", 4, 4)
    time.progress("retraining", 0, 9)
    assert time.seconds() == pytest.approx(5)
    now[0] = 125.0  # 30 s for a third of the second phase, though the estimate is used up
    time.progress("retraining", 3, 9)
    assert time.seconds() == pytest.approx(60)


def test_a_resumed_cell_begins_in_the_middle(now):
    time = left.Left({"a": 100.0})
    time.start("a")
    now[0] = 1.0
    time.progress("rounds", 76, 250)
    now[0] = 11.0
    time.progress("rounds", 86, 250)
    assert time.seconds() == pytest.approx(164)


def test_cells_of_unknown_cost_count_alike(now):
    time = left.Left({"a": 0.0, "b": 50.0})
    time.start("a")
    assert time.seconds() is None
    now[0] = 10.0
    time.progress("rounds", 1, 2)
    assert time.seconds() == pytest.approx(30)


def test_the_line_without_a_terminal_says_it(now, capsys):
    console.setup(color=False)
    with console.meter(2, {"a": 100.0, "b": 100.0}) as meter:
        meter.cell("a", "start")
        now[0] = 31.0
        meter.update("rounds", 62, 100)
    assert capsys.readouterr().err == "cell 1 of 2: rounds 62 of 100; about 69 s left\n"
