"""An arm stands above or below another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from studyrun.plugin import Claim, Ensemble, Field, Verdict, edge, model_validator

Share = Annotated[float, Field(ge=0, le=1)]


class Sign(Claim):
    """The difference between an arm and the arm it forked from has one sign, at equal effective time.

    Δ(τ) = channel(arm, τ) − channel(reference, τ) from the fork to where the shorter arm ends, or to where the arm
    meets its own threshold, or from there on. Either its average over a window of that stretch, or its value at each of
    some fractions of it, has to be positive (or negative). At the edge of stability losses spike; the median over time
    is deaf to spikes where the mean is decided by them. The statistic is the median over runs, whose interval has to
    exclude zero (see `Verdict.on_median`): six runs or more, or one, which is seen once. Of several fractions each run
    counts with the one that speaks least for the claim.
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
    """Fractions of the time after the fork at which the sign has to hold; null takes the average over the window."""
    window: tuple[Share, Share] = (0.0, 1.0)
    """From where to where, as fractions of the time after the fork, the average is taken."""
    average: Literal["mean", "median"] = "mean"
    """Which average over time."""
    since: Literal["fork", "edge"] = "fork"
    """From where that time counts: the fork, or t**, where the arm meets its own threshold."""
    until: Literal["end", "edge"] = "end"
    """To where the time after the fork counts: the end, or t**, where the arm meets its own threshold, if it does."""

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.since == self.until == "edge":
            raise ValueError("from t** until t** no time passes: leave out since or until")
        return self

    def decide(self, ensemble: Ensemble) -> Verdict:
        reference = self.reference or ensemble.parents.get(self.arm)
        if not ensemble.started(self.arm) or reference is None:
            return Verdict.undecided(f"no run has a branch {self.arm!r} that started")
        probe = ensemble.locate("", self.channel, label=self.probe)
        numbers = ensemble.gain(
            self.arm,
            probe,
            self.channel,
            reference=reference,
            select=self.select,
            at=self.at,
            window=self.window,
            average=self.average,
            since=self.since,
            until=self.until,
        )
        labels = ", ".join(map(str, self.select.values()))
        what = f"{self.channel}{f' of {labels}' if labels else ''}, {self.arm} − {reference}"
        return Verdict.on_sign(list(numbers), what, self._places(ensemble), positive=self.sign == "positive")

    def _places(self, ensemble: Ensemble) -> list[str]:
        stretch = "after the fork"
        if self.since == "edge":
            stretch = f"after {self.arm} met its own threshold"
        elif self.until == "edge":
            stretch = f"from the fork to where {self.arm} meets its threshold{edge.met_words([ensemble], self.arm)}"
        if self.at is not None:
            shares = [f"at {share:.0%}" for share in self.at]
            return [*shares[:-1], f"{shares[-1]} of the time {stretch}"]
        start, end = self.window
        average = "on average" if self.average == "mean" else "in the median over time"
        if (start, end) == (0, 1):
            return [f"{average} {stretch}"]
        return [f"{average} from {start:.0%} to {end:.0%} of the time {stretch}"]
