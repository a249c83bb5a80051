"""How the slopes and curvatures of single examples along the sharpest direction are spread."""

from __future__ import annotations

from typing import Literal

from studyrun.plugin import Canvas, Ensemble, Figure

Quantity = Literal["slope", "curvature", "gradient_norm", "eigenvalue"]


class PerExampleCurvature(Figure):
    """Slope, curvature and gradient norm of the training examples in time: median, and the bands of 25–75 and 5–95 %.

    A panel for each quantity and arm, then the largest eigenvalue of the chosen examples, where it was recorded. Draws
    the channels slope, curvature, gradient_norm (step, example) and eigenvalue (step, chosen_example) of a
    `per_example_curvature` probe.

    Source: Rosenfeld and Risteski 2023, arXiv 2311.04163, Figure 2.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records curvature along a direction."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""
    quantities: tuple[Quantity, ...] = ("slope", "curvature", "gradient_norm", "eigenvalue")
    """Which quantities to draw, from top to bottom; those that were not recorded are left out."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("per_example_curvature", "slope", "curvature", label=self.probe)
        recorded = ensemble.channels(probe)
        for quantity in self.quantities:
            if quantity in recorded:
                canvas.draw_channel(ensemble, probe, quantity, along=self.along)
        marks = canvas.mark_forks(canvas.figure.axes, ensemble, along=self.along)
        words = (
            "Training examples along the top Hessian eigenvector v1: median, 25 to 75 % (dark) and 5 to 95 % (light)."
        )
        return f"{words} {marks}".strip()
