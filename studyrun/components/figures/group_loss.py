"""Mean training loss of every group."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Annotated, Literal

from studyrun.plugin import Canvas, Ensemble, Field, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS = 24


class GroupLoss(Figure):
    """Mean training loss of each group, one panel for each arm or for each group.

    All panels share one y axis. Draws the channel by_group(step, group) of a `loss` probe.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records losses by group."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""
    panels: Literal["arm", "group"] = "arm"
    """One panel for each arm, to compare groups; or one for each group, to compare arms."""
    scale: Literal["auto", "log", "linear"] = "auto"
    """The loss axis; auto is logarithmic where every value is positive."""
    smooth: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Lines are running means over this share of the time shown, with what was recorded pale behind; 0: as recorded."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("loss", "by_group", label=self.probe)
        arms = ensemble.recording(probe, "by_group")
        groups = [str(group) for group in ensemble.channel(arms[0], probe, "by_group").labels["group"]]
        titles = arms if self.panels == "arm" else canvas.some(groups, MOST_PANELS, "groups")
        columns = min(2, len(titles))
        panels = canvas.axes(ceil(len(titles) / columns), columns, height=2.8)
        for panel, title in zip(panels, titles, strict=False):
            panel.set_title(title.replace("$", r"\$"))
            for arm in arms:
                for group in groups:
                    if title in (arm, group):
                        self._draw(ensemble, canvas, panel, probe, arm, group)
        drawn = [panel for panel in panels if panel.has_data()]
        canvas.share_y(drawn, self.scale)
        marks = canvas.mark_forks(drawn, ensemble, along=self.along)
        text = f"Mean training loss of each group, by {'arm' if self.panels == 'arm' else 'group'}."
        if self.smooth:
            text += f" Lines are running means over {self.smooth:.0%} of the time, pale: as recorded."
        return f"{text} {marks}".strip()

    def _draw(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, probe: str, arm: str, group: str) -> None:
        series = ensemble.series(arm, probe, "by_group", along=self.along, select={"group": group})
        name, style = (arm, canvas.line_style(arm)) if self.panels == "group" else (group, "-")
        canvas.line(panel, series, label=name, color=canvas.color(name), style=style, smooth=self.smooth)
