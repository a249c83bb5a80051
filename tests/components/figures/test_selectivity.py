"""Condition beside condition, read back from the canvas against the synthetic runs' closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import GROUPS, Law, make_run, make_sweep

from studyrun.errors import NothingToDrawError
from studyrun.registry import Registry
from studyrun.report.canvas import ReportCanvas
from studyrun.report.style import Palette, house_style
from studyrun.trace.ensemble import for_run
from studyrun.trace.reader import open_run


@pytest.fixture(scope="module")
def conditions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selectivity") / "sweep"
    make_sweep(folder, (0,), learning_rates=(0.02, 0.025), steps=340)
    return open_run(folder).ensembles()


def drawn(ensembles, **options):
    figure = Registry().load("figures", "selectivity").model_validate(options)
    with house_style():
        canvas = ReportCanvas(Palette(("baseline", "exit"), GROUPS))
        caption = figure.draw_all(ensembles, canvas)
        canvas.finish()
    return canvas, caption


def lines_of(canvas, place):
    panel = canvas.figure.axes[place]
    return {(line.label, line.arm): line.series for line in canvas.lines if line.axes is panel}


def test_each_condition_has_a_column_of_its_own_numbers(conditions):
    canvas, caption = drawn(conditions, smooth=0)
    assert len([panel for panel in canvas.figure.axes if panel.has_data()]) == 6
    for column, lr in enumerate((0.02, 0.025)):
        law = Law(0, lr)
        cosines, gaps = lines_of(canvas, column), lines_of(canvas, 4 + column)
        series = cosines["input_outlier", "baseline"]
        np.testing.assert_allclose(series.median, [law.alignment("input_outlier", t) for t in series.x], rtol=1e-6)
        series = gaps["inlier", ""]
        np.testing.assert_allclose(series.median, [law.gap("inlier", t, lr / 2) for t in series.x], atol=2e-5)
    assert "optimizer.lr=0.02: t*" in caption
    assert "optimizer.lr=0.025: t*" in caption


def test_rows_are_those_asked_for_each_on_one_scale_and_columns_along_one_time(conditions):
    """Heights compare across conditions whose numbers differ, and moments line up from row to row."""
    canvas, _ = drawn(conditions, quantities=["influence", "cos2", "delta_loss"])
    rows = [canvas.figure.axes[place : place + 2] for place in (0, 2, 4)]
    for scale, (left, right) in zip(("log", "linear", "symlog"), rows, strict=True):
        assert left.get_yscale() == right.get_yscale() == scale
        assert left.get_ylim() == right.get_ylim()
        low, high = left.get_ylim()
        for line in canvas.lines:
            if line.axes in (left, right):
                assert low <= np.nanmin(line.series.values) <= np.nanmax(line.series.values) <= high
    assert rows[1][0].get_ylim()[0] == 0
    for column in (0, 1):
        assert len({row[column].get_xlim() for row in rows}) == 1
    assert rows[0][0].get_xlim() != rows[0][1].get_xlim(), "the conditions last differently long"


def test_of_a_lone_run_there_is_one_column(conditions):
    canvas, _ = drawn(conditions[:1])
    assert len([panel for panel in canvas.figure.axes if panel.has_data()]) == 3


def test_without_a_branch_there_is_nothing_to_compare(tmp_path):
    make_run(tmp_path / "lone", branches=False, steps=200)
    with pytest.raises(NothingToDrawError, match="no run has a branch 'exit'"):
        drawn([for_run(open_run(tmp_path / "lone"))])
