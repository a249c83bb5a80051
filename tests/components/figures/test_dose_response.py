"""The dose curve read back from the canvas: learning-rate shares across, averaged Δℓ up."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import GROUPS, Law, make_run, make_sweep

from studyrun.errors import NothingToDrawError
from studyrun.trace.ensemble import for_run
from studyrun.trace.reader import open_run


def test_the_trunk_is_one_and_zero_and_the_branch_is_its_mean_gap(draw, ensemble):
    drawing = draw("dose_response", ensemble)
    law, end = Law(0, 0.02), ensemble.run["exit"]["loss"].time[-1]
    time = np.linspace(law.fork_time(), end, 20_001)
    for group in GROUPS:
        series = drawing.lines(0)[group, ""]
        assert series.x.tolist() == [0.5, 1.0]
        gaps = [law.gap(group, moment, 0.01) for moment in time]
        np.testing.assert_allclose(series.values, [[np.mean(gaps), 0.0]], atol=1e-4)
        np.testing.assert_allclose(drawing.lines(1)[group, ""].values, [[np.median(gaps), 0.0]], atol=1e-3)


def test_several_runs_make_a_row_each(draw, tmp_path):
    make_sweep(tmp_path / "sweep", (0, 1, 2), steps=340)
    (ensemble,) = open_run(tmp_path / "sweep").ensembles()
    assert draw("dose_response", ensemble, averages=["mean"]).lines()["inlier", ""].count == 3


def test_without_a_branch_there_is_no_dose(draw, tmp_path):
    make_run(tmp_path / "lone", branches=False, steps=200)
    with pytest.raises(NothingToDrawError, match="no branch of 'baseline' started"):
        draw("dose_response", for_run(open_run(tmp_path / "lone")))
