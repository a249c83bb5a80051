"""One group stands above another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np

from studyrun.plugin import Claim, Ensemble, Field, Run, Verdict, for_run

Share = Annotated[float, Field(ge=0, le=1)]


class Ordering(Claim):
    """One label of a channel has a larger value than another in the same arm, the inlier group than the boundary, say.

    value(greater) − factor · value(than), as a mean over a window of the arm's time or at each of some fractions of
    it, has to be positive. Over several runs the bootstrap interval of the median has to exclude zero; one run is said
    to be one run. Of several fractions the statistic is the one that speaks least for the claim.
    """

    channel: str
    """The channel, such as cos2."""
    greater: str | int
    """The label whose value is claimed to be larger."""
    than: str | int
    """The label that it is held against."""
    arm: str = "baseline"
    """In which arm."""
    probe: str | None = None
    """The label of the probe; null takes the first one that recorded the channel."""
    select: Mapping[str, str | int] = {}
    """A label along each further dimension of the channel."""
    factor: Annotated[float, Field(gt=0)] = 1.0
    """How many times larger it has to be."""
    since: Literal["start", "edge"] = "start"
    """From where time counts: the arm's first row, or where the arm first met its own threshold."""
    at: Annotated[tuple[Share, ...], Field(min_length=1)] | None = None
    """Fractions of that time at which the order has to hold; null takes the mean over the window."""
    window: tuple[Share, Share] = (0.0, 1.0)
    """From where to where, as fractions of that time, the mean is taken."""

    def decide(self, ensemble: Ensemble) -> Verdict:
        if not ensemble.started(self.arm):
            return Verdict.undecided(f"no run has an arm {self.arm!r} that started")
        probe = ensemble.locate("", self.channel, label=self.probe)
        labels = ensemble.channel(self.arm, probe, self.channel).labels
        axis = next((name for name, known in labels.items() if self.greater in known and self.than in known), None)
        if axis is None:
            reason = f"{self.channel} has no dimension with both {self.greater!r} and {self.than!r}"
            return Verdict.undecided(reason)
        runs = [run for run in ensemble.runs if self.arm in run and probe in run[self.arm]]
        numbers = [self._numbers(run, probe, axis) for run in runs]
        factor = "" if self.factor == 1 else f"{self.factor:g} × "
        what = f"{self.channel} in {self.arm}, {self.greater} − {factor}{self.than}"
        return Verdict.on_sign(numbers, what, self._places())

    def _numbers(self, run: Run, probe: str, axis: str) -> np.ndarray:
        """The difference in one run, at each of the fractions or on average; NaN if the arm never met its threshold."""
        high, low = (
            for_run(run).series(self.arm, probe, self.channel, select={**self.select, axis: label})
            for label in (self.greater, self.than)
        )
        crossing = run[self.arm].crossing()
        met = crossing.time if crossing is not None else float("nan")
        first = met if self.since == "edge" else float(high.x[0])
        start, end = (first + share * (float(high.x[-1]) - first) for share in ((0, 1) if self.at else self.window))
        gap: np.ndarray = high.over(start, end, self.at)[0] - self.factor * low.over(start, end, self.at)[0]
        return gap

    def _places(self) -> list[str]:
        since = f"of {self.arm}'s time" + (" after it met its own threshold" if self.since == "edge" else "")
        if self.at is not None:
            shares = [f"at {share:.0%}" for share in self.at]
            return [*shares[:-1], f"{shares[-1]} {since}"]
        start, end = self.window
        return [f"on average from {start:.0%} to {end:.0%} {since}"]
