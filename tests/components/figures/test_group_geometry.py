"""The scatter about the centroids' line: every member at its recorded place, its group's colour, its class's marker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from studyrun.errors import TraceError
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.ensemble import Ensemble
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter

GROUP = Dimension("group", ("inlier", "boundary"))
MEMBER = Dimension.of_size("member", 3)
ALONG = np.array([[-2.0, 2.0, -3.0], [0.5, -0.5, np.nan]])
ACROSS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])
LABEL = np.array([[0, 1, 0], [1, 0, -1]])


def write(folder: Path, shift: float = 0.0) -> Path:
    folder.mkdir()
    (folder / "study.yaml").write_text("title: A title\n")
    with TraceWriter.create(folder / "trace.h5", title="A title", study="title: A title\n", git_commit="") as writer:
        writer.add_arm("baseline", {"parent": "", "fork_step": 0, "fork_time": 0.0, "state": "complete"})
        channels = [
            Channel("along", "coordinate along the line", (GROUP, MEMBER), "a", nan="none"),
            Channel("across", "distance from the line", (GROUP, MEMBER), "b", nan="none"),
            Channel("centroid_along", "centroids", (Dimension.of_size("centroid", 2),)),
            Channel("member_class", "class", (GROUP, MEMBER), dtype="int64"),
        ]
        writer.add_probe("baseline", "group_data", channels, {"component": "group_data"})
        reading = {"along": ALONG + shift, "across": ACROSS, "centroid_along": [-2.0, 2.0], "member_class": LABEL}
        writer.append("baseline", "group_data", 0, 0.0, reading)
    return folder


@pytest.fixture
def two(tmp_path: Path) -> Ensemble:
    return Ensemble((open_run(write(tmp_path / "a")), open_run(write(tmp_path / "b", 10.0))))


def clouds(drawing):
    (panel,) = drawing.canvas.figure.axes
    return [np.asarray(cloud.get_offsets()) for cloud in panel.collections]


def test_every_member_stands_at_its_place_and_padding_nowhere(draw, two) -> None:
    drawing = draw("group_geometry", Ensemble(two.runs[:1]))
    inlier0, inlier1, boundary0, boundary1, centroids = clouds(drawing)
    np.testing.assert_array_equal(inlier0, [[-2, 1], [-3, 3]])
    np.testing.assert_array_equal(inlier1, [[2, 2]])
    np.testing.assert_array_equal(boundary0, [[-0.5, 5]])
    np.testing.assert_array_equal(boundary1, [[0.5, 4]])
    np.testing.assert_array_equal(centroids, [[-2, 0], [2, 0]])
    assert drawing.legend == ["inlier", "boundary", "centroids"]
    assert "‖v‖ = 4." in drawing.caption


def test_runs_are_pooled_and_the_table_holds_every_member(draw, two) -> None:
    drawing = draw("group_geometry", two, points=1)
    assert [len(cloud) for cloud in clouds(drawing)] == [1, 1, 1, 1, 2]
    table = drawing.canvas.tables["geometry"]
    assert sorted(table["along"]) == sorted([*ALONG[np.isfinite(ALONG)], *(ALONG[np.isfinite(ALONG)] + 10)])
    assert list(table["group"]) == ["inlier"] * 6 + ["boundary"] * 4
    assert "2 runs together" in drawing.caption


def test_without_coordinates_it_says_what_was_recorded(draw, ensemble) -> None:
    with pytest.raises(TraceError, match="no probe recorded along and across and member_class and centroid_along"):
        draw("group_geometry", ensemble)
