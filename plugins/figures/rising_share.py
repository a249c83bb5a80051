"""A worked example: a figure with a line that the eye needs for comparison."""

from __future__ import annotations

from studyrun.plugin import Canvas, Ensemble, Figure


class RisingShare(Figure):
    """Share of the training examples whose loss rose since the last measurement, beside one half.

    Source: Rosenfeld and Risteski 2023, arXiv 2311.04163, Figure 36.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records the share."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("rising_share", "share", label=self.probe)
        (panel,) = canvas.axes(height=2.8)
        for arm in ensemble.recording(probe, "share"):
            series = ensemble.series(arm, probe, "share")
            canvas.line(panel, series, label=arm, color=canvas.color(arm), style=canvas.line_style(arm))
        panel.axhline(0.5, color="0.6", linewidth=0.8, zorder=0)
        panel.set_ylim(0, 1)
        marks = canvas.mark_forks(panel, ensemble)
        return f"Share of training examples whose loss rose between measurements; grey: one half. {marks}".strip()
