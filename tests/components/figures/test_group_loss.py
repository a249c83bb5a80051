"""Group losses: every arm and group where it belongs, one scale for all panels."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import GROUPS


def test_a_panel_for_each_arm_with_a_line_for_each_group(draw, ensemble):
    drawing = draw("group_loss", ensemble, smooth=0)
    assert [panel.get_title(loc="left") for panel in drawing.canvas.figure.axes] == ["baseline", "exit"]
    for panel, arm in enumerate(("baseline", "exit")):
        lines = drawing.lines(panel)
        assert set(lines) == {(group, "") for group in GROUPS}
        for place, group in enumerate(GROUPS):
            recorded = ensemble.run[arm]["loss"]["by_group"].values[:, place]
            np.testing.assert_array_equal(lines[group, ""].median, recorded)


def test_a_panel_for_each_group_when_asked(draw, ensemble):
    drawing = draw("group_loss", ensemble, panels="group")
    assert [panel.get_title(loc="left") for panel in drawing.canvas.figure.axes] == list(GROUPS)
    assert drawing.legend == ["baseline", "exit"]


@pytest.mark.parametrize("panels", ["arm", "group"])
def test_nothing_is_cut_off_by_the_shared_axis(draw, ensemble, panels):
    drawing = draw("group_loss", ensemble, panels=panels)
    values = np.concatenate([ensemble.run[arm]["loss"]["by_group"].values.ravel() for arm in ("baseline", "exit")])
    for panel in drawing.canvas.figure.axes:
        low, high = panel.get_ylim()
        assert low <= values.min()
        assert high >= values.max()


def test_smoothing_keeps_what_was_recorded_in_the_numbers(draw, ensemble):
    lines = draw("group_loss", ensemble, smooth=0.05).lines(0)
    recorded = ensemble.run["baseline"]["loss"]["by_group"].values[:, 0]
    np.testing.assert_array_equal(lines["inlier", ""].median, recorded)
    assert abs(lines["inlier (running mean)", ""].median - recorded).max() > 0
