"""How the losses of single examples are spread."""

from __future__ import annotations

from typing import Literal

from studyrun.plugin import Canvas, Ensemble, Figure


class PerExampleLoss(Figure):
    """Distribution of the loss over training examples in time: median, and the bands from 25 to 75 and 5 to 95 %.

    One panel for each arm. Draws the channel loss(step, example) of a `per_example_loss` probe.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records a loss for each example."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("per_example_loss", "loss", label=self.probe)
        canvas.draw_channel(ensemble, probe, "loss", along=self.along)
        marks = canvas.mark_forks(canvas.figure.axes, ensemble, along=self.along)
        return f"Loss over the training examples: median, 25 to 75 % (dark) and 5 to 95 % (light). {marks}".strip()
