"""Training and test loss of every arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from studyrun.plugin import Canvas, Ensemble, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPLITS = ("train", "test")


class Loss(Figure):
    """Training and test loss by arm, and accuracy where it was recorded.

    One column for each split, a row for the loss and one for the accuracy. The loss axis is logarithmic where every
    value is positive. t* and t** are marked. Draws the channels train, test, train_accuracy and test_accuracy of a
    `loss` probe.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records a training loss."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""
    scale: Literal["auto", "log", "linear"] = "auto"
    """The loss axis; auto is logarithmic where every value is positive."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("loss", "train", label=self.probe)
        rows = [[split for split in SPLITS if ensemble.recording(probe, split)]]
        rows.append([f"{split}_accuracy" for split in SPLITS if ensemble.recording(probe, f"{split}_accuracy")])
        columns = max(map(len, rows))
        panels = canvas.axes(sum(map(bool, rows)), columns, height=2.5)
        for place, channels in enumerate(filter(None, rows)):
            for panel, channel in zip(panels[place * columns :], channels, strict=False):
                self._draw(ensemble, canvas, panel, probe, channel)
        drawn = [panel for panel in panels if panel.has_data()]
        canvas.share_y(drawn[: len(rows[0])], self.scale)
        canvas.share_y(drawn[len(rows[0]) :], "linear")
        marks = canvas.mark_forks(drawn, ensemble, along=self.along)
        what = "Training and test loss" if "test" in rows[0] else "Training loss"
        return f"{what}{' and accuracy' if rows[1] else ''} by arm. {marks}".strip()

    def _draw(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, probe: str, channel: str) -> None:
        for arm in ensemble.recording(probe, channel):
            series = ensemble.series(arm, probe, channel, along=self.along)
            canvas.line(panel, series, label=arm, color=canvas.color(arm), style=canvas.line_style(arm))
