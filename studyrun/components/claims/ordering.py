"""One group stands above another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np

from studyrun.plugin import Claim, Ensemble, Field, Run, Verdict, edge, for_run

Share = Annotated[float, Field(ge=0, le=1)]


class Ordering(Claim):
    """One label of a channel has a larger value than another, or than several, in the same arm.

    value(greater) − factor · value(than), of several the largest, as a mean over a window of the arm's time or at each
    of some fractions of it, has to be positive. The statistic is the median over runs, whose interval has to exclude
    zero (see `Verdict.on_median`): six runs or more, or one, which is seen once. Of several fractions each run counts
    with the one that speaks least for the claim.
    """

    channel: str
    """The channel, such as cos2."""
    greater: str | int
    """The label whose value is claimed to be larger."""
    than: str | int | Annotated[tuple[str | int, ...], Field(min_length=1)]
    """The label that it is held against; of a list, each of them."""
    arm: str = "baseline"
    """In which arm."""
    probe: str | None = None
    """The label of the probe; null takes the first one that recorded the channel."""
    select: Mapping[str, str | int] = {}
    """A label along each further dimension of the channel."""
    factor: Annotated[float, Field(gt=0)] = 1.0
    """How many times larger it has to be."""
    since: Literal["start", "edge"] = "start"
    """From where time counts: the arm's first row, or t*, where it met its own threshold and branches left it."""
    at: Annotated[tuple[Share, ...], Field(min_length=1)] | None = None
    """Fractions of that time at which the order has to hold; null takes the mean over the window."""
    window: tuple[Share, Share] = (0.0, 1.0)
    """From where to where, as fractions of that time, the mean is taken."""

    def decide(self, ensemble: Ensemble) -> Verdict:
        if not ensemble.started(self.arm):
            return Verdict.undecided(f"no run has an arm {self.arm!r} that started")
        probe = ensemble.locate("", self.channel, label=self.probe)
        labels = ensemble.channel(self.arm, probe, self.channel).labels
        wanted = {self.greater, *self._rivals()}
        axis = next((name for name, known in labels.items() if wanted <= set(known)), None)
        if axis is None:
            names = " and ".join(repr(label) for label in (self.greater, *self._rivals()))
            return Verdict.undecided(f"{self.channel} has no dimension with both {names}")
        numbers = [self._numbers(run, probe, axis) for run in ensemble.runs]
        factor = "" if self.factor == 1 else f"{self.factor:g} × "
        rivals = ", ".join(map(str, self._rivals()))
        than = rivals if len(self._rivals()) == 1 else f"the largest of {rivals}"
        what = f"{self.channel} in {self.arm}, {self.greater} − {factor}{than}"
        return Verdict.on_sign(numbers, what, self._places())

    def _numbers(self, run: Run, probe: str, axis: str) -> np.ndarray:
        """The difference in one run, at each of the fractions or on average; NaN if the run has none of it, or if the
        arm never met its threshold.
        """
        if self.arm not in for_run(run).recording(probe, self.channel):
            return np.full(len(self._places()), np.nan)
        high, *low = (
            for_run(run).series(self.arm, probe, self.channel, select={**self.select, axis: label})
            for label in (self.greater, *self._rivals())
        )
        met = edge.onset(run, self.arm) if self.since == "edge" else float(high.x[0])
        first = float("nan") if met is None else met
        start, end = (first + share * (float(high.x[-1]) - first) for share in ((0, 1) if self.at else self.window))
        rivals = np.max([one.over(start, end, self.at)[0] for one in low], axis=0)
        gap: np.ndarray = high.over(start, end, self.at)[0] - self.factor * rivals
        return gap

    def _rivals(self) -> tuple[str | int, ...]:
        return self.than if isinstance(self.than, tuple) else (self.than,)

    def _places(self) -> list[str]:
        since = f"of {self.arm}'s time" + (" after it met its own threshold" if self.since == "edge" else "")
        if self.at is not None:
            shares = [f"at {share:.0%}" for share in self.at]
            return [*shares[:-1], f"{shares[-1]} {since}"]
        start, end = self.window
        return [f"on average from {start:.0%} to {end:.0%} {since}"]
