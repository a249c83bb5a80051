"""How each group's gradient stands to the sharpest direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from studyrun.plugin import Canvas, Ensemble, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Quantity = Literal["cos2", "influence", "gradient_norm"]


class Alignment(Figure):
    """Alignment cos²θ_k, curvature influence C_k and gradient norm of each group, trunk solid and branches dashed.

    cos²θ_k = (∇ℓ_k·v1)² / ‖∇ℓ_k‖² and C_k = (∇ℓ_k·v1)², with v1 the top Hessian eigenvector of the same step. Draws the
    channels cos2, influence and gradient_norm, each (step, group), of a `group_alignment` probe.

    Source: Kwag et al. 2026, arXiv 2606.04212, Section 4 and Figure 5.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records alignment by group."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""
    quantities: tuple[Quantity, ...] = ("cos2", "influence", "gradient_norm")
    """Which panels to draw, from top to bottom."""
    scale: Literal["auto", "log", "linear"] = "auto"
    """The axes of influence and gradient norm; auto is logarithmic where every value is positive."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("group_alignment", *self.quantities, label=self.probe)
        panels = canvas.axes(len(self.quantities), height=2.2)
        for panel, quantity in zip(panels, self.quantities, strict=True):
            self._draw(ensemble, canvas, panel, probe, quantity)
        marks = canvas.mark_forks(panels, ensemble, along=self.along)
        return f"Each group's gradient against the top Hessian eigenvector v1. {marks}".strip()

    def _draw(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, probe: str, quantity: Quantity) -> None:
        for arm in ensemble.recording(probe, quantity):
            for group in ensemble.channel(arm, probe, quantity).labels["group"]:
                series = ensemble.series(arm, probe, quantity, along=self.along, select={"group": group})
                canvas.line(panel, series, label=str(group), color=canvas.color(str(group)), arm=arm)
        if quantity == "cos2":
            panel.set_ylim(bottom=0)
        else:
            canvas.share_y([panel], self.scale)
