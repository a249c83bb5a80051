"""Figures drawn on a real canvas from a synthetic run, and read back: panels, lines, tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from oracles.synthetic_run import make_run

from studyrun.registry import Registry
from studyrun.report.canvas import ReportCanvas
from studyrun.report.style import Palette, house_style
from studyrun.trace.ensemble import Ensemble, for_run
from studyrun.trace.reader import open_run


class Drawing(NamedTuple):
    """A finished canvas and the caption that came with it."""

    canvas: ReportCanvas
    caption: str

    def lines(self, panel: int | None = None) -> dict[tuple[str, str], Any]:
        """The series of every line by label and arm; of one panel, or of all."""
        panels = self.canvas.figure.axes
        return {
            (line.label, line.arm): line.series
            for line in self.canvas.lines
            if panel is None or line.axes is panels[panel]
        }

    @property
    def texts(self) -> set[str]:
        """Every text in the axes: marks, notes, names of levels."""
        return {text.get_text() for panel in self.canvas.figure.axes for text in panel.texts}

    @property
    def legend(self) -> list[str]:
        """The entries of the legend."""
        return [text.get_text() for legend in self.canvas.figure.legends for text in legend.get_texts()]


Draw = Callable[..., Drawing]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline that reaches its edge at effective time 3, and a branch that reaches its own at 6.4."""
    path = tmp_path_factory.mktemp("figures") / "run"
    make_run(path, steps=340)
    return path


@pytest.fixture
def ensemble(folder: Path) -> Ensemble:
    """The run in that folder, opened anew, so that a test may change what it read."""
    run = open_run(folder)
    return for_run(run)


@pytest.fixture
def draw() -> Iterator[Draw]:
    """Draw a figure by name with options, under the house style, and finish the canvas."""

    def one(name: str, ensemble: Ensemble, **options: Any) -> Drawing:
        figure = Registry().load("figures", name).model_validate(options)
        canvas = ReportCanvas(Palette(ensemble.arms, ("inlier", "boundary", "input_outlier", "output_outlier")))
        caption = figure.draw(ensemble, canvas)
        canvas.finish()
        return Drawing(canvas, caption)

    with house_style():
        yield one
