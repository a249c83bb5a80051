"""One number is so many times another, or always the same multiple of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np

from studyrun.plugin import (
    ChannelTrace,
    Claim,
    Ensemble,
    Field,
    OverRuns,
    Run,
    Verdict,
    edge,
    for_run,
    model_validator,
)

Share = Annotated[float, Field(ge=0, le=1)]


class Side(NamedTuple):
    """One side of the ratio: where its numbers stand."""

    arm: str
    probe: str
    channel: str
    select: Mapping[str, str | int]

    def __str__(self) -> str:
        labels = ", ".join(map(str, self.select.values()))
        return f"{self.channel}{f' of {labels}' if labels else ''}"


class Ratio(Claim):
    """The ratio of two channels has a median within bounds, or is the same for most pairs up to a factor.

    A pair is a number of each side at one step and at equal labels along all dimensions that are left open: steps that
    both have, in one arm; between two arms the rows of the first, with the second's interpolated linearly to their
    effective time. Pairs with a zero or a NaN are left out and counted. The statistic is the median over runs of each
    run's median ratio. Its interval has to lie within the bounds (see `Verdict.on_median`: six runs or more, or one,
    which is seen once), and that of the share of pairs within a factor `within` of their own run's median above
    `share`. A run without a pair counts against the claim.
    """

    channel: str
    """The channel above the line, such as coupling_squared."""
    over: str | None = None
    """The channel below the line, such as influence; null takes the same one."""
    arm: str = "baseline"
    """In which arm."""
    over_arm: str | None = None
    """The arm of the number below the line; null takes the same one."""
    probe: str | None = None
    """The label of the probe; null takes the first one that recorded the channel."""
    over_probe: str | None = None
    """The one that recorded what is below the line; null takes the same one, or else the first one that did."""
    select: Mapping[str, str | int] = {}
    """A label along dimensions of the channel, such as {group: inlier}; those left out are open."""
    over_select: Mapping[str, str | int] | None = None
    """Labels of what is below the line; null takes the same ones."""
    at_least: float | None = None
    """The least that the median may be; null sets no bound."""
    at_most: float | None = None
    """The most that the median may be; null sets no bound."""
    within: Annotated[float, Field(gt=1)] | None = None
    """The factor by which pairs may differ from the median ratio, up or down; null asks for none."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The share of the pairs that have to lie within that factor."""
    since: Literal["start", "edge"] = "start"
    """From where time counts: the arm's first row, or t*, where it met its own threshold and branches left it."""
    window: tuple[Share, Share] = (0.0, 1.0)
    """From where to where, as fractions of that time, pairs count."""

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.at_least is None and self.at_most is None and self.within is None:
            raise ValueError("a ratio claims at_least, at_most or within: name one of them")
        if (self.over, self.over_arm, self.over_probe, self.over_select) == (None, None, None, None):
            raise ValueError("a ratio of a number to itself is 1: name over, over_arm, over_probe or over_select")
        return self

    def decide(self, ensemble: Ensemble) -> Verdict:
        for arm in (self.arm, self.over_arm or self.arm):
            if not ensemble.started(arm):
                return Verdict.undecided(f"no run has an arm {arm!r} that started")
        above, below = self._sides(ensemble)
        open_ones = [_open(ensemble.channel(side.arm, side.probe, side.channel), side) for side in (above, below)]
        if open_ones[0] != open_ones[1]:
            names = [", ".join(dims) or "none" for dims in open_ones]
            return Verdict.undecided(
                f"{above} leaves open: {names[0]}; {below}: {names[1]}; select labels until both are alike"
            )
        found = [self._pairs(run, above, below) for run in ensemble.runs]
        ratios = [pairs[0] / pairs[1] for pairs in map(_known, found)]
        left_out = sum(pairs.shape[1] for pairs in found) - sum(map(len, ratios))
        return self._verdict(ratios, left_out, self._words(above, below))

    def _sides(self, ensemble: Ensemble) -> tuple[Side, Side]:
        over, probe = self.over or self.channel, ensemble.locate("", self.channel, label=self.probe)
        label = self.over_probe or (probe if over in ensemble.channels(probe) else None)
        select = self.select if self.over_select is None else self.over_select
        below = Side(self.over_arm or self.arm, ensemble.locate("", over, label=label), over, select)
        return Side(self.arm, probe, self.channel, self.select), below

    def _pairs(self, run: Run, above: Side, below: Side) -> np.ndarray:
        """The two numbers of each pair of one run, (2, pairs); none of a run that lacks a side."""
        if not all(side.arm in for_run(run).recording(side.probe, side.channel) for side in (above, below)):
            return np.empty((2, 0))
        first, second = (run[side.arm][side.probe][side.channel] for side in (above, below))
        values, others = (
            np.asarray(channel.select(**side.select), dtype=float).reshape(len(channel.step), -1)
            for channel, side in ((first, above), (second, below))
        )
        if above.arm == below.arm:
            _, rows, other_rows = np.intersect1d(first.step, second.step, return_indices=True)
            times, pairs = first.time[rows], (values[rows], others[other_rows])
        else:
            rows = np.flatnonzero((first.time >= second.time[0]) & (first.time <= second.time[-1]))
            times = first.time[rows]
            columns = [np.interp(times, second.time, column) for column in others.T]
            pairs = values[rows], np.stack(columns, axis=1)
        kept = self._counts(run, times, float(first.time[0]), float(first.time[-1]))
        return np.stack([numbers[kept].ravel() for numbers in pairs])

    def _counts(self, run: Run, times: np.ndarray, first: float, last: float) -> np.ndarray:
        """Which of these moments lie in the window; none where the arm never met the threshold asked for."""
        if self.since == "edge":
            met = edge.onset(run, self.arm)
            first = float("nan") if met is None else met
        start, end = (first + share * (last - first) for share in self.window)
        slack = 1e-9 * abs(last)
        return np.asarray((times >= start - slack) & (times <= end + slack))

    def _words(self, above: Side, below: Side) -> str:
        if above.arm == below.arm:
            return f"{above} / {below} in {self.arm}"
        return f"{above} in {above.arm} / {below} in {below.arm}"

    def _verdict(self, ratios: Sequence[np.ndarray], left_out: int, what: str) -> Verdict:
        without = f"; {left_out} with a zero or NaN left out" if left_out else ""
        if not any(map(len, ratios)):
            return Verdict.undecided(f"{what}: no run has a pair of numbers{without}")
        pairs, medians = sum(map(len, ratios)), [float(np.median(one)) if len(one) else np.nan for one in ratios]
        low = -np.inf if self.at_least is None else self.at_least
        high = np.inf if self.at_most is None else self.at_most
        enough, near = self._near(ratios)
        return Verdict.on_median(
            medians,
            lambda ratio: low <= ratio <= high and enough,
            lambda middle, runs: f"{what}: median ratio {middle} ({runs}) over {pairs} pairs{without}{near}",
        )

    def _near(self, ratios: Sequence[np.ndarray]) -> tuple[bool, str]:
        """Whether enough pairs lie near the median of their run, and how many do, in words."""
        if self.within is None:
            return True, ""
        shares = OverRuns.of(_near(one, self.within).mean() if len(one) else np.nan for one in ratios)
        ends, text = shares.interval, f"; {shares.median:.0%} lie within a factor {self.within:g} of it"
        text += f", in {ends.low:.0%} to {ends.high:.0%} by the same interval" if ends else ""
        return bool(shares.lie(lambda share: share >= self.share)), text


def _open(channel: ChannelTrace, side: Side) -> dict[str, tuple[int, ...] | tuple[str, ...]]:
    """The dimensions, with their labels, along which no label is selected."""
    return {name: labels for name, labels in channel.labels.items() if name not in side.select}


def _known(pairs: np.ndarray) -> np.ndarray:
    """The pairs of which both are numbers other than zero."""
    return np.asarray(pairs[:, (np.isfinite(pairs) & (pairs != 0)).all(axis=0)])


def _near(ratios: np.ndarray, factor: float) -> np.ndarray:
    """Which ratios lie within a factor of their median, up or down."""
    relative = ratios / np.median(ratios)
    slack = 1 + 1e-12
    return np.asarray((relative <= factor * slack) & (relative * factor * slack >= 1))
