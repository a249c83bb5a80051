"""Sharpness against thresholds: each arm's own, over its own span."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles.synthetic_run import Law, make_run

from studyrun.trace.ensemble import for_run
from studyrun.trace.reader import open_run

LAW = Law(0, 0.02)


def levels(drawing):
    """Horizontal lines of the figure as (height, from, to)."""
    from matplotlib.collections import LineCollection

    (panel,) = drawing.canvas.figure.axes
    segments = [
        path.vertices for one in panel.collections if isinstance(one, LineCollection) for path in one.get_paths()
    ]
    return sorted((line[0][1], line[0][0], line[-1][0]) for line in segments)


def test_each_arm_has_its_own_threshold_over_its_own_span(draw, ensemble):
    drawing = draw("sharpness", ensemble)
    last = ensemble.run["baseline"]["sharpness"].time[-1]
    assert levels(drawing) == [
        (pytest.approx(LAW.threshold(0.02)), 0.0, pytest.approx(last)),
        (pytest.approx(LAW.threshold(0.01)), pytest.approx(LAW.fork_time()), pytest.approx(last)),
    ]
    assert {"baseline: 2/η = 100", "exit: 2/η = 200", "t*", "t**"} <= drawing.texts


def test_further_eigenvalues_are_thin_and_left_out_of_the_legend(draw, ensemble):
    drawing = draw("sharpness", ensemble)
    widths = {line.label: line.artist.get_linewidth() for line in drawing.canvas.lines}
    assert widths["exit, k = 2"] < widths["exit"]
    assert drawing.legend == ["baseline", "exit"]
    values = ensemble.run["exit"]["sharpness"]["eigenvalue"].values
    np.testing.assert_array_equal(drawing.lines()["exit, k = 2", ""].median, values[:, 1])


def test_largest_limits_how_many_are_drawn(draw, ensemble):
    assert set(draw("sharpness", ensemble, largest=1).lines()) == {("baseline", ""), ("exit", "")}


def test_a_threshold_far_away_is_named_without_squeezing_the_data(draw, tmp_path):
    make_run(tmp_path / "short", steps=160)
    drawing = draw("sharpness", for_run(open_run(tmp_path / "short")))
    assert [height for height, _, _ in levels(drawing)] == [pytest.approx(100)]
    assert "exit: 2/η = 200 ↑" in drawing.texts
    assert drawing.canvas.figure.axes[0].get_ylim()[1] < 150


def test_values_that_did_not_converge_are_circled_and_counted(draw, ensemble):
    converged = ensemble.run["exit"]["sharpness"]["converged"]
    converged.__dict__["values"] = converged.values.copy()
    converged.values[[2, 5], 0] = False
    drawing = draw("sharpness", ensemble)
    assert "Circled: 2 values whose solver did not converge." in drawing.caption
    np.testing.assert_array_equal(
        drawing.canvas.tables["not_converged_exit"]["eigenvalue"],
        ensemble.run["exit"]["sharpness"]["eigenvalue"].values[[2, 5], 0],
    )


def test_the_estimates_of_solves_that_did_not_converge_are_circled_where_the_line_is_broken(draw, ensemble):
    channels = ensemble.run["exit"]["sharpness"].channels
    value, converged = channels["eigenvalue"], channels["converged"]
    estimate = replace(value, name="unconverged", attributes={})
    ensemble.run["exit"]["sharpness"].channels["unconverged"] = estimate
    estimate.__dict__["values"] = np.where([[row in (2, 5), False] for row in range(len(value.step))], 77.0, np.nan)
    for channel, gone in ((value, np.nan), (converged, False)):
        channel.__dict__["values"] = channel.values.copy()
        channel.values[[2, 5], 0] = gone
    drawing = draw("sharpness", ensemble)
    assert "Circled: 2 values whose solver did not converge." in drawing.caption
    assert drawing.canvas.tables["not_converged_exit"]["eigenvalue"].tolist() == [77.0, 77.0]
    assert np.isnan(drawing.lines()["exit", ""].median[[2, 5]]).all()
