"""Runs that differ by their seeds alone, seen together: series with one row a run, compared at equal effective time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from studyrun.errors import TraceError
from studyrun.trace import edge
from studyrun.trace.channel_trace import axis_label
from studyrun.trace.series import Average, Series, interpolate, on_common_grid

if TYPE_CHECKING:
    from studyrun.trace.arm import Arm
    from studyrun.trace.channel_trace import ChannelTrace
    from studyrun.trace.reader import Run

Along = Literal["time", "step"]
Since = Literal["fork", "edge"]
Until = Literal["end", "edge"]
X_LABELS = {"time": "effective time Σ η", "step": "training step"}
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Runs of one condition. `condition` is what they share of a sweep's overrides, `name` the same in words.

    `only` are the arms to look at, where that is not all: a figure of hundreds is shown some. What holds of an arm (its
    onset, its parent, its facts) is read from all of them.
    """

    runs: tuple[Run, ...]
    name: str = ""
    condition: Mapping[str, Any] = field(default_factory=dict)
    only: frozenset[str] | None = None

    @property
    def run(self) -> Run:
        """The first run, for names and attributes that all share."""
        return self.runs[0]

    @property
    def title(self) -> str:
        """The study's title."""
        return self.run.title

    def says(self, where: Mapping[str, Any]) -> bool:
        """Whether the study of these runs has the values of `where`, by dotted path; a component's is its name."""
        return all(_value(self.run.document, path.split(".")) == wanted for path, wanted in where.items())

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that started in at least one run, trunk first."""
        names = dict.fromkeys(arm.name for run in self.runs for arm in run.arms.values() if arm.started)
        parents = self.parents
        shown = (name for name in names if self.only is None or name in self.only)
        return tuple(sorted(shown, key=lambda name: parents[name] is not None))

    @property
    def parents(self) -> Mapping[str, str | None]:
        """For each arm of any run the arm that it forked from, None for the trunk."""
        return {arm.name: arm.parent for run in self.runs for arm in run.arms.values()}

    def children(self, arm: str) -> tuple[str, ...]:
        """The started arms that forked from `arm`."""
        return tuple(name for name in self.arms if self.parents[name] == arm)

    def started(self, arm: str) -> tuple[Arm, ...]:
        """This arm in every run in which it started; its forks and crossings differ from run to run."""
        return tuple(run.arms[arm] for run in self.runs if arm in run.arms and run.arms[arm].started)

    def crossings(self, arm: str) -> tuple[edge.Onset, ...]:
        """Where this arm met its own threshold, in every run in which it did."""
        found = (edge.met(run, arm) for run in self.runs if arm in run and run[arm].started)
        return tuple(onset for onset in found if onset is not None)

    def channel(self, arm: str, probe: str, channel: str) -> ChannelTrace:
        """The channel of the first run that recorded it. Raises `TraceError` where none did."""
        return next(iter(self._recorded(arm, probe, channel)))[1]

    def recording(self, probe: str, channel: str) -> tuple[str, ...]:
        """The arms that recorded the channel in at least one run, trunk first."""
        return tuple(
            arm for arm in self.arms if any(True for run in self.runs for _ in _channels(run, arm, probe, channel))
        )

    def channels(self, probe: str) -> set[str]:
        """The channels that a probe recorded, in any run and arm."""
        started = [one for arm in self.arms for one in self.started(arm)]
        return {name for one in started if probe in one for name in one[probe]}

    def locate(self, component: str, *channels: str, label: str | None = None) -> str:
        """The label of the probe that recorded all these channels: `label`, or else the first one of `component`,
        or else the first of any component. Raises `TraceError` that says what was recorded.
        """
        probes = {probe.label: probe for arm in self.arms for one in self.started(arm) for probe in one.probes.values()}
        fit = [probe for probe in probes.values() if all(self.recording(probe.label, name) for name in channels)]
        fit.sort(key=lambda probe: probe.component != component)
        found = next((probe.label for probe in fit if label in (None, probe.label)), None)
        if found is None:
            who = "no probe" if label is None else f"no probe {label!r}"
            known = "; ".join(f"{probe.label}: {', '.join(probe.channels)}" for probe in probes.values())
            raise TraceError(f"{who} recorded {' and '.join(channels) or 'anything'} (recorded: {known or 'nothing'})")
        return found

    def series(
        self,
        arm: str,
        probe: str,
        channel: str,
        *,
        along: Along = "time",
        select: Mapping[str, Any] = _NOTHING,
    ) -> Series:
        """One number for each row of each run that recorded the channel, against effective time or step.

        Runs that recorded at the same places keep their exact rows; others meet, by linear interpolation, at all the
        places of any of them that lie within the reach of all. Raises `TraceError` where no run has the channel, and
        where `select` leaves a dimension open.
        """
        recorded = self._recorded(arm, probe, channel)
        curves = [(np.asarray(getattr(one, along), dtype=float), _numbers(one, select)) for _, one in recorded]
        x, values = on_common_grid(curves, f"{arm}/{probe}/{channel}")
        first = recorded[0][1]
        return Series(x, values, X_LABELS[along], first.label, first.units)

    def difference(
        self, arm: str, reference: str, probe: str, channel: str, *, select: Mapping[str, Any] = _NOTHING
    ) -> Series:
        """value(arm) − value(reference) at equal effective time, from the fork on, as far as both arms reach.

        The reference is interpolated linearly to the arm's own rows; runs then meet as in `series`. Positive means
        that `arm` has the larger value. Raises `TraceError` where no run has the channel in both arms.
        """
        pairs = self._pairs(arm, reference, probe, channel)
        compared = (_difference(one, other, select) for one, other in pairs)
        curves = [curve for curve in compared if len(curve[0])]
        x, values = on_common_grid(curves, f"{arm} − {reference} of {probe}/{channel}")
        first = pairs[0][0]
        label = axis_label(f"Δ {first.long_name}, {arm} − {reference}", "", first.units)
        return Series(x, values, X_LABELS["time"], label, first.units)

    def gain(
        self,
        arm: str,
        probe: str,
        channel: str,
        *,
        reference: str | None = None,
        select: Mapping[str, Any] = _NOTHING,
        at: Sequence[float] | None = None,
        window: tuple[float, float] = (0.0, 1.0),
        average: Average = "mean",
        since: Since = "fork",
        until: Until = "end",
    ) -> np.ndarray:
        """`difference` of a branch and its parent (or `reference`) as one number a run, (r, 1): its average over a
        window, in fractions of the time from the fork on; or its values at fractions `at` of that time, (r, len(at)).

        Time counts to where the shorter arm ends or, with `until` edge, to where `arm` meets its own threshold if it
        does; with `since` edge, from there on, and a run in which it never does is NaN, as is one that cannot tell.
        Each run has its own fork. Of the trunk, it is the channel itself from its first row on. A run that lacks the
        channel or an arm is NaN.
        """
        against = reference or self.parents[arm]
        places = 1 if at is None else len(at)
        numbers = np.full((len(self.runs), places), np.nan)
        for row, run in enumerate(self.runs):
            lone = Ensemble((run,))
            names = [arm] if against is None else [arm, against]
            if all(name in lone.recording(probe, channel) for name in names):
                if against is None:
                    series = lone.series(arm, probe, channel, select=select)
                else:
                    series = lone.difference(arm, against, probe, channel, select=select)
                first, last = float(series.x[0]), float(series.x[-1])
                met = edge.onset(run, arm)
                if since == "edge":
                    first = float("nan") if met is None else met
                if until == "edge":
                    last = last if met is None else min(met, last)
                    last = last if edge.is_watched(run, arm) else float("nan")
                length = last - first
                start, end = (0.0, 1.0) if at is not None else window
                numbers[row] = series.over(first + start * length, first + end * length, at, average)[0]
        return numbers

    def _recorded(self, arm: str, probe: str, channel: str) -> list[tuple[Run, ChannelTrace]]:
        found = [(run, one) for run in self.runs for one in _channels(run, arm, probe, channel)]
        if not found:
            names = ", ".join(run.name for run in self.runs[:5])
            raise TraceError(f"no run has recorded {arm}/{probe}/{channel} (looked in: {names})")
        return found

    def _pairs(self, arm: str, reference: str, probe: str, channel: str) -> list[tuple[ChannelTrace, ChannelTrace]]:
        self._recorded(reference, probe, channel)
        pairs = [
            (one, other)
            for run, one in self._recorded(arm, probe, channel)
            for other in _channels(run, reference, probe, channel)
        ]
        if not pairs:
            raise TraceError(f"no run has recorded {probe}/{channel} in both {arm!r} and {reference!r}")
        return pairs


def for_run(run: Run) -> Ensemble:
    """The ensemble of a lone run."""
    return Ensemble((run,))


def by_condition(runs: Sequence[Run]) -> tuple[Ensemble, ...]:
    """Runs that share all overrides but their seeds, together, in the order in which each condition first stands."""
    together: dict[str, list[Run]] = {}
    for run in runs:
        together.setdefault(_words(_condition(run)), []).append(run)
    telling = _telling([_condition(group[0]) for group in together.values()])
    return tuple(
        Ensemble(tuple(group), _words(one), one) for group, one in zip(together.values(), telling, strict=True)
    )


def _telling(conditions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The conditions without what always goes with another path that stands before it, as under `zip`."""
    kept: list[str] = []
    for path in dict.fromkeys(path for one in conditions for path in one):
        parts, finer = (
            {repr([one.get(name) for name in names]) for one in conditions} for names in (kept, [*kept, path])
        )
        if len(finer) > len(parts) or len(conditions) == 1:
            kept.append(path)
    return [{path: one[path] for path in kept if path in one} for one in conditions]


def _value(document: Any, path: Sequence[str]) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document["use"] if isinstance(document, Mapping) and "use" in document else document


def _condition(run: Run) -> dict[str, Any]:
    return {path: value for path, value in run.overrides.items() if path != "seed" and not path.startswith("seed.")}


def _words(condition: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={value}" for path, value in condition.items())


def _channels(run: Run, arm: str, probe: str, channel: str) -> Iterator[ChannelTrace]:
    """The channel, or nothing where this run lacks it or has no row of it."""
    if arm in run.arms and probe in run[arm] and channel in run[arm][probe] and len(run[arm][probe].step):
        yield run[arm][probe][channel]


def _numbers(channel: ChannelTrace, select: Mapping[str, Any]) -> np.ndarray:
    values = channel.select(**select).astype(float)
    if values.ndim > 1:
        open_ones = ", ".join(name for name in channel.dims[1:] if name not in select)
        raise TraceError(f"the channel {channel.name!r} has more than one number a step: select one {open_ones}")
    return values


def _difference(one: ChannelTrace, other: ChannelTrace, select: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Where both have rows, which is from the fork on: a branch's own rows begin there."""
    within = (one.time >= other.time[0]) & (one.time <= other.time[-1])
    time = one.time[within]
    return time, _numbers(one, select)[within] - interpolate(time, other.time, _numbers(other, select))
