"""What an adversary leaves of every arm's accuracy."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Literal

import numpy as np

from studyrun.plugin import Canvas, Ensemble, Figure, NothingToDrawError, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WHITE = 0.6  # the share of white in a pale line's colour


class AdversarialAccuracy(Figure):
    """Accuracy under attack of every arm over effective time, with the accuracy on the same clean examples pale.

    From the start, with forks and t** marked; or only from t** on, when a branch has met its own threshold, so that
    arms differ in the edge that they are at and no longer in being at one. Draws the channels accuracy and
    clean_accuracy of an `adversarial_accuracy` probe.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figure 9.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records accuracy under attack."""
    since: Literal["start", "edge"] = "start"
    """All that was recorded, or only what comes after t**; of several runs, after the median of theirs."""
    branch: str | None = None
    """The branch whose t** that is; null takes the first one that met its own threshold."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("adversarial_accuracy", "accuracy", "clean_accuracy", label=self.probe)
        arms = ensemble.recording(probe, "accuracy")
        branch = self._branch(ensemble) if self.since == "edge" else None
        start = -np.inf if branch is None else median(self._met(ensemble, branch))
        lines = [(arm, *self._lines(ensemble, probe, arm, start)) for arm in arms]
        if not any(len(attacked.x) for _, attacked, _ in lines):
            raise NothingToDrawError(f"the probe {probe!r} was not due after t**; schedule it more often")
        (panel,) = canvas.axes(height=3.4)
        panel.set_ylabel("accuracy")
        for arm, attacked, clean in (line for line in lines if len(line[1].x)):
            style = canvas.line_style(arm)
            canvas.line(panel, clean, label=f"{arm}, clean", color=_pale(canvas.color(arm)), style=style)
            canvas.line(panel, attacked, label=arm, color=canvas.color(arm), style=style)
        words = ensemble.channel(arms[0], probe, "accuracy").long_name
        marks = self._mark(ensemble, canvas, panel, branch)
        return f"{words[0].upper()}{words[1:]}, by arm; pale: without the attack. {marks}".strip()

    def _branch(self, ensemble: Ensemble) -> str:
        """The branch whose t** counts. Raises `NothingToDrawError` where it never met its threshold, or none did."""
        met = [arm for arm in ensemble.arms if ensemble.parents[arm] and ensemble.crossings(arm)]
        if not met:
            raise NothingToDrawError("no branch met its own threshold, so there is no t**; `since: start` draws all")
        if self.branch not in (None, *met):
            raise NothingToDrawError(f"{self.branch!r} is no branch that met its own threshold ({', '.join(met)} did)")
        return self.branch or met[0]

    def _met(self, ensemble: Ensemble, branch: str) -> list[float]:
        return [crossing.time for crossing in ensemble.crossings(branch)]

    def _lines(self, ensemble: Ensemble, probe: str, arm: str, start: float) -> tuple[Series, Series]:
        """The accuracy under attack and the clean one, from `start` on."""
        attacked, clean = (
            _from(start, ensemble.series(arm, probe, channel)) for channel in ("accuracy", "clean_accuracy")
        )
        return attacked, clean

    def _mark(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, branch: str | None) -> str:
        if branch is None:
            return canvas.mark_forks(panel, ensemble)
        met = self._met(ensemble, branch)
        low, high = np.quantile(met, (0.25, 0.75))
        canvas.mark(panel, median(met), "t**", color=canvas.color(branch), span=(float(low), float(high)))
        several = f", the median of {len(met)} runs" if len(met) > 1 else ""
        return f"From t** on: {branch} reaches its own threshold, at effective time {median(met):.4g}{several}."


def _from(start: float, series: Series) -> Series:
    after = series.x >= start
    return replace(series, x=series.x[after], values=series.values[:, after])


def _pale(color: str) -> str:
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (WHITE + (1 - WHITE) * part for part in to_rgb(color))
    return to_hex((red, green, blue))
