"""Something gets as far as it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isfinite
from statistics import median
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from studyrun.plugin import Claim, Ensemble, Field, OverRuns, Verdict

if TYPE_CHECKING:
    from studyrun.plugin import Arm, ChannelTrace


class Reaches(Claim):
    """An arm reaches a value, or the threshold of its own optimizer, in all runs or in most.

    The first recorded row at or beyond the value counts; of a branch, only rows after its fork. The statistic is the
    effective time at which it was reached, its median over the runs that reached it. A run that never did counts as
    the end of time, and one in which the arm did not start as well: that it is reached holds where the interval for
    the median time has an end (see `Verdict.on_median`: six runs or more, or one, which is seen once). Asked of all
    runs, one that never did is enough for it not to hold.
    """

    arm: str = "baseline"
    """Which arm."""
    channel: str | None = None
    """The channel; null takes the one that the arm's threshold is about."""
    probe: str | None = None
    """The label of the probe; null takes the first one that recorded the channel."""
    select: Mapping[str, str | int] = {}
    """A label along each dimension of the channel, such as {group: inlier}; dimensions left out take their first."""
    value: float | Literal["threshold"] = "threshold"
    """What has to be reached: a number, or the threshold of the arm's own optimizer."""
    direction: Literal["above", "below"] = "above"
    """Reached from below (above) or from above (below)."""
    after_step: Annotated[int, Field(ge=0)] = 0
    """Only rows later than this step count; 0 counts all."""
    by_time: float | None = None
    """The effective time by which it has to be reached; null sets no limit."""
    share: Literal["all", "most"] = "all"
    """In how many runs: all of them, or so many that more than half of any others would."""

    def decide(self, ensemble: Ensemble) -> Verdict:
        arms = ensemble.started(self.arm)
        if not arms:
            return Verdict.undecided(f"no run has an arm {self.arm!r} that started")
        probe = None if self.channel is None else ensemble.locate("", self.channel, label=self.probe)
        watched = [(arm, self._values(arm, probe), self._level(arm)) for arm in arms]
        found: list[tuple[float, int] | None] = []
        for arm, channel, level in watched:
            if channel is None or level is None:
                what = (
                    f"no {arm.threshold_quantity} was recorded" if channel is None else "its optimizer has no threshold"
                )
                return Verdict.undecided(f"{self.arm}: {what}")
            found.append(self._first(arm, channel, level))
        found += [None] * (len(ensemble.runs) - len(arms))
        return self._verdict(ensemble, found)

    def _verdict(self, ensemble: Ensemble, found: Sequence[tuple[float, int] | None]) -> Verdict:
        moments = [moment for moment in found if moment is not None]
        over = OverRuns.of(inf if moment is None else moment[0] for moment in found)
        holds, ends = over.lie(isfinite), over.interval
        if self.share == "all" and len(moments) < len(found):
            holds = False
        statistic = median(time for time, _ in moments) if moments else None
        sentence = self._sentence(ensemble, moments, len(found))
        if ends is not None or (holds is None and len(found) > 1):
            sentence += over.certainty(lambda time: f"{time:.4g}" if isfinite(time) else "never")
        if ends is None:
            return Verdict(holds, statistic, None, sentence, len(found))
        return Verdict(holds, statistic, (ends.low, ends.high), sentence, len(found), ends.coverage)

    def _values(self, arm: Arm, probe: str | None) -> ChannelTrace | None:
        return arm.find(arm.threshold_quantity) if probe is None else arm[probe][str(self.channel)]

    def _level(self, arm: Arm) -> float | None:
        return arm.threshold if self.value == "threshold" else float(self.value)

    def _first(self, arm: Arm, channel: ChannelTrace, level: float) -> tuple[float, int] | None:
        """Effective time and step of the first row that counts, or None."""
        values = arm.leading(channel, **self.select)
        counts = values >= level if self.direction == "above" else values <= level
        if self.after_step or arm.parent:
            counts &= channel.step > max(self.after_step, arm.fork_step)
        if self.by_time is not None:
            counts &= channel.time <= self.by_time
        rows = np.flatnonzero(counts)
        return (float(channel.time[rows[0]]), int(channel.step[rows[0]])) if len(rows) else None

    def _sentence(self, ensemble: Ensemble, moments: Sequence[tuple[float, int]], count: int) -> str:
        arms = ensemble.started(self.arm)
        what = self.channel or arms[0].threshold_quantity
        labels = f" of {', '.join(map(str, self.select.values()))}" if self.select else ""
        level = f"{what}{labels} {'≥' if self.direction == 'above' else '≤'} {self._level(arms[0]):.4g}"
        level = f"its own threshold, {level}," if self.value == "threshold" else level
        limit = "" if self.by_time is None else f" by effective time {self.by_time:g}"
        if count == 1 and not moments:
            return f"{self.arm} did not reach {level.rstrip(',')}{limit} (one run)"
        when = ""
        if moments:
            time, step = (median(column) for column in zip(*moments, strict=True))
            when = f" at {'median ' if len(moments) > 1 else ''}effective time {time:.4g} (step {step:.10g})"
        if count == 1:
            return f"{self.arm} reached {level}{limit}{when} (one run: seen once)"
        text = f"{self.arm} reached {level}{limit} in {len(moments) or 'none'} of {count} runs"
        return f"{text},{when}" if when else text
