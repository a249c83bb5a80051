"""Alignment by group: groups by colour, arms by style, the trace's own numbers."""

from __future__ import annotations

import numpy as np
from oracles.synthetic_run import GROUPS


def test_three_panels_of_every_group_in_every_arm(draw, ensemble):
    drawing = draw("alignment", ensemble)
    for panel, channel in enumerate(("cos2", "influence", "gradient_norm")):
        lines = drawing.lines(panel)
        assert set(lines) == {(group, arm) for group in GROUPS for arm in ("baseline", "exit")}
        for place, group in enumerate(GROUPS):
            recorded = ensemble.run["exit"]["alignment"][channel].values[:, place]
            np.testing.assert_array_equal(lines[group, "exit"].median, recorded)


def test_the_trunk_is_solid_and_the_branch_dashed(draw, ensemble):
    drawing = draw("alignment", ensemble)
    styles = {(line.arm, line.artist.get_linestyle()) for line in drawing.canvas.lines}
    assert styles == {("baseline", "-"), ("exit", "--")}
    assert drawing.legend == [*GROUPS, "baseline", "exit"]


def test_groups_differ_by_more_than_colour(draw, ensemble):
    drawing = draw("alignment", ensemble)
    assert len({line.artist.get_marker() for line in drawing.canvas.lines}) == len(GROUPS)


def test_only_the_quantities_asked_for(draw, ensemble):
    drawing = draw("alignment", ensemble, quantities=["influence"])
    (panel,) = drawing.canvas.figure.axes
    assert panel.get_yscale() == "log"
