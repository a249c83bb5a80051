"""Loss over the displacement after t**, against a loss planted as a known function of displacement and time."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import Law, make_run, make_sweep

from studyrun.errors import NothingToDrawError, TraceError
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.ensemble import for_run
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter

LAW = Law(0, 0.02)
GRID = (0, 2, 6)
EVERY = {"baseline": 10, "exit": 14}


def loss(arm, a, time, seed=0):
    """Linear in time, so that its mean over a stretch is its value at the middle."""
    return 1 + seed + (2 if arm == "exit" else 1) * a + 0.5 * a * time


def plant(folder, seed=0, arms=("baseline", "exit"), grid=GRID):
    dims = (Dimension("displacement", grid),)
    channels = [Channel("loss", "mean loss of test examples displaced", dims), Channel("accuracy", "accuracy", dims)]
    run = open_run(folder)
    with TraceWriter.resume(folder / "trace.h5") as writer:
        for arm in arms:
            rows = run[arm]["loss"]
            writer.add_probe(arm, "displaced", channels, {"component": "displaced_loss"})
            for step, time in list(zip(rows.step, rows.time, strict=True))[:: EVERY[arm]]:
                values = np.array([loss(arm, float(a), time, seed) for a in grid])
                reading = {"loss": values, "accuracy": 1 / (1 + values**2)}
                writer.append(arm, "displaced", int(step), float(time), reading)
    return for_run(open_run(folder))


@pytest.fixture
def planted(tmp_path):
    make_run(tmp_path / "run", steps=340)
    return plant(tmp_path / "run")


def stretch(run):
    return run["exit"].crossing().time, min(run[arm]["displaced"].time[-1] for arm in ("baseline", "exit"))


def test_the_line_of_each_arm_is_its_mean_from_the_crossing_to_the_common_end(draw, planted) -> None:
    drawing = draw("displaced_loss", planted)
    start, end = stretch(planted.run)
    assert LAW.fork_time() < start < end
    for arm in ("baseline", "exit"):
        series = drawing.lines()[arm, ""]
        np.testing.assert_array_equal(series.x, GRID)
        expected = [loss(arm, a, (start + end) / 2) for a in GRID]
        np.testing.assert_allclose(series.median, expected, rtol=1e-12)
    words = f"mean over effective time {start:.4g} (t**, where exit meets its own threshold) to {end:.4g}"
    assert drawing.caption == f"Mean loss of test examples displaced, over the displacement a: {words}."
    (panel,) = drawing.canvas.figure.axes
    assert panel.get_yscale() == "log"
    assert panel.get_xlabel() == "displacement a, in units of ‖v‖"


def test_at_moments_arms_compare_at_equal_effective_time(draw, planted) -> None:
    drawing = draw("displaced_loss", planted, at=["onset", {"after": 0.5}, "end", 300])
    run = planted.run
    (start, end), last = stretch(run), run["exit"]["displaced"].time[-1]
    at_step = run["exit"]["displaced"].time[np.abs(run["exit"]["displaced"].step - 300).argmin()]
    moments = (start, (start + last) / 2, end, at_step)
    for place, moment in enumerate(moments):
        for arm in ("baseline", "exit"):
            expected = [loss(arm, a, moment) for a in GRID]
            np.testing.assert_allclose(drawing.lines(place)[arm, ""].median, expected, rtol=1e-12)
    titles = [panel.get_title(loc="left") for panel in drawing.canvas.figure.axes]
    assert titles[0] == f"onset t**\neffective time {start:.4g}"
    assert all(title.replace("\n", ", ") in drawing.caption for title in titles)


def test_accuracy_is_drawn_on_a_linear_axis(draw, planted) -> None:
    drawing = draw("displaced_loss", planted, quantity="accuracy", at=["end"])
    end = stretch(planted.run)[1]
    rows = planted.run["baseline"]["displaced"]
    expected = [np.interp(end, rows.time, rows["accuracy"].values[:, i]) for i in range(len(GRID))]
    np.testing.assert_allclose(drawing.lines()["baseline", ""].median, expected, rtol=1e-12)
    assert drawing.canvas.figure.axes[0].get_yscale() == "linear"


def test_grids_of_texts_stand_in_order(draw, tmp_path) -> None:
    make_run(tmp_path / "run", steps=340)
    drawing = draw("displaced_loss", plant(tmp_path / "run", grid=("10.0", "-1.0", "2.5")), at=["end"])
    series = drawing.lines()["exit", ""]
    np.testing.assert_array_equal(series.x, [-1, 2.5, 10])
    assert series.median[2] == pytest.approx(loss("exit", 10, stretch(open_run(tmp_path / "run"))[1]))


def test_each_run_has_its_own_crossing_and_runs_meet_as_their_median(draw, tmp_path) -> None:
    make_sweep(tmp_path / "sweep", (0, 1, 2), steps=340)
    for seed in (0, 1, 2):
        plant(tmp_path / "sweep" / f"seed-{seed}", seed)
    (ensemble,) = open_run(tmp_path / "sweep").ensembles()
    drawing = draw("displaced_loss", ensemble)
    for row, run in enumerate(ensemble.runs):
        middle = sum(stretch(run)) / 2
        expected = [loss("exit", a, middle, seed=row) for a in GRID]
        np.testing.assert_allclose(drawing.lines()["exit", ""].values[row], expected, rtol=1e-12)
    assert len({stretch(run)[0] for run in ensemble.runs}) == 3
    assert "medians of 3 runs" in drawing.caption


def test_without_a_crossing_moments_have_to_be_named(draw, tmp_path) -> None:
    make_run(tmp_path / "run", branches=False, steps=340)
    alone = plant(tmp_path / "run", arms=("baseline",))
    with pytest.raises(NothingToDrawError, match=r"no branch met its own threshold: there is no t\*\*"):
        draw("displaced_loss", alone)
    drawing = draw("displaced_loss", alone, at=["end"])
    assert drawing.lines()["baseline", ""].median[1] == pytest.approx(loss("baseline", 2, 6.8))


def test_moments_the_branch_does_not_have_are_left_out(draw, planted) -> None:
    assert len(draw("displaced_loss", planted, at=["end", 100_000]).canvas.figure.axes) == 1
    with pytest.raises(NothingToDrawError, match=r"exit has no row .*; name moments that it has with the option `at`"):
        draw("displaced_loss", planted, at=[100_000])
    with pytest.raises(NothingToDrawError, match="the arm 'later' has no displaced losses"):
        draw("displaced_loss", planted, branch="later")


def test_a_probe_that_was_not_there_is_missed(draw, ensemble) -> None:
    with pytest.raises(TraceError, match="no probe recorded loss and accuracy"):
        draw("displaced_loss", ensemble)
