"""The further a branch leaves its parent's learning rate, the larger the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np

from studyrun.plugin import Claim, Ensemble, Field, Run, Verdict

Share = Annotated[float, Field(ge=0, le=1)]


class Dose(Claim):
    """Dose and response: over the branches of one trunk, Δ grows (or falls) with the share taken off the learning rate.

    A branch at η_b from a trunk at η has the dose 1 − η_b/η and the response Δ = channel(branch) − channel(trunk),
    averaged over a window of the time after the fork as in `sign`; the trunk itself is dose 0, response 0. The slope
    Σ dose·Δ / Σ dose² of the line through the trunk has to be positive (or negative). The statistic is the median over
    runs, whose interval has to exclude zero (see `Verdict.on_median`): six runs or more, or one, which is seen once. A
    run in which the response of a branch is missing or NaN counts against the claim. The sentence says in how many
    steps from one dose to the next larger one the response follows, branches of one dose taken together.
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
        curves = self._curves(ensemble, branches, probe)
        labels = f" of {', '.join(map(str, self.select.values()))}" if self.select else ""
        what = f"{self.channel}{labels}, slope of branch − {self.trunk} against the share taken off the learning rate"
        side = 1 if self.sign == "positive" else -1
        steps = side * np.concatenate([_steps(*curve) for curve in curves])
        place = f"({(steps > 0).sum()} of {(~np.isnan(steps)).sum()} steps from dose to dose go that way)"
        slopes = [_slope(*curve) for curve in curves]
        return Verdict.on_sign(slopes, what, [place], positive=self.sign == "positive")

    def _curves(self, ensemble: Ensemble, branches: Sequence[str], probe: str) -> np.ndarray:
        """Doses and responses of the branches in each run, (runs, 2, branches); NaN where the run has none."""
        responses = [
            ensemble.gain(branch, probe, self.channel, select=self.select, window=self.window, average=self.average)
            for branch in branches
        ]
        doses = [[_dose(run, branch, self.trunk) for branch in branches] for run in ensemble.runs]
        return np.stack([np.array(doses), np.concatenate(responses, axis=1)], axis=1)


def _dose(run: Run, branch: str, trunk: str) -> float:
    """The share that a branch took off the learning rate of its trunk; NaN where there is none."""
    rate, full = (run[arm].learning_rate if arm in run else None for arm in (branch, trunk))
    return round(1 - rate / full, 12) if rate is not None and full else float("nan")  # 0.3 · 0.1 is no dose from 0.03


def _slope(doses: np.ndarray, responses: np.ndarray) -> np.ndarray:
    """The slope of the line through no dose and no response, (1,); NaN without any dose."""
    given = doses != 0  # a branch at its trunk's own rate says nothing of the slope, whatever it responds
    square = doses[given] @ doses[given]
    return np.array([doses[given] @ responses[given] / square if square else np.nan])


def _steps(doses: np.ndarray, responses: np.ndarray) -> np.ndarray:
    """By how much the response grows from each dose to the next, that of the trunk included."""
    levels = np.unique(np.append(doses, 0.0))
    both = np.append(doses, 0.0), np.append(responses, 0.0)
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        return np.diff([both[1][both[0] == level].mean() for level in levels[~np.isnan(levels)]])
