"""Last values against what a sweep varies."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import Law, make_sweep

from studyrun.report.canvas import ReportCanvas
from studyrun.report.comparison import draw_comparison, numeric_parameters
from studyrun.report.style import Palette
from studyrun.trace.reader import open_run

pytestmark = pytest.mark.usefixtures("house_style")


@pytest.fixture
def ensembles(tmp_path):
    make_sweep(tmp_path / "sweep", (0, 1, 2), learning_rates=(0.02, 0.04), steps=160)
    return open_run(tmp_path / "sweep").ensembles()


def test_points_are_the_last_values_of_each_condition(ensembles):
    canvas = ReportCanvas(Palette(["baseline", "exit"]))
    caption = draw_comparison(ensembles, "optimizer.lr", canvas)
    table = canvas.tables["baseline_loss_train"]
    np.testing.assert_array_equal(table["optimizer.lr"], [0.02, 0.04])
    truth = [np.median([Law(seed, lr).train_loss(160 * lr, lr) for seed in range(3)]) for lr in (0.02, 0.04)]
    np.testing.assert_allclose(table["median"], truth, rtol=1e-9)
    assert "optimizer.lr" in caption
    assert "quartile" in caption
    assert "baseline_sharpness_eigenvalue" in canvas.tables
    about_solves = [name for name in canvas.tables if name.endswith(("matvecs", "residual", "error", "doubt"))]
    assert about_solves == [], "how well an eigenvalue is known is no result"


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ([{"a": 1}, {"a": 2.5}], ["a"]),
        ([{"a": 1}, {"a": 1}], []),
        ([{"a": True}, {"a": False}], []),
        ([{"a": "x"}, {"a": 1}], []),
        ([{"a": 1, "b": 2}, {"a": 3, "b": 4}], ["a", "b"]),
        ([{"a": 1}, {}], []),
        ([{}], []),
    ],
)
def test_only_numbers_that_vary_are_compared(conditions, found):
    from types import SimpleNamespace

    assert numeric_parameters([SimpleNamespace(condition=one) for one in conditions]) == found
