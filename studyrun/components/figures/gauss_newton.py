"""How much of the sharpness the loss makes, and how much the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from studyrun.plugin import Canvas, Ensemble, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES: Mapping[str, str] = {"gauss_newton": "λ₁(G)", "rest": "λ₁(R)", "rest_smallest": "λ_min(R)"}


class GaussNewton(Figure):
    """Largest eigenvalues of the Gauss–Newton matrix G and of the rest R, beside the sharpness and its threshold.

    Trunk solid and branches dashed. The sharpness λ₁(H) stands there where the study recorded it, and each arm's
    threshold where it is one of the sharpness and not far above. Draws the channel curvature(step, part) of a
    `gauss_newton` probe.

    Source: Lowell and Kastner 2024, arXiv 2406.00127, Section 3.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records the parts."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("gauss_newton", "curvature", label=self.probe)
        (panel,) = canvas.axes(height=3.4)
        arms = ensemble.recording(probe, "curvature")
        for arm in arms:
            self._sharpness(ensemble, canvas, panel, arm)
            for part in map(str, ensemble.channel(arm, probe, "curvature").labels["part"]):
                series = ensemble.series(arm, probe, "curvature", along=self.along, select={"part": part})
                canvas.line(panel, series, label=NAMES[part], color=canvas.color(part), arm=arm)
        panel.set_ylabel("eigenvalue  [loss / parameter²]")
        for arm in arms:
            self._threshold(ensemble, canvas, panel, arm)
        marks = canvas.mark_forks(panel, ensemble, along=self.along)
        return (
            f"The Hessian H = G + R: largest eigenvalues of the Gauss–Newton part G and of the rest R. {marks}".strip()
        )

    def _sharpness(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, arm: str) -> None:
        for probe in ensemble.started(arm)[0].probes.values():
            if "eigenvalue" in probe.channels and probe["eigenvalue"].standard_name == "sharpness":
                series = ensemble.series(arm, probe.label, "eigenvalue", along=self.along, select={"k": 1})
                canvas.line(panel, series, label="λ₁(H)", color=canvas.color("sharpness"), arm=arm)
                panel.get_lines()[-1].set(linewidth=4, alpha=0.4)  # G lies on it wherever R is small
                return

    def _threshold(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, arm: str) -> None:
        first = ensemble.started(arm)[0]
        highest = max(float(np.nanmax(np.asarray(line.get_ydata()), initial=-np.inf)) for line in panel.get_lines())
        if first.threshold_quantity == "sharpness" and first.threshold and first.threshold < 1.6 * highest:
            canvas.mark(panel, first.threshold, f"{arm}: threshold {first.threshold:.4g}", level=True)
