"""Δℓ against a run whose answer is known: the branch loses on input outliers and gains on inliers."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import GROUPS, Law, make_run

from studyrun.errors import NothingToDrawError
from studyrun.trace.ensemble import for_run
from studyrun.trace.reader import open_run

LAW = Law(0, 0.02)


def test_is_branch_minus_parent_at_equal_effective_time(draw, ensemble):
    lines = draw("delta_loss", ensemble, smooth=0).lines()
    for group in GROUPS:
        series = lines[group, ""]
        truth = [LAW.gap(group, time, 0.01) for time in series.x]
        np.testing.assert_allclose(series.median, truth, atol=2e-5)  # the parent is interpolated between its steps
    assert series.x[0] == pytest.approx(LAW.fork_time())


def test_positive_means_that_the_parent_is_ahead_and_the_axis_says_so(draw, ensemble):
    drawing = draw("delta_loss", ensemble)
    lines = drawing.lines()
    assert lines["input_outlier", ""].median[-1] > 0
    assert lines["inlier", ""].median[-1] < 0
    label = " ".join(drawing.canvas.figure.axes[0].get_ylabel().split())
    assert label == "Δℓ = ℓ(exit) − ℓ(baseline) > 0: baseline (edge of stability) ahead"
    assert {"▲ baseline ahead", "▼ exit ahead", "t*", "t**"} <= drawing.texts


def test_zero_is_drawn(draw, ensemble):
    (panel,) = draw("delta_loss", ensemble).canvas.figure.axes
    assert any(list(line.get_ydata()) == [0, 0] for line in panel.get_lines())


def test_symlog_shows_small_differences(draw, ensemble):
    assert draw("delta_loss", ensemble, scale="symlog").canvas.figure.axes[0].get_yscale() == "symlog"


def test_without_a_branch_there_is_nothing_to_draw(draw, tmp_path):
    make_run(tmp_path / "lone", branches=False, steps=200)
    with pytest.raises(NothingToDrawError, match="no branch started"):
        draw("delta_loss", for_run(open_run(tmp_path / "lone")))


def test_only_the_branches_asked_for(draw, ensemble):
    assert len(draw("delta_loss", ensemble, branches=["exit"]).canvas.figure.axes) == 1
    with pytest.raises(NothingToDrawError, match="no branch started"):
        draw("delta_loss", ensemble, branches=["other"])
