"""A worked example: a figure for a probe of one's own."""

from __future__ import annotations

from studyrun.plugin import Canvas, Ensemble, Figure


class JacobianNorm(Figure):
    """Spectral norm of the input-output Jacobian by arm: mean over the examples, and the largest."""

    probe: str | None = None
    """The label of the probe; null takes the first one that records Jacobian norms."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("jacobian_norm", "mean", "maximum", label=self.probe)
        panels = canvas.axes(1, 2, height=2.8)
        for panel, channel in zip(panels, ("mean", "maximum"), strict=True):
            for arm in ensemble.recording(probe, channel):
                series = ensemble.series(arm, probe, channel)
                canvas.line(panel, series, label=arm, color=canvas.color(arm), style=canvas.line_style(arm))
        marks = canvas.mark_forks(panels, ensemble)
        return f"Spectral norm of the input-output Jacobian over the examples followed, by arm. {marks}".strip()
