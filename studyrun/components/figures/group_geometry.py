"""Where the members of each group lie about the line through the two centroids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from studyrun.plugin import Arm, Canvas, Ensemble, Field, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "^")  # class 0 and class 1


class GroupGeometry(Figure):
    """Scatter of the members of each group: the coordinate along the line through the centroids, the distance from it.

    The measured form of a sketch of where inliers, boundary points and outliers lie: a coherent displacement moves
    outliers along the line, a random one away from it. Colour is the group, the marker the labelled class; crosses are
    the centroids. Members of all runs together, at the first measurement. Draws the channels along, across,
    member_class (step, group, member) and centroid_along of a `group_data` probe.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figures 1 and 18, which are drawn by hand there.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records coordinates."""
    points: Annotated[int, Field(ge=1)] = 400
    """At most so many points of a group and class are drawn; the CSV holds all of them."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("group_data", "along", "across", "member_class", "centroid_along", label=self.probe)
        arm = ensemble.recording(probe, "along")[0]
        runs = [one for one in ensemble.started(arm) if probe in one and len(one[probe].step)]
        along, across, label = (_pooled(runs, probe, name) for name in ("along", "across", "member_class"))
        groups = [str(group) for group in runs[0][probe]["along"].labels["group"]]
        (panel,) = canvas.axes(height=3.6)
        for place, group in enumerate(groups):
            for number in (0, 1):
                mine = label[place] == number
                shown = self._some(np.flatnonzero(mine))
                style: dict[str, Any] = {
                    "marker": MARKERS[number],
                    "color": canvas.color(group),
                    "label": group,
                }
                panel.scatter(along[place, shown], across[place, shown], s=15, alpha=0.75, linewidths=0, **style)
        self._centroids(panel, runs, probe)
        panel.set_xlabel(runs[0][probe]["along"].label)
        panel.set_ylabel(runs[0][probe]["across"].label)
        panel.set_ylim(bottom=-0.03 * panel.get_ylim()[1])
        known = label >= 0
        names = np.repeat(np.array(groups)[:, None], along.shape[1], axis=1)[known]
        columns = {"group": names, "class": label[known], "along": along[known], "across": across[known]}
        canvas.table("geometry", columns)
        return self._caption(runs, probe)

    def _some(self, places: np.ndarray) -> np.ndarray:
        """At most `points` of them, evenly spread."""
        chosen = np.linspace(0, len(places) - 1, min(len(places), self.points)).astype(int)
        return np.asarray(places[chosen])

    def _centroids(self, panel: Axes, runs: list[Arm], probe: str) -> None:
        """A cross for each centroid, of several runs at the median."""
        middle = np.median([run[probe]["centroid_along"].values[0] for run in runs], axis=0)
        panel.axvline(0, color="#b5b5b5", linewidth=0.8)
        panel.scatter(middle, [0, 0], marker="X", s=70, color="#1a1a1a", zorder=4, label="centroids", clip_on=False)
        for number, place in enumerate(middle):
            panel.annotate(f"μ{'₀₁'[number]}", (place, 0), xytext=(6, 5), textcoords="offset points", fontsize=9)

    def _caption(self, runs: list[Arm], probe: str) -> str:
        lengths = [2 * float(run[probe]["centroid_along"].values[0][1]) for run in runs]
        text = "Members of each group along the line through the two centroids and across it, in normalised input space"
        text += f" (○ class 0, △ class 1 as labelled); ‖v‖ = {np.median(lengths):.4g}."
        return f"{text} {len(runs)} runs together." if len(runs) > 1 else text


def _pooled(runs: list[Arm], probe: str, channel: str) -> np.ndarray:
    """The first row of each run, (groups, members of all runs)."""
    return np.concatenate([run[probe][channel].values[0] for run in runs], axis=1)
