"""The canvas: what lands on the axes, in the legend and in the record for the CSV."""

from __future__ import annotations

import numpy as np
import pytest

from studyrun.report.canvas import ReportCanvas
from studyrun.report.style import Palette
from studyrun.trace.series import Series

pytestmark = pytest.mark.usefixtures("house_style")
X = np.linspace(0, 10, 101)


def series(*rows, label="loss [loss]"):
    return Series(X, np.array(rows or [X], dtype=float), "effective time Σ η", label, "loss")


@pytest.fixture
def canvas():
    return ReportCanvas(Palette(["baseline", "exit"], ["inlier", "boundary"]))


def legend(canvas):
    return [text.get_text() for one in canvas.figure.legends for text in one.get_texts()]


def test_one_run_is_a_line_and_several_have_a_band(canvas):
    one, several = canvas.axes(1, 2)
    canvas.line(one, series(X), label="baseline", color=canvas.color("baseline"))
    canvas.line(several, series(X, X + 1, X + 2), label="baseline", color=canvas.color("baseline"))
    assert not one.collections
    np.testing.assert_array_equal(several.get_lines()[0].get_ydata(), X + 1)
    (band,) = several.collections
    np.testing.assert_allclose(band.get_paths()[0].get_extents().height, 11)  # from X + 0.5 to X + 1.5


def test_axes_carry_the_words_of_the_series(canvas):
    (panel,) = canvas.axes()
    canvas.line(panel, series(), label="baseline", color="k")
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("effective time Σ η", "loss [loss]")


def test_lines_of_an_arm_and_a_group_are_explained_apart(canvas):
    (panel,) = canvas.axes()
    for group in ("inlier", "boundary"):
        for arm in ("baseline", "exit"):
            canvas.line(panel, series(), label=group, color=canvas.color(group), arm=arm)
    canvas.finish()
    assert legend(canvas) == ["inlier", "boundary", "baseline", "exit"]
    assert [line.get_linestyle() for line in panel.get_lines()] == ["-", "--", "-", "--"]


def test_a_lone_line_needs_no_legend(canvas):
    (panel,) = canvas.axes()
    canvas.line(panel, series(), label="baseline", color="k")
    canvas.finish()
    assert legend(canvas) == []


def test_groups_have_markers_and_arms_have_none(canvas):
    (panel,) = canvas.axes()
    canvas.line(panel, series(), label="inlier", color=canvas.color("inlier"))
    canvas.line(panel, series(), label="exit", color=canvas.color("exit"))
    markers = [line.get_marker() for line in panel.get_lines()]
    assert markers[0] not in ("", "None")
    assert markers[1] in ("", "None")


def test_axes_without_anything_vanish_and_the_lowest_ones_are_labelled(canvas):
    panels = canvas.axes(2, 2)
    for panel in panels[:3]:
        canvas.line(panel, series(), label="baseline", color="k")
    canvas.finish()
    assert canvas.figure.axes == list(panels[:3])
    assert [panel.get_xlabel() != "" for panel in panels[:3]] == [False, True, True]


def test_axes_asked_for_again_stand_below(canvas):
    first, second = canvas.axes(1, 1)[0], canvas.axes(1, 2)[0]
    for panel in (first, second):
        canvas.line(panel, series(), label="baseline", color="k")
    canvas.finish()
    assert first.get_position().y0 > second.get_position().y1
    assert first.get_position().width > second.get_position().width


def test_shared_axes_hold_every_line_and_are_logarithmic_only_if_all_is_positive(canvas):
    low, high = canvas.axes(1, 2)
    canvas.line(low, series(X + 1), label="baseline", color="k")
    canvas.line(high, series(100 * X + 1), label="baseline", color="k")
    canvas.share_y([low, high])
    assert low.get_yscale() == "log"
    assert low.get_ylim() == high.get_ylim()
    assert low.get_ylim()[1] >= 1001
    canvas.line(high, series(-X), label="exit", color="k")
    canvas.share_y([low, high])
    assert low.get_yscale() == "linear"
    assert low.get_ylim()[0] <= -10


def test_labels_of_marks_do_not_touch(canvas):
    (panel,) = canvas.axes()
    canvas.line(panel, series(10 * X), label="baseline", color="k")
    for at, name in ((5.0, "t* baseline"), (5.1, "t** exit"), (5.2, "t** other")):
        canvas.mark(panel, at, name)
    for at in (50.0, 50.5, 51.0):
        canvas.mark(panel, at, f"threshold {at}", level=True)
    canvas.finish()
    renderer = canvas.figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in panel.texts]
    assert len(boxes) == 6
    assert not [(i, j) for i in range(6) for j in range(i) if boxes[i].overlaps(boxes[j])]
    width, height = canvas.figure.get_size_inches() * canvas.figure.dpi
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)


def test_a_mark_through_columns_is_named_above_each(canvas):
    panels = canvas.axes(2, 2)
    for panel in panels:
        canvas.line(panel, series(), label="baseline", color="k")
    canvas.mark(panels, 3.0, "t*")
    assert [[text.get_text() for text in panel.texts] for panel in panels] == [["t*"], ["t*"], [], []]


def test_a_smoothed_line_keeps_the_recorded_one_behind_it(canvas):
    (panel,) = canvas.axes()
    zigzag = X + np.where(np.arange(101) % 2, 1.0, -1.0)
    canvas.line(panel, series(zigzag), label="inlier", color=canvas.color("inlier"), smooth=0.1)
    canvas.line(panel, series(X), label="boundary", color=canvas.color("boundary"))
    canvas.finish()
    recorded, smooth, _ = (line.series.median for line in canvas.lines)
    np.testing.assert_array_equal(recorded, zigzag)
    assert abs(smooth - X)[20:-20].max() < 0.2
    assert legend(canvas) == ["inlier", "boundary"]


def test_formulas_and_underscores_in_names_are_shown_as_they_stand(canvas):
    (panel,) = canvas.axes()
    for name in ("$x^2$", "_hidden", "50% $"):
        canvas.line(panel, series(), label=name, color=canvas.color(name))
    canvas.finish()
    assert legend(canvas) == [r"\$x^2\$", " _hidden", r"50% \$"]


def test_tables_have_columns_of_one_length_and_a_name_each(canvas):
    canvas.table("a", {"x": [1, 2], "y": [3, 4]})
    with pytest.raises(ValueError, match="table 'b': columns differ in length"):
        canvas.table("b", {"x": [1], "y": []})
    with pytest.raises(ValueError, match="table 'a' is already there"):
        canvas.table("a", {})
