"""Losses by arm: the numbers of the trace, on axes that fit them."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import Law

from studyrun.errors import TraceError


def test_draws_what_the_trace_holds(draw, ensemble):
    drawing = draw("loss", ensemble)
    for panel, channel in enumerate(("train", "test", "train_accuracy", "test_accuracy")):
        lines = drawing.lines(panel)
        assert set(lines) == {("baseline", ""), ("exit", "")}
        for arm in ("baseline", "exit"):
            recorded = ensemble.run[arm]["loss"][channel]
            np.testing.assert_array_equal(lines[arm, ""].median, recorded.values)
            np.testing.assert_array_equal(lines[arm, ""].x, recorded.time)


def test_loss_is_logarithmic_and_accuracy_is_not(draw, ensemble):
    axes = draw("loss", ensemble).canvas.figure.axes
    assert [panel.get_yscale() for panel in axes] == ["log", "log", "linear", "linear"]
    assert draw("loss", ensemble, scale="linear").canvas.figure.axes[0].get_yscale() == "linear"


def test_both_splits_share_one_axis(draw, ensemble):
    train, test, *_ = draw("loss", ensemble).canvas.figure.axes
    assert train.get_ylim() == test.get_ylim()
    top = ensemble.run["baseline"]["loss"]["test"].values.max()
    assert test.get_ylim()[1] >= top


def test_marks_the_fork_and_the_second_crossing(draw, ensemble):
    drawing = draw("loss", ensemble)
    assert {"t*", "t**"} <= drawing.texts
    assert f"step {Law(0, 0.02).fork_step()}" in drawing.caption


def test_runs_along_steps_when_asked(draw, ensemble):
    drawing = draw("loss", ensemble, along="step")
    np.testing.assert_array_equal(drawing.lines(0)["exit", ""].x, ensemble.run["exit"]["loss"].step)
    assert drawing.canvas.figure.axes[-1].get_xlabel() == "training step"


def test_says_what_was_recorded_instead(draw, ensemble):
    with pytest.raises(TraceError, match="no probe 'nowhere' recorded train"):
        draw("loss", ensemble, probe="nowhere")
