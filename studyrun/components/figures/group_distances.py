"""How far the members of each group lie from their class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np

from studyrun.plugin import Canvas, Ensemble, Field, Figure, NothingToDrawError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_GROUPS = 30  # rows
GOLDEN = 0.6180339887498949  # multiples of it modulo 1 are spread evenly: a jitter without a random generator


class GroupDistances(Figure):
    """Distribution of the distance between the members of each group and the centroid of their class.

    A point for each member, its group's quartiles as a bar and its median as a tick with its value, pooled over runs.
    Draws the channel distance(step, group, member) of a `group_data` probe, from its first measurement.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figures 15 and 19.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records distances."""
    points: Annotated[int, Field(ge=0)] = 300
    """At most so many points a group are drawn; quartiles are of all of them."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("group_data", "distance", label=self.probe)
        arm = ensemble.recording(probe, "distance")[0]
        found = [run.arms[arm].probes[probe]["distance"] for run in ensemble.runs if probe in run.arms[arm].probes]
        groups = [str(group) for group in found[0].labels["group"]]
        pooled = np.concatenate([channel.values[0] for channel in found], axis=1)
        values = {group: row[np.isfinite(row)] for group, row in zip(groups, pooled, strict=True)}
        if not any(map(len, values.values())):
            raise NothingToDrawError(f"the probe {probe!r} recorded no distance that is a number")
        column = [group for group in groups for _ in values[group]]
        canvas.table("distances", {"group": column, "distance": np.concatenate(list(values.values()))})
        groups = list(canvas.some(groups, MOST_GROUPS, "groups"))
        (panel,) = canvas.axes(height=0.5 + 0.42 * len(groups))
        for place, group in enumerate(groups):
            self._draw(panel, place, values[group], canvas.color(group))
        panel.set_yticks(range(len(groups)), [group.replace("$", r"\$") for group in groups])
        panel.set_ylim(len(groups) - 0.4, -0.6)
        panel.grid(False, axis="y")
        panel.margins(x=0.05)
        panel.set_xlabel(found[0].label)
        return "Distance of each group's members to the centroid of their class: points, quartiles and median."

    def _draw(self, panel: Axes, place: int, values: np.ndarray, color: str) -> None:
        if not len(values):
            return
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        some = values[np.linspace(0, len(values) - 1, min(len(values), self.points)).astype(int)]
        jitter = (np.arange(len(some)) * GOLDEN % 1 - 0.5) * 0.5
        panel.scatter(some, place + jitter, s=9, color=color, alpha=0.55, linewidths=0, rasterized=len(some) > 200)
        panel.hlines(place, low, high, color="#1a1a1a", linewidth=2.2)
        panel.vlines(middle, place - 0.3, place + 0.3, color="#1a1a1a", linewidth=1.4)
        panel.annotate(
            f"{middle:.3g}", (middle, place - 0.3), xytext=(0, 1), textcoords="offset points", ha="center", fontsize=7.5
        )
