"""How far out the model holds, in an arm that stays at the edge of stability and in one that left it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from statistics import median
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from studyrun.plugin import Canvas, Ensemble, Field, Figure, NothingToDrawError, Run, Series, edge, for_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


Stretch = tuple[float, float]  # from one effective time to another; a moment is as long as nothing


class DisplacedLoss(Figure):
    """Loss on displaced examples over the displacement a, one line for each arm, after the branch met its threshold.

    By default the mean over effective time from t**, where the branch met its own threshold, to where the first of the
    arms ends: the same stretch for all. With `at`, the loss at moments, a panel for each, again at equal effective
    time, by linear interpolation between rows. Draws the channel loss(step, displacement) of a `displaced_loss` probe.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figure 10.
    """

    at: Annotated[tuple[edge.When, ...], Field(min_length=1, max_length=12)] | None = None
    """Moments of the branch: `onset` (t**), `end`, a step, or a share of its time after t** as in {after: 0.25}; null
    takes the mean over all the time after t**."""
    branch: str | None = None
    """The branch that tells the moments; null takes the first one that met its own threshold, or with `at` any."""
    probe: str | None = None
    """The label of the probe; null takes the first one that records loss by displacement."""
    quantity: Literal["loss", "accuracy"] = "loss"
    """What is drawn."""
    scale: Literal["auto", "log", "linear"] = "auto"
    """The y axis; auto is logarithmic where every value is positive."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("displaced_loss", "loss", "accuracy", label=self.probe)
        arms = ensemble.recording(probe, self.quantity)
        branch = self._branch(ensemble, arms)
        moments = [(when, self._stretches(ensemble, branch, when, probe, arms)) for when in self.at or (None,)]
        shown = [(when, stretches) for when, stretches in moments if stretches]
        if not shown:
            raise NothingToDrawError(
                f"{branch} has no row after it met its own threshold; name moments that it has with the option `at`"
            )
        columns = min(3, len(shown))
        panels = canvas.axes(ceil(len(shown) / columns), columns, height=3.2)
        for panel, (when, stretches) in zip(panels, shown, strict=False):
            if when is not None:
                panel.set_title(self._words(ensemble, branch, when, stretches).replace(", effective", "\neffective"))
            for arm in arms:
                self._draw(ensemble, canvas, panel, probe, arm, stretches)
        canvas.share_y(panels[: len(shown)], "linear" if self.quantity == "accuracy" else self.scale)
        words = ", ".join(self._words(ensemble, branch, when, stretches) for when, stretches in shown)
        what = ensemble.channel(arms[0], probe, self.quantity).long_name
        return f"{what[0].upper()}{what[1:]}, over the displacement a: {words}."

    def _branch(self, ensemble: Ensemble, arms: Sequence[str]) -> str:
        """The arm whose t** and time tell the moments."""
        if self.branch is not None:
            if self.branch not in arms:
                raise NothingToDrawError(f"the arm {self.branch!r} has no displaced losses (arms: {', '.join(arms)})")
            return self.branch
        branches = [arm for arm in arms if ensemble.parents[arm]]
        crossed = [arm for arm in branches if ensemble.crossings(arm)]
        if not crossed and self.at is None:
            raise NothingToDrawError("no branch met its own threshold: there is no t** after which to compare arms")
        return (*crossed, *branches, *arms)[0]

    def _stretches(
        self, ensemble: Ensemble, branch: str, when: edge.When | None, probe: str, arms: Sequence[str]
    ) -> dict[Run, Stretch]:
        """The same stretch of effective time for all arms of a run, for the runs that have it."""
        found: dict[Run, Stretch] = {}
        for run in ensemble.runs:
            rows = {arm: run[arm][probe] for arm in arms if arm in run and probe in run[arm]}
            rows = {arm: recorded for arm, recorded in rows.items() if len(recorded.step)}
            if branch in rows:
                end = min(float(recorded.time[-1]) for recorded in rows.values())
                stretch = _stretch(run, branch, when, rows[branch], end)
                found |= {run: stretch} if stretch is not None and stretch[0] <= end else {}
        return found

    def _draw(
        self,
        ensemble: Ensemble,
        canvas: Canvas,
        panel: Axes,
        probe: str,
        arm: str,
        stretches: Mapping[Run, Stretch],
    ) -> None:
        drawn = ensemble.channel(arm, probe, self.quantity)
        labels = sorted(drawn.labels["displacement"], key=float)
        runs = [run for run in stretches if arm in for_run(run).recording(probe, self.quantity)]
        values = np.array([[self._value(run, probe, arm, label, stretches[run]) for label in labels] for run in runs])
        if not np.isfinite(values).any():
            return
        grid = np.array([float(label) for label in labels])
        series = Series(grid, values, "displacement a, in units of ‖v‖", drawn.label, drawn.units)
        canvas.line(panel, series, label=arm, color=canvas.color(arm), style=canvas.line_style(arm))
        panel.get_lines()[-1].set(marker="o", markersize=3.5, markevery=1)

    def _value(self, run: Run, probe: str, arm: str, label: int | str, stretch: Stretch) -> float:
        series = for_run(run).series(arm, probe, self.quantity, select={"displacement": label})
        return float(series.over(*stretch)[0, 0])

    def _words(self, ensemble: Ensemble, branch: str, when: edge.When | None, stretches: Mapping[Run, Stretch]) -> str:
        start, end = (median(each[i] for each in stretches.values()) for i in (0, 1))
        runs = f", medians of {len(stretches)} runs" if len(stretches) > 1 else ""
        if when is None:
            words = f"mean over effective time {start:.4g} (t**, where {branch} meets its own threshold) to {end:.4g}"
            return f"{words}{runs}"
        symbol = "t**" if ensemble.parents[branch] else "t*"
        return f"{edge.moment_words(when, symbol)}, effective time {start:.4g}{runs}"


def _stretch(run: Run, branch: str, when: edge.When | None, rows: edge.Recorded, end: float) -> Stretch | None:
    """From t** to the end; or a moment, at the latest the end. None where the branch has none."""
    if when is None:
        met = edge.onset(run, branch)
        return None if met is None else (met, end)
    row = edge.row_at(run, branch, when, rows)
    place = edge.place(run, branch, when, rows)
    if row is None or place is None:
        return None
    at = min(place.at if place.along == "time" else float(rows.time[row]), end)
    return at, at
