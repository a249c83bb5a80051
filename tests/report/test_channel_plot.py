"""Any channel by its dimensions: lines for few, bands for many, a histogram for one moment."""

from __future__ import annotations

import numpy as np
import pytest

from studyrun.report.canvas import ReportCanvas
from studyrun.report.style import Palette
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.ensemble import for_run
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter

pytestmark = pytest.mark.usefixtures("house_style")
RNG = np.random.default_rng(0)


def record(folder, dims, values, *, arms=("baseline",), **options):
    """Draw a channel of these dimensions and values (steps, ...), the same in every arm."""
    channel = Channel("x", "a quantity", tuple(Dimension(*dim) for dim in dims), "q", "metre", **options)
    folder.mkdir()
    with TraceWriter.create(folder / "trace.h5", title="", study="", git_commit="") as writer:
        for arm in arms:
            writer.add_arm(arm, {"parent": "" if arm == "baseline" else "baseline", "state": "complete"})
            writer.add_probe(arm, "p", [channel], {})
            for step, value in enumerate(values):
                writer.append(arm, "p", step, step / 10, {"x": value})
    canvas = ReportCanvas(Palette(arms))
    canvas.draw_channel(for_run(open_run(folder)), "p", "x")
    canvas.finish()
    return canvas


def test_a_scalar_is_a_line_for_each_arm(tmp_path):
    canvas = record(tmp_path / "r", [], RNG.random(20), arms=("baseline", "exit"))
    assert [line.label for line in canvas.lines] == ["baseline", "exit"]
    assert canvas.figure.axes[0].get_ylabel() == "a quantity q [metre]"


def test_few_labels_are_lines_in_a_panel_for_each_arm(tmp_path):
    values = RNG.random((20, 3))
    canvas = record(tmp_path / "r", [("group", ("a", "b", "c"))], values, arms=("baseline", "exit"))
    assert [panel.get_title(loc="left") for panel in canvas.figure.axes] == ["baseline", "exit"]
    assert [line.label for line in canvas.lines] == ["a", "b", "c"] * 2
    np.testing.assert_array_equal(canvas.lines[1].series.median, values[:, 1])


def test_numbers_and_pairs_of_labels_are_named(tmp_path):
    canvas = record(tmp_path / "r", [("k", (1, 2)), ("group", ("a", "b"))], RNG.random((5, 2, 2)))
    assert [line.label for line in canvas.lines] == ["k = 1, a", "k = 1, b", "k = 2, a", "k = 2, b"]


def test_many_labels_are_quantiles(tmp_path):
    values = RNG.random((20, 200))
    canvas = record(tmp_path / "r", [("example", tuple(range(200)))], values)
    assert canvas.lines == []
    for share in (0.05, 0.5, 0.95):
        np.testing.assert_allclose(
            canvas.tables["baseline_x"][f"quantile_{share:g}"], np.quantile(values, share, axis=1)
        )


def test_padding_does_not_count(tmp_path):
    values = RNG.random((20, 40))
    values[:, 30:] = np.nan
    canvas = record(tmp_path / "r", [("member", tuple(range(40)))], values, nan="padding")
    np.testing.assert_allclose(canvas.tables["baseline_x"]["quantile_0.5"], np.median(values[:, :30], axis=1))


def test_one_moment_of_many_is_a_histogram(tmp_path):
    canvas = record(tmp_path / "r", [("example", tuple(range(200)))], RNG.random((1, 200)))
    table = canvas.tables["baseline_x"]
    assert sum(table["count"]) == 200
    assert canvas.figure.axes[0].get_xlabel() == "a quantity q [metre]"


def test_one_moment_of_few_shows_points(tmp_path):
    canvas = record(tmp_path / "r", [], RNG.random(1))
    assert canvas.figure.axes[0].get_lines()[0].get_marker() == "o"


def test_booleans_and_whole_numbers_are_drawn(tmp_path):
    canvas = record(tmp_path / "r", [], np.array([True, False, True]), dtype="bool")
    np.testing.assert_array_equal(canvas.lines[0].series.median, [1.0, 0.0, 1.0])
