"""Images of groups: the pixels of the trace, no padding, the labels in words."""

from __future__ import annotations

import numpy as np
from oracles.synthetic_run import GROUPS, MEMBERS

from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.ensemble import for_run
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter


def labelled_run(folder):
    """Two groups of two grey images with labels 0 and 1; the second group has only one."""
    dims = (Dimension("group", ("near", "far")), Dimension.of_size("image_number", 2))
    pixels = tuple(Dimension.of_size(name, size) for name, size in (("channel", 1), ("row", 3), ("column", 4)))
    image = np.linspace(-0.5, 1.5, 48, dtype="float32").reshape(2, 2, 1, 3, 4)
    image[1, 1] = np.nan
    folder.mkdir()
    (folder / "study.yaml").write_text("dataset: {use: dice, classes: [three, six]}\n")
    with TraceWriter.create(folder / "trace.h5", title="", study="", git_commit="") as writer:
        writer.add_arm("baseline", {"parent": "", "state": "complete"})
        channels = [
            Channel("image", "image", (*dims, *pixels), dtype="float32"),
            Channel("label", "class", dims, dtype="int64"),
        ]
        writer.add_probe("baseline", "data", channels, {"component": "group_data"})
        writer.append("baseline", "data", 0, 0.0, {"image": image, "label": np.array([[0, 1], [1, -1]])})
    return for_run(open_run(folder)), image


def test_a_row_for_each_group_without_the_padding(draw, ensemble):
    drawing = draw("group_images", ensemble)
    panels = drawing.canvas.figure.axes
    assert [panel.get_title(loc="left") for panel in panels] == list(GROUPS)
    assert [len(panel.images) for panel in panels] == [MEMBERS, MEMBERS, MEMBERS, MEMBERS - 1]


def test_pixels_are_those_of_the_trace_cut_off_at_black_and_white(draw, tmp_path):
    ensemble, image = labelled_run(tmp_path / "run")
    drawing = draw("group_images", ensemble)
    shown = np.asarray(drawing.canvas.figure.axes[0].images[1].get_array())
    assert shown.shape == (3, 4, 3)
    np.testing.assert_allclose(shown[:, :, 0], image[0, 1, 0].clip(0, 1), rtol=1e-6)


def test_classes_are_named_as_the_study_names_them(draw, tmp_path):
    ensemble, _ = labelled_run(tmp_path / "run")
    near, far = draw("group_images", ensemble).canvas.figure.axes
    assert [label.get_text() for label in near.get_xticklabels()] == ["three", "six"]
    assert [label.get_text() for label in far.get_xticklabels()] == ["six"]


def test_images_limits_how_many_are_shown(draw, ensemble):
    drawing = draw("group_images", ensemble, images=2)
    assert {len(panel.images) for panel in drawing.canvas.figure.axes} == {2}
