"""A worked example: a figure of three channels, one above the other."""

from __future__ import annotations

from studyrun.plugin import Canvas, Ensemble, Figure

CHANNELS = ("frobenius", "spectral", "stable_rank")


class LastLayer(Figure):
    """Norms and stable rank of the last weight matrix by arm."""

    probe: str | None = None
    """The label of the probe; null takes the first one that records the last layer."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("last_layer", *CHANNELS, label=self.probe)
        panels = canvas.axes(len(CHANNELS), 1, height=1.9)
        for panel, channel in zip(panels, CHANNELS, strict=True):
            for arm in ensemble.recording(probe, channel):
                series = ensemble.series(arm, probe, channel)
                canvas.line(panel, series, label=arm, color=canvas.color(arm), style=canvas.line_style(arm))
        marks = canvas.mark_forks(panels, ensemble)
        return f"Norms of the last weight matrix, and its stable rank, by arm. {marks}".strip()
