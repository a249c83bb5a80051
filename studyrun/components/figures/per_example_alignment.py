"""How the alignments of single examples with the sharpest direction are spread."""

from __future__ import annotations

from typing import Literal

from studyrun.plugin import Canvas, Ensemble, Figure

Quantity = Literal["cos2", "gradient_norm"]


class PerExampleAlignment(Figure):
    """Alignment and gradient norm of the training examples in time: median, and the bands of 25–75 and 5–95 %.

    A panel for each quantity and arm. Draws the channels cos2 and gradient_norm (step, example) of a
    `per_example_alignment` probe.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figures 8 and 20.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records alignment by example."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""
    quantities: tuple[Quantity, ...] = ("cos2", "gradient_norm")
    """Which quantities to draw, from top to bottom; those that were not recorded are left out."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("per_example_alignment", "cos2", "residual", label=self.probe)
        recorded = ensemble.channels(probe)
        for quantity in self.quantities:
            if quantity in recorded:
                canvas.draw_channel(ensemble, probe, quantity, along=self.along)
        marks = canvas.mark_forks(canvas.figure.axes, ensemble, along=self.along)
        words = "Gradients of the training examples against v1: median, 25 to 75 % (dark) and 5 to 95 % (light)."
        return f"{words} {marks}".strip()
