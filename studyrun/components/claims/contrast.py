"""A branch gains more in one condition of a sweep than in another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np

from studyrun.plugin import ComparingClaim, Ensemble, Field, Run, Verdict, edge

Share = Annotated[float, Field(ge=0, le=1)]
Where = Annotated[Mapping[str, str | int | float | bool | None], Field(min_length=1)]


class Contrast(ComparingClaim):
    """What a branch gains or loses against its parent differs between two conditions of a sweep, paired by seed.

    With Δ the difference between the arm and the arm it forked from, as in `sign`, or of the trunk the channel itself:
    Δ(greater) − Δ(than), seed by seed, has to be positive. The statistic is the median over pairs of runs, whose
    interval has to exclude zero (see `Verdict.on_median`): six pairs or more, or one, which is seen once. A pair in
    which one run has no number counts against the claim; seeds that were not run in both conditions are no pair.
    """

    channel: str
    """The channel, such as by_group."""
    arm: str
    """The arm, such as exit; of baseline, the channel itself is taken."""
    greater: Where
    """The condition whose Δ is claimed to be larger, by dotted path: {groups.direction: coherent}."""
    than: Where
    """The condition that it is held against."""
    probe: str | None = None
    """The label of the probe; null takes the first one that recorded the channel."""
    select: Mapping[str, str | int] = {}
    """A label along each dimension of the channel, such as {group: input_outlier}."""
    window: tuple[Share, Share] = (0.0, 1.0)
    """From where to where, as fractions of the time after the fork, the average is taken."""
    average: Literal["mean", "median"] = "mean"
    """Which average over time."""
    until: Literal["end", "edge"] = "end"
    """To where the time after the fork counts: the end, or where the arm meets its own threshold, if it does."""

    def decide_all(self, ensembles: Sequence[Ensemble]) -> Verdict:
        for where in (self.greater, self.than):
            about = Counter(_seeds(run) for one in ensembles if one.says(where) for run in one.runs)
            if twice := [seed for seed, count in about.items() if count > 1]:
                return Verdict.undecided(
                    f"{about[twice[0]]} runs with {_words(where)} have the seed {twice[0]} and differ in something "
                    "else: name that too, under greater and under than, so that each seed is one pair"
                )
        sides = [self._by_seed(ensembles, where) for where in (self.greater, self.than)]
        for where, found in zip((self.greater, self.than), sides, strict=True):
            if np.isnan(list(found.values())).all():
                reason = f"no run with {_words(where)} has {self.channel} in {self.arm}"
                return Verdict.undecided(reason)
        seeds = [seed for seed in sides[0] if seed in sides[1]]
        if not seeds:
            reason = f"no seed was run both with {_words(self.greater)} and with {_words(self.than)}"
            return Verdict.undecided(reason)
        numbers = [sides[0][seed] - sides[1][seed] for seed in seeds]
        labels = f" of {', '.join(map(str, self.select.values()))}" if self.select else ""
        what = f"{self.channel}{labels} in {self.arm}, {_words(self.greater)} − {_words(self.than)}"
        return Verdict.on_sign(numbers, what, [self._place(ensembles)])

    def _by_seed(self, ensembles: Sequence[Ensemble], where: Where) -> dict[str, np.ndarray]:
        """The gain of each run of a condition, by its seeds; NaN where the run has none."""
        about = [ensemble for ensemble in ensembles if ensemble.says(where)]
        return {
            _seeds(run): gain
            for ensemble in about
            for run, gain in zip(ensemble.runs, self._gains(ensemble), strict=True)
        }

    def _gains(self, ensemble: Ensemble) -> np.ndarray:
        """One number a run, (r, 1)."""
        if self.arm not in ensemble.arms:
            return np.full((len(ensemble.runs), 1), np.nan)
        return ensemble.gain(
            self.arm,
            ensemble.locate("", self.channel, label=self.probe),
            self.channel,
            select=self.select,
            window=self.window,
            average=self.average,
            until=self.until,
        )

    def _place(self, ensembles: Sequence[Ensemble]) -> str:
        start, end = self.window
        average = "on average" if self.average == "mean" else "in the median over time"
        stretch = ""
        if self.until == "edge":
            stretch = f", counted to where {self.arm} meets its threshold{edge.met_words(ensembles, self.arm)}"
        return f"{average} from {start:.0%} to {end:.0%} of its time{stretch}"


def _seeds(run: Run) -> str:
    """The run's seeds as a key: one number, or one for each purpose."""
    return str(run.document.get("seed"))


def _words(where: Where) -> str:
    return " and ".join(f"{path} = {value}" for path, value in where.items())
