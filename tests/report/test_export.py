"""Numbers that come back from CSV as they were, and names that every system takes."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studyrun.report.canvas import ReportCanvas
from studyrun.report.export import file_name, save_tables
from studyrun.report.style import Palette
from studyrun.trace.series import Series


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_lines_come_back_bit_for_bit(tmp_path, house_style):
    canvas = ReportCanvas(Palette(["baseline"]))
    (panel,) = canvas.axes()
    panel.set_title("a panel")
    values = np.array([[0.1 + 0.2, 1e-300, np.nan, np.pi], [1 / 3, 2e17, 1.0, np.inf]])
    series = Series(np.array([0.0, 0.1, 0.2, 0.3]), values, "effective time Σ η", "loss", "1")
    canvas.line(panel, series, label='inlier, quoted "so"', color="k", arm="baseline")
    (path,) = save_tables(canvas, tmp_path, "figure")
    rows = read(path)
    assert path.name == "figure.csv"
    assert list(rows[0]) == [
        "panel", "series", "arm", "effective time Σ η", "median", "lower_quartile", "upper_quartile", "runs",
    ]  # fmt: skip
    assert {(row["panel"], row["series"], row["arm"]) for row in rows} == {
        ("a panel", 'inlier, quoted "so"', "baseline")
    }
    assert [row["runs"] for row in rows] == ["2", "2", "1", "2"]  # where one is NaN the other is alone
    for column, truth in (("median", series.median), ("lower_quartile", series.low), ("upper_quartile", series.high)):
        np.testing.assert_array_equal([float(row[column]) for row in rows], truth)


def test_one_table_has_the_figures_name_and_several_their_own(tmp_path, house_style):
    canvas = ReportCanvas(Palette([]))
    canvas.table("first", {"x": np.array([1, 2])})
    assert [path.name for path in save_tables(canvas, tmp_path, "f")] == ["f.csv"]
    canvas.table("second", {"y": [0.5]})
    paths = save_tables(canvas, tmp_path, "g")
    assert [path.name for path in paths] == ["g-first.csv", "g-second.csv"]
    assert read(paths[0]) == [{"x": "1"}, {"x": "2"}]


@given(st.text(max_size=60))
def test_file_names_are_safe(label):
    name = file_name(label)
    assert name
    assert not set(name) & set('/\\:*?"<>| \n\0')
    assert not name.startswith((".", "-"))


@pytest.mark.parametrize(("label", "name"), [("optimizer.lr=0.01-loss", "optimizer.lr=0.01-loss"), ("../x", "x")])
def test_file_names_keep_what_they_can(label, name):
    assert file_name(label) == name
