"""Any channels of any probe."""

from __future__ import annotations

from typing import Literal

from studyrun.plugin import Canvas, Ensemble, Figure, eigenpair_evidence


class Channels(Figure):
    """Any recorded channel, drawn by its dimensions.

    A channel without dimensions is a line for each arm; one over a few labels a line for each arm and label; one over
    many (examples, say) the median and the bands from 25 to 75 and 5 to 95 % of them.
    """

    probe: str
    """The label of the probe."""
    channels: tuple[str, ...] | None = None
    """Which of its channels, from top to bottom; null draws all but the evidence of iterative solvers."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("", *(self.channels or ()), label=self.probe)
        channels = self.channels or _all(ensemble, probe)
        for channel in channels:
            canvas.draw_channel(ensemble, probe, channel, along=self.along)
        return f"{', '.join(channels)} of the probe {probe}."


def _all(ensemble: Ensemble, probe: str) -> tuple[str, ...]:
    """Every channel of the probe, but the evidence that travels beside iterative results."""
    recorded = dict.fromkeys(
        name for arm in ensemble.arms for run in ensemble.started(arm) if probe in run for name in run[probe]
    )
    evidence = {channel.name for channel in eigenpair_evidence()}
    return tuple(name for name in recorded if name not in evidence)
