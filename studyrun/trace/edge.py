"""Moments of an arm told by its onset of the edge of stability, t*: on the way to it, there, after it, or by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Protocol

import numpy as np
from pydantic import Field

if TYPE_CHECKING:
    from studyrun.trace.arm import Arm
    from studyrun.trace.ensemble import Along, Ensemble
    from studyrun.trace.reader import Run
    from studyrun.trace.series import Series

Share = Annotated[float, Field(ge=0, le=1)]
Part = Literal["before", "after", "whole"]
When = (
    Literal["start", "midway", "onset", "end"]
    | Annotated[int, Field(ge=0, strict=True)]
    | Annotated[Mapping[Part, Share], Field(min_length=1, max_length=1)]
)
"""A moment of an arm, as an option: a name (`midway` between the start and the onset), a training step, or a share of
the time before the onset, after it or of all, as in `{after: 0.25}`."""

NAMED: Mapping[str, Mapping[Part, float]] = {
    "start": {"whole": 0.0},
    "midway": {"before": 0.5},
    "onset": {"after": 0.0},
    "end": {"whole": 1.0},
}
NAMES = {"start": "the start", "midway": "midway to {onset}", "onset": "onset {onset}", "end": "the end"}
PARTS = {"before": "of the way to {onset}", "after": "of the time after {onset}", "whole": "of the time"}


class Recorded(Protocol):
    """Rows along an arm: their steps and effective times, (m,) each, ascending."""

    @property
    def step(self) -> np.ndarray:
        """The training step of each row."""

    @property
    def time(self) -> np.ndarray:
        """The effective time of each row."""


class Place(NamedTuple):
    """A place on one of the two axes along which an arm runs."""

    along: Along
    at: float


class Onset(NamedTuple):
    """Where an arm met its own threshold: the training step and the effective time."""

    step: int
    time: float


def forked_at_edge(branch: Arm, parent: Arm | None) -> bool:
    """Whether the branch forked because its parent's curvature met the parent's own threshold.

    The trigger watched that curvature, and held it against that threshold: a step, a time or another channel of the
    same number is no edge.
    """
    level = branch.attributes.get("trigger_threshold")
    if parent is None or parent.threshold is None or level is None:
        return False
    if not isclose(float(level), parent.threshold, rel_tol=1e-6):
        return False
    watched = branch.attributes.get("trigger_quantity")
    return _was_seen(branch, parent) if watched is None else watched == parent.threshold_quantity


def _was_seen(branch: Arm, parent: Arm) -> bool:
    """Whether a trigger of a run that does not say what it watched saw the very number of the parent's curvature."""
    channel = parent.find(parent.threshold_quantity)
    return channel is not None and bool((parent.leading(channel) == branch.attributes.get("trigger_value")).any())


def met(run: Run, arm: str) -> Onset | None:
    """Where an arm meets its own threshold, or None if it never does.

    It is where a branch left it for that reason: early curvature, before the trigger looked, is no onset. Otherwise it
    is the arm's first recorded crossing, which of a branch is its t**. A trunk that begins above its threshold has to
    have been below.
    """
    left = [one for one in run.arms.values() if one.parent == arm and one.started and forked_at_edge(one, run[arm])]
    if left:
        return min(Onset(one.fork_step, one.fork_time) for one in left)
    crossing = run[arm].crossing(rising=run[arm].parent is None)
    return None if crossing is None else Onset(crossing.step, crossing.time)


def onset(run: Run, arm: str) -> float | None:
    """The effective time at which an arm meets its own threshold, or None if it never does."""
    found = met(run, arm)
    return None if found is None else found.time


def is_watched(run: Run, arm: str) -> bool:
    """Whether the run can tell if the arm met its threshold: it has one, and the curvature it is about was recorded."""
    channel = run[arm].find(run[arm].threshold_quantity)
    return run[arm].threshold is not None and channel is not None and len(channel.step) > 0


def place(run: Run, arm: str, when: When, rows: Recorded) -> Place | None:
    """Where a moment lies on the stretch that these rows of the arm span, or None where it has no such moment."""
    if isinstance(when, int):
        return Place("step", float(when))
    ((part, share),) = (NAMED[when] if isinstance(when, str) else when).items()
    first, last = float(rows.time[0]), float(rows.time[-1])
    if part == "whole":
        return Place("time", first + share * (last - first))
    met = onset(run, arm)
    if met is None or met > last:
        return None
    return Place("time", first + share * (met - first) if part == "before" else met + share * (last - met))


def row_at(run: Run, arm: str, when: When, rows: Recorded) -> int | None:
    """The row nearest to a moment, or None: an arm without onset has none there, and one that ended before none then.

    Rows reach half a spacing beyond the first and the last.
    """
    where = place(run, arm, when, rows)
    if where is None:
        return None
    x = np.asarray(getattr(rows, where.along), dtype=float)
    spacing = np.diff(x) if len(x) > 1 else np.zeros(1)
    slack = 1e-9 * abs(x[-1])
    if not x[0] - spacing[0] / 2 - slack <= where.at <= x[-1] + spacing[-1] / 2 + slack:
        return None
    return int(np.abs(x - where.at).argmin())


def rows_between(run: Run, arm: str, start: When, end: When, rows: Recorded) -> np.ndarray:
    """The rows from one moment to another, both included; none where the arm lacks one of the moments."""
    first, last = (place(run, arm, when, rows) for when in (start, end))
    if first is None or last is None:
        return np.empty(0, dtype=int)
    slack = 1e-9 * abs(float(rows.time[-1]))
    from_first = getattr(rows, first.along) >= first.at - slack
    return np.flatnonzero(from_first & (getattr(rows, last.along) <= last.at + slack))


def moment_words(when: When, symbol: str = "t*") -> str:
    """The moment in words; `symbol` is the onset's: t* of a trunk, t** of a branch."""
    if isinstance(when, int):
        return f"step {when}"
    if isinstance(when, str):
        return NAMES[when].format(onset=symbol)
    ((part, share),) = when.items()
    return f"{share:.0%} {PARTS[part].format(onset=symbol)}"


def met_words(ensembles: Sequence[Ensemble], arm: str) -> str:
    """An afterthought to "to where the arm meets its threshold": in which runs it did not. Nothing where all did."""
    runs = [run for one in ensembles for run in one.runs if arm in run and run[arm].started and is_watched(run, arm)]
    reached = sum(met(run, arm) is not None for run in runs)
    if not runs:
        return ", which no run can tell"
    if reached in (0, len(runs)):
        return "" if reached else ", which it never did"
    return f", which it did in {reached} of {len(runs)} runs: elsewhere to the end"


def edge_series(ensemble: Ensemble, arm: str, along: Along) -> Series | None:
    """The curvature that an arm's threshold is about, at its first place, or None if nothing recorded it."""
    for one in ensemble.started(arm):
        channel = one.find(one.threshold_quantity)
        if channel is not None and len(channel.step):
            probe = next(label for label in one if channel in one[label].channels.values())
            first = {name: labels[0] for name, labels in channel.labels.items()}
            return ensemble.series(arm, probe, channel.name, along=along, select=first)
    return None
