"""An arm stands above or below another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np

from studyrun.plugin import Claim, Ensemble, Field, Verdict, for_run

Share = Annotated[float, Field(ge=0, le=1)]


class Sign(Claim):
    """The difference between an arm and the arm it forked from has one sign, at equal effective time.

    Δ(τ) = channel(arm, τ) − channel(reference, τ) from the fork to where the shorter arm ends. Either its mean over a
    window of that stretch, or its value at each of some fractions of it, has to be positive (or negative). Over several
    runs the bootstrap interval of the median has to exclude zero; one run is said to be one run. Of several fractions
    the statistic is the one that speaks least for the claim.
    """

    channel: str
    """The channel, such as by_group."""
    sign: Literal["positive", "negative"]
    """Positive: the arm's value is larger than the reference's."""
    arm: str
    """The arm, such as exit."""
    reference: str | None = None
    """What it is held against; null takes the arm that it forked from."""
    probe: str | None = None
    """The label of the probe; null takes the first one that recorded the channel."""
    select: Mapping[str, str | int] = {}
    """A label along each dimension of the channel, such as {group: inlier}."""
    at: Annotated[tuple[Share, ...], Field(min_length=1)] | None = None
    """Fractions of the time after the fork at which the sign has to hold; null takes the mean over the window."""
    window: tuple[Share, Share] = (0.0, 1.0)
    """From where to where, as fractions of the time after the fork, the mean is taken."""

    def decide(self, ensemble: Ensemble) -> Verdict:
        reference = self.reference or ensemble.parents.get(self.arm)
        if not ensemble.started(self.arm) or reference is None:
            return Verdict(None, None, None, f"cannot be decided: no run has a branch {self.arm!r} that started", 0)
        probe = ensemble.locate("", self.channel, label=self.probe)
        runs = [run for run in ensemble.runs if all(arm in run and probe in run[arm] for arm in (self.arm, reference))]
        numbers = [self._numbers(for_run(run), reference, probe) for run in runs]
        labels = ", ".join(map(str, self.select.values()))
        what = f"{self.channel}{f' of {labels}' if labels else ''}, {self.arm} − {reference}"
        return Verdict.on_sign(numbers, what, self._places(), positive=self.sign == "positive")

    def _numbers(self, ensemble: Ensemble, reference: str, probe: str) -> np.ndarray:
        """The difference in one run, at each of the fractions or on average."""
        series = ensemble.difference(self.arm, reference, probe, self.channel, select=self.select)
        first, length = float(series.x[0]), float(series.x[-1] - series.x[0])
        start, end = (0.0, 1.0) if self.at else self.window
        return np.asarray(series.over(first + start * length, first + end * length, self.at)[0])

    def _places(self) -> list[str]:
        if self.at is not None:
            shares = [f"at {share:.0%}" for share in self.at]
            return [*shares[:-1], f"{shares[-1]} of the time after the fork"]
        start, end = self.window
        whole = (start, end) == (0, 1)
        return ["on average " + ("after the fork" if whole else f"from {start:.0%} to {end:.0%} of the time after it")]
