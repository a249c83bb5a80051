"""A figure of your own, for `figures: [my_figure]`."""

from __future__ import annotations

from dataclasses import replace

from studyrun.plugin import Canvas, Ensemble, Figure


class MyFigure(Figure):
    """The training loss of each arm as a share of the loss that the trunk began with.

    L(τ)/L(0) over effective time τ, its median over seeds with the quartiles as a band.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records a training loss."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        """Draw every arm, and return the caption."""
        probe = ensemble.locate("loss", "train", label=self.probe)
        (panel,) = canvas.axes()
        first = ensemble.series("baseline", probe, "train").values[:, :1]
        for arm in ensemble.recording(probe, "train"):
            series = ensemble.series(arm, probe, "train")
            share = replace(series, values=series.values / first, y_label="training loss / its first value", units="1")
            canvas.line(panel, share, label=arm, color=canvas.color(arm), style=canvas.line_style(arm))
        return f"Training loss by arm, as a share of its first value. {canvas.mark_forks(panel, ensemble)}".strip()
