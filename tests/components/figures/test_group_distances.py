"""Distances of group members: medians as numpy has them, padding left out, runs pooled."""

from __future__ import annotations

import numpy as np
from oracles.synthetic_run import GROUPS, MEMBERS, make_sweep

from studyrun.trace.reader import open_run


def test_medians_are_named_and_padding_is_left_out(draw, ensemble):
    drawing = draw("group_distances", ensemble)
    recorded = ensemble.run["baseline"]["group_data"]["distance"].values[0]
    for row in recorded:
        assert f"{np.nanmedian(row):.3g}" in drawing.texts
    table = drawing.canvas.tables["distances"]
    assert len(table["distance"]) == len(GROUPS) * MEMBERS - 1
    np.testing.assert_array_equal(table["distance"], recorded[np.isfinite(recorded)])


def test_runs_are_pooled(draw, tmp_path):
    make_sweep(tmp_path / "sweep", (0, 1), steps=160)
    (ensemble,) = open_run(tmp_path / "sweep").ensembles()
    table = draw("group_distances", ensemble).canvas.tables["distances"]
    assert len(table["distance"]) == 2 * (len(GROUPS) * MEMBERS - 1)


def test_groups_are_named_and_the_axis_has_its_unit(draw, ensemble):
    (panel,) = draw("group_distances", ensemble).canvas.figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == list(GROUPS)
    assert panel.get_xlabel().endswith("[pixel]")
