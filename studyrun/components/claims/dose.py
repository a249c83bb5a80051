"""The further a branch leaves its parent's learning rate, the larger the difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np

from studyrun.plugin import Claim, Ensemble, Field, Run, Verdict, for_run

Share = Annotated[float, Field(ge=0, le=1)]


class Dose(Claim):
    """Dose and response: over the branches of one trunk, Δ grows (or falls) with the share taken off the learning rate.

    A branch at η_b from a trunk at η has the dose 1 − η_b/η and the response Δ = channel(branch) − channel(trunk),
    averaged over a window of the time after the fork as in `sign`; the trunk itself is dose 0, response 0. The slope
    Σ dose·Δ / Σ dose² of the line through the trunk has to be positive (or negative). Over several runs the bootstrap
    interval of the median has to exclude zero; one run is said to be one run. The sentence says in how many steps from
    one dose to the next the response follows.
    """

    channel: str
    """The channel, such as by_group."""
    sign: Literal["positive", "negative"]
    """Positive: the further the branch leaves, the larger its value."""
    trunk: str = "baseline"
    """The arm that the branches forked from."""
    probe: str | None = None
    """The label of the probe; null takes the first one that recorded the channel."""
    select: Mapping[str, str | int] = {}
    """A label along each dimension of the channel, such as {group: inlier}."""
    window: tuple[Share, Share] = (0.0, 1.0)
    """From where to where, as fractions of the time after the fork, the average is taken."""
    average: Literal["mean", "median"] = "mean"
    """Which average over time."""

    def decide(self, ensemble: Ensemble) -> Verdict:
        branches = ensemble.children(self.trunk)
        if len(branches) < 2:
            reason = f"{len(branches)} branches of {self.trunk!r} started; a dose and its response need two or more"
            return Verdict.undecided(reason)
        probe = ensemble.locate("", self.channel, label=self.probe)
        curves = [curve for run in ensemble.runs if len(curve := self._curve(run, probe)) > 1]
        slopes = [np.array([curve[:, 0] @ curve[:, 1] / (curve[:, 0] @ curve[:, 0])]) for curve in curves]
        labels = f" of {', '.join(map(str, self.select.values()))}" if self.select else ""
        what = f"{self.channel}{labels}, slope of branch − {self.trunk} against the share taken off the learning rate"
        side = 1 if self.sign == "positive" else -1
        steps = np.concatenate([side * np.diff(curve[:, 1]) > 0 for curve in curves]) if curves else np.zeros(0, bool)
        place = f"({steps.sum()} of {len(steps)} steps from dose to dose go that way)"
        return Verdict.on_sign(slopes, what, [place], positive=self.sign == "positive")

    def _curve(self, run: Run, probe: str) -> np.ndarray:
        """Rows (dose, response) of one run, by dose, with the trunk's own (0, 0)."""
        lone, full, rows = for_run(run), run[self.trunk].learning_rate, [(0.0, 0.0)]
        for branch in lone.children(self.trunk):
            (gain,) = lone.gain(
                branch, probe, self.channel, select=self.select, window=self.window, average=self.average
            )[0]
            rate = run[branch].learning_rate
            if np.isfinite(gain) and rate is not None and full is not None:
                rows.append((1 - rate / full, float(gain)))
        return np.array(sorted(rows))
